//! Single values of messages between brokers, and what is wrong with them.

use bytes::Bytes;
use millrace_broker::{ApiError, QuorumVoter};
use millrace_proto::{internal, v1};
use millrace_types::limits::PEER_ERROR_TEXT_BYTES_MAX;
use millrace_types::{
    BrokerEpoch, ClusterId, ErrorCode, LeaderEpoch, NodeId, Offset, OffsetRange, Outcome, PartitionIndex,
    TopicId, TopicPartition,
};

/// Why a message of another broker makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub(crate) struct Malformed {
    field: &'static str,
    problem: String,
}

impl Malformed {
    pub(crate) fn new(field: &'static str, problem: impl ToString) -> Malformed {
        Malformed { field, problem: problem.to_string() }
    }

    /// A field that must be there.
    pub(crate) fn missing(field: &'static str) -> Malformed {
        Malformed::new(field, "missing")
    }
}

pub(super) fn bytes_of(id: [u8; 16]) -> Bytes {
    Bytes::copy_from_slice(&id)
}

pub(super) fn sixteen(field: &'static str, bytes: &[u8]) -> Result<[u8; 16], Malformed> {
    bytes.try_into().map_err(|_| Malformed::new(field, format!("{} bytes, not 16", bytes.len())))
}

pub(super) fn cluster(bytes: &[u8]) -> Result<ClusterId, Malformed> {
    sixteen("cluster", bytes).map(ClusterId)
}

pub(super) fn node(field: &'static str, number: i32) -> Result<NodeId, Malformed> {
    if number < 0 { Err(Malformed::new(field, "negative")) } else { Ok(NodeId(number)) }
}

pub(super) fn broker_epoch(field: &'static str, number: i64) -> Result<BrokerEpoch, Malformed> {
    let epoch = BrokerEpoch(number);
    if number < 1 && epoch != BrokerEpoch::NONE {
        return Err(Malformed::new(field, format!("{number}, but they count from 1")));
    }
    Ok(epoch)
}

pub(super) fn leader_epoch(field: &'static str, number: i32) -> Result<LeaderEpoch, Malformed> {
    if number < LeaderEpoch::NONE.0 { Err(Malformed::new(field, number)) } else { Ok(LeaderEpoch(number)) }
}

pub(super) fn offset(field: &'static str, number: i64) -> Result<Offset, Malformed> {
    Offset::new(number).ok_or_else(|| Malformed::new(field, "negative"))
}

pub(super) fn to_partition(at: TopicPartition) -> internal::PartitionRef {
    internal::PartitionRef { topic: bytes_of(at.topic.0), partition: at.partition.0 }
}

pub(super) fn partition(at: Option<internal::PartitionRef>) -> Result<TopicPartition, Malformed> {
    let at = at.ok_or(Malformed::missing("partition"))?;
    let topic = TopicId(sixteen("topic", &at.topic)?);
    Ok(TopicPartition { topic, partition: PartitionIndex(at.partition) })
}

pub(super) fn to_voter(voter: QuorumVoter) -> internal::QuorumVoter {
    internal::QuorumVoter { node: voter.node.0, incarnation: voter.incarnation }
}

pub(super) fn voter(message: &internal::QuorumVoter) -> Result<QuorumVoter, Malformed> {
    Ok(QuorumVoter { node: node("voter", message.node)?, incarnation: message.incarnation })
}

/// The error without what is too long to travel in headers.
pub(super) fn shortened(mut error: ApiError) -> ApiError {
    if error.message.len() > PEER_ERROR_TEXT_BYTES_MAX {
        let end = error.message.floor_char_boundary(PEER_ERROR_TEXT_BYTES_MAX);
        error.message.truncate(end);
    }
    error
}

/// The error of another broker. A code that a newer one has and this build has not becomes what is certain about it.
pub(super) fn api_error(error: v1::Error) -> ApiError {
    let unlisted = match error.known_outcome() {
        Outcome::Definite => ErrorCode::Unsupported,
        Outcome::Indefinite => ErrorCode::OutcomeUnknown,
    };
    let code = error.known_code().unwrap_or(unlisted);
    let damaged = error.damaged_from.and_then(Offset::new).zip(error.damaged_until.and_then(Offset::new));
    shortened(ApiError {
        leader: Some(error.leader).filter(|leader| !leader.is_empty()),
        corrupt: damaged.map(|(start, end)| OffsetRange { start, end }),
        ..ApiError::new(code, error.message)
    })
}
