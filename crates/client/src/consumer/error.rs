//! Why a consumer cannot go on, and why a commit did not count.

use millrace_types::ErrorCode;

use super::AssignedPartition;
use crate::{ClientError, ReadError, Refusal};

/// Why a consumer could not start, or what it met while reading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// An option of the consumer is not allowed.
    #[error("consumer option {option}: {reason}")]
    Config {
        /// The option.
        option: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// One partition is read no more, until [`crate::Consumer::seek`] says where to go on or it is assigned anew; the
    /// others go on.
    #[error("{0}")]
    Partition(ReadError),
    /// The consumer is no member of its group and will not become one. It reads nothing any more.
    #[error("group {group}: {error}")]
    Membership {
        /// The group.
        group: String,
        /// What the broker said, or why no broker could be asked.
        error: ClientError,
    },
}

impl ConsumeError {
    /// The code of the table in the documentation, where the error has one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ConsumeError::Config { .. } => None,
            ConsumeError::Partition(error) => error.code(),
            ConsumeError::Membership { error, .. } => error.code(),
        }
    }
}

/// Why offsets were not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Some partitions were not committed; those that are not named here were.
    #[error("{} of the commit's partitions were not committed, the first of them {}: {}", failed.len(), first_of(failed), failed.first().map_or_else(String::new, |(_, failure)| failure.to_string()))]
    Failed {
        /// Which, and why.
        failed: Vec<(AssignedPartition, CommitFailure)>,
    },
    /// More commits wait than may. Nothing of this one was sent.
    #[error("too many commits are on their way")]
    Busy,
    /// The consumer was closed, or is no member any more. Nobody knows whether the commit was sent.
    #[error("the consumer is closed")]
    Closed,
}

fn first_of(failed: &[(AssignedPartition, CommitFailure)]) -> String {
    failed.first().map_or_else(String::new, |(partition, _)| partition.to_string())
}

/// Why the offset of one partition was not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitFailure {
    /// The partition is not this member's, or not any more: whoever has it now goes on from the offset before.
    #[error("it is not assigned to this consumer")]
    NotAssigned,
    /// The broker refused.
    #[error("{0}")]
    Refused(Refusal),
    /// No answer came in time. The commit may still count.
    #[error("{0}")]
    Call(ClientError),
}
