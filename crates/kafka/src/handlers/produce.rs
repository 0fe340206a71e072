//! `Produce` (0), versions 3 to 13: appends, answered when the acknowledgement asked for is reached.
//!
//! Record bytes are appended as they came. A partition's records are exactly one batch of message format 2, as Kafka has it
//! from version 3 on. Not there: versions 0 to 2, whose connections are closed as Kafka 4 does, although it advertises them
//! (and we do) for the sake of old librdkafka; older message formats; transactional batches.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_broker::{
    Broker, Durability, PartitionProduce, PendingProduce, ProduceData, ProduceRequest, Produced as Stored,
};
use millrace_kafka_wire as wire;
use millrace_kafka_wire::produce_request::PartitionProduceData;
use millrace_kafka_wire::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use millrace_kafka_wire::{ProduceResponse, Uuid, WireError};
use millrace_types::{NodeId, limits};

use crate::answers::{Pending, Reply, WriteError};
use crate::door::Endpoint;
use crate::error_map::{Fault, KafkaError, kafka_error};
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::metrics::Requests;
use crate::parts::{self, Faults, Naming};
use crate::served::Redirects;

/// From here on topics are named by id.
const IDS_FROM: i16 = 13;
/// From here on batches may be compressed with zstd (KIP-110).
const ZSTD_FROM: i16 = 7;
/// From here on an answer tells the log start.
const LOG_START_FROM: i16 = 5;
/// From here on an answer says in words what is wrong, and which records are to blame (KIP-467).
const DETAILS_FROM: i16 = 8;
/// From here on an answer names the leader to whoever has asked another broker (KIP-951).
const REDIRECTS_FROM: i16 = 10;
/// So many partitions of an answer are told in words what is wrong; the others have the number.
const MESSAGES_MAX: usize = 100;
/// Where a batch has its length: that of what follows.
const LENGTH_AT: usize = 8;
/// Where a batch, or a message of an older format, names its format.
const MAGIC_AT: usize = 16;
const MAGIC_SERVED: u8 = 2;
/// Where a batch has the lower byte of its attributes, and the codec in it.
const ATTRIBUTES_AT: usize = 22;
const CODEC_BITS: u8 = 0b111;
const ZSTD: u8 = 4;

/// What an answer repeats of its request.
struct Topic {
    name: String,
    id: Uuid,
    /// The numbers of the partitions, as they were asked for.
    partitions: Vec<i32>,
}

/// A request that was taken apart.
pub(crate) struct Taken {
    /// What the broker can be asked.
    pub(crate) partitions: Vec<PartitionProduce>,
    durability: Durability,
    echo: Echo,
}

/// What the answer needs to know of its request.
struct Echo {
    asked: Asked,
    naming: Naming,
    topics: Vec<Topic>,
    faults: Faults,
    requests: Requests,
    /// Who knows who leads; nobody, where nothing is asked of a broker.
    leaders: Option<(Arc<Broker>, NodeId)>,
}

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: wire::ProduceRequest,
) -> Result<Option<Pending>, WireError> {
    let timeout = Some(Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)));
    let Taken { partitions, durability, mut echo } = take(asked, request, api.requests.clone());
    if asked.version >= REDIRECTS_FROM {
        echo.leaders = Some((Arc::clone(&api.broker), api.settings.node));
    }
    let (naming, count) = (echo.naming, partitions.len());
    if count == 0 {
        return echo.refused(Vec::new(), durability).map(Some);
    }
    let request = ProduceRequest { partitions, durability, timeout };
    match api.broker.produce(&caller.context, request).await {
        Ok(pending) if durability == Durability::None => Ok(echo.silent(pending).await),
        Ok(pending) => Ok(Some(Pending::Produced(Box::new(Produced { pending, echo })))),
        Err(error) => echo.refused(vec![Err(naming.fault(error)); count], durability).map(Some),
    }
}

/// A produce whose batches are appended, and that waits for its acknowledgement.
pub(crate) struct Produced {
    pending: PendingProduce,
    echo: Echo,
}

impl Produced {
    pub(crate) fn pending(&self) -> &PendingProduce {
        &self.pending
    }

    /// Waits.
    pub(crate) async fn reply(self) -> Result<Reply, WriteError> {
        let Produced { pending, echo } = self;
        let naming = echo.naming;
        let answers = pending.acknowledged().await.partitions;
        let answers = answers.into_iter().map(|answer| answer.map_err(|error| naming.fault(error)));
        Ok(echo.reply(answers.collect())?)
    }
}

/// Takes a request apart: what the broker can be asked, and what the answer needs to know.
pub(crate) fn take(asked: Asked, request: wire::ProduceRequest, requests: Requests) -> Taken {
    let naming = Naming::ids_from(IDS_FROM, asked.version);
    let durability = match request.acks {
        -1 => Ok(Durability::Committed),
        0 => Ok(Durability::None),
        1 => Ok(Durability::Leader),
        acks => Err(Fault::new(KafkaError::InvalidRequiredAcks, format!("acks {acks}"))),
    };
    let mut topics = Vec::with_capacity(request.topic_data.len());
    let mut questions = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let named = naming.topic(&topic.name, topic.topic_id);
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for part in topic.partition_data {
            partitions.push(part.index);
            let question = || {
                durability.as_ref().map_err(Fault::clone)?;
                let topic = named.as_ref().map_err(Fault::clone)?.clone();
                let partition = parts::partition(part.index)?;
                Ok(PartitionProduce {
                    topic,
                    partition,
                    data: ProduceData::Batch(batch(part, asked.version)?),
                })
            };
            questions.push(question());
        }
        topics.push(Topic { name: topic.name, id: topic.topic_id, partitions });
    }
    let (partitions, faults) = parts::readable(questions);
    let echo = Echo { asked, naming, topics, faults, requests, leaders: None };
    Taken { partitions, durability: durability.unwrap_or_default(), echo }
}

/// The batch of a partition, as far as only Kafka's protocol has a say in it.
fn batch(part: PartitionProduceData, version: i16) -> Result<Bytes, Fault> {
    let records = part.records.unwrap_or_default();
    match records.get(MAGIC_AT) {
        Some(&MAGIC_SERVED) => {}
        Some(magic @ 0..MAGIC_SERVED) => {
            let message = format!("message format {magic} is not taken, only {MAGIC_SERVED}");
            return Err(Fault::new(KafkaError::UnsupportedForMessageFormat, message));
        }
        Some(_) | None => return Err(Fault::new(KafkaError::InvalidRecord, "no record batch")),
    }
    let codec = records.get(ATTRIBUTES_AT).map_or(0, |attributes| attributes & CODEC_BITS);
    if codec == ZSTD && version < ZSTD_FROM {
        let message = format!("version {version} has no zstd");
        return Err(Fault::new(KafkaError::UnsupportedCompressionType, message));
    }
    let length = records.get(LENGTH_AT..MAGIC_AT - 4).and_then(|bytes| bytes.first_chunk::<4>());
    let size = length.map_or(0, |length| i64::from(i32::from_be_bytes(*length))) + LENGTH_AT as i64 + 4;
    if size < records.len() as i64 {
        let message = "the records of a partition are exactly one batch from version 3 on";
        return Err(Fault::new(KafkaError::InvalidRecord, message));
    }
    Ok(records)
}

impl Echo {
    /// A client that wants no answer is told of a failure by the end of its connection, as in Kafka.
    async fn silent(self, pending: PendingProduce) -> Option<Pending> {
        let refused = pending.refusal().map(|error| kafka_error(error.code));
        let _empty = pending.acknowledged().await;
        let error = self.faults.first().or(refused);
        self.requests.count(Operation::Produce, error);
        error.map(|_| end())
    }

    /// Nothing was appended.
    fn refused(
        self,
        answers: Vec<Result<Stored, Fault>>,
        durability: Durability,
    ) -> Result<Pending, WireError> {
        let reply = self.reply(answers)?;
        Ok(if durability == Durability::None { end() } else { Pending::Now(reply) })
    }

    fn reply(self, answers: Vec<Result<Stored, Fault>>) -> Result<Reply, WireError> {
        let Echo { asked, naming, topics, faults, requests, leaders } = self;
        let answers = faults.between(answers);
        requests.count(Operation::Produce, parts::first_error(&answers));
        let mut room = if asked.version >= DETAILS_FROM { Details::ROOM } else { Details::NONE };
        let mut redirects = leaders.as_ref().map(|(broker, node)| Redirects::new(broker, *node));
        let mut answers = answers.into_iter();
        let mut responses = Vec::with_capacity(topics.len());
        for Topic { name, id, partitions } in topics {
            let mut partition_responses = Vec::with_capacity(partitions.len());
            for (index, answer) in partitions.into_iter().zip(answers.by_ref()) {
                let error = answer.as_ref().err().map(|fault| fault.error);
                let mut response = to_wire(index, answer, asked.version, &mut room);
                if let (Some(error), Some(redirects)) = (error, &mut redirects)
                    && let Ok(topic) = naming.topic(&name, id)
                    && let Some((leader, epoch)) = redirects.leader(error, &topic, index)
                {
                    response.current_leader = LeaderIdAndEpoch {
                        leader_id: leader.0,
                        leader_epoch: epoch.0,
                        ..LeaderIdAndEpoch::default()
                    };
                }
                partition_responses.push(response);
            }
            responses.push(TopicProduceResponse {
                name,
                topic_id: id,
                partition_responses,
                ..TopicProduceResponse::default()
            });
        }
        let node_endpoints = redirects.into_iter().flat_map(Redirects::named).map(endpoint_to_wire);
        let response = ProduceResponse {
            responses,
            node_endpoints: node_endpoints.collect(),
            ..ProduceResponse::default()
        };
        asked.reply::<wire::ProduceRequest>(&response)
    }
}

fn endpoint_to_wire((node, endpoint): (NodeId, Endpoint)) -> NodeEndpoint {
    NodeEndpoint {
        node_id: node.0,
        host: endpoint.host,
        port: i32::from(endpoint.port),
        ..NodeEndpoint::default()
    }
}

/// How much more an answer may say of what is wrong.
#[derive(Clone, Copy, Debug)]
struct Details {
    messages: usize,
    records: usize,
}

impl Details {
    const NONE: Details = Details { messages: 0, records: 0 };
    const ROOM: Details = Details { messages: MESSAGES_MAX, records: limits::REFUSED_RECORDS_MAX };
}

/// Ends the connection behind the answers before it.
fn end() -> Pending {
    let refused = WriteError::Refused("a produce without acknowledgement was refused");
    Pending::Later { reply: Box::pin(std::future::ready(Err(refused))), led: None }
}

fn to_wire(
    index: i32,
    answer: Result<Stored, Fault>,
    version: i16,
    room: &mut Details,
) -> PartitionProduceResponse {
    let none = PartitionProduceResponse { index, base_offset: -1, ..PartitionProduceResponse::default() };
    match answer {
        Ok(produced) => PartitionProduceResponse {
            base_offset: produced.base_offset.get(),
            log_append_time_ms: produced.log_append_time.map_or(-1, |time| time.0),
            log_start_offset: if version >= LOG_START_FROM { produced.log_start.get() } else { -1 },
            ..none
        },
        Err(fault) => {
            let is_said = room.messages > 0;
            room.messages -= usize::from(is_said);
            let blamed: Vec<BatchIndexAndErrorMessage> =
                fault.records.iter().take(room.records).map(blame).collect();
            room.records -= blamed.len();
            PartitionProduceResponse {
                error_code: fault.code(),
                error_message: is_said.then_some(fault.message),
                record_errors: blamed,
                ..none
            }
        }
    }
}

fn blame(record: &usize) -> BatchIndexAndErrorMessage {
    // As many records as that do not fit into a batch.
    let batch_index = i32::try_from(*record).unwrap_or(i32::MAX);
    BatchIndexAndErrorMessage { batch_index, ..BatchIndexAndErrorMessage::default() }
}
