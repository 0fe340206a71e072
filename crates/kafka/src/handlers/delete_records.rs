//! `DeleteRecords` (21), versions 0 to 2: the log start moves, durably (KIP-107).
//!
//! Not there: the request's timeout, which has no effect. An offset of -1 stands for the high watermark.

use millrace_broker::RecordsToDelete;
use millrace_kafka_wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use millrace_kafka_wire::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use millrace_kafka_wire::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::answers::Reply;
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;
use crate::request_memory::{RequestMemory, Unanswered};

/// Everything that is committed.
const TO_HIGH_WATERMARK: i64 = -1;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: DeleteRecordsRequest,
    _memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let wanted =
        request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |part| (topic, part)));
    let questions = wanted.map(|(topic, partition)| question(topic, partition)).collect();
    let (partitions, faults) = parts::readable(questions);
    let answers = faults.around(api.broker.delete_records(&caller.context, partitions).await, fault);
    api.requests.count(Operation::DeleteRecords, parts::first_error(&answers));
    let mut answers = answers.into_iter();
    let topics = request.topics.into_iter().map(|topic| DeleteRecordsTopicResult {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .zip(answers.by_ref())
            .map(|(asked, answer)| DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark: answer.as_ref().map_or(-1, |log_start| log_start.get()),
                error_code: answer.as_ref().map_or_else(Fault::code, |_| 0),
                ..DeleteRecordsPartitionResult::default()
            })
            .collect(),
        ..DeleteRecordsTopicResult::default()
    });
    let response = DeleteRecordsResponse { topics: topics.collect(), ..DeleteRecordsResponse::default() };
    Ok(asked.reply::<DeleteRecordsRequest>(&response)?)
}

pub(crate) fn question(
    topic: &DeleteRecordsTopic,
    partition: &DeleteRecordsPartition,
) -> Result<RecordsToDelete, Fault> {
    Ok(RecordsToDelete {
        topic: parts::topic(&topic.name)?,
        partition: parts::partition(partition.partition_index)?,
        before: match partition.offset {
            TO_HIGH_WATERMARK => None,
            offset => Some(parts::offset(offset)?),
        },
    })
}

/// A topic whose records may not be deleted this way is one that Kafka's policies forbid it for.
fn fault(error: millrace_broker::ApiError) -> Fault {
    let fault = Fault::from(error);
    match fault.error {
        KafkaError::InvalidRequest => Fault { error: KafkaError::PolicyViolation, ..fault },
        _ => fault,
    }
}
