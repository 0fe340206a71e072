//! Batches, answers and outcomes between the lanes' words, the wire's and the caller's.

use std::time::Duration;

use bytes::Bytes;
use millrace_proto::v1;
use millrace_types::{Offset, TimestampMs, TopicPartition};

use super::ProduceError;
use super::accumulator::Ticket;
use super::delivery::BatchAck;
use super::lane::Failure;
use crate::Refusal;
use crate::metadata::TopicInfo;

pub(super) fn partition_produce(topic: &TopicInfo, at: TopicPartition, batch: Bytes) -> v1::PartitionProduce {
    v1::PartitionProduce {
        topic: Some(v1::TopicRef::by_both(&topic.name, at.topic)),
        partition: at.partition.get(),
        data: Some(v1::partition_produce::Data::Batch(batch)),
        sequence: None,
        compression: 0,
    }
}

pub(super) fn is_of(produced: &v1::PartitionProduced, at: TopicPartition) -> bool {
    let id = produced.topic.as_ref().map(|topic| topic.id.as_ref());
    id == Some(at.topic.0.as_slice()) && produced.partition == at.partition.get()
}

pub(super) fn ack_of(produced: v1::PartitionProduced) -> Result<BatchAck, Refusal> {
    match produced.error {
        Some(error) => Err(Refusal::of(error)),
        None => Ok(BatchAck {
            base_offset: Offset::new(produced.base_offset),
            append_time: produced.log_append_time_ms.map(TimestampMs),
        }),
    }
}

pub(super) fn describe(failure: Failure, ticket: &Ticket, after: Duration) -> ProduceError {
    let (topic, partition) = (ticket.completion().topic.clone(), ticket.completion().partition);
    match failure {
        Failure::Refused { refusal, outcome } => ProduceError::Refused { topic, partition, refusal, outcome },
        Failure::TimedOut { last, outcome } => {
            ProduceError::TimedOut { topic, partition, after, last, outcome }
        }
        Failure::Lost { reason } => ProduceError::Lost { topic, partition, reason },
    }
}
