//! Concurrency: tasks, blocking sections and named threads.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;

/// An owned future, as object-safe traits need it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// A spawned task. Dropping the handle lets the task run on.
pub trait TaskHandle: Send + Sync + Debug {
    /// Stops the task at its next await point.
    fn abort(&self);
    /// Completes when the task has ended, whichever way.
    fn join(self: Box<Self>) -> BoxFuture<()>;
}

/// A named thread. Dropping the handle lets the thread run on.
pub trait ThreadHandle: Send + Debug {
    /// Blocks until the thread has ended. Not to be called from a task.
    fn join(self: Box<Self>);
}

/// Spawns, and tells the runtime when a task is about to block.
pub trait Tasks: Send + Sync + Debug {
    /// Runs `future` in the background. `name` is for diagnostics.
    fn spawn(&self, name: &'static str, future: BoxFuture<()>) -> Box<dyn TaskHandle>;

    /// Runs `work`, which may block for milliseconds, on the calling thread, after telling the runtime so that
    /// other tasks move elsewhere. Outside a runtime it just runs `work`.
    fn blocking_section(&self, work: &mut dyn FnMut());

    /// Runs `work`, which may block, on the bounded I/O pool; completes when it has run.
    fn on_io_pool(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()>;

    /// Starts a thread of its own.
    ///
    /// # Errors
    /// The operating system's, if it refuses another thread.
    fn thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn ThreadHandle>>;
}
