//! By which clock ages are counted: the wall clock, as long as it goes as evenly as the monotonic one.
//!
//! A wall clock that was set says nothing of how long ago something was appended by the clock before, so from then on what
//! was appended before counts as appended at that moment: it is kept for its whole time once more.

use millrace_env::{Clock, Monotonic};
use millrace_types::TimestampMs;
use millrace_types::limits::CLOCK_JUMP_MS;

/// Remembers how the two clocks stood when it was asked last.
#[derive(Debug)]
pub(crate) struct AgeClock {
    last: Option<(Monotonic, TimestampMs)>,
    /// The wall time of the last jump.
    jumped: TimestampMs,
}

impl Default for AgeClock {
    fn default() -> AgeClock {
        AgeClock { last: None, jumped: TimestampMs::NONE }
    }
}

impl AgeClock {
    /// The wall time, and the time at which everything counts as appended that was appended before it.
    pub(crate) fn read(&mut self, clock: &dyn Clock) -> (TimestampMs, TimestampMs) {
        let (now, wall) = (clock.monotonic(), clock.wall());
        if let Some((last, last_wall)) = self.last.replace((now, wall)) {
            let passed_ms = i64::try_from(now.since(last).as_millis()).unwrap_or(i64::MAX);
            let ahead_ms = wall.0.saturating_sub(last_wall.0).saturating_sub(passed_ms);
            if ahead_ms.saturating_abs() >= CLOCK_JUMP_MS {
                tracing::warn!(
                    ahead_ms,
                    "the wall clock was set; retention by time counts what was appended before from now on"
                );
                self.jumped = wall;
            }
        }
        (wall, self.jumped)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millrace_env::sim::Sim;

    use super::*;

    #[test]
    fn a_clock_that_is_set_makes_what_was_before_as_young_as_that_moment() {
        let sim = Sim::new(1);
        let (clock, env) = (sim.clock(), sim.env());
        let mut ages = AgeClock::default();
        assert_eq!(ages.read(&*env.clock).1, TimestampMs::NONE);
        clock.advance(Duration::from_secs(86_400));
        assert_eq!(ages.read(&*env.clock).1, TimestampMs::NONE);
        let years_ahead = TimestampMs(env.clock.wall().0 + 10 * 365 * 86_400_000);
        clock.set_wall(years_ahead);
        let (now, jumped) = ages.read(&*env.clock);
        assert_eq!(now, jumped);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(ages.read(&*env.clock).1, jumped);
        // Set back: what counts is the last time that it was set.
        clock.set_wall(TimestampMs(env.clock.wall().0 - 5 * 365 * 86_400_000));
        assert!(ages.read(&*env.clock).1 < jumped);
    }
}
