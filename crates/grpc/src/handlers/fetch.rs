//! `Fetch`: batches as they are stored, or records decoded here for clients that cannot.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millrace_broker::{
    ApiError, Begin, End, FetchRequest, Fetched, PartitionFetch, Permit, RangeQuery, ResolvedRange,
};
use millrace_proto::v1;
use millrace_types::limits::{FETCH_BYTES_MAX, FETCH_WAIT_MS_MAX};
use millrace_types::{ErrorCode, Offset, TimestampMs};
use tonic::Status;

use crate::caller::Caller;
use crate::decode::{DecodedRecords, decode};
use crate::error_map::{error_in_answer, status_of};
use crate::parts;
use crate::service::Api;

/// The byte budget of an answer where the client names none.
const BYTES_MAX_DEFAULT: usize = 1024 * 1024;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    mut request: v1::FetchRequest,
) -> Result<v1::FetchResponse, Status> {
    let format = check_format(&request).map_err(status_of)?;
    let bytes_max = bytes_max(&request);
    let refused = resolve_times(api, caller, &mut request.partitions).await.map_err(status_of)?;
    let (answers, permit) = ask(api, caller, &request, &refused).await.map_err(status_of)?;
    // The request has been read: its memory goes back before decoded records ask for theirs, or calls that hold one
    // and wait for the other could lock each other out. (The broker bounds its own wait for the answer's memory.)
    caller.permits.release();
    if answers.iter().flatten().all(|fetched| fetched.extents.is_empty()) {
        let empty = |fetched: Fetched| offsets_to_wire(&fetched, fetched.next_offset);
        let answers = answers.into_iter().map(|answer| answer.map(empty)).collect();
        return Ok(to_response(request.partitions, answers));
    }
    let answers = match format {
        v1::FetchFormat::Batches => {
            if let Some(permit) = permit {
                caller.permits.pay_answer(permit);
            }
            answers.into_iter().map(|answer| answer.map(|fetched| batches_to_wire(&fetched))).collect()
        }
        v1::FetchFormat::Records => {
            let decoded = decode(api, &request.partitions, answers, bytes_max).await.map_err(status_of)?;
            let size = decoded.iter().flatten().map(|partition| partition.bytes).sum::<usize>();
            // The batches are gone; what counts now are the records.
            drop(permit);
            caller.permits.pay_answer(api.memory_for(size).await.map_err(status_of)?);
            decoded.into_iter().map(|answer| answer.map(records_to_wire)).collect()
        }
    };
    Ok(to_response(request.partitions, answers))
}

fn bytes_max(request: &v1::FetchRequest) -> usize {
    match request.max_bytes as usize {
        0 => BYTES_MAX_DEFAULT,
        bytes => bytes.min(FETCH_BYTES_MAX),
    }
}

fn check_format(request: &v1::FetchRequest) -> Result<v1::FetchFormat, ApiError> {
    parts::check_count(request.partitions.len())?;
    v1::FetchFormat::try_from(request.format).map_err(|unknown| parts::invalid(format!("format: {unknown}")))
}

/// Puts offsets in the place of times; tells of the partitions of which that cannot be done.
async fn resolve_times(
    api: &Api,
    caller: &Caller,
    partitions: &mut [v1::PartitionFetch],
) -> Result<BTreeMap<usize, ApiError>, ApiError> {
    let mut refused = BTreeMap::new();
    let (mut places, mut queries) = (Vec::new(), Vec::new());
    for (place, part) in partitions.iter().enumerate() {
        if part.from_ms.is_some() || part.until_ms.is_some() {
            match range_query(part) {
                Ok(query) => {
                    places.push(place);
                    queries.push(query);
                }
                Err(error) => {
                    refused.insert(place, error);
                }
            }
        }
    }
    if queries.is_empty() {
        return Ok(refused);
    }
    let ranges = api.broker.resolve_ranges(&caller.context, &queries).await?;
    for (place, range) in places.into_iter().zip(ranges) {
        match (range, partitions.get_mut(place)) {
            (Ok(ResolvedRange { begin, end }), Some(part)) => {
                part.offset = begin.get();
                part.end_offset = end.map(Offset::get);
            }
            (Err(error), _) => {
                refused.insert(place, error);
            }
            (Ok(_), None) => {}
        }
    }
    Ok(refused)
}

fn range_query(part: &v1::PartitionFetch) -> Result<RangeQuery, ApiError> {
    let time = |ms: i64| TimestampMs(ms.max(0));
    let begin = match part.from_ms {
        Some(ms) => Begin::Time(time(ms)),
        None => Begin::Offset(parts::offset("offset", part.offset)?),
    };
    let end = match (part.until_ms, part.end_offset) {
        (Some(ms), _) => Some(End::Time(time(ms))),
        (None, Some(end)) => Some(End::Offset(parts::offset("end offset", end)?)),
        (None, None) => None,
    };
    let topic = parts::topic(part.topic.as_ref())?;
    Ok(RangeQuery { topic, partition: parts::partition(part.partition)?, begin, end })
}

/// Asks the broker; a broker that drains answers nobody who still waits.
async fn ask(
    api: &Api,
    caller: &Caller,
    request: &v1::FetchRequest,
    refused: &BTreeMap<usize, ApiError>,
) -> Result<(Vec<Result<Fetched, ApiError>>, Option<Permit>), ApiError> {
    let isolation = parts::isolation(request.isolation)?;
    let question = |(place, part)| match refused.get(&place) {
        Some(error) => Err(error.clone()),
        None => question(part),
    };
    let questions: Vec<_> = request.partitions.iter().enumerate().map(question).collect();
    let wait_ms = if questions.iter().any(Result::is_err) { 0 } else { u64::from(request.max_wait_ms) };
    let mut permit = None;
    let asked = parts::ask_readable(questions, async |partitions| {
        let request = FetchRequest {
            partitions,
            bytes_max: bytes_max(request),
            bytes_min: (request.min_bytes as usize).max(1),
            wait: Duration::from_millis(wait_ms.min(FETCH_WAIT_MS_MAX)),
            isolation,
        };
        let answer = api.broker.fetch(&caller.context, request).await?;
        permit = answer.permit;
        Ok(answer.partitions)
    });
    let answers = tokio::select! {
        biased;
        answers = asked => answers?,
        () = api.draining.cancelled() => {
            return Err(ApiError::new(ErrorCode::ShuttingDown, "the broker is shutting down"));
        }
    };
    Ok((answers, permit))
}

pub(crate) fn question(wire: &v1::PartitionFetch) -> Result<PartitionFetch, ApiError> {
    Ok(PartitionFetch {
        topic: parts::topic(wire.topic.as_ref())?,
        partition: parts::partition(wire.partition)?,
        offset: parts::offset("offset", wire.offset)?,
        end_offset: wire.end_offset.map(|end| parts::offset("end offset", end)).transpose()?,
        bytes_max: Some(wire.max_bytes as usize).filter(|bytes| *bytes > 0),
        last_read_epoch: parts::epoch(wire.last_read_epoch),
        leader_epoch: None,
    })
}

/// The extents of a partition as one run. One extent, which is the usual case, is not copied.
fn joined(extents: &[Bytes]) -> Bytes {
    match extents {
        [] => Bytes::new(),
        [extent] => extent.clone(),
        extents => {
            let mut bytes = BytesMut::with_capacity(extents.iter().map(Bytes::len).sum());
            extents.iter().for_each(|extent| bytes.extend_from_slice(extent));
            bytes.freeze()
        }
    }
}

pub(super) fn batches_to_wire(fetched: &Fetched) -> v1::PartitionFetched {
    let batches = joined(&fetched.extents);
    v1::PartitionFetched { batches, ..offsets_to_wire(fetched, fetched.next_offset) }
}

pub(super) fn records_to_wire(decoded: DecodedRecords) -> v1::PartitionFetched {
    let offsets = offsets_to_wire(&decoded.fetched, decoded.next_offset);
    v1::PartitionFetched { records: decoded.records, ..offsets }
}

fn offsets_to_wire(fetched: &Fetched, next_offset: Offset) -> v1::PartitionFetched {
    v1::PartitionFetched {
        next_offset: next_offset.get(),
        high_watermark: fetched.high_watermark.get(),
        last_stable_offset: fetched.last_stable.get(),
        log_start_offset: fetched.log_start.get(),
        ..Default::default()
    }
}

fn to_response(
    asked: Vec<v1::PartitionFetch>,
    answers: Vec<Result<v1::PartitionFetched, ApiError>>,
) -> v1::FetchResponse {
    let partitions = asked.into_iter().zip(answers).map(|(asked, answer)| {
        let (topic, partition) = (asked.topic, asked.partition);
        let end_offset = asked.until_ms.and(asked.end_offset);
        match answer {
            Ok(answer) => v1::PartitionFetched { topic, partition, end_offset, ..answer },
            Err(error) => v1::PartitionFetched {
                topic,
                partition,
                error: Some(error_in_answer(error)),
                ..Default::default()
            },
        }
    });
    v1::FetchResponse { partitions: partitions.collect() }
}
