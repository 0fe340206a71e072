//! The append queue of a partition: batches in arrival order, until whoever holds the writer drains them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use millrace_record::Batch;
use millrace_types::LeaderEpoch;
use millrace_types::limits::{APPEND_QUEUE_BYTES_MAX, APPEND_QUEUE_MAX, UNSYNCED_BYTES_MAX};
use parking_lot::Mutex;

use crate::AppendError;
use crate::inner::LogInner;
use crate::ticket::Cell;

/// Batches that one vectored write takes: each needs up to two buffers, and the kernel takes 1024 (IOV_MAX).
pub(crate) const GROUP_MAX: usize = 512;

/// A batch that waits to be written, and where to tell what became of it.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) batch: Batch,
    /// The only epoch that it may be written in, if that matters.
    pub(crate) epoch: Option<LeaderEpoch>,
    pub(crate) cell: Arc<Cell>,
}

/// The queue. Bounded by [`APPEND_QUEUE_MAX`] and [`APPEND_QUEUE_BYTES_MAX`].
#[derive(Debug, Default)]
pub(crate) struct AppendQueue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pending: VecDeque<Pending>,
    /// Of all that is pending.
    bytes: usize,
    closed: bool,
    room: Vec<Waker>,
}

impl AppendQueue {
    /// Queues a batch behind all others.
    pub(crate) fn push(&self, pending: Pending) -> Result<(), AppendError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(AppendError::Closed);
        }
        if !Self::has_space(&state) {
            return Err(AppendError::QueueFull);
        }
        state.bytes += pending.batch.size();
        state.pending.push_back(pending);
        Ok(())
    }

    /// Takes the batches that one write may hold, in order, while `unsynced` bytes wait for a sync.
    pub(crate) fn take(&self, unsynced: u64) -> Vec<Pending> {
        let (taken, woken) = {
            let mut state = self.state.lock();
            let mut bytes = unsynced;
            let mut count = 0;
            for pending in state.pending.iter().take(GROUP_MAX) {
                if !fits(bytes, pending) {
                    break;
                }
                bytes += pending.batch.size() as u64;
                count += 1;
            }
            let taken: Vec<Pending> = state.pending.drain(..count).collect();
            state.bytes -= taken.iter().map(|pending| pending.batch.size()).sum::<usize>();
            (taken, std::mem::take(&mut state.room))
        };
        woken.into_iter().for_each(Waker::wake);
        taken
    }

    /// Whether [`AppendQueue::take`] would find a batch.
    pub(crate) fn is_ready(&self, unsynced: u64) -> bool {
        self.state.lock().pending.front().is_some_and(|pending| fits(unsynced, pending))
    }

    /// Whether a push would find room (or an end).
    pub(crate) fn takes_more(&self) -> bool {
        Self::has_room(&self.state.lock())
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().pending.is_empty()
    }

    /// Takes everything, whatever the bounds say: the log has failed or is deleted.
    pub(crate) fn take_all(&self) -> Vec<Pending> {
        let mut state = self.state.lock();
        let woken = std::mem::take(&mut state.room);
        let taken = state.pending.drain(..).collect();
        state.bytes = 0;
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        taken
    }

    /// Refuses every later push.
    pub(crate) fn close(&self) {
        let woken = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.room)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Whether a push would find room (or an end).
    fn has_room(state: &State) -> bool {
        state.closed || Self::has_space(state)
    }

    /// The batch that is over the bound in bytes is let in: there is always room for one, whatever its size.
    fn has_space(state: &State) -> bool {
        state.pending.len() < APPEND_QUEUE_MAX && state.bytes < APPEND_QUEUE_BYTES_MAX
    }
}

/// One batch is always let through: a batch is smaller than the bound, and with nothing unsynced nobody would sync.
fn fits(unsynced: u64, pending: &Pending) -> bool {
    unsynced == 0 || unsynced + pending.batch.size() as u64 <= UNSYNCED_BYTES_MAX
}

/// Completes when the queue of `log` has room, or the log is closed.
pub(crate) fn room(log: Arc<LogInner>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(poll_fn(move |cx| {
        let mut state = log.queue.state.lock();
        if AppendQueue::has_room(&state) {
            return Poll::Ready(());
        }
        if !state.room.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.room.push(cx.waker().clone());
        }
        Poll::Pending
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::batch;

    #[test]
    fn the_queue_is_bounded_in_bytes_as_well() {
        let queue = AppendQueue::default();
        let large = batch(&[&vec![7; 4 * 1024 * 1024]], None);
        let push = || queue.push(Pending { batch: large.clone(), epoch: None, cell: Arc::default() });
        let taken_in = (0..20).take_while(|_| push().is_ok()).count();
        assert_eq!(taken_in, 8, "the last one reaches past the bound");
        assert_eq!(push(), Err(AppendError::QueueFull));
        assert_eq!(queue.take(0).len(), 3, "what may be unsynced");
        assert_eq!(push(), Ok(()));
        queue.take_all();
        assert_eq!((0..20).take_while(|_| push().is_ok()).count(), 8);
    }
}
