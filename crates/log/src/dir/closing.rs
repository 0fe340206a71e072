//! Closing all logs of a directory. Each takes a handful of syncs, so many are closed side by side: a supervisor that
//! has waited too long kills, and a kill costs a recovery.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::DirShared;
use crate::{DirError, Log};

/// Threads that close logs. More bring nothing: 16 syncs side by side reach the disk's own limit.
const CLOSE_THREADS: usize = 16;
/// Logs that the calling thread closes by itself.
const LOGS_PER_THREAD: usize = 64;

/// What is left to close, and what went wrong first.
struct Work {
    logs: VecDeque<Arc<Log>>,
    failed: Option<DirError>,
}

/// Closes every log, unless one fails.
pub(super) fn close_all(shared: &DirShared, logs: Vec<Arc<Log>>) -> Result<(), DirError> {
    let helpers = (logs.len() / LOGS_PER_THREAD).min(CLOSE_THREADS - 1);
    let work = Arc::new(Mutex::new(Work { logs: logs.into(), failed: None }));
    let threads: Vec<_> = (0..helpers)
        .filter_map(|number| {
            let work = Arc::clone(&work);
            // Fewer threads take longer, nothing else.
            shared.env.tasks.thread(&format!("closing-{number}"), Box::new(move || close_some(&work))).ok()
        })
        .collect();
    close_some(&work);
    threads.into_iter().for_each(|thread| thread.join());
    let failed = work.lock().failed.take();
    failed.map_or(Ok(()), Err)
}

fn close_some(work: &Mutex<Work>) {
    loop {
        let next = {
            let mut work = work.lock();
            if work.failed.is_some() { None } else { work.logs.pop_front() }
        };
        let Some(log) = next else { return };
        if let Err(error) = log.inner().close_for_good() {
            work.lock().failed.get_or_insert(error);
        }
    }
}
