//! `Fetch` (1), versions 4 to 18: batches as stored, waited for if need be.
//!
//! With sessions (KIP-227), which belong to their connection (`fetch_session`). Not there: fetches of replicas, aborted
//! transactions (there are no transactions), reading from followers.

use std::time::Duration;

use bytes::Bytes;
use millrace_broker::{Extent, FetchRequest, Fetched, Isolation, PartitionFetch};
use millrace_kafka_wire as wire;
use millrace_kafka_wire::fetch_request::{FetchPartition, FetchTopic};
use millrace_kafka_wire::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use millrace_types::NodeId;
use millrace_types::limits::KAFKA_ELEMENT_BYTES;

use crate::answer::{Records, encode};
use crate::answers::Reply;
use crate::door::Endpoint;
use crate::error_map::Fault;
use crate::fetch_session::Within;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts::{self, Naming};
use crate::request_memory::{RequestMemory, Unanswered};
use crate::served::Redirects;

/// From here on topics are named by id.
pub(crate) const IDS_FROM: i16 = 13;
/// From here on an answer may say where the reader's log and ours part (KIP-320, KIP-595).
const DIVERGING_FROM: i16 = 12;
/// From here on an answer tells the log start.
const LOG_START_FROM: i16 = 5;
/// From here on an answer names the leader to whoever has asked another broker (KIP-951).
const REDIRECTS_FROM: i16 = 16;
/// From here on there are sessions, and a request as a whole may fail.
const SESSIONS_FROM: i16 = 7;
/// So many partitions are within what every request pays for.
const PARTITIONS_UNPAID_MAX: usize = 32;
/// Answer records of transactions once they are committed.
const READ_COMMITTED: i8 = 1;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    mut request: wire::FetchRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let within = if asked.version >= SESSIONS_FROM {
        let by_id = asked.version >= IDS_FROM;
        caller.sessions.enter(&api.sessions, &*api.env.rng, &mut request, by_id)
    } else {
        Ok(Within::NoSession)
    };
    let mut within = match within {
        Ok(within) => within,
        Err(error) => {
            api.requests.count(Operation::Fetch, Some(error));
            let response = wire::FetchResponse { error_code: error.code(), ..Default::default() };
            return Ok(asked.reply::<wire::FetchRequest>(&response)?);
        }
    };
    if let Within::Known(_) = within {
        // They were not named, and so are not paid for.
        let partitions: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        if partitions > PARTITIONS_UNPAID_MAX {
            memory.more(partitions * KAFKA_ELEMENT_BYTES).await?;
        }
    }
    let naming = Naming::ids_from(IDS_FROM, asked.version);
    let parts =
        request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |part| (topic, part)));
    let questions: Vec<_> = parts.map(|(topic, part)| question(naming, topic, part)).collect();
    let readable = questions.iter().all(Result::is_ok);
    let (partitions, faults) = parts::readable(questions);
    let count = partitions.len();
    let wait_ms = if readable { u64::try_from(request.max_wait_ms).unwrap_or(0) } else { 0 };
    let positive = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
    let ask = FetchRequest {
        partitions,
        bytes_max: positive(request.max_bytes),
        bytes_min: positive(request.min_bytes),
        wait: Duration::from_millis(wait_ms),
        isolation: if request.isolation_level == READ_COMMITTED {
            Isolation::Stable
        } else {
            Isolation::Committed
        },
    };
    let (answers, permit) = match api.broker.fetch_located(&caller.context, ask).await {
        Ok(answer) => (answer.partitions, answer.permit),
        Err(refused) => (vec![Err(refused); count], None),
    };
    let answers = answers.into_iter().map(|answer| answer.map_err(|error| naming.fault(error)));
    let answers: Vec<Result<Fetched<Extent>, Fault>> = faults.between(answers.collect());
    api.requests.count(Operation::Fetch, parts::first_error(&answers));
    let mut redirects = Redirects::new(&api.broker, api.settings.node);
    let (mut response, records) = to_wire(request, answers, asked.version, &mut within, &mut redirects);
    response.node_endpoints = redirects.named().map(endpoint_to_wire).collect();
    caller.sessions.leave(within);
    let rope = encode::<wire::FetchRequest>(asked.correlation, asked.version, &response, records)?;
    Ok(Reply { rope, permit })
}

pub(crate) fn question(
    naming: Naming,
    topic: &FetchTopic,
    partition: &FetchPartition,
) -> Result<PartitionFetch, Fault> {
    Ok(PartitionFetch {
        topic: naming.topic(&topic.topic, topic.topic_id)?,
        partition: parts::partition(partition.partition)?,
        offset: parts::offset(partition.fetch_offset)?,
        end_offset: None,
        bytes_max: Some(usize::try_from(partition.partition_max_bytes).unwrap_or(0)),
        last_read_epoch: parts::epoch(partition.last_fetched_epoch),
        leader_epoch: parts::epoch(partition.current_leader_epoch),
    })
}

fn to_wire(
    request: wire::FetchRequest,
    answers: Vec<Result<Fetched<Extent>, Fault>>,
    version: i16,
    within: &mut Within,
    redirects: &mut Redirects<'_>,
) -> (wire::FetchResponse, Records) {
    let (mut records, mut answers) = (Records::default(), answers.into_iter());
    let committed = request.isolation_level == READ_COMMITTED;
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::new();
        for (asked, answer) in topic.partitions.iter().zip(answers.by_ref()) {
            let mut answered = match answer {
                Ok(fetched) => fetched_to_wire(fetched, &mut records, version),
                Err(fault) => {
                    let mut refused = fault_to_wire(&fault, version);
                    if version >= REDIRECTS_FROM
                        && let Ok(name) = Naming::Ids.topic(&topic.topic, topic.topic_id)
                        && let Some((leader, epoch)) = redirects.leader(fault.error, &name, asked.partition)
                    {
                        refused.current_leader = LeaderIdAndEpoch {
                            leader_id: leader.0,
                            leader_epoch: epoch.0,
                            ..LeaderIdAndEpoch::default()
                        };
                    }
                    refused
                }
            };
            answered.partition_index = asked.partition;
            // Null says that nobody has looked for aborted transactions, which is right for whoever reads everything.
            answered.aborted_transactions = committed.then(Vec::new);
            if within.tells(&topic, &answered) {
                partitions.push(answered);
            }
        }
        if partitions.is_empty() && within.is_known() {
            continue;
        }
        responses.push(FetchableTopicResponse {
            topic: topic.topic,
            topic_id: topic.topic_id,
            partitions,
            ..FetchableTopicResponse::default()
        });
    }
    (wire::FetchResponse { responses, session_id: within.id(), ..wire::FetchResponse::default() }, records)
}

fn endpoint_to_wire((node, endpoint): (NodeId, Endpoint)) -> NodeEndpoint {
    NodeEndpoint {
        node_id: node.0,
        host: endpoint.host,
        port: i32::from(endpoint.port),
        ..NodeEndpoint::default()
    }
}

fn fetched_to_wire(fetched: Fetched<Extent>, records: &mut Records, version: i16) -> PartitionData {
    PartitionData {
        high_watermark: fetched.high_watermark.get(),
        last_stable_offset: fetched.last_stable.get(),
        log_start_offset: if version >= LOG_START_FROM { fetched.log_start.get() } else { -1 },
        records: Some(records.stand_for(fetched.extents)),
        ..PartitionData::default()
    }
}

fn fault_to_wire(fault: &Fault, version: i16) -> PartitionData {
    let none = PartitionData { high_watermark: -1, records: Some(Bytes::new()), ..PartitionData::default() };
    match fault.diverging {
        // No error: the reader is told how far back it has to go.
        Some(parted) if version >= DIVERGING_FROM => PartitionData {
            diverging_epoch: EpochEndOffset {
                epoch: parted.epoch.0,
                end_offset: parted.end.get(),
                ..EpochEndOffset::default()
            },
            ..none
        },
        _ => PartitionData { error_code: fault.code(), ..none },
    }
}
