//! `ConsumerGroupHeartbeat` (68), versions 0 and 1: a member of a group that the coordinator assigns (KIP-848).
//!
//! It joins with epoch 0, lives with the one that it was told last, leaves with -1, and for now with -2 if it is static. Whoever
//! joined by the native door is in the same groups. The assignment is told when it has changed, to who joins, to who comes with
//! the epoch before (the answer was lost), and to who says all of itself (Kafka's rule for "I may have missed something").
//!
//! In version 0 the coordinator draws the id of a member that has none. As in Kafka, a static member that joins while its last
//! life is there is refused. A rebalance timeout that is longer than may be counts as the longest. Not there: to turn a classic
//! group with members into one of these while they are in it.

use std::collections::BTreeSet;

use millrace_broker::{
    GroupAssignment, GroupEpoch, GroupHeartbeatAnswer, GroupHeartbeatRequest, GroupSubscription, InstanceId,
    Leaving, MemberId, MemberSays, Pattern, Profile, ProfileChanges, RackId, Tell, TopicRef,
};
use millrace_kafka_wire::consumer_group_heartbeat_request::TopicPartitions as Owned;
use millrace_kafka_wire::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use millrace_kafka_wire::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use millrace_types::limits::{REBALANCE_TIMEOUT_MS_DEFAULT, REBALANCE_TIMEOUT_MS_MAX};
use millrace_types::{TopicId, TopicName, TopicPartition};

use crate::answers::Reply;
use crate::bill::Bill;
use crate::error_map::{Fault, KafkaError};
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;
use crate::request_memory::{RequestMemory, Unanswered};

/// From here on the client draws the id of a member.
const IDS_BY_CLIENTS_FROM: i16 = 1;
/// Epochs that mean something else.
const JOINS: i32 = 0;
const LEAVES: i32 = -1;
const LEAVES_FOR_NOW: i32 = -2;
/// What an assigned partition takes until it is answered, and what a topic does.
const PARTITION_BYTES: usize = 16;
const TOPIC_BYTES: usize = 128;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: ConsumerGroupHeartbeatRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let mut bill = Bill::new(memory);
    let (member_id, member_epoch) = (request.member_id.clone(), request.member_epoch);
    let heard = hear(api, caller, asked.version, request).await;
    api.requests.count(Operation::ConsumerGroupHeartbeat, heard.as_ref().err().map(|fault| fault.error));
    let response = match heard {
        Ok(GroupHeartbeatAnswer::Lives { assignment, is_news }) => {
            bill.add(bytes_of(&assignment)).await?;
            to_wire(assignment, is_news)
        }
        Ok(GroupHeartbeatAnswer::Left) => ConsumerGroupHeartbeatResponse {
            member_id: Some(member_id),
            member_epoch,
            ..ConsumerGroupHeartbeatResponse::default()
        },
        Err(fault) => ConsumerGroupHeartbeatResponse {
            error_code: fault.code(),
            error_message: Some(fault.message),
            ..ConsumerGroupHeartbeatResponse::default()
        },
    };
    let reply = asked.reply::<ConsumerGroupHeartbeatRequest>(&response)?;
    bill.settle(reply.rope.len());
    Ok(reply)
}

async fn hear(
    api: &Handlers,
    caller: &Caller,
    version: i16,
    request: ConsumerGroupHeartbeatRequest,
) -> Result<GroupHeartbeatAnswer, Fault> {
    let request = question(caller, version, request)?;
    api.broker.group_heartbeat(&caller.context, request).await.map_err(Fault::of_coordinator)
}

/// What the broker is asked.
pub(crate) fn question(
    caller: &Caller,
    version: i16,
    request: ConsumerGroupHeartbeatRequest,
) -> Result<GroupHeartbeatRequest, Fault> {
    let group = group_parts::group(&request.group_id)?;
    let joins = request.member_epoch == JOINS;
    let member = match request.member_id.as_str() {
        "" if joins && version < IDS_BY_CLIENTS_FROM => None,
        "" => return Err(invalid("the member has no id")),
        // One that joins says what it wants to be called; nobody else can have an id that breaks the rule.
        id if joins => Some(MemberId::new(id).map_err(|error| invalid(format!("the member id: {error}")))?),
        id => Some(group_parts::member(id)?),
    };
    let instance = group_parts::instance(request.instance_id.as_deref())?;
    let says = match request.member_epoch {
        JOINS => MemberSays::Joins(profile(caller, instance.clone(), &request)?),
        LEAVES => MemberSays::Leaves(Leaving::ForGood),
        LEAVES_FOR_NOW if instance.is_some() => MemberSays::Leaves(Leaving::ForNow),
        LEAVES_FOR_NOW => return Err(invalid("only a static member leaves for now")),
        epoch if epoch < 0 => return Err(invalid(format!("{epoch} is no epoch"))),
        epoch => lives(GroupEpoch(epoch), &request)?,
    };
    Ok(GroupHeartbeatRequest { group, member, instance, says })
}

fn profile(
    caller: &Caller,
    instance: Option<InstanceId>,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<Profile, Fault> {
    if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
        return Err(invalid("who joins owns nothing, and has to say so"));
    }
    let changes = changes(request)?;
    if changes.names.is_none() && changes.pattern.is_none() {
        return Err(invalid("who joins has to say what it subscribes to"));
    }
    let Some(rebalance_timeout_ms) = changes.rebalance_timeout_ms else {
        return Err(invalid("who joins has to say how long it may take to let go of partitions"));
    };
    Ok(Profile {
        instance,
        rack: changes.rack,
        client_id: caller.context.client_id.to_string(),
        client_host: caller.host.to_string(),
        subscription: GroupSubscription {
            names: changes.names.unwrap_or_default(),
            pattern: changes.pattern.flatten(),
        },
        assignor: changes.assignor,
        rebalance_timeout_ms,
    })
}

fn lives(epoch: GroupEpoch, request: &ConsumerGroupHeartbeatRequest) -> Result<MemberSays, Fault> {
    let owned = request.topic_partitions.as_ref().map(|topics| owned(topics)).transpose()?;
    let changes = changes(request)?;
    let subscribes = changes.names.is_some() || changes.pattern.is_some();
    let says_all = owned.is_some() && subscribes && changes.rebalance_timeout_ms.is_some();
    let tell = if says_all { Tell::Always } else { Tell::Changes };
    Ok(MemberSays::Lives { epoch, owned, changes, tell })
}

fn changes(request: &ConsumerGroupHeartbeatRequest) -> Result<ProfileChanges, Fault> {
    let pattern = match request.subscribed_topic_regex.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(text) => {
            let refused = |error| Fault::new(KafkaError::InvalidRegularExpression, format!("{error}"));
            Some(Some(Pattern::new(text).map_err(refused)?))
        }
    };
    let rack = request.rack_id.as_deref().map(RackId::new).transpose();
    let timeout = u64::try_from(request.rebalance_timeout_ms).ok();
    Ok(ProfileChanges {
        rack: rack.map_err(|error| invalid(format!("the rack id: {error}")))?,
        rebalance_timeout_ms: timeout.map(|ms| match ms {
            0 => REBALANCE_TIMEOUT_MS_DEFAULT,
            ms => ms.min(REBALANCE_TIMEOUT_MS_MAX),
        }),
        // A name that breaks the rule is one that no topic ever has.
        names: request
            .subscribed_topic_names
            .as_ref()
            .map(|names| names.iter().flat_map(|name| TopicName::new(name)).collect()),
        pattern,
        assignor: request.server_assignor.as_deref().map(group_parts::assignor).transpose()?,
    })
}

fn owned(topics: &[Owned]) -> Result<BTreeSet<TopicPartition>, Fault> {
    let partitions = topics.iter().flat_map(|topic| topic.partitions.iter().map(|at| (topic.topic_id, *at)));
    let owned = partitions.map(|(topic, partition)| {
        let partition = parts::partition(partition).map_err(|fault| invalid(fault.message))?;
        Ok(TopicPartition { topic: TopicId(topic), partition })
    });
    owned.collect()
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(KafkaError::InvalidRequest, message)
}

fn bytes_of(assignment: &GroupAssignment) -> usize {
    let of_topic = |(_, partitions): &(_, Vec<_>)| TOPIC_BYTES + partitions.len() * PARTITION_BYTES;
    assignment.assigned.iter().map(of_topic).sum()
}

fn to_wire(assignment: GroupAssignment, is_news: bool) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        member_id: Some(assignment.member.to_string()),
        member_epoch: assignment.epoch.0,
        heartbeat_interval_ms: i32::try_from(assignment.heartbeat_interval_ms).unwrap_or(i32::MAX),
        assignment: is_news.then(|| Assignment {
            topic_partitions: assignment.assigned.into_iter().filter_map(topic_to_wire).collect(),
            ..Assignment::default()
        }),
        ..ConsumerGroupHeartbeatResponse::default()
    }
}

fn topic_to_wire(
    (topic, partitions): (TopicRef, Vec<millrace_types::PartitionIndex>),
) -> Option<TopicPartitions> {
    let (TopicRef::Id(id) | TopicRef::Both(_, id)) = topic else { return None };
    let partitions = partitions.iter().map(|partition| partition.get()).collect();
    Some(TopicPartitions { topic_id: id.0, partitions, ..TopicPartitions::default() })
}
