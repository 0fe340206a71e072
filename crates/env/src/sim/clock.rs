//! A clock that stands still until a test advances it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millrace_types::TimestampMs;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{BoxFuture, Clock, Monotonic};

/// What the wall clock says at first: 2025-01-01T00:00:00Z.
const WALL_START_MS: i64 = 1_735_689_600_000;

/// A clock under the control of a test.
#[derive(Debug)]
pub struct SimClock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    time: Mutex<Time>,
    /// How many sleepers there are, for whoever waits for them.
    sleepers: watch::Sender<usize>,
}

#[derive(Debug)]
struct Time {
    now: Monotonic,
    wall_ms: i64,
    /// By deadline and order of arrival, so that those with one deadline are woken in the order they came.
    sleeping: BTreeMap<(Monotonic, u64), Waker>,
    arrivals: u64,
}

#[derive(Debug)]
struct Sleep {
    shared: Arc<Shared>,
    key: (Monotonic, u64),
}

impl SimClock {
    /// A clock at zero; the wall clock says 2025-01-01T00:00:00Z.
    #[must_use]
    pub fn new() -> SimClock {
        let time = Time {
            now: Monotonic::default(),
            wall_ms: WALL_START_MS,
            sleeping: BTreeMap::new(),
            arrivals: 0,
        };
        SimClock { shared: Arc::new(Shared { time: Mutex::new(time), sleepers: watch::Sender::new(0) }) }
    }

    /// Lets `duration` pass on both clocks and wakes those whose time has come.
    pub fn advance(&self, duration: Duration) {
        let due = {
            let mut time = self.shared.time.lock();
            time.now = time.now.after(duration);
            let passed_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
            time.wall_ms = time.wall_ms.saturating_add(passed_ms);
            let now = time.now;
            let later = time.sleeping.split_off(&(now, u64::MAX));
            std::mem::replace(&mut time.sleeping, later)
        };
        self.shared.tell_sleepers();
        for waker in due.into_values() {
            waker.wake();
        }
    }

    /// Advances to the next deadline of a sleeper, and answers whether there was one.
    pub fn advance_to_next(&self) -> bool {
        let Some(deadline) = self.next_deadline() else {
            return false;
        };
        let now = self.shared.time.lock().now;
        self.advance(deadline.since(now));
        true
    }

    /// Advances to the next deadline of a sleeper, and not beyond `end`; answers whether there was anything left to come.
    pub fn advance_towards(&self, end: Monotonic) -> bool {
        let now = self.monotonic();
        let next = self.next_deadline().filter(|next| *next <= end);
        if next.is_none() && now >= end {
            return false;
        }
        self.advance(next.unwrap_or(end).since(now));
        true
    }

    /// When the next sleeper wants to wake up.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.shared.time.lock().sleeping.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Moves the wall clock alone, back or forth, as an administrator or NTP would.
    pub fn set_wall(&self, wall: TimestampMs) {
        self.shared.time.lock().wall_ms = wall.0;
    }

    /// Completes when at least `count` futures of [`Clock::sleep`] have been polled and are waiting.
    pub async fn wait_for_sleepers(&self, count: usize) {
        let mut sleepers = self.shared.sleepers.subscribe();
        // The sender lives as long as this clock does.
        let _still_there = sleepers.wait_for(|sleeping| *sleeping >= count).await;
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    fn tell_sleepers(&self) {
        let sleeping = self.time.lock().sleeping.len();
        self.sleepers.send_replace(sleeping);
    }
}

impl Clock for SimClock {
    fn monotonic(&self) -> Monotonic {
        self.shared.time.lock().now
    }

    fn wall(&self) -> TimestampMs {
        TimestampMs(self.shared.time.lock().wall_ms)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        let mut time = self.shared.time.lock();
        time.arrivals += 1;
        let key = (time.now.after(duration), time.arrivals);
        Box::pin(Sleep { shared: Arc::clone(&self.shared), key })
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut time = self.shared.time.lock();
        if time.now >= self.key.0 {
            return Poll::Ready(());
        }
        time.sleeping.insert(self.key, context.waker().clone());
        drop(time);
        self.shared.tell_sleepers();
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if self.shared.time.lock().sleeping.remove(&self.key).is_some() {
            self.shared.tell_sleepers();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_sleeper_wakes_when_its_time_has_come_and_not_before() {
        let clock = Arc::new(SimClock::new());
        let sleeping = spawn(clock.sleep(2 * SECOND));
        clock.wait_for_sleepers(1).await;
        clock.advance(SECOND);
        assert!(!sleeping.is_finished());
        assert_eq!(clock.next_deadline(), Some(Monotonic(2 * SECOND)));
        assert!(clock.advance_to_next());
        sleeping.await.unwrap();
        assert_eq!(clock.monotonic(), Monotonic(2 * SECOND));
        assert!(!clock.advance_to_next());
    }

    #[expect(clippy::disallowed_methods, reason = "the test asks a JoinHandle whether the sleeper has woken")]
    fn spawn(future: BoxFuture<()>) -> tokio::task::JoinHandle<()> {
        tokio::spawn(future)
    }

    #[tokio::test]
    async fn time_goes_on_from_sleeper_to_sleeper_and_ends_where_it_is_to() {
        let clock = Arc::new(SimClock::new());
        let sleepers = [SECOND, 3 * SECOND].map(|duration| spawn(clock.sleep(duration)));
        clock.wait_for_sleepers(2).await;
        let end = Monotonic(2 * SECOND);
        let mut stops = Vec::new();
        while clock.advance_towards(end) {
            stops.push(clock.monotonic());
        }
        assert_eq!(stops, [Monotonic(SECOND), end]);
        drop(sleepers);
    }

    #[tokio::test]
    async fn a_sleeper_that_gave_up_is_forgotten() {
        let clock = SimClock::new();
        let mut sleep = clock.sleep(SECOND);
        std::future::poll_fn(|context| {
            assert!(sleep.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        assert!(clock.next_deadline().is_some());
        drop(sleep);
        assert!(clock.next_deadline().is_none());
    }

    #[tokio::test]
    async fn no_time_is_no_sleep() {
        SimClock::new().sleep(Duration::ZERO).await;
    }

    #[test]
    fn the_wall_clock_jumps_alone() {
        let clock = SimClock::new();
        clock.advance(SECOND);
        assert_eq!(clock.wall().0, WALL_START_MS + 1000);
        clock.set_wall(TimestampMs(5));
        assert_eq!((clock.wall().0, clock.monotonic()), (5, Monotonic(SECOND)));
    }
}
