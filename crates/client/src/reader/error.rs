//! Why reading failed.

use std::time::Duration;

use millrace_types::{ErrorCode, Offset, PartitionIndex, TopicName};

use crate::{ClientError, Refusal};

/// Why a reader could not start, or why it reads no more of a partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// An option of the reader is not allowed.
    #[error("reader option {option}: {reason}")]
    Config {
        /// The option.
        option: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// A topic, or where to begin or end, could not be learnt.
    #[error("{0}")]
    Start(ClientError),
    /// The topic has no such partition.
    #[error("topic {topic} has {partitions} partitions, {partition} is none of them")]
    NoSuchPartition {
        /// The topic.
        topic: TopicName,
        /// The partition asked for.
        partition: PartitionIndex,
        /// How many there are.
        partitions: u32,
    },
    /// The partition does not hold the next offset, and [`crate::OnOutOfRange::Error`] applies.
    #[error("{topic}-{partition}: offset {offset} is out of range: {message}")]
    OutOfRange {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// The next offset.
        offset: Offset,
        /// What the broker said.
        message: String,
    },
    /// The records that were read last are gone: they were never acknowledged and did not survive a crash.
    #[error("{topic}-{partition}: records before offset {offset} were truncated: {message}")]
    Truncated {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// The next offset.
        offset: Offset,
        /// What the broker said.
        message: String,
    },
    /// Stored or received bytes failed their check. Nothing of them was handed out.
    #[error("{topic}-{partition}: corrupt at offset {offset}: {reason}")]
    Corrupt {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// The offset at which reading stopped.
        offset: Offset,
        /// Which check failed.
        reason: String,
    },
    /// The broker refused for another reason, and will again.
    #[error("{topic}-{partition}: {refusal}")]
    Refused {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// What the broker said.
        refusal: Refusal,
    },
    /// Nothing was answered for longer than [`crate::ReaderBuilder::give_up_after`].
    #[error("{topic}-{partition}: no answer for {} ms: {last}", after.as_millis())]
    GaveUp {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// How long was tried.
        after: Duration,
        /// What went wrong last.
        last: String,
    },
}

impl ReadError {
    /// The code of the table in the documentation, where the error has one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ReadError::Start(error) => error.code(),
            ReadError::Refused { refusal, .. } => refusal.code,
            ReadError::OutOfRange { .. } => Some(ErrorCode::OffsetOutOfRange),
            ReadError::Truncated { .. } => Some(ErrorCode::LogTruncated),
            ReadError::Corrupt { .. } => Some(ErrorCode::Corrupt),
            ReadError::NoSuchPartition { .. } => Some(ErrorCode::UnknownTopicOrPartition),
            ReadError::Config { .. } | ReadError::GaveUp { .. } => None,
        }
    }
}
