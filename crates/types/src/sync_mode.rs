//! When bytes count as safe.

use std::fmt;
use std::str::FromStr;

/// A topic's rule for when an append may be acknowledged (topic config `sync.mode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SyncMode {
    /// No acknowledgement before the bytes, the file and its directory entry were synced.
    #[default]
    Always,
}

/// A sync mode that is not one, or not built yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncModeError {
    /// `interval=MS,BYTES` and `os` are planned and refused until they keep what they promise.
    #[error("sync.mode {0:?} is not there yet; only \"always\" is")]
    Unsupported(String),
    /// Not a sync mode at all.
    #[error("{0:?} is no sync mode; it is always, interval=MS,BYTES or os")]
    Unknown(String),
}

impl FromStr for SyncMode {
    type Err = SyncModeError;

    fn from_str(text: &str) -> Result<SyncMode, SyncModeError> {
        match text {
            "always" => Ok(SyncMode::Always),
            "os" => Err(SyncModeError::Unsupported(text.to_owned())),
            _ if text.starts_with("interval=") => Err(SyncModeError::Unsupported(text.to_owned())),
            _ => Err(SyncModeError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for SyncMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyncMode::Always => f.write_str("always"),
        }
    }
}
