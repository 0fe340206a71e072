//! `ListOffsets` (2), versions 1 to 10: offsets by position or by time.
//!
//! Nothing is tiered: the local log starts where the log does, and the latest tiered offset is none. Not there: -6 (the
//! earliest offset that waits for upload), which no version up to 10 has.

use millrace_broker::{OffsetAnswer, OffsetPoint, OffsetQuery};
use millrace_kafka_wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_kafka_wire::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use millrace_kafka_wire::{ListOffsetsRequest, ListOffsetsResponse, WireError};
use millrace_types::TimestampMs;

use crate::answers::Reply;
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;

/// From here on answers tell the leader's epoch.
const EPOCHS_FROM: i16 = 4;
/// What a negative time asks for, and from which version on it may.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const LARGEST_TIMESTAMP: i64 = -3;
const LARGEST_TIMESTAMP_FROM: i16 = 7;
const EARLIEST_LOCAL: i64 = -4;
const EARLIEST_LOCAL_FROM: i16 = 8;
const LATEST_TIERED: i64 = -5;
const LATEST_TIERED_FROM: i16 = 9;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: ListOffsetsRequest,
) -> Result<Reply, WireError> {
    let wanted =
        request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |part| (topic, part)));
    let queries = wanted.map(|(topic, partition)| query(topic, partition, asked.version)).collect();
    let (queries, faults) = parts::readable(queries);
    let answers = faults.around(api.broker.list_offsets(&caller.context, queries).await, Fault::from);
    api.requests.count(Operation::ListOffsets, parts::first_error(&answers));
    let (mut answers, version) = (answers.into_iter(), asked.version);
    let topics = request.topics.into_iter().map(|topic| ListOffsetsTopicResponse {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .zip(answers.by_ref())
            .map(|(asked, answer)| to_wire(asked, answer, version))
            .collect(),
        ..ListOffsetsTopicResponse::default()
    });
    let response = ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() };
    asked.reply::<ListOffsetsRequest>(&response)
}

pub(crate) fn query(
    topic: &ListOffsetsTopic,
    partition: &ListOffsetsPartition,
    version: i16,
) -> Result<OffsetQuery, Fault> {
    let point = match partition.timestamp {
        LATEST => OffsetPoint::Latest,
        EARLIEST => OffsetPoint::Earliest,
        LARGEST_TIMESTAMP if version >= LARGEST_TIMESTAMP_FROM => OffsetPoint::LargestTimestamp,
        EARLIEST_LOCAL if version >= EARLIEST_LOCAL_FROM => OffsetPoint::Earliest,
        // Whatever it is, it must be of a partition that exists; the answer is none (`to_wire`).
        LATEST_TIERED if version >= LATEST_TIERED_FROM => OffsetPoint::Latest,
        time if time >= 0 => OffsetPoint::Time(TimestampMs(time)),
        unknown => {
            let message = format!("{unknown} is no point that version {version} has");
            return Err(Fault::new(KafkaError::UnsupportedVersion, message));
        }
    };
    Ok(OffsetQuery {
        topic: parts::topic(&topic.name)?,
        partition: parts::partition(partition.partition_index)?,
        leader_epoch: parts::epoch(partition.current_leader_epoch),
        point,
    })
}

fn to_wire(
    asked: &ListOffsetsPartition,
    answer: Result<OffsetAnswer, Fault>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let partition_index = asked.partition_index;
    let none = ListOffsetsPartitionResponse { partition_index, ..ListOffsetsPartitionResponse::default() };
    match answer {
        Ok(_) if asked.timestamp == LATEST_TIERED => none,
        Ok(found) => ListOffsetsPartitionResponse {
            offset: found.offset.map_or(-1, millrace_types::Offset::get),
            timestamp: found.timestamp.map_or(-1, |timestamp| timestamp.0),
            leader_epoch: found.leader_epoch.filter(|_| version >= EPOCHS_FROM).map_or(-1, |epoch| epoch.0),
            ..none
        },
        Err(fault) => ListOffsetsPartitionResponse { error_code: fault.code(), ..none },
    }
}
