//! A read: what is asked, and what is answered.

use bytes::Bytes;
use millrace_types::{Offset, OffsetRange, TimestampMs};

/// How far a read goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Isolation {
    /// To the high watermark, for consumers.
    #[default]
    Committed,
    /// To the end of what is written, synced or not, for replicas. What is answered may be truncated later.
    Held,
}

/// What to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadRequest {
    /// The first offset wanted; the answer begins with the batch that holds it.
    pub from: Offset,
    /// The first offset not wanted; `None` reads as far as the isolation lets it.
    pub until: Option<Offset>,
    /// Byte budget. The first batch is answered even if it is larger.
    pub bytes_max: usize,
}

/// Whole batches, in order, as stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadAnswer<E = Bytes> {
    /// Consecutive runs of whole batches; concatenated they are what the log holds.
    pub extents: Vec<E>,
    /// Offsets of the first and behind the last batch; empty (both `from`) if there is nothing to read yet.
    pub range: OffsetRange,
}

/// A record found by its timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeHit {
    /// The record's offset.
    pub offset: Offset,
    /// The record's timestamp.
    pub timestamp: TimestampMs,
}
