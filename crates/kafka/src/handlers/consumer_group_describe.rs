//! `ConsumerGroupDescribe` (69), versions 0 and 1: groups that the coordinator assigns (KIP-848); whoever joined by the native door
//! is a member like any other.
//!
//! Every other group is answered `GROUP_ID_NOT_FOUND`, and tools ask `DescribeGroups`. Not there: authorized operations.

use std::collections::BTreeMap;

use millrace_broker::{ByTopic, GroupDescription, GroupKind, GroupMemberDescription, TopicRef};
use millrace_kafka_wire::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use millrace_kafka_wire::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use millrace_types::{PartitionIndex, TopicId};

use super::list_groups::state_name;
use crate::answers::Reply;
use crate::bill::Bill;
use crate::error_map::{Fault, KafkaError};
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::request_memory::{RequestMemory, Unanswered};

/// From here on an answer says what kind of member each is.
const KINDS_FROM: i16 = 1;
/// Assigned by the coordinator.
const CONSUMER_MEMBER: i8 = 1;
/// What a member takes until it is answered, and what each name and partition in it does.
const MEMBER_BYTES: usize = 1024;
const NAME_BYTES: usize = 300;
const PARTITION_BYTES: usize = 16;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: ConsumerGroupDescribeRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let mut bill = Bill::new(memory);
    let (mut groups, mut error) = (Vec::new(), None);
    for group_id in request.group_ids {
        let group = match describe(api, caller, &group_id).await {
            Ok(described) => {
                bill.add(described.members.iter().map(bytes_of).sum()).await?;
                to_wire(described, asked.version)
            }
            Err(fault) => {
                error = error.or(Some(fault.error));
                let (error_code, error_message) = (fault.code(), Some(fault.message));
                DescribedGroup { error_code, error_message, group_id, ..DescribedGroup::default() }
            }
        };
        groups.push(group);
    }
    api.requests.count(Operation::ConsumerGroupDescribe, error);
    let response = ConsumerGroupDescribeResponse { groups, ..ConsumerGroupDescribeResponse::default() };
    let reply = asked.reply::<ConsumerGroupDescribeRequest>(&response)?;
    bill.settle(reply.rope.len());
    Ok(reply)
}

async fn describe(api: &Handlers, caller: &Caller, name: &str) -> Result<GroupDescription, Fault> {
    let group = group_parts::group(name)?;
    let described =
        api.broker.describe_group(&caller.context, &group).await.map_err(Fault::of_coordinator)?;
    match described.listing.kind {
        GroupKind::Consumer => Ok(described),
        GroupKind::Classic | GroupKind::Offsets => {
            Err(Fault::new(KafkaError::GroupIdNotFound, format!("Group {name} is not a consumer group.")))
        }
    }
}

fn bytes_of(member: &GroupMemberDescription) -> usize {
    let by_topic = |topics: &ByTopic| {
        let of_topic = |(_, partitions): &(_, Vec<_>)| NAME_BYTES + partitions.len() * PARTITION_BYTES;
        topics.iter().map(of_topic).sum::<usize>()
    };
    let names = member.profile.subscription.names.len() * NAME_BYTES;
    MEMBER_BYTES + names + by_topic(&member.owned) + by_topic(&member.revoking) + by_topic(&member.target)
}

fn to_wire(described: GroupDescription, version: i16) -> DescribedGroup {
    let GroupDescription { listing, epoch, assignor, members } = described;
    DescribedGroup {
        group_id: listing.group.to_string(),
        group_state: state_name(listing.stage).to_owned(),
        group_epoch: epoch.0,
        // The assignment is computed with the epoch.
        assignment_epoch: epoch.0,
        assignor_name: group_parts::assignor_name(&assignor).to_owned(),
        members: members.into_iter().map(|member| member_to_wire(member, version)).collect(),
        ..DescribedGroup::default()
    }
}

fn member_to_wire(member: GroupMemberDescription, version: i16) -> Member {
    let GroupMemberDescription { member, profile, epoch, owned, revoking, target } = member;
    let subscription = profile.subscription;
    Member {
        member_id: member.to_string(),
        instance_id: profile.instance.map(|instance| instance.to_string()),
        rack_id: profile.rack.map(|rack| rack.to_string()),
        member_epoch: epoch.0,
        client_id: profile.client_id,
        client_host: profile.client_host,
        subscribed_topic_names: subscription.names.iter().map(ToString::to_string).collect(),
        subscribed_topic_regex: subscription.pattern.map(|pattern| pattern.to_string()),
        // What it is to let go is its own until it has said that it did.
        assignment: assignment(owned.into_iter().chain(revoking)),
        target_assignment: assignment(target),
        member_type: if version >= KINDS_FROM { CONSUMER_MEMBER } else { -1 },
        ..Member::default()
    }
}

/// Topics that are gone have no name by which they could be told.
fn assignment(topics: impl IntoIterator<Item = (TopicRef, Vec<PartitionIndex>)>) -> Assignment {
    let mut told: BTreeMap<TopicId, TopicPartitions> = BTreeMap::new();
    for (topic, partitions) in topics {
        let TopicRef::Both(name, id) = topic else { continue };
        let topic = told.entry(id).or_insert_with(|| TopicPartitions {
            topic_id: id.0,
            topic_name: name.to_string(),
            ..TopicPartitions::default()
        });
        topic.partitions.extend(partitions.iter().map(|partition| partition.get()));
    }
    Assignment { topic_partitions: told.into_values().collect(), ..Assignment::default() }
}
