//! The clock of histories.

use rustix::time::{ClockId, clock_gettime};

/// The machine's monotonic clock in nanoseconds: what `time.monotonic_ns()` says in Python.
#[must_use]
pub fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
