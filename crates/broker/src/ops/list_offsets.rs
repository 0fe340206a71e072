//! Finds offsets by position or by time.

use millrace_types::{Offset, PartitionIndex, TimestampMs};

use crate::TopicRef;

/// Which offset is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetPoint {
    /// The log start.
    Earliest,
    /// The high watermark.
    Latest,
    /// The first record at or after this time.
    Time(TimestampMs),
    /// The record with the largest timestamp (KIP-734).
    LargestTimestamp,
}

/// A question about one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetQuery {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// Which offset.
    pub point: OffsetPoint,
}

/// The answer; both `None` if no record matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetAnswer {
    /// The offset.
    pub offset: Option<Offset>,
    /// The timestamp of the record found, for points in time.
    pub timestamp: Option<TimestampMs>,
}
