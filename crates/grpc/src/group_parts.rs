//! Parts that calls about groups have: a member, what it reads, what it owns, what it is to own.

use std::collections::BTreeSet;

use millrace_broker::{
    ApiError, Assignor, Committer, GroupAssignment, GroupEpoch, GroupSubscription, IdError, InstanceId,
    JoinGroupRequest, MemberId, MemberProgress, Pattern, Profile, RackId, TopicRef,
};
use millrace_proto::v1;
use millrace_proto::v1::group_member_response::Response;
use millrace_types::limits::REBALANCE_TIMEOUT_MS_DEFAULT;
use millrace_types::{ErrorCode, PartitionIndex, TopicId, TopicName, TopicPartition};

use crate::caller::Caller;
use crate::parts;

/// Who wants to join, and as what.
pub(crate) fn join(wire: v1::JoinGroup, caller: &Caller) -> Result<JoinGroupRequest, ApiError> {
    let resume = wire.resume.map(progress).transpose()?;
    if resume.is_some() && wire.member.is_empty() {
        return Err(parts::invalid("a member that comes back has to say which it is"));
    }
    let assignor = wire.assignor.map(|name| {
        Assignor::from_name(&name)
            .ok_or_else(|| parts::invalid(format!("there is no assignor {:?}", cut(&name))))
    });
    let profile = Profile {
        instance: optional("instance", wire.instance.as_deref(), InstanceId::new)?,
        rack: optional("rack", wire.rack.as_deref(), RackId::new)?,
        client_id: caller.context.client_id.to_string(),
        client_host: caller.host.to_string(),
        subscription: subscription(wire.subscription.unwrap_or_default())?,
        assignor: assignor.transpose()?,
        rebalance_timeout_ms: match u64::from(wire.rebalance_timeout_ms) {
            0 => REBALANCE_TIMEOUT_MS_DEFAULT,
            ms => ms,
        },
    };
    let member = Some(wire.member.as_str()).filter(|member| !member.is_empty());
    let member = optional("member", member, MemberId::new)?;
    Ok(JoinGroupRequest { group: parts::group(&wire.group)?, member, profile, resume })
}

/// What a member says of itself.
pub(crate) fn progress(wire: v1::MemberProgress) -> Result<MemberProgress, ApiError> {
    let owned = wire.owned.map(|owned| owned_partitions(&owned)).transpose()?;
    Ok(MemberProgress { epoch: GroupEpoch(wire.epoch), heard: wire.heard, owned })
}

/// Named by the ids that the member was told: a name may be another topic's by now.
fn owned_partitions(wire: &v1::OwnedPartitions) -> Result<BTreeSet<TopicPartition>, ApiError> {
    parts::check_count(wire.topics.iter().map(|topic| topic.partitions.len()).sum())?;
    let mut owned = BTreeSet::new();
    for topic in &wire.topics {
        let id = topic_id(&parts::topic(topic.topic.as_ref())?)?;
        for partition in &topic.partitions {
            owned.insert(TopicPartition { topic: id, partition: parts::partition(*partition)? });
        }
    }
    Ok(owned)
}

fn topic_id(topic: &TopicRef) -> Result<TopicId, ApiError> {
    match topic {
        TopicRef::Id(id) | TopicRef::Both(_, id) => Ok(*id),
        TopicRef::Name(name) => Err(parts::invalid(format!("what a member owns is named by id, not {name}"))),
    }
}

/// What a member reads.
pub(crate) fn subscription(wire: v1::GroupSubscription) -> Result<GroupSubscription, ApiError> {
    let names = wire.topics.iter().map(|name| {
        TopicName::new(name)
            .map_err(|error| ApiError::new(ErrorCode::InvalidTopicName, format!("topic name: {error}")))
    });
    let names = names.collect::<Result<_, _>>()?;
    let pattern = wire.pattern.as_deref().map(Pattern::new).transpose();
    let pattern =
        pattern.map_err(|error| ApiError::new(ErrorCode::InvalidPattern, format!("the pattern: {error}")))?;
    Ok(GroupSubscription { names, pattern })
}

/// Who commits or asks, where it says so.
pub(crate) fn committer(wire: Option<v1::MemberRef>) -> Result<Option<Committer>, ApiError> {
    let Some(wire) = wire else { return Ok(None) };
    let member = MemberId::new(&wire.member).map_err(|error| bad_id("member", error))?;
    let instance = optional("instance", wire.instance.as_deref(), InstanceId::new)?;
    Ok(Some(Committer { member: Some(member), instance, epoch: Some(GroupEpoch(wire.epoch)) }))
}

/// What a member is to own, as an answer of its stream.
pub(crate) fn assignment_to_wire(assignment: GroupAssignment) -> v1::GroupMemberResponse {
    let told = v1::GroupAssignment {
        member: assignment.member.to_string(),
        epoch: assignment.epoch.0,
        revision: assignment.revision,
        assigned: partitions_to_wire(assignment.assigned),
        waiting: u32::try_from(assignment.waiting).unwrap_or(u32::MAX),
        heartbeat_interval_ms: u32::try_from(assignment.heartbeat_interval_ms).unwrap_or(u32::MAX),
        session_timeout_ms: u32::try_from(assignment.session_timeout_ms).unwrap_or(u32::MAX),
    };
    v1::GroupMemberResponse { response: Some(Response::Assignment(told)) }
}

/// Partitions by topic.
pub(crate) fn partitions_to_wire(
    topics: impl IntoIterator<Item = (TopicRef, Vec<PartitionIndex>)>,
) -> Vec<v1::TopicPartitions> {
    let to_wire = |(topic, partitions): (TopicRef, Vec<PartitionIndex>)| v1::TopicPartitions {
        topic: Some(parts::topic_to_wire(&topic)),
        partitions: partitions.into_iter().map(PartitionIndex::get).collect(),
    };
    topics.into_iter().map(to_wire).collect()
}

/// The wire form of what a member reads.
pub(crate) fn subscription_to_wire(subscription: &GroupSubscription) -> v1::GroupSubscription {
    v1::GroupSubscription {
        topics: subscription.names.iter().map(ToString::to_string).collect(),
        pattern: subscription.pattern.as_ref().map(ToString::to_string),
    }
}

fn optional<T>(
    field: &'static str,
    wire: Option<&str>,
    new: impl FnOnce(&str) -> Result<T, IdError>,
) -> Result<Option<T>, ApiError> {
    wire.map(new).transpose().map_err(|error| bad_id(field, error))
}

fn bad_id(field: &'static str, error: IdError) -> ApiError {
    parts::invalid(format!("{field}: {error}"))
}

/// As much of a text as an error message should repeat.
fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
