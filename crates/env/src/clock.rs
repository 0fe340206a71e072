//! Time: a monotonic clock for waits and leases, a wall clock for record timestamps.

use std::fmt::Debug;
use std::time::Duration;

use millrace_types::TimestampMs;

use crate::BoxFuture;

/// A point on the monotonic clock: time since an arbitrary start, comparable within one process only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// The time from `earlier` to this point; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Monotonic) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The point `duration` after this one.
    #[must_use]
    pub fn after(self, duration: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(duration))
    }
}

/// Tells the time. No safety property depends on the wall clock.
pub trait Clock: Send + Sync + Debug {
    /// The monotonic clock.
    fn monotonic(&self) -> Monotonic;

    /// The wall clock, in milliseconds since the Unix epoch.
    fn wall(&self) -> TimestampMs;

    /// Completes after `duration` of monotonic time.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;
}
