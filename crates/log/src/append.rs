//! The result of an append.

use millrace_types::{Offset, TimestampMs};

/// Where a batch came to lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Offset of the batch's first record. Of an exact retry: the offset that it got the first time.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The timestamp that the append gave to the records, where the topic says `LogAppendTime`.
    pub log_append_time: Option<TimestampMs>,
    /// The log start at that moment.
    pub log_start: Offset,
    /// Whether this was an exact retry and nothing new was written.
    pub duplicate: bool,
}
