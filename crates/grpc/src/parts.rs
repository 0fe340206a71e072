//! Parts that many requests have: a topic, a partition, an offset, an epoch.

use millrace_broker::{ApiError, Isolation, TopicRef};
use millrace_proto::{CheckedTopicRef, TopicRefError, v1};
use millrace_types::limits::PARTITIONS_PER_REQUEST_MAX;
use millrace_types::{ErrorCode, GroupId, LeaderEpoch, Offset, PartitionIndex};

/// A request that contradicts itself or lacks a field.
pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, message)
}

/// The topic that a request names.
pub(crate) fn topic(wire: Option<&v1::TopicRef>) -> Result<TopicRef, ApiError> {
    let checked = wire.ok_or(TopicRefError::Missing).and_then(v1::TopicRef::check);
    match checked {
        Ok(CheckedTopicRef::Name(name)) => Ok(TopicRef::Name(name)),
        Ok(CheckedTopicRef::Id(id)) => Ok(TopicRef::Id(id)),
        Ok(CheckedTopicRef::Both(name, id)) => Ok(TopicRef::Both(name, id)),
        Err(error @ TopicRefError::Name(_)) => {
            Err(ApiError::new(ErrorCode::InvalidTopicName, error.to_string()))
        }
        Err(error) => Err(invalid(error.to_string())),
    }
}

/// The wire form of a topic.
pub(crate) fn topic_to_wire(topic: &TopicRef) -> v1::TopicRef {
    match topic {
        TopicRef::Name(name) => v1::TopicRef::by_name(name),
        TopicRef::Id(id) => v1::TopicRef::by_id(*id),
        TopicRef::Both(name, id) => v1::TopicRef::by_both(name, *id),
    }
}

/// A partition number.
pub(crate) fn partition(wire: i32) -> Result<PartitionIndex, ApiError> {
    PartitionIndex::new(wire).ok_or_else(|| invalid(format!("partition {wire} is negative")))
}

/// An offset.
pub(crate) fn offset(field: &'static str, wire: i64) -> Result<Offset, ApiError> {
    Offset::new(wire).ok_or_else(|| invalid(format!("{field} {wire} is negative")))
}

/// An epoch; absent and -1 both mean that none is known.
pub(crate) fn epoch(wire: Option<i32>) -> Option<LeaderEpoch> {
    wire.filter(|epoch| *epoch >= 0).map(LeaderEpoch)
}

/// How far a reader sees.
pub(crate) fn isolation(wire: i32) -> Result<Isolation, ApiError> {
    match v1::Isolation::try_from(wire) {
        Ok(v1::Isolation::Committed) => Ok(Isolation::Committed),
        Ok(v1::Isolation::Stable) => Ok(Isolation::Stable),
        Err(unknown) => Err(invalid(format!("isolation: {unknown}"))),
    }
}

/// A group's name.
pub(crate) fn group(wire: &str) -> Result<GroupId, ApiError> {
    GroupId::new(wire)
        .map_err(|error| ApiError::new(ErrorCode::GroupIdInvalid, format!("group name: {error}")))
}

/// Refuses requests that name too many partitions.
pub(crate) fn check_count(partitions: usize) -> Result<(), ApiError> {
    if partitions > PARTITIONS_PER_REQUEST_MAX {
        let max = PARTITIONS_PER_REQUEST_MAX;
        return Err(invalid(format!("the request names {partitions} partitions; {max} are allowed")));
    }
    Ok(())
}

/// The answer to a question that stands alone.
pub(crate) fn only<A>(answers: Vec<Result<A, ApiError>>) -> Result<A, ApiError> {
    answers.into_iter().next().unwrap_or_else(|| Err(unanswered()))
}

fn unanswered() -> ApiError {
    ApiError::new(ErrorCode::Internal, "the broker left a part of the request unanswered")
}

/// Calls `ask` with the parts that could be read, and puts its answers and the errors of the others into one list, in the
/// order of the request.
pub(crate) async fn ask_readable<Q, A>(
    questions: Vec<Result<Q, ApiError>>,
    ask: impl AsyncFnOnce(Vec<Q>) -> Result<Vec<Result<A, ApiError>>, ApiError>,
) -> Result<Vec<Result<A, ApiError>>, ApiError> {
    let mut readable = Vec::with_capacity(questions.len());
    let mut errors = Vec::with_capacity(questions.len());
    for question in questions {
        match question {
            Ok(question) => {
                readable.push(question);
                errors.push(None);
            }
            Err(error) => errors.push(Some(error)),
        }
    }
    let mut answers = if readable.is_empty() && !errors.is_empty() {
        Vec::new().into_iter()
    } else {
        ask(readable).await?.into_iter()
    };
    let in_order = errors.into_iter().map(|error| match error {
        Some(error) => Err(error),
        None => answers.next().unwrap_or_else(|| Err(unanswered())),
    });
    Ok(in_order.collect())
}
