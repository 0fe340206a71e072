//! `OffsetForLeaderEpoch` (23), versions 2 to 4 (KIP-320): where a leader epoch ended.
//!
//! Of the current epoch that is the high watermark, behind which no client has read. An epoch that the log knows nothing of is
//! answered with -1 and -1, as in Kafka. Not there: replicas that ask.

use millrace_broker::{EpochEnd, EpochQuery};
use millrace_kafka_wire::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use millrace_kafka_wire::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use millrace_kafka_wire::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use millrace_types::LeaderEpoch;

use crate::answers::Reply;
use crate::error_map::Fault;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;
use crate::request_memory::{RequestMemory, Unanswered};

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: OffsetForLeaderEpochRequest,
    _memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let wanted =
        request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |part| (topic, part)));
    let (queries, faults) = parts::readable(wanted.map(|(topic, part)| query(topic, part)).collect());
    let answers = faults.around(api.broker.epoch_ends(&caller.context, &queries), Fault::from);
    api.requests.count(Operation::OffsetForLeaderEpoch, parts::first_error(&answers));
    let mut answers = answers.into_iter();
    let topics = request.topics.into_iter().map(|topic| OffsetForLeaderTopicResult {
        topic: topic.topic,
        partitions: topic
            .partitions
            .iter()
            .zip(answers.by_ref())
            .map(|(asked, answer)| to_wire(asked.partition, answer))
            .collect(),
        ..OffsetForLeaderTopicResult::default()
    });
    let response =
        OffsetForLeaderEpochResponse { topics: topics.collect(), ..OffsetForLeaderEpochResponse::default() };
    Ok(asked.reply::<OffsetForLeaderEpochRequest>(&response)?)
}

pub(crate) fn query(
    topic: &OffsetForLeaderTopic,
    partition: &OffsetForLeaderPartition,
) -> Result<EpochQuery, Fault> {
    Ok(EpochQuery {
        topic: parts::topic(&topic.topic)?,
        partition: parts::partition(partition.partition)?,
        epoch: LeaderEpoch(partition.leader_epoch),
        leader_epoch: parts::epoch(partition.current_leader_epoch),
    })
}

fn to_wire(partition: i32, answer: Result<Option<EpochEnd>, Fault>) -> EpochEndOffset {
    let unknown = EpochEndOffset { partition, leader_epoch: -1, end_offset: -1, ..EpochEndOffset::default() };
    match answer {
        Ok(Some(found)) => {
            EpochEndOffset { leader_epoch: found.epoch.0, end_offset: found.end.get(), ..unknown }
        }
        Ok(None) => unknown,
        Err(fault) => EpochEndOffset { error_code: fault.code(), ..unknown },
    }
}
