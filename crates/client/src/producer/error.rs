//! Why a record was not sent, or may not have been.

use std::time::Duration;

use millrace_types::{ErrorCode, Outcome, PartitionIndex, TopicName};

use crate::{ClientError, Refusal};

/// Why a record was refused by the producer, or its delivery failed.
///
/// [`ProduceError::outcome`] is the word that counts: after a definite error the record is not in the log and never
/// will be; after an indefinite one it may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// An option of the producer is not allowed.
    #[error("producer option {option}: {reason}")]
    Config {
        /// The option.
        option: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// The record is larger than a batch of its topic may be, or than the producer's buffer. It was not sent.
    #[error("the record takes {bytes} bytes, {max} are allowed")]
    TooLarge {
        /// The bytes that the record would take.
        bytes: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// The record itself is not allowed: its timestamp or the number of its headers. It was not sent.
    #[error("{0}")]
    Record(String),
    /// The topic has no such partition. The record was not sent.
    #[error("topic {topic} has {partitions} partitions, {partition} is none of them")]
    NoSuchPartition {
        /// The topic.
        topic: TopicName,
        /// The partition asked for.
        partition: PartitionIndex,
        /// How many there are.
        partitions: u32,
    },
    /// What the producer needs to know of the topic could not be learnt. The record was not sent.
    #[error("{0}")]
    Metadata(ClientError),
    /// The broker refused the batch.
    #[error("{topic}-{partition}: {refusal}")]
    Refused {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// What the broker said. Its outcome is that of this attempt alone.
        refusal: Refusal,
        /// Whether any attempt can have had an effect.
        outcome: Outcome,
    },
    /// The delivery timeout is over.
    #[error("{topic}-{partition}: not delivered within {} ms: {last}", after.as_millis())]
    TimedOut {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// The delivery timeout.
        after: Duration,
        /// What went wrong last.
        last: String,
        /// Whether any attempt can have had an effect.
        outcome: Outcome,
    },
    /// The answer was lost and the producer is not idempotent, so a retry might store the record twice.
    #[error("{topic}-{partition}: the answer was lost: {reason}")]
    Lost {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// How.
        reason: String,
    },
    /// The batch could not be built. It was not sent.
    #[error("the batch could not be built: {0}")]
    Build(String),
    /// The producer was closed before. The record was not sent.
    #[error("the producer is closed")]
    Closed,
    /// The producer's task ended without an answer: the runtime was shut down.
    #[error("the producer's task was stopped")]
    Stopped,
}

impl ProduceError {
    /// Whether the record can be in the log.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            ProduceError::Refused { outcome, .. } | ProduceError::TimedOut { outcome, .. } => *outcome,
            ProduceError::Lost { .. } | ProduceError::Stopped => Outcome::Indefinite,
            ProduceError::Config { .. }
            | ProduceError::TooLarge { .. }
            | ProduceError::Record(_)
            | ProduceError::NoSuchPartition { .. }
            | ProduceError::Metadata(_)
            | ProduceError::Build(_)
            | ProduceError::Closed => Outcome::Definite,
        }
    }

    /// The code that a broker answered, if one did and this build knows it.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ProduceError::Refused { refusal, .. } => refusal.code,
            ProduceError::Metadata(error) => error.code(),
            _ => None,
        }
    }
}
