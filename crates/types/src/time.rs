//! Record timestamps.

use std::fmt;

/// Milliseconds since the Unix epoch, as record timestamps carry it. A producer may send any value; -1 means "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// A record without a timestamp.
    pub const NONE: TimestampMs = TimestampMs(-1);

    /// Whether there is a timestamp at all.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 >= 0
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
