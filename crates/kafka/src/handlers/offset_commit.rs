//! `OffsetCommit` (8), versions 2 to 9: where a group is to go on.
//!
//! What is committed here and what is committed through other doors is one and the same. A generation below zero commits from
//! outside, which only a group without members allows; else generation (or epoch, KIP-848) and member are checked under
//! the lock of the commit. The retention time of versions 2 to 4 has no effect: offsets are kept as long as the broker says.
//! Not there: topics by id (version 10). As long as its metadata is, a position costs of the memory of the request, so that a few
//! hundred with the longest there may be are as many as one request holds.

use millrace_broker::{ApiError, CommitOffsetsRequest, OffsetCommit};
use millrace_kafka_wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use millrace_kafka_wire::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use millrace_kafka_wire::{OffsetCommitRequest, OffsetCommitResponse, WireError};
use millrace_types::ErrorCode;
use millrace_types::limits::OFFSET_METADATA_BYTES_MAX;

use crate::answers::Reply;
use crate::error_map::{Fault, KafkaError};
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;

/// Clients before this one know of generations only.
const EPOCHS_FROM: i16 = 9;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    mut request: OffsetCommitRequest,
) -> Result<Reply, WireError> {
    let (commits, faults) = parts::readable(questions(&mut request));
    let answers = faults.around(commit(api, caller, &request, commits).await, Fault::of_coordinator);
    api.requests.count(Operation::OffsetCommit, parts::first_error(&answers));
    let mut answers = answers.into_iter();
    let topics = request.topics.into_iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .zip(answers.by_ref())
            .map(|(partition, answer)| to_wire(partition, answer, asked.version))
            .collect(),
        ..OffsetCommitResponseTopic::default()
    });
    let response = OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() };
    asked.reply::<OffsetCommitRequest>(&response)
}

/// What the broker is asked. The metadata goes over.
pub(crate) fn questions(request: &mut OffsetCommitRequest) -> Vec<Result<OffsetCommit, Fault>> {
    let of_topic = |topic: &mut OffsetCommitRequestTopic| {
        let reference = parts::topic(&topic.name);
        let one = |partition: &mut OffsetCommitRequestPartition| {
            let metadata = partition.committed_metadata.take().unwrap_or_default();
            if metadata.len() > OFFSET_METADATA_BYTES_MAX {
                let message = format!("{} bytes of metadata", metadata.len());
                return Err(Fault::new(KafkaError::OffsetMetadataTooLarge, message));
            }
            Ok(OffsetCommit {
                topic: reference.clone()?,
                partition: parts::partition(partition.partition_index)?,
                offset: parts::offset(partition.committed_offset)?,
                leader_epoch: parts::epoch(partition.committed_leader_epoch),
                metadata,
            })
        };
        topic.partitions.iter_mut().map(one).collect::<Vec<_>>()
    };
    request.topics.iter_mut().flat_map(of_topic).collect()
}

async fn commit(
    api: &Handlers,
    caller: &Caller,
    request: &OffsetCommitRequest,
    offsets: Vec<OffsetCommit>,
) -> Result<Vec<Result<(), ApiError>>, Fault> {
    let group = group_parts::group(&request.group_id)?;
    let (epoch, instance) = (request.generation_id_or_member_epoch, request.group_instance_id.as_deref());
    let member = group_parts::committer(epoch, &request.member_id, instance)?;
    let request = CommitOffsetsRequest { group, offsets, member };
    let committed = api.broker.commit_offsets(&caller.context, request).await;
    committed.map_err(|error| match error.code {
        // The batch in which a commit is stored.
        ErrorCode::BatchTooLarge => Fault::new(KafkaError::InvalidCommitOffsetSize, error.message),
        _ => Fault::of_coordinator(error),
    })
}

fn to_wire(
    partition: &OffsetCommitRequestPartition,
    answer: Result<(), Fault>,
    version: i16,
) -> OffsetCommitResponsePartition {
    let error_code = match answer.map_err(|fault| fault.error) {
        Ok(()) => 0,
        Err(KafkaError::StaleMemberEpoch) if version < EPOCHS_FROM => KafkaError::IllegalGeneration.code(),
        Err(error) => error.code(),
    };
    let partition_index = partition.partition_index;
    OffsetCommitResponsePartition { partition_index, error_code, ..OffsetCommitResponsePartition::default() }
}
