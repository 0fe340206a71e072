//! When bytes count as safe.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::limits::{
    SYNC_INTERVAL_BYTES_MAX, SYNC_INTERVAL_BYTES_MIN, SYNC_INTERVAL_MS_MAX, SYNC_INTERVAL_MS_MIN,
};

/// A topic's rule for when an append may be acknowledged (topic config `sync.mode`).
///
/// In every mode what is acknowledged survives the death of the process, and what a power cut takes is a suffix of the
/// partition, never a hole in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SyncMode {
    /// No acknowledgement before the bytes, the file and its directory entry were synced. A power cut takes nothing.
    #[default]
    Always,
    /// Acknowledged when written, and synced soon after: a power cut takes at most what the bounds say.
    Interval(SyncInterval),
    /// Acknowledged when written; the kernel decides when that is on the medium.
    Os,
}

/// How much may be acknowledged and not yet synced (`interval=MS,BYTES`). An append that would go over either bound is
/// acknowledged after a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncInterval {
    ms: u32,
    bytes: u64,
}

impl SyncInterval {
    /// At most `ms` milliseconds and at most `bytes` bytes in one partition.
    ///
    /// # Errors
    /// Which of the two is out of its bounds ([`SYNC_INTERVAL_MS_MIN`] to [`SYNC_INTERVAL_MS_MAX`],
    /// [`SYNC_INTERVAL_BYTES_MIN`] to [`SYNC_INTERVAL_BYTES_MAX`]).
    pub fn new(ms: u64, bytes: u64) -> Result<SyncInterval, SyncModeError> {
        let in_bounds = |ms: &u32| (SYNC_INTERVAL_MS_MIN..=SYNC_INTERVAL_MS_MAX).contains(ms);
        let ms = u32::try_from(ms).ok().filter(in_bounds).ok_or(SyncModeError::Ms(ms.to_string()))?;
        if !(SYNC_INTERVAL_BYTES_MIN..=SYNC_INTERVAL_BYTES_MAX).contains(&bytes) {
            return Err(SyncModeError::Bytes(bytes.to_string()));
        }
        Ok(SyncInterval { ms, bytes })
    }

    /// The oldest byte that is acknowledged and not synced is never older when the next append is acknowledged.
    #[must_use]
    pub fn age_max(self) -> Duration {
        Duration::from_millis(self.ms.into())
    }

    /// The most bytes of one partition that are acknowledged and not synced.
    #[must_use]
    pub fn bytes_max(self) -> u64 {
        self.bytes
    }
}

/// Why a text is no sync mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncModeError {
    /// Not a sync mode at all.
    #[error("{0:?} is not always, interval=MS,BYTES or os")]
    Unknown(String),
    /// The milliseconds of an interval are no number, or one that is not taken.
    #[error("the milliseconds {0:?} are not a number from {SYNC_INTERVAL_MS_MIN} to {SYNC_INTERVAL_MS_MAX}")]
    Ms(String),
    /// The bytes of an interval are no number, or one that is not taken.
    #[error("the bytes {0:?} are not a number from {SYNC_INTERVAL_BYTES_MIN} to {SYNC_INTERVAL_BYTES_MAX}")]
    Bytes(String),
}

impl FromStr for SyncMode {
    type Err = SyncModeError;

    fn from_str(text: &str) -> Result<SyncMode, SyncModeError> {
        match text {
            "always" => Ok(SyncMode::Always),
            "os" => Ok(SyncMode::Os),
            _ => {
                let unknown = || SyncModeError::Unknown(text.to_owned());
                let bounds = text.strip_prefix("interval=").ok_or_else(unknown)?;
                let (ms, bytes) = bounds.split_once(',').ok_or_else(unknown)?;
                let ms = number(ms).ok_or_else(|| SyncModeError::Ms(ms.to_owned()))?;
                let bytes = number(bytes).ok_or_else(|| SyncModeError::Bytes(bytes.to_owned()))?;
                SyncInterval::new(ms, bytes).map(SyncMode::Interval)
            }
        }
    }
}

/// Digits only: one number has one spelling that is shown, and few that are read.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for SyncMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyncMode::Always => f.write_str("always"),
            SyncMode::Interval(SyncInterval { ms, bytes }) => write!(f, "interval={ms},{bytes}"),
            SyncMode::Os => f.write_str("os"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_reads_back_as_itself() {
        for text in ["always", "os", "interval=1,4096", "interval=100,65536", "interval=3600000,16777216"] {
            assert_eq!(text.parse::<SyncMode>().unwrap().to_string(), text);
        }
        let Ok(SyncMode::Interval(interval)) = "interval=100,65536".parse() else { panic!("an interval") };
        assert_eq!((interval.age_max(), interval.bytes_max()), (Duration::from_millis(100), 65_536));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |text: &str| text.parse::<SyncMode>().unwrap_err();
        for text in
            ["", "sometimes", "Always", "os ", "interval", "interval=", "interval=5", "interval=100;5"]
        {
            assert_eq!(refused(text), SyncModeError::Unknown(text.to_owned()));
        }
        for ms in ["0", "3600001", "", " 5", "+5", "-5", "5.0", "99999999999999999999"] {
            assert_eq!(refused(&format!("interval={ms},65536")), SyncModeError::Ms(ms.to_owned()));
        }
        for bytes in ["0", "4095", "16777217", "", "64k", "65536,", "99999999999999999999"] {
            assert_eq!(refused(&format!("interval=5,{bytes}")), SyncModeError::Bytes(bytes.to_owned()));
        }
        assert_eq!(
            refused("interval=0,1").to_string(),
            "the milliseconds \"0\" are not a number from 1 to 3600000"
        );
    }
}
