//! `OffsetDelete` (47), version 0: forgets where a group goes on (KIP-496).
//!
//! Topics that members of the group read are refused with `GROUP_SUBSCRIBED_TO_TOPIC`; of a classic group with members every
//! topic is, because only its members know what they read.

use millrace_broker::{DeleteOffsetsRequest, TopicRef};
use millrace_kafka_wire::offset_delete_request::OffsetDeleteRequestTopic;
use millrace_kafka_wire::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use millrace_kafka_wire::{OffsetDeleteRequest, OffsetDeleteResponse, WireError};
use millrace_types::PartitionIndex;

use crate::answers::Reply;
use crate::error_map::{Fault, KafkaError};
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: OffsetDeleteRequest,
) -> Result<Reply, WireError> {
    let (partitions, faults) = parts::readable(request.topics.iter().flat_map(questions).collect());
    let (answers, refused) = match delete(api, caller, &request.group_id, partitions).await {
        Ok(answers) => (faults.between(answers), None),
        Err(fault) => (Vec::new(), Some(fault)),
    };
    let error = refused.as_ref().map(|fault| fault.error).or_else(|| parts::first_error(&answers));
    api.requests.count(Operation::OffsetDelete, error);
    let mut answers = answers.into_iter();
    let answered = if refused.is_some() { Vec::new() } else { request.topics };
    let topics = answered.into_iter().map(|topic| OffsetDeleteResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .zip(answers.by_ref())
            .map(|(partition, answer)| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: answer.map_or_else(|fault| fault.code(), |()| 0),
            })
            .collect(),
    });
    let topics = topics.collect();
    let error_code = refused.as_ref().map_or(0, Fault::code);
    let response = OffsetDeleteResponse { error_code, topics, ..OffsetDeleteResponse::default() };
    asked.reply::<OffsetDeleteRequest>(&response)
}

pub(crate) fn questions(topic: &OffsetDeleteRequestTopic) -> Vec<Result<(TopicRef, PartitionIndex), Fault>> {
    let reference = parts::topic(&topic.name);
    let partitions = topic.partitions.iter();
    partitions
        .map(|partition| Ok((reference.clone()?, parts::partition(partition.partition_index)?)))
        .collect()
}

async fn delete(
    api: &Handlers,
    caller: &Caller,
    group: &str,
    partitions: Vec<(TopicRef, PartitionIndex)>,
) -> Result<Vec<Result<(), Fault>>, Fault> {
    let request = DeleteOffsetsRequest { group: group_parts::group(group)?, partitions };
    let deleted = api.broker.delete_offsets(&caller.context, request).await;
    let fault = |error| match Fault::of_coordinator(error) {
        Fault { error: KafkaError::NonEmptyGroup, message, .. } => {
            Fault::new(KafkaError::GroupSubscribedToTopic, message)
        }
        fault => fault,
    };
    let answers = deleted.map_err(Fault::of_coordinator)?;
    Ok(answers.into_iter().map(|answer| answer.map_err(fault)).collect())
}
