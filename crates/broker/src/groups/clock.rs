//! The clock of deadlines: it does not count the time in which the broker stood still.
//!
//! A machine that is paused, a process that gets no processor, a disk that answers nobody: all of them keep the broker from
//! hearing of members that are alive. So time counts only as far as somebody has looked at the clock, which the timer does
//! twice in [`GROUP_CLOCK_GAP_MS_MAX`], and not while what members wait for is stuck in the log.

use std::time::Duration;

use millrace_env::Monotonic;
use millrace_group::Moment;
use millrace_types::limits::GROUP_CLOCK_GAP_MS_MAX;

/// Whether the log takes what is persisted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// It does, or nothing is on its way.
    Running,
    /// Something has been on its way for long.
    Stuck,
}

/// The clock of one partition's groups.
#[derive(Debug)]
pub(super) struct GroupClock {
    seen: Monotonic,
    moment: Moment,
}

impl GroupClock {
    pub(super) fn new(now: Monotonic) -> GroupClock {
        GroupClock { seen: now, moment: Moment(0) }
    }

    /// Looks at the clock.
    pub(super) fn look(&mut self, now: Monotonic, flow: Flow) -> Moment {
        let passed = u64::try_from(now.since(self.seen).as_millis()).unwrap_or(u64::MAX);
        if flow == Flow::Running {
            self.moment = self.moment.after_ms(passed.min(GROUP_CLOCK_GAP_MS_MAX));
        }
        // What is less than a millisecond counts the next time.
        self.seen = self.seen.after(Duration::from_millis(passed));
        self.moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    #[test]
    fn a_pause_is_not_counted() {
        let mut clock = GroupClock::new(at(5_000));
        assert_eq!(clock.look(at(6_000), Flow::Running), Moment(1_000));
        assert_eq!(clock.look(at(66_000), Flow::Running), Moment(1_000 + GROUP_CLOCK_GAP_MS_MAX));
        assert_eq!(clock.look(at(67_000), Flow::Stuck), Moment(1_000 + GROUP_CLOCK_GAP_MS_MAX));
        assert_eq!(clock.look(at(68_000), Flow::Running), Moment(2_000 + GROUP_CLOCK_GAP_MS_MAX));
    }

    #[test]
    fn looking_often_loses_no_time() {
        let mut clock = GroupClock::new(at(0));
        for micros in (0..=10_000_000_u64).step_by(300) {
            clock.look(Monotonic(Duration::from_micros(micros)), Flow::Running);
        }
        assert!(clock.look(at(10_000), Flow::Running).0 == 10_000);
    }
}
