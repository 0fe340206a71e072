//! The due syncs of a directory: by when which log must be synced because of its interval, though nobody waits for it.
//!
//! One ordered set, and one timer for it, which whoever serves the directory keeps: asleep while nothing is due, woken by
//! [`SyncDueWait`] when something is due sooner than it thought. An idle log stands in it no longer than until its time.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use millrace_env::Monotonic;
use millrace_types::TopicPartition;
use parking_lot::Mutex;

use crate::inner::LogInner;

/// The logs with a planned sync, by its time.
#[derive(Debug, Default)]
pub(crate) struct DueSyncs {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A log stands in it once; more often, for a moment, after its interval was made shorter.
    by_time: BTreeMap<(Monotonic, TopicPartition), Weak<LogInner>>,
    /// Of the timer.
    waker: Option<Waker>,
}

impl State {
    fn next(&self) -> Option<Monotonic> {
        self.by_time.keys().next().map(|(at, _)| *at)
    }
}

impl DueSyncs {
    /// Plans a sync of `log`.
    pub(crate) fn add(&self, at: Monotonic, log: &Arc<LogInner>) {
        let waker = {
            let mut state = self.state.lock();
            let is_next = state.next().is_none_or(|next| at < next);
            state.by_time.insert((at, log.meta.id), Arc::downgrade(log));
            if is_next { state.waker.take() } else { None }
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// When the next log is due.
    pub(crate) fn next(&self) -> Option<Monotonic> {
        self.state.lock().next()
    }

    /// Takes the logs whose time has come, with that time.
    pub(crate) fn take(&self, now: Monotonic) -> Vec<(Monotonic, Arc<LogInner>)> {
        let mut state = self.state.lock();
        let mut taken = Vec::new();
        while let Some(entry) = state.by_time.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, _), log) = entry.remove_entry();
            taken.extend(log.upgrade().map(|log| (at, log)));
        }
        taken
    }
}

/// The wait for a sync to be due sooner than was known. One at a time for each directory.
#[derive(Debug)]
pub struct SyncDueWait {
    due: Arc<DueSyncs>,
    known: Option<Monotonic>,
}

impl SyncDueWait {
    pub(crate) fn new(due: Arc<DueSyncs>, known: Option<Monotonic>) -> SyncDueWait {
        SyncDueWait { due, known }
    }
}

impl Future for SyncDueWait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.due.state.lock();
        if state.next().is_some_and(|next| self.known.is_none_or(|known| next < known)) {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
