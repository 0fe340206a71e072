//! The kernel's clocks.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millrace_types::TimestampMs;

use crate::{BoxFuture, Clock, Monotonic};

/// Where [`Monotonic`] counts from: the first use in this process, so that all its clocks agree.
static START: OnceLock<Instant> = OnceLock::new();

/// `CLOCK_MONOTONIC`, `CLOCK_REALTIME` and tokio's timer.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    start: Instant,
}

impl RealClock {
    /// A clock; all clocks of a process count from the same start.
    #[must_use]
    pub fn new() -> RealClock {
        RealClock { start: *START.get_or_init(Instant::now) }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn monotonic(&self) -> Monotonic {
        Monotonic(self.start.elapsed())
    }

    fn wall(&self) -> TimestampMs {
        // A machine whose clock stands before 1970 gets the epoch: -1 would mean "no timestamp".
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimestampMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        // Made inside the future: tokio asks for its runtime when a timer is made, not when it is awaited.
        Box::pin(async move { tokio::time::sleep(duration).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_one_process_agree() {
        let (first, second) = (RealClock::new(), RealClock::new());
        let before = first.monotonic();
        let after = second.monotonic();
        assert!(before <= after);
    }

    #[test]
    fn the_wall_clock_stands_after_this_was_written() {
        assert!(RealClock::new().wall().0 > 1_760_000_000_000);
    }
}
