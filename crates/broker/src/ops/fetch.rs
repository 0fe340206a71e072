//! Reads batches, waiting for them if need be.

use std::time::Duration;

use bytes::Bytes;
use millrace_types::{LeaderEpoch, Offset, PartitionIndex};

use crate::{ApiError, TopicRef};

/// How far a reader sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Isolation {
    /// To the high watermark.
    #[default]
    Committed,
    /// To the last stable offset; equal until there are transactions.
    Stable,
}

/// The part of a fetch for one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionFetch {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// First offset wanted.
    pub offset: Offset,
    /// First offset not wanted.
    pub end_offset: Option<Offset>,
    /// Byte budget of this partition.
    pub bytes_max: Option<usize>,
    /// Epoch of the last record that the reader saw; a log without that record answers
    /// [`millrace_types::ErrorCode::LogTruncated`] (KIP-320).
    pub last_read_epoch: Option<LeaderEpoch>,
}

/// A fetch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// At most [`millrace_types::limits::PARTITIONS_PER_REQUEST_MAX`].
    pub partitions: Vec<PartitionFetch>,
    /// Byte budget of the answer, capped at [`millrace_types::limits::FETCH_BYTES_MAX`].
    pub bytes_max: usize,
    /// Answer as soon as there are this many bytes (or an error, or a reached `end_offset`).
    pub bytes_min: usize,
    /// How long to wait for `bytes_min`, capped at [`millrace_types::limits::FETCH_WAIT_MS_MAX`].
    pub wait: Duration,
    /// How far the reader sees.
    pub isolation: Isolation,
}

/// What one partition answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// Runs of whole batches as stored; the first may begin below the offset asked for.
    pub extents: Vec<Bytes>,
    /// Where to go on: behind the last batch, or the offset asked for.
    pub next_offset: Offset,
    /// The high watermark.
    pub high_watermark: Offset,
    /// The last stable offset.
    pub last_stable: Offset,
    /// The log start.
    pub log_start: Offset,
}

/// The answer: one result for each partition of the request, in its order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchResponse {
    /// The results.
    pub partitions: Vec<Result<Fetched, ApiError>>,
}
