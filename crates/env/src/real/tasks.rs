//! Tasks on tokio, threads of the operating system.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use millrace_types::limits::IO_POOL_MAX;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::{BoxFuture, TaskHandle, Tasks, ThreadHandle};

/// Spawns on a tokio runtime. At most [`IO_POOL_MAX`] pieces of work are on its I/O pool; more wait their turn.
#[derive(Debug)]
pub struct RealTasks {
    runtime: Option<Handle>,
    io_permits: Arc<Semaphore>,
    /// Blocking sections under way.
    blocked: AtomicUsize,
}

impl RealTasks {
    /// Spawns on the runtime that the caller of `spawn` runs on, as `tokio::spawn` does.
    ///
    /// # Panics
    /// Not here, but `spawn` and `on_io_pool` do when called outside a runtime.
    #[must_use]
    pub fn ambient() -> RealTasks {
        let io_permits = Arc::new(Semaphore::new(IO_POOL_MAX));
        RealTasks { runtime: None, io_permits, blocked: AtomicUsize::new(0) }
    }

    /// Spawns on `runtime`, from any thread.
    #[must_use]
    pub fn on(runtime: Handle) -> RealTasks {
        RealTasks { runtime: Some(runtime), ..RealTasks::ambient() }
    }
}

#[derive(Debug)]
struct RealTask {
    /// Read by `Debug` alone: the name is for people.
    #[expect(dead_code, reason = "shown by Debug")]
    name: &'static str,
    inner: JoinHandle<()>,
}

#[derive(Debug)]
struct RealThread {
    inner: thread::JoinHandle<()>,
}

impl Tasks for RealTasks {
    fn spawn(&self, name: &'static str, future: BoxFuture<()>) -> Box<dyn TaskHandle> {
        let inner = match &self.runtime {
            Some(runtime) => runtime.spawn(future),
            None => tokio::spawn(future),
        };
        Box::new(RealTask { name, inner })
    }

    fn blocking_section(&self, work: &mut dyn FnMut()) {
        // In a runtime of one thread there is no elsewhere, and block_in_place would panic.
        let current = Handle::try_current().ok();
        let workers = current.filter(|current| current.runtime_flavor() == RuntimeFlavor::MultiThread);
        let Some(workers) = workers.map(|current| current.metrics().num_workers()) else {
            return work();
        };
        let blocked = Blocked::enter(&self.blocked);
        if blocked.is_alone && workers > 1 {
            wake_another_worker();
            work();
        } else {
            tokio::task::block_in_place(work);
        }
    }

    fn on_io_pool(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        let permits = Arc::clone(&self.io_permits);
        let runtime = self.runtime.clone();
        Box::pin(async move {
            // The semaphore is never closed: without a permit we would merely be unbounded.
            let permit = permits.acquire_owned().await.ok();
            // The permit goes with the work: a caller that gives up does not free the thread.
            let run = move || {
                let _permit = permit;
                work();
            };
            let running = match runtime {
                Some(runtime) => runtime.spawn_blocking(run),
                None => tokio::task::spawn_blocking(run),
            };
            if let Err(e) = running.await
                && let Ok(panic) = e.try_into_panic()
            {
                // Whoever waits for a result of this work would wait in vain.
                resume_unwind(panic);
            }
        })
    }

    fn thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn ThreadHandle>> {
        if name.contains('\0') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a thread name with a NUL"));
        }
        let inner = thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Box::new(RealThread { inner }))
    }
}

/// A blocking section under way.
///
/// block_in_place gives the worker's place to another thread; the task that blocked is answered without one, and whatever
/// it wakes has to be carried to another processor: 40 to 60 us, half a sync. So the only one that blocks keeps its
/// place, where another worker stays free to run the tasks and to poll the sockets. When several block at once they make
/// room for each other, and syncs run side by side.
struct Blocked<'a> {
    count: &'a AtomicUsize,
    is_alone: bool,
}

impl<'a> Blocked<'a> {
    fn enter(count: &'a AtomicUsize) -> Blocked<'a> {
        let is_alone = count.fetch_add(1, Ordering::Relaxed) == 0;
        Blocked { count, is_alone }
    }
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The last task that a worker was given waits where no other worker can take it, and the sockets are polled by a worker
/// that is idle. Two tasks that do nothing push out what waits there and wake a sleeping worker, which then polls.
fn wake_another_worker() {
    for _ in 0..2 {
        drop(tokio::spawn(std::future::ready(())));
    }
}

impl TaskHandle for RealTask {
    fn abort(&self) {
        self.inner.abort();
    }

    fn join(self: Box<Self>) -> BoxFuture<()> {
        Box::pin(async move {
            // Cancelled or panicked: ended all the same. The panic hook has told about the panic.
            let _ended = self.inner.await;
        })
    }
}

impl ThreadHandle for RealThread {
    fn join(self: Box<Self>) {
        let _ended = self.inner.join();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_blocking_section_runs_on_a_runtime_of_one_thread() {
        let mut ran = false;
        RealTasks::ambient().blocking_section(&mut || ran = true);
        assert!(ran);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_blocking_section_lets_other_tasks_of_its_worker_run() {
        let tasks = Arc::new(RealTasks::ambient());
        let inner = Arc::clone(&tasks);
        let outer = tasks.spawn(
            "outer",
            Box::pin(async move {
                let (sender, receiver) = std::sync::mpsc::channel();
                let _other = inner.spawn("other", Box::pin(async move { sender.send(()).unwrap() }));
                inner.blocking_section(&mut || receiver.recv().unwrap());
            }),
        );
        outer.join().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_blocking_section_runs_inside_the_io_pool_and_inside_another() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let tasks = Arc::new(RealTasks::ambient());
        let inner = Arc::clone(&tasks);
        let work = Box::new(move || {
            inner.blocking_section(&mut || inner.blocking_section(&mut || sender.send(()).unwrap()));
        });
        tasks.on_io_pool(work).await;
        receiver.recv().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_worker_may_block_and_sockets_are_still_served() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        const BLOCKED: usize = 4;
        let tasks = Arc::new(RealTasks::ambient());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let echo = tasks.spawn(
            "echo",
            Box::pin(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut byte = [0];
                while stream.read(&mut byte).await.unwrap() > 0 {
                    stream.write_all(&byte).await.unwrap();
                }
            }),
        );
        // More than there are workers; each ends only when a byte has gone to and fro through the runtime.
        let mut client = std::net::TcpStream::connect(addr).unwrap();
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..BLOCKED).map(|_| std::sync::mpsc::channel::<()>()).unzip();
        let blocked = receivers.into_iter().map(|receiver| {
            let inner = Arc::clone(&tasks);
            let work = async move { inner.blocking_section(&mut || receiver.recv().unwrap()) };
            tasks.spawn("blocked", Box::pin(work))
        });
        let blocked: Vec<_> = blocked.collect();
        let asking = std::thread::spawn(move || {
            use std::io::{Read, Write};
            for sender in senders {
                client.write_all(&[7]).unwrap();
                client.read_exact(&mut [0]).unwrap();
                sender.send(()).unwrap();
            }
        });
        for task in blocked {
            task.join().await;
        }
        echo.join().await;
        asking.join().unwrap();
    }

    #[test]
    fn a_blocking_section_outside_a_runtime_just_runs() {
        let mut ran = false;
        RealTasks::ambient().blocking_section(&mut || ran = true);
        assert!(ran);
    }

    #[tokio::test]
    async fn the_io_pool_is_bounded_and_used_to_its_bound() {
        let tasks = RealTasks::ambient();
        let (busy, busy_max) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        // Every piece waits for IO_POOL_MAX - 1 others: it only ends if that many run at once.
        let barrier = Arc::new(Barrier::new(IO_POOL_MAX));
        let mut running = Vec::new();
        for _ in 0..2 * IO_POOL_MAX {
            let (busy, busy_max, barrier) = (busy.clone(), busy_max.clone(), barrier.clone());
            let work = tasks.on_io_pool(Box::new(move || {
                busy_max.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                barrier.wait();
                busy.fetch_sub(1, Ordering::SeqCst);
            }));
            running.push(tasks.spawn("io", work));
        }
        for task in running {
            task.join().await;
        }
        assert_eq!(busy_max.load(Ordering::SeqCst), IO_POOL_MAX);
    }

    #[tokio::test]
    async fn a_runtime_that_was_named_is_spawned_on_from_a_plain_thread() {
        let tasks = Arc::new(RealTasks::on(Handle::current()));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let inner = Arc::clone(&tasks);
        let work = Box::new(move || {
            let _task = inner.spawn("from a thread", Box::pin(async move { sender.send(7).unwrap() }));
        });
        tasks.thread("plain", work).unwrap().join();
        assert_eq!(receiver.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn an_aborted_task_ends() {
        let task = RealTasks::ambient().spawn("forever", Box::pin(std::future::pending()));
        task.abort();
        task.join().await;
    }

    #[test]
    fn a_thread_carries_its_name() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let work = Box::new(move || sender.send(thread::current().name().map(str::to_owned)).unwrap());
        RealTasks::ambient().thread("flusher", work).unwrap().join();
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("flusher"));
        assert!(RealTasks::ambient().thread("a\0b", Box::new(|| ())).is_err());
    }
}
