//! `DescribeProducers` (61), version 0 (KIP-664): the idempotent producers that a partition remembers.
//!
//! Not there: transactions, so that no producer has one open. One answer tells of as many producers as one partition remembers
//! at most; the partitions that are too many are refused with `INVALID_REQUEST`.

use millrace_broker::ActiveProducer;
use millrace_kafka_wire::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use millrace_kafka_wire::{DescribeProducersRequest, DescribeProducersResponse};

use crate::answers::Reply;
use crate::error_map::Fault;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;
use crate::request_memory::{RequestMemory, Unanswered};

/// There is no coordinator of transactions.
const NO_COORDINATOR: i32 = -1;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: DescribeProducersRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let wanted = request
        .topics
        .iter()
        .flat_map(|topic| topic.partition_indexes.iter().map(move |partition| (&topic.name, *partition)));
    let questions = wanted.map(|(name, partition)| Ok((parts::topic(name)?, parts::partition(partition)?)));
    let (partitions, faults) = parts::readable(questions.collect());
    let described = api.broker.describe_producers(&caller.context, &partitions, memory.permit()).await;
    let answers = faults.around(described, Fault::from);
    api.requests.count(Operation::DescribeProducers, parts::first_error(&answers));
    let mut answers = answers.into_iter();
    let topics = request.topics.into_iter().map(|topic| TopicResponse {
        name: topic.name,
        partitions: topic
            .partition_indexes
            .iter()
            .zip(answers.by_ref())
            .map(|(partition, answer)| to_wire(*partition, answer))
            .collect(),
        ..TopicResponse::default()
    });
    let response =
        DescribeProducersResponse { topics: topics.collect(), ..DescribeProducersResponse::default() };
    Ok(asked.reply::<DescribeProducersRequest>(&response)?)
}

fn to_wire(partition_index: i32, answer: Result<Vec<ActiveProducer>, Fault>) -> PartitionResponse {
    let none = PartitionResponse { partition_index, error_message: None, ..PartitionResponse::default() };
    let state = |producer: ActiveProducer| ProducerState {
        producer_id: producer.id.0,
        producer_epoch: i32::from(producer.epoch.0),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp.0,
        coordinator_epoch: NO_COORDINATOR,
        ..ProducerState::default()
    };
    match answer {
        Ok(producers) => {
            PartitionResponse { active_producers: producers.into_iter().map(state).collect(), ..none }
        }
        Err(fault) => {
            PartitionResponse { error_code: fault.code(), error_message: Some(fault.message), ..none }
        }
    }
}
