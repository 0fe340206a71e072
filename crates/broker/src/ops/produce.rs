//! Appends to partitions.

use std::time::Duration;

use bytes::Bytes;
use millrace_record::Compression;
use millrace_types::{Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs};

use crate::{ApiError, TopicRef};

/// When a produce is answered. None is weaker than the topic's sync mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// When every in-sync replica holds the records.
    #[default]
    Committed,
    /// When the leader holds them.
    Leader,
    /// At once.
    None,
}

/// A header of a record to be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewHeader {
    /// Name; several headers may share it.
    pub key: Bytes,
    /// Value, if any.
    pub value: Option<Bytes>,
}

/// A plain record to be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRecord {
    /// Key, if any.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<NewHeader>,
    /// When it happened; `None` takes the broker's clock.
    pub timestamp: Option<TimestampMs>,
}

/// The identity that makes plain records idempotent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequenceStart {
    /// Producer id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub base_sequence: i32,
}

/// What is appended to one partition: always as one batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProduceData {
    /// One encoded batch.
    Batch(Bytes),
    /// Plain records, of which the broker builds one batch.
    Records {
        /// The records, one at least.
        records: Vec<NewRecord>,
        /// Set: the batch is idempotent.
        sequence: Option<SequenceStart>,
        /// How the batch is compressed.
        compression: Compression,
    },
}

/// The part of a produce for one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionProduce {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// What to append.
    pub data: ProduceData,
}

/// A produce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProduceRequest {
    /// At most [`millrace_types::limits::PARTITIONS_PER_REQUEST_MAX`].
    pub partitions: Vec<PartitionProduce>,
    /// When to answer.
    pub durability: Durability,
    /// After this long the answer is an indefinite [`millrace_types::ErrorCode::TimedOut`].
    pub timeout: Option<Duration>,
}

/// Where one partition's batch came to lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Produced {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// The broker's timestamp, where the topic says `LogAppendTime`.
    pub log_append_time: Option<TimestampMs>,
    /// The partition's log start.
    pub log_start: Offset,
    /// Whether it was stored earlier and this was a retry.
    pub duplicate: bool,
}

/// The answer: one result for each partition of the request, in its order; empty with [`Durability::None`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProduceResponse {
    /// The results.
    pub partitions: Vec<Result<Produced, ApiError>>,
}

/// A produce whose batches are appended (or refused) and not yet acknowledged. A pipelined door appends the next
/// request while it waits for this one. Dropping it abandons the wait, not the appends.
#[derive(Debug)]
pub struct PendingProduce {}
