//! Closing all logs of a directory. Each takes a handful of syncs, so many are closed side by side: a supervisor that
//! has waited too long kills, and a kill costs a recovery.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use millrace_types::TopicPartition;
use parking_lot::Mutex;

use super::DirShared;
use crate::format::run_mark::CleanLog;
use crate::{DirError, Log};

/// Threads that close logs. More bring nothing: 16 syncs side by side reach the disk's own limit.
const CLOSE_THREADS: usize = 16;
/// Logs that the calling thread closes by itself.
const LOGS_PER_THREAD: usize = 64;

/// What is left to close, what the closed logs leave, and what went wrong first.
struct Work {
    logs: VecDeque<Arc<Log>>,
    left: BTreeMap<TopicPartition, CleanLog>,
    failed: Option<DirError>,
}

/// Closes every log, unless one fails. Answers what each leaves.
pub(super) fn close_all(
    shared: &DirShared,
    logs: Vec<Arc<Log>>,
) -> Result<BTreeMap<TopicPartition, CleanLog>, DirError> {
    let helpers = (logs.len() / LOGS_PER_THREAD).min(CLOSE_THREADS - 1);
    let work = Arc::new(Mutex::new(Work { logs: logs.into(), left: BTreeMap::new(), failed: None }));
    let threads: Vec<_> = (0..helpers)
        .filter_map(|number| {
            let work = Arc::clone(&work);
            // Fewer threads take longer, nothing else.
            shared.env.tasks.thread(&format!("closing-{number}"), Box::new(move || close_some(&work))).ok()
        })
        .collect();
    close_some(&work);
    threads.into_iter().for_each(|thread| thread.join());
    let mut work = work.lock();
    match work.failed.take() {
        Some(error) => Err(error),
        None => Ok(std::mem::take(&mut work.left)),
    }
}

fn close_some(work: &Mutex<Work>) {
    loop {
        let next = {
            let mut work = work.lock();
            if work.failed.is_some() { None } else { work.logs.pop_front() }
        };
        let Some(log) = next else { return };
        let closed = log.inner().close_for_good();
        let mut work = work.lock();
        match closed {
            Ok(left) => {
                work.left.insert(log.inner().meta.id, left);
            }
            Err(error) => {
                work.failed.get_or_insert(error);
            }
        }
    }
}
