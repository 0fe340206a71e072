//! The pace of what reads and writes much in the background: compaction and the scrub share it, and produce goes before them.
//!
//! A bucket of bytes. It earns what a second may take, less what was appended in that time, but never less than a floor: a broker
//! that is always busy still compacts.

use std::time::Duration;

use millrace_env::Monotonic;
use millrace_types::limits::{
    BACKGROUND_BYTES_PER_SECOND, BACKGROUND_BYTES_PER_SECOND_MIN, BACKGROUND_STEP_BYTES_MAX,
};

/// The bucket.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Bytes that may be moved. What is begun is finished, so it may be overdrawn.
    credit: i64,
    last: Option<(Monotonic, u64)>,
}

impl Pace {
    /// Earns what has come together since the last time. `appended` counts the bytes that were ever appended.
    pub(crate) fn earn(&mut self, now: Monotonic, appended: u64) {
        let most = i64::try_from(BACKGROUND_STEP_BYTES_MAX).unwrap_or(i64::MAX);
        let earned = match self.last.replace((now, appended)) {
            None => BACKGROUND_STEP_BYTES_MAX,
            Some((last, before)) => earned(now.since(last), appended.saturating_sub(before)),
        };
        self.credit = self.credit.saturating_add(i64::try_from(earned).unwrap_or(i64::MAX)).min(most);
    }

    /// Whether anything may be moved.
    pub(crate) fn has(&self) -> bool {
        self.credit > 0
    }

    /// Takes the bytes of something that was moved.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Gives up what is left.
    pub(crate) fn spend(&mut self) {
        self.credit = self.credit.min(0);
    }
}

fn earned(elapsed: Duration, appended: u64) -> u64 {
    let in_time = |rate: u64| {
        let bytes = u128::from(rate) * elapsed.as_millis() / 1000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    };
    let left = in_time(BACKGROUND_BYTES_PER_SECOND).saturating_sub(appended);
    left.max(in_time(BACKGROUND_BYTES_PER_SECOND_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn produce_goes_before_and_a_floor_is_left() {
        let second = Duration::from_secs(1);
        assert_eq!(earned(second, 0), BACKGROUND_BYTES_PER_SECOND);
        assert_eq!(earned(second, 1000), BACKGROUND_BYTES_PER_SECOND - 1000);
        assert_eq!(earned(second, u64::MAX), BACKGROUND_BYTES_PER_SECOND_MIN);
    }
}
