//! Tasks on tokio, as on the real machine, except that a blocking section runs where it is.
//!
//! In which order tasks and threads run is tokio's and the kernel's business: what depends on it is not
//! reproducible from the seed. A test that wants that runs one task after another on a runtime of one thread.

use std::io;

use crate::real::RealTasks;
use crate::{BoxFuture, TaskHandle, Tasks, ThreadHandle};

/// Spawns on the tokio runtime of the caller.
#[derive(Debug)]
pub struct SimTasks {
    inner: RealTasks,
}

impl SimTasks {
    /// Tasks of a simulated machine.
    #[must_use]
    pub fn new() -> SimTasks {
        SimTasks { inner: RealTasks::ambient() }
    }
}

impl Default for SimTasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks for SimTasks {
    fn spawn(&self, name: &'static str, future: BoxFuture<()>) -> Box<dyn TaskHandle> {
        self.inner.spawn(name, future)
    }

    fn blocking_section(&self, work: &mut dyn FnMut()) {
        work();
    }

    fn on_io_pool(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        self.inner.on_io_pool(work)
    }

    fn thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn ThreadHandle>> {
        self.inner.thread(name, work)
    }
}
