//! What a client has been given and does not read.
//!
//! A client may open a call, and never take its answer: TCP and the keepalive are fine, and the answer's memory is held
//! for ever. So everything that waits for one client is written down here, with the time until when it has to move; the
//! connection of a client that lets it pass is closed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::{Clock, Monotonic};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The slowest that a client may read an answer, in bytes per second, once its first patience is over.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// How long a stream whose frames stand still is kept, counted in patiences: one for the stream, which is then told to end,
/// and as long for the client to hear of it. Then its connection is closed.
const STREAM_PATIENCES: u32 = 2;

/// What waits for the client of one connection.
#[derive(Debug)]
pub(crate) struct Unread {
    clock: Arc<dyn Clock>,
    patience: Duration,
    waiting: Mutex<Waiting>,
    /// The list is no longer empty.
    first: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    next_id: u64,
    until: BTreeMap<u64, Monotonic>,
}

/// Something that waits for the client; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    id: u64,
    unread: Arc<Unread>,
}

impl Unread {
    pub(crate) fn new(clock: Arc<dyn Clock>, patience: Duration) -> Arc<Unread> {
        Arc::new(Unread { clock, patience, waiting: Mutex::default(), first: Notify::new() })
    }

    /// `bytes` were handed to the client and wait to be read.
    pub(crate) fn enter(self: &Arc<Self>, bytes: usize) -> Entry {
        self.enter_for(self.allowance(bytes))
    }

    /// A stream has frames that wait, `bytes` of them in the first one, and the client has just taken the one before.
    pub(crate) fn enter_stream(self: &Arc<Self>, bytes: usize) -> Entry {
        self.enter_for(self.allowance(bytes) * STREAM_PATIENCES)
    }

    /// How long `bytes` may wait.
    pub(crate) fn allowance(&self, bytes: usize) -> Duration {
        self.patience + Duration::from_secs(bytes as u64 / BYTES_PER_SECOND_MIN)
    }

    /// What the time is.
    pub(crate) fn now(&self) -> Monotonic {
        self.clock.monotonic()
    }

    fn enter_for(self: &Arc<Self>, allowance: Duration) -> Entry {
        let until = self.clock.monotonic().after(allowance);
        let mut waiting = self.waiting.lock();
        let (id, was_empty) = (waiting.next_id, waiting.until.is_empty());
        waiting.next_id += 1;
        waiting.until.insert(id, until);
        if was_empty {
            self.first.notify_one();
        }
        Entry { id, unread: Arc::clone(self) }
    }

    /// Completes when something has waited too long.
    pub(crate) async fn overdue(&self) {
        loop {
            let earliest = self.waiting.lock().until.values().min().copied();
            let Some(earliest) = earliest else {
                self.first.notified().await;
                continue;
            };
            let now = self.clock.monotonic();
            if earliest <= now {
                return;
            }
            // What comes later may be due earlier, but never before one patience from now.
            self.clock.sleep(earliest.since(now).min(self.patience)).await;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.unread.waiting.lock().until.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_is_read_is_never_overdue_and_what_is_not_is() {
        let unread = Unread::new(millrace_env::real::env().clock, Duration::from_millis(1));
        let mut overdue = Box::pin(unread.overdue());
        assert!(overdue.as_mut().now_or_never().is_none());
        drop(unread.enter(10));
        assert!(overdue.as_mut().now_or_never().is_none());
        let _large = unread.enter(usize::MAX / 2);
        assert!(overdue.as_mut().now_or_never().is_none());
        let _small = unread.enter(10);
        overdue.await;
    }
}
