//! `Produce`: appends, answered when the durability asked for is reached. Also what [`super::produce_stream`] shares.

use std::time::Duration;

use bytes::Bytes;
use millrace_broker::{
    ApiError, Durability, NewHeader, NewRecord, PartitionProduce, ProduceData, ProduceRequest,
    ProduceResponse, Produced, SequenceStart,
};
use millrace_proto::v1;
use millrace_proto::v1::partition_produce::Data;
use millrace_record::Compression;
use millrace_types::{ErrorCode, ProducerEpoch, ProducerId, TimestampMs};
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::{error_in_answer, status_of};
use crate::parts;
use crate::service::Api;

/// A batch that is a smaller part of its message than one in this many is copied out of it.
const BATCH_SHARE: usize = 4;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::ProduceRequest,
) -> Result<v1::ProduceResponse, Status> {
    let message_bytes = caller.permits.unclaimed_bytes();
    let (asked, request) = take(request, message_bytes).map_err(|refused| status_of(refused.error))?;
    let Some(request) = request else { return Ok(asked.refused_in_part()) };
    let pending = api.broker.produce(&caller.context, request).await.map_err(status_of)?;
    Ok(asked.answer(pending.acknowledged().await))
}

/// What has to be known of a request to answer it.
#[derive(Debug)]
pub(crate) struct Asked {
    partitions: Vec<AskedPartition>,
    correlation_id: u64,
}

#[derive(Debug)]
struct AskedPartition {
    topic: Option<v1::TopicRef>,
    partition: i32,
    /// Set: the part could not be read, and the broker was not asked.
    refused: Option<ApiError>,
}

impl Asked {
    /// Remembers where the answers of a request belong. Topic ids are copied: a slice would keep the whole message.
    fn of(request: &v1::ProduceRequest) -> Asked {
        let partitions = request.partitions.iter().map(|part| AskedPartition {
            topic: part.topic.as_ref().map(|topic| v1::TopicRef {
                name: topic.name.clone(),
                id: Bytes::copy_from_slice(&topic.id),
            }),
            partition: part.partition,
            refused: None,
        });
        Asked { partitions: partitions.collect(), correlation_id: request.correlation_id }
    }

    /// The answer of the broker, with the parts that it was not asked for. Empty if the client wants no answer.
    pub(crate) fn answer(self, response: ProduceResponse) -> v1::ProduceResponse {
        if response.partitions.is_empty() {
            return self.refused_in_part();
        }
        let mut answers = response.partitions.into_iter();
        let lost = || Err(ApiError::new(ErrorCode::Internal, "the broker left a partition unanswered"));
        self.zip(|refused| match refused {
            Some(error) => Some(Err(error)),
            None => Some(answers.next().unwrap_or_else(lost)),
        })
    }

    /// The parts that were refused, where no part is answered otherwise.
    pub(crate) fn refused_in_part(self) -> v1::ProduceResponse {
        self.zip(|refused| refused.map(Err))
    }

    /// One error for all parts.
    pub(crate) fn refused(self, error: &ApiError) -> v1::ProduceResponse {
        self.zip(|refused| Some(Err(refused.unwrap_or_else(|| error.clone()))))
    }

    fn zip(
        self,
        mut answer: impl FnMut(Option<ApiError>) -> Option<Result<Produced, ApiError>>,
    ) -> v1::ProduceResponse {
        let partitions = self.partitions.into_iter().filter_map(|asked| {
            answer(asked.refused).map(|result| to_wire(asked.topic, asked.partition, result))
        });
        v1::ProduceResponse { partitions: partitions.collect(), correlation_id: self.correlation_id }
    }
}

/// A request that is refused as a whole.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) asked: Asked,
    pub(crate) error: ApiError,
}

/// The broker's form of a request that came in a message of so many bytes; `None` if no part of it can be read.
pub(crate) fn take(
    request: v1::ProduceRequest,
    message_bytes: usize,
) -> Result<(Asked, Option<ProduceRequest>), Box<Refused>> {
    let mut asked = Asked::of(&request);
    let durability = match check_whole(&request) {
        Ok(durability) => durability,
        Err(error) => return Err(Box::new(Refused { asked, error })),
    };
    let timeout = Some(request.timeout_ms).filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.into()));
    let mut partitions = Vec::with_capacity(request.partitions.len());
    for (part, asked) in request.partitions.into_iter().zip(&mut asked.partitions) {
        match take_partition(part, message_bytes) {
            Ok(part) => partitions.push(part),
            Err(error) => asked.refused = Some(error),
        }
    }
    // A request without parts goes to the broker, which says what it thinks of it.
    let nothing_readable = partitions.is_empty() && !asked.partitions.is_empty();
    let request = ProduceRequest { partitions, durability, timeout };
    Ok((asked, (!nothing_readable).then_some(request)))
}

fn check_whole(request: &v1::ProduceRequest) -> Result<Durability, ApiError> {
    parts::check_count(request.partitions.len())?;
    match v1::Durability::try_from(request.durability) {
        Ok(v1::Durability::Committed) => Ok(Durability::Committed),
        Ok(v1::Durability::Leader) => Ok(Durability::Leader),
        Ok(v1::Durability::None) => Ok(Durability::None),
        Err(unknown) => Err(parts::invalid(format!("durability: {unknown}"))),
    }
}

fn take_partition(wire: v1::PartitionProduce, message_bytes: usize) -> Result<PartitionProduce, ApiError> {
    let compression = compression(wire.compression)?;
    let data = match wire.data {
        None => return Err(parts::invalid("neither a batch nor records are given")),
        Some(Data::Batch(_)) if wire.sequence.is_some() || compression != Compression::None => {
            return Err(parts::invalid("sequence and compression are said by the batch itself"));
        }
        Some(Data::Batch(batch)) => ProduceData::Batch(detached(batch, message_bytes)),
        Some(Data::Records(list)) if list.records.is_empty() => {
            return Err(parts::invalid("the list of records is empty"));
        }
        Some(Data::Records(list)) => ProduceData::Records {
            records: list.records.into_iter().map(take_record).collect::<Result<_, _>>()?,
            sequence: wire.sequence.map(|sequence| take_sequence(&sequence)).transpose()?,
            compression,
        },
    };
    let topic = parts::topic(wire.topic.as_ref())?;
    Ok(PartitionProduce { topic, partition: parts::partition(wire.partition)?, data })
}

/// The batch, without the rest of its message unless that is little. The log keeps what was appended last for readers
/// at the tail, long after the permit of the message has gone back, and a slice keeps the whole message.
fn detached(batch: Bytes, message_bytes: usize) -> Bytes {
    if batch.len() < message_bytes / BATCH_SHARE { Bytes::copy_from_slice(&batch) } else { batch }
}

fn compression(wire: i32) -> Result<Compression, ApiError> {
    match v1::Compression::try_from(wire) {
        Ok(v1::Compression::None) => Ok(Compression::None),
        Ok(v1::Compression::Gzip) => Ok(Compression::Gzip),
        Ok(v1::Compression::Snappy) => Ok(Compression::Snappy),
        Ok(v1::Compression::Lz4) => Ok(Compression::Lz4),
        Ok(v1::Compression::Zstd) => Ok(Compression::Zstd),
        Err(unknown) => Err(ApiError::new(ErrorCode::UnsupportedCompression, unknown.to_string())),
    }
}

fn take_record(wire: v1::Record) -> Result<NewRecord, ApiError> {
    let timestamp = match wire.timestamp_ms {
        Some(ms) if ms < 0 => return Err(parts::invalid(format!("timestamp {ms} is negative"))),
        timestamp => timestamp.map(TimestampMs),
    };
    let headers = wire.headers.into_iter();
    let headers = headers.map(|header| NewHeader { key: header.key.into(), value: header.value }).collect();
    Ok(NewRecord { key: wire.key, value: wire.value, headers, timestamp })
}

fn take_sequence(wire: &v1::ProducerSequence) -> Result<SequenceStart, ApiError> {
    let epoch = i16::try_from(wire.producer_epoch).ok().filter(|epoch| *epoch >= 0);
    let Some(epoch) = epoch else {
        return Err(parts::invalid(format!("producer epoch {} is out of range", wire.producer_epoch)));
    };
    if wire.producer_id < 0 || wire.base_sequence < 0 {
        return Err(parts::invalid("producer id and sequence are not negative"));
    }
    let id = ProducerId(wire.producer_id);
    Ok(SequenceStart { id, epoch: ProducerEpoch(epoch), base_sequence: wire.base_sequence })
}

fn to_wire(
    topic: Option<v1::TopicRef>,
    partition: i32,
    result: Result<Produced, ApiError>,
) -> v1::PartitionProduced {
    let wire = v1::PartitionProduced { topic, partition, ..Default::default() };
    match result {
        Ok(produced) => v1::PartitionProduced {
            base_offset: produced.base_offset.get(),
            last_offset: produced.last_offset.get(),
            log_append_time_ms: produced.log_append_time.map(|time| time.0),
            log_start_offset: produced.log_start.get(),
            duplicate: produced.duplicate,
            ..wire
        },
        Err(error) => v1::PartitionProduced { error: Some(error_in_answer(error)), ..wire },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_batch_does_not_keep_a_large_message() {
        let message = Bytes::from(vec![7; 1000]);
        let range = message.as_ptr_range();
        let lies_in_message = |length| {
            let wire = v1::PartitionProduce {
                topic: Some(v1::TopicRef { name: "orders".to_owned(), id: Bytes::new() }),
                data: Some(Data::Batch(message.slice(..length))),
                ..Default::default()
            };
            let request = v1::ProduceRequest { partitions: vec![wire], ..Default::default() };
            let (_, taken) = take(request, message.len()).unwrap();
            let ProduceData::Batch(batch) = taken.unwrap().partitions.remove(0).data else { panic!() };
            assert_eq!(batch, message.slice(..length));
            range.contains(&batch.as_ptr())
        };
        assert_eq!([249, 250, 1000].map(lies_in_message), [false, true, true]);
    }
}
