//! Tasks on a thread of their own.

use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::RealTasks;
use crate::Tasks;

/// A runtime with one thread that polls, for what must not wait behind the rest of the process. A task that blocks it is given
/// another one ([`Tasks::blocking_section`]). Dropping it ends its tasks.
#[derive(Debug)]
pub struct OwnThread {
    runtime: Option<Runtime>,
    tasks: Arc<dyn Tasks>,
}

impl OwnThread {
    /// Starts the thread under this name.
    ///
    /// # Errors
    /// The operating system's, if it refuses another thread or another epoll.
    pub fn start(name: &str) -> io::Result<OwnThread> {
        // Not the runtime of a single thread: that cannot give its place away while a task blocks.
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build()?;
        let tasks = Arc::new(RealTasks::on(runtime.handle().clone()));
        Ok(OwnThread { runtime: Some(runtime), tasks })
    }

    /// What runs there.
    #[must_use]
    pub fn tasks(&self) -> Arc<dyn Tasks> {
        Arc::clone(&self.tasks)
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever drops it may be a task, which must not wait for threads.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn tasks_run_on_a_thread_of_that_name_also_while_one_blocks() {
        let own = OwnThread::start("own").unwrap();
        let (tasks, (tell, heard), (open, gate)) =
            (own.tasks(), oneshot::channel(), std::sync::mpsc::channel());
        let inner = own.tasks();
        let _blocks = tasks.spawn(
            "blocks",
            Box::pin(async move {
                let mut gate = Some(gate);
                inner.blocking_section(&mut || {
                    let _opened = gate.take().map(|gate: std::sync::mpsc::Receiver<()>| gate.recv());
                });
            }),
        );
        let _runs = tasks.spawn(
            "tells",
            Box::pin(async move {
                let _heard = tell.send(std::thread::current().name().map(str::to_owned));
            }),
        );
        assert_eq!(heard.await.unwrap().as_deref(), Some("own"));
        open.send(()).unwrap();
    }
}
