//! A read, planned first and loaded after.

use bytes::Bytes;
use millrace_types::{Offset, OffsetRange, TimestampMs};

use crate::ReadError;

/// What to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadRequest {
    /// The first offset wanted; the answer begins with the batch that holds it.
    pub from: Offset,
    /// The first offset not wanted; `None` reads to the high watermark.
    pub until: Option<Offset>,
    /// Byte budget. The first batch is answered even if it is larger.
    pub bytes_max: usize,
}

/// Which bytes answer a read.
#[derive(Debug)]
pub struct ReadPlan {}

impl ReadPlan {
    /// Whether [`ReadPlan::load`] is certain not to block, because all bytes lie in the tail cache (or there are none).
    #[must_use]
    pub fn is_resident(&self) -> bool {
        unimplemented!()
    }

    /// How many bytes the answer will hold.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        unimplemented!()
    }

    /// Brings the bytes into memory, checks blocks that were not checked since the log was opened, and answers them.
    /// May block unless [`ReadPlan::is_resident`].
    ///
    /// # Errors
    /// [`ReadError::Corrupt`], [`ReadError::Io`], [`ReadError::Closed`].
    pub fn load(self) -> Result<ReadAnswer, ReadError> {
        unimplemented!()
    }
}

/// Whole batches, in order, as stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadAnswer {
    /// Consecutive runs of whole batches; concatenated they are what the log holds.
    pub extents: Vec<Bytes>,
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
