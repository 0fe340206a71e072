//! How far the client of one stream is behind.
//!
//! A stream that goes on and on hands its frames to HTTP/2 faster than a slow client takes them. What it may be ahead is
//! bounded here, in frames and in bytes, and so is the time for which a client may take none of them: a stream that stands
//! still for longer is ended with an error, which its client gets as soon as it reads again. The frames that wait keep the
//! memory that they were granted; a client that never reads again loses its connection (`unread`), and they go with it.
//!
//! A stream that has nothing to hand out stands still for as long as it likes.

use std::collections::VecDeque;
use std::sync::Arc;

use millrace_env::Monotonic;
use millrace_types::limits::{SUBSCRIBE_UNSENT_BYTES_MAX, SUBSCRIBE_UNSENT_FRAMES_MAX};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::unread::{Entry, Unread};

/// The pace of one stream.
#[derive(Debug)]
pub(crate) struct Pace {
    unread: Arc<Unread>,
    unsent: Mutex<Frames>,
    /// A frame was taken.
    taken: Notify,
}

#[derive(Debug, Default)]
struct Frames {
    /// The bytes of the frames that wait; HTTP/2 takes them in this order.
    waiting: VecDeque<usize>,
    bytes: usize,
    /// When the first of them began to be the first.
    since: Monotonic,
    /// Closes the connection if the client does not come back.
    entry: Option<Entry>,
    has_stalled: bool,
}

/// A frame that was handed to HTTP/2; taken by the client when it is dropped.
#[derive(Debug)]
pub(crate) struct Unsent {
    pace: Arc<Pace>,
}

/// The client has taken nothing for too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stalled;

impl Pace {
    pub(crate) fn new(unread: Arc<Unread>) -> Arc<Pace> {
        Arc::new(Pace { unread, unsent: Mutex::default(), taken: Notify::new() })
    }

    /// A frame is handed to HTTP/2.
    pub(crate) fn enter(self: &Arc<Self>, bytes: usize) -> Unsent {
        let mut frames = self.unsent.lock();
        if frames.waiting.is_empty() {
            frames.since = self.unread.now();
            frames.entry = Some(self.unread.enter_stream(bytes));
        }
        frames.waiting.push_back(bytes);
        frames.bytes += bytes;
        Unsent { pace: Arc::clone(self) }
    }

    /// Waits until another frame may be handed out.
    pub(crate) async fn room(&self) -> Result<(), Stalled> {
        let has_room = |frames: &Frames| {
            frames.bytes < SUBSCRIBE_UNSENT_BYTES_MAX && frames.waiting.len() < SUBSCRIBE_UNSENT_FRAMES_MAX
        };
        self.until(has_room).await
    }

    /// Waits until the client has taken all that was handed out.
    pub(crate) async fn emptied(&self) -> Result<(), Stalled> {
        self.until(|frames| frames.waiting.is_empty()).await
    }

    async fn until(&self, enough: impl Fn(&Frames) -> bool) -> Result<(), Stalled> {
        loop {
            let taken = self.taken.notified();
            {
                let mut frames = self.unsent.lock();
                frames.look(&self.unread);
                if frames.has_stalled {
                    return Err(Stalled);
                }
                if enough(&frames) {
                    return Ok(());
                }
            }
            taken.await;
        }
    }
}

impl Frames {
    /// Notes if the first frame has waited for too long.
    fn look(&mut self, unread: &Unread) {
        if let Some(first) = self.waiting.front() {
            self.has_stalled |= unread.now().since(self.since) > unread.allowance(*first);
        }
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        let Pace { unread, unsent, taken } = &*self.pace;
        let mut frames = unsent.lock();
        frames.look(unread);
        let bytes = frames.waiting.pop_front().unwrap_or(0);
        frames.bytes -= bytes;
        frames.since = unread.now();
        frames.entry = frames.waiting.front().map(|bytes| unread.enter_stream(*bytes));
        taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use millrace_env::sim::Sim;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn pace(sim: &Sim) -> Arc<Pace> {
        Pace::new(Unread::new(sim.env().clock, PATIENCE))
    }

    fn room(pace: &Pace) -> Option<Result<(), Stalled>> {
        pace.room().now_or_never()
    }

    #[test]
    fn frames_and_bytes_are_bounded_and_room_comes_back() {
        let sim = Sim::new(1);
        let pace = pace(&sim);
        let large = pace.enter(SUBSCRIBE_UNSENT_BYTES_MAX);
        assert_eq!(room(&pace), None);
        drop(large);
        let mut small: Vec<_> = (0..SUBSCRIBE_UNSENT_FRAMES_MAX).map(|_| pace.enter(1)).collect();
        assert_eq!(room(&pace), None);
        small.pop();
        assert_eq!(room(&pace), Some(Ok(())));
    }

    #[test]
    fn one_that_waits_for_all_to_be_taken_hands_out_no_second_frame() {
        let sim = Sim::new(1);
        let pace = pace(&sim);
        assert_eq!(pace.emptied().now_or_never(), Some(Ok(())));
        let frame = pace.enter(1);
        assert_eq!(pace.emptied().now_or_never(), None);
        drop(frame);
        assert_eq!(pace.emptied().now_or_never(), Some(Ok(())));
    }

    #[test]
    fn a_client_that_takes_nothing_for_half_a_minute_has_stalled_and_one_that_is_idle_has_not() {
        let sim = Sim::new(1);
        let pace = pace(&sim);
        sim.clock().advance(PATIENCE * 100);
        assert_eq!(room(&pace), Some(Ok(())), "nothing waits");
        let (first, second) = (pace.enter(1), pace.enter(1));
        sim.clock().advance(PATIENCE);
        drop(first);
        sim.clock().advance(PATIENCE);
        assert_eq!(room(&pace), Some(Ok(())), "it is slow, and goes on");
        sim.clock().advance(Duration::from_millis(1));
        drop(second);
        assert_eq!(room(&pace), Some(Err(Stalled)), "it came back too late");
    }

    #[test]
    fn the_connection_is_closed_if_the_client_never_comes_back() {
        let sim = Sim::new(1);
        let pace = pace(&sim);
        let mut overdue = Box::pin(pace.unread.overdue());
        let (first, _second) = (pace.enter(1), pace.enter(1));
        sim.clock().advance(PATIENCE + PATIENCE / 2);
        drop(first);
        sim.clock().advance(PATIENCE + PATIENCE / 2);
        assert!(overdue.as_mut().now_or_never().is_none(), "it has taken a frame meanwhile");
        sim.clock().advance(PATIENCE);
        assert!(overdue.as_mut().now_or_never().is_some());
    }
}
