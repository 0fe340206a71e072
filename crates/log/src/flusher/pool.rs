//! The flusher's threads: started when first needed, at most [`SYNC_THREADS_MAX`], asleep otherwise.

use std::collections::VecDeque;
use std::sync::Arc;

use millrace_env::{Env, ThreadHandle};
use parking_lot::{Condvar, Mutex};

use crate::inner::LogInner;

/// Files that are synced side by side. More brings nothing: 16 in parallel reach the disk's own limit.
const SYNC_THREADS_MAX: usize = 16;

/// Logs that wait for a sync, and the threads that run it.
#[derive(Debug)]
pub(crate) struct Pool {
    env: Env,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// At most one entry for each log.
    jobs: VecDeque<Arc<LogInner>>,
    idle: usize,
    threads: Vec<Box<dyn ThreadHandle>>,
    stopping: bool,
}

impl Pool {
    pub(crate) fn new(env: Env) -> Arc<Pool> {
        Arc::new(Pool { env, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Queues a sync of `log`.
    pub(crate) fn submit(pool: &Arc<Pool>, log: Arc<LogInner>) {
        let mut state = pool.state.lock();
        state.jobs.push_back(log);
        if state.idle >= state.jobs.len() || state.threads.len() >= SYNC_THREADS_MAX {
            drop(state);
            pool.changed.notify_one();
            return;
        }
        let number = state.threads.len();
        let shared = Arc::clone(pool);
        match pool.env.tasks.thread(&format!("flusher-{number}"), Box::new(move || shared.work())) {
            Ok(thread) => state.threads.push(thread),
            Err(e) if state.threads.is_empty() => {
                // Nobody else would ever do it.
                tracing::warn!(error = %e, "no flusher thread; syncing on the caller's");
                let jobs = std::mem::take(&mut state.jobs);
                drop(state);
                jobs.iter().for_each(LogInner::sync_from_pool);
            }
            Err(_) => {
                drop(state);
                pool.changed.notify_one();
            }
        }
    }

    /// Ends the threads once the queue is empty, and waits for them.
    pub(crate) fn stop(&self) {
        let threads = {
            let mut state = self.state.lock();
            state.stopping = true;
            std::mem::take(&mut state.threads)
        };
        self.changed.notify_all();
        threads.into_iter().for_each(|thread| thread.join());
    }

    /// Ends the threads without running what is queued: the directory is dropped without being closed.
    pub(crate) fn abandon(&self) {
        self.state.lock().jobs.clear();
        self.stop();
    }

    fn work(&self) {
        while let Some(log) = self.next() {
            log.sync_from_pool();
        }
    }

    fn next(&self) -> Option<Arc<LogInner>> {
        let mut state = self.state.lock();
        loop {
            if let Some(log) = state.jobs.pop_front() {
                return Some(log);
            }
            if state.stopping {
                return None;
            }
            state.idle += 1;
            self.changed.wait(&mut state);
            state.idle -= 1;
        }
    }
}
