//! `OffsetFetch` (9), versions 1 to 9: where groups have committed that they go on; several groups at once from version 8 on
//! (KIP-709), and checked against the epoch of the member that asks from version 9 on (KIP-848).
//!
//! As in Kafka, a partition that nothing was committed for, or that does not exist, is answered with offset -1 and no error. There are
//! no transactions, so every committed offset is stable. Not there: topics by id (version 10).

use std::iter::Peekable;

use millrace_broker::{CommittedOffset, Committer, FetchOffsetsRequest, GroupEpoch, TopicRef};
use millrace_kafka_wire::offset_fetch_request::OffsetFetchRequestTopics;
use millrace_kafka_wire::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use millrace_kafka_wire::{OffsetFetchRequest, OffsetFetchResponse};
use millrace_types::{Offset, PartitionIndex};

use crate::answers::Reply;
use crate::bill::Bill;
use crate::error_map::{Fault, KafkaError};
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;
use crate::request_memory::{RequestMemory, Unanswered};

/// From here on an answer has an error for all of it.
const ERROR_FROM: i16 = 2;
/// From here on a request asks for several groups.
const GROUPS_FROM: i16 = 8;
/// What a position that was not asked for by its partition takes until it is answered, besides its metadata.
const POSITION_BYTES: usize = 256;
/// How often the metadata is in memory: for the answer, and in it.
const METADATA_COPIES: usize = 2;

/// What is asked of one group.
pub(crate) struct Question {
    group: String,
    member: (Option<String>, i32),
    /// `None` asks for all that it has committed.
    topics: Option<Vec<OffsetFetchRequestTopics>>,
}

/// What is answered of one group.
struct Found {
    group: String,
    fault: Option<Fault>,
    topics: Vec<OffsetFetchResponseTopics>,
}

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: OffsetFetchRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let mut bill = Bill::new(memory);
    let mut groups = Vec::new();
    let mut error = None;
    for question in questions(request, asked.version) {
        let found = match fetch(api, caller, &question).await {
            Ok(offsets) => {
                bill.add(bytes_of(&question, &offsets)).await?;
                let topics = match question.topics {
                    None => in_order(offsets.into_iter()),
                    Some(topics) => as_asked(topics, offsets),
                };
                Found { group: question.group, fault: None, topics }
            }
            Err(fault) => refused(question, fault, asked.version),
        };
        error = error.or_else(|| found.error());
        groups.push(found);
    }
    api.requests.count(Operation::OffsetFetch, error);
    let reply = asked.reply::<OffsetFetchRequest>(&to_wire(groups, asked.version))?;
    bill.settle(reply.rope.len());
    Ok(reply)
}

/// One for each group, whatever the version.
pub(crate) fn questions(request: OffsetFetchRequest, version: i16) -> Vec<Question> {
    if version >= GROUPS_FROM {
        let groups = request.groups.into_iter().map(|group| Question {
            group: group.group_id,
            member: (group.member_id, group.member_epoch),
            topics: group.topics,
        });
        return groups.collect();
    }
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..OffsetFetchRequestTopics::default()
        });
        topics.collect()
    });
    vec![Question { group: request.group_id, member: (None, -1), topics }]
}

type Answered = Vec<Result<CommittedOffset, Fault>>;

async fn fetch(api: &Handlers, caller: &Caller, question: &Question) -> Result<Answered, Fault> {
    let group = group_parts::group(&question.group)?;
    let member = reader(&question.member)?;
    let (partitions, faults) = match &question.topics {
        None => (None, None),
        Some(topics) => {
            let (partitions, faults) = parts::readable(topics.iter().flat_map(positions).collect());
            (Some(partitions), Some(faults))
        }
    };
    let request = FetchOffsetsRequest { group, partitions, member };
    let offsets = api.broker.fetch_offsets(&caller.context, request).await.map_err(Fault::of_coordinator)?;
    let offsets = offsets.into_iter().map(|offset| offset.map_err(Fault::of_coordinator)).collect();
    Ok(match faults {
        None => offsets,
        Some(faults) => faults.between(offsets),
    })
}

/// The member that asks, if it is one.
fn reader((member_id, epoch): &(Option<String>, i32)) -> Result<Option<Committer>, Fault> {
    match member_id.as_deref() {
        None | Some("") if *epoch < 0 => Ok(None),
        id => {
            let member = group_parts::member(id.unwrap_or_default())?;
            let epoch = (*epoch >= 0).then_some(GroupEpoch(*epoch));
            Ok(Some(Committer { member: Some(member), instance: None, epoch }))
        }
    }
}

/// The partitions of a topic.
fn positions(
    topic: &OffsetFetchRequestTopics,
) -> impl Iterator<Item = Result<(TopicRef, PartitionIndex), Fault>> + use<'_> {
    let reference = parts::topic(&topic.name);
    let partitions = topic.partition_indexes.iter();
    partitions.map(move |partition| Ok((reference.clone()?, parts::partition(*partition)?)))
}

fn bytes_of(question: &Question, offsets: &Answered) -> usize {
    let metadata: usize = offsets.iter().flatten().map(|offset| offset.metadata.len()).sum();
    let unasked = if question.topics.is_none() { offsets.len() * POSITION_BYTES } else { 0 };
    unasked + metadata * METADATA_COPIES
}

/// What was asked for by partition, with the answers in their places.
fn as_asked(topics: Vec<OffsetFetchRequestTopics>, answers: Answered) -> Vec<OffsetFetchResponseTopics> {
    let mut answers = answers.into_iter();
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().zip(answers.by_ref());
        let partitions = partitions.map(|(partition, answer)| position(*partition, answer)).collect();
        OffsetFetchResponseTopics { name: topic.name, partitions, ..OffsetFetchResponseTopics::default() }
    });
    topics.collect()
}

/// All that there is, topic by topic.
fn in_order(offsets: impl Iterator<Item = Result<CommittedOffset, Fault>>) -> Vec<OffsetFetchResponseTopics> {
    let mut offsets = offsets.flatten().peekable();
    let mut topics = Vec::new();
    while let Some(offset) = offsets.next() {
        topics.push(one_topic(offset, &mut offsets));
    }
    topics
}

fn one_topic(
    first: CommittedOffset,
    rest: &mut Peekable<impl Iterator<Item = CommittedOffset>>,
) -> OffsetFetchResponseTopics {
    let topic = first.topic.clone();
    let name = match &topic {
        TopicRef::Name(name) | TopicRef::Both(name, _) => name.to_string(),
        TopicRef::Id(_) => String::new(),
    };
    let mut partitions = vec![position(first.partition.get(), Ok(first))];
    while let Some(next) = rest.next_if(|next| next.topic == topic) {
        partitions.push(position(next.partition.get(), Ok(next)));
    }
    OffsetFetchResponseTopics { name, partitions, ..OffsetFetchResponseTopics::default() }
}

fn position(partition_index: i32, answer: Result<CommittedOffset, Fault>) -> OffsetFetchResponsePartitions {
    let none = OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        metadata: Some(String::new()),
        ..OffsetFetchResponsePartitions::default()
    };
    match answer {
        Ok(found) => OffsetFetchResponsePartitions {
            committed_offset: found.offset.map_or(-1, Offset::get),
            committed_leader_epoch: found.leader_epoch.map_or(-1, |epoch| epoch.0),
            metadata: Some(found.metadata),
            ..none
        },
        Err(fault) if fault.error == KafkaError::UnknownTopicOrPartition => none,
        Err(fault) => OffsetFetchResponsePartitions { error_code: fault.code(), ..none },
    }
}

/// A group that is refused as a whole. What has no place for that is refused partition by partition.
fn refused(question: Question, fault: Fault, version: i16) -> Found {
    if version >= ERROR_FROM {
        return Found { group: question.group, fault: Some(fault), topics: Vec::new() };
    }
    let of_topic = |topic: OffsetFetchRequestTopics| {
        let partitions = topic.partition_indexes.iter();
        let partitions = partitions.map(|partition| position(*partition, Err(fault.clone())));
        let partitions = partitions.collect();
        OffsetFetchResponseTopics { name: topic.name, partitions, ..OffsetFetchResponseTopics::default() }
    };
    let topics = question.topics.unwrap_or_default().into_iter().map(of_topic).collect();
    Found { group: question.group, fault: Some(fault), topics }
}

impl Found {
    fn error(&self) -> Option<KafkaError> {
        self.fault.as_ref().map(|fault| fault.error)
    }
}

fn to_wire(groups: Vec<Found>, version: i16) -> OffsetFetchResponse {
    let code = |found: &Found| found.fault.as_ref().map_or(0, Fault::code);
    if version >= GROUPS_FROM {
        let groups = groups.into_iter().map(|found| OffsetFetchResponseGroup {
            error_code: code(&found),
            group_id: found.group,
            topics: found.topics,
            ..OffsetFetchResponseGroup::default()
        });
        return OffsetFetchResponse { groups: groups.collect(), ..OffsetFetchResponse::default() };
    }
    let mut response = OffsetFetchResponse::default();
    for found in groups {
        response.error_code = if version >= ERROR_FROM { code(&found) } else { 0 };
        response.topics = found.topics.into_iter().map(before_groups).collect();
    }
    response
}

/// A topic as versions before 8 have it.
fn before_groups(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
        ..OffsetFetchResponsePartition::default()
    });
    let partitions = partitions.collect();
    OffsetFetchResponseTopic { name: topic.name, partitions, ..OffsetFetchResponseTopic::default() }
}
