//! `Subscribe`: messages as records come, at the pace of the client.
//!
//! ```text
//!   HTTP/2 asks ─► room? (pace) ─► the broker's next message, its memory granted ─► encoded ─► handed to HTTP/2
//! ```
//! Nothing is read before HTTP/2 asks for it, which it does only while the client's window is open. So a slow client holds
//! what was encoded and not taken yet, bounded by `SUBSCRIBE_UNSENT_BYTES_MAX` and one message, and no segment.

use std::pin::Pin;

use futures::Stream;
use millrace_broker::{
    ApiError, Begin, End, PartitionSubscribe, Permit, ResolvedRange, SubscribeRequest, Subscribed,
    SubscribedPart, Subscription,
};
use millrace_proto::v1;
use millrace_proto::v1::partition_subscribe as wire;
use millrace_types::limits::FETCH_BYTES_MAX;
use millrace_types::{ErrorCode, Offset, TimestampMs};
use tonic::Status;

use super::fetch::{batches_to_wire, records_to_wire};
use crate::caller::Caller;
use crate::decode::decode;
use crate::error_map::{error_in_answer, refuse, status_of};
use crate::pace::Stalled;
use crate::parts;
use crate::service::Api;

/// The byte budget of a message where the client names none.
const BYTES_MAX_DEFAULT: usize = 1024 * 1024;

/// The messages of one stream.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

pub(crate) async fn handle(
    api: Api,
    caller: Caller,
    request: v1::SubscribeRequest,
) -> Result<Messages, Status> {
    let feed = Feed::open(api, caller, request).await.map_err(status_of)?;
    Ok(Box::pin(futures::stream::unfold(feed, Feed::step)))
}

/// A stream under way.
struct Feed {
    api: Api,
    caller: Caller,
    subscription: Subscription,
    format: v1::FetchFormat,
    bytes_max: usize,
    /// How the request names its partitions.
    asked: Vec<(Option<v1::TopicRef>, i32)>,
    /// The place in the request of each partition that the broker was asked for.
    places: Vec<usize>,
    first: Option<v1::SubscribeResponse>,
    ended: bool,
    /// Pays for the state of the stream, as it has paid for the request.
    _request: Option<Permit>,
}

impl Feed {
    async fn open(api: Api, caller: Caller, request: v1::SubscribeRequest) -> Result<Feed, ApiError> {
        parts::check_count(request.partitions.len())?;
        let format = v1::FetchFormat::try_from(request.format)
            .map_err(|unknown| parts::invalid(format!("format: {unknown}")))?;
        let isolation = parts::isolation(request.isolation)?;
        let bytes_max = match request.max_message_bytes as usize {
            0 => BYTES_MAX_DEFAULT,
            bytes => bytes.min(FETCH_BYTES_MAX),
        };
        let questions: Vec<_> = request.partitions.iter().map(question).collect();
        let mut places = Vec::new();
        let mut partitions = Vec::new();
        let mut errors = Vec::new();
        for (place, question) in questions.into_iter().enumerate() {
            errors.push(match question {
                Ok(question) => {
                    places.push(place);
                    partitions.push(question);
                    None
                }
                Err(error) => Some(error),
            });
        }
        let request_permit = caller.permits.claim();
        let asked = request.partitions.into_iter().map(|part| (part.topic, part.partition)).collect();
        let request = SubscribeRequest { partitions, bytes_max, isolation };
        let subscription = api.broker.subscribe(&caller.context, request).await?;
        let mut feed = Feed {
            api,
            caller,
            subscription,
            format,
            bytes_max,
            asked,
            places,
            first: None,
            ended: false,
            _request: request_permit,
        };
        feed.first = Some(feed.beginning(errors));
        Ok(feed)
    }

    /// The first message: what each partition of the request became.
    fn beginning(&self, errors: Vec<Option<ApiError>>) -> v1::SubscribeResponse {
        let mut ranges = self.subscription.ranges().iter();
        let partitions = errors.into_iter().enumerate().map(|(place, error)| {
            let range = match (error, &mut ranges) {
                (Some(error), _) => Err(error),
                (None, ranges) => ranges.next().cloned().unwrap_or_else(|| {
                    Err(ApiError::new(ErrorCode::Internal, "the broker left a partition unanswered"))
                }),
            };
            let mut told = self.part(place, Ok(v1::PartitionFetched::default()));
            match range {
                Ok(ResolvedRange { begin, end }) => {
                    if let Some(fetched) = &mut told.fetched {
                        fetched.next_offset = begin.get();
                    }
                    let (begin_offset, end_offset) = (begin.get(), end.map(Offset::get));
                    told.range = Some(v1::SubscribedRange { begin_offset, end_offset });
                }
                Err(error) => told = self.part(place, Err(error)),
            }
            told
        });
        v1::SubscribeResponse { partitions: partitions.collect() }
    }

    fn part(&self, place: usize, fetched: Result<v1::PartitionFetched, ApiError>) -> v1::PartitionSubscribed {
        let (topic, partition) = self.asked.get(place).cloned().unwrap_or_default();
        let fetched = match fetched {
            Ok(fetched) => v1::PartitionFetched { topic, partition, ..fetched },
            Err(error) => {
                let error = Some(error_in_answer(error));
                v1::PartitionFetched { topic, partition, error, ..Default::default() }
            }
        };
        let index = u32::try_from(place).unwrap_or(u32::MAX);
        v1::PartitionSubscribed { index, fetched: Some(fetched), range: None, ended: false }
    }

    async fn step(mut self) -> Option<(Result<v1::SubscribeResponse, Status>, Feed)> {
        if self.ended {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some((Ok(first), self));
        }
        let message = self.message_in_time().await;
        self.ended = message.is_err();
        match message {
            Ok(Some(message)) => Some((Ok(message), self)),
            Ok(None) => None,
            Err(status) => Some((Err(status), self)),
        }
    }

    /// The next message, unless the broker drains or the client's deadline passes before there is one.
    async fn message_in_time(&mut self) -> Result<Option<v1::SubscribeResponse>, Status> {
        let draining = self.api.draining.clone();
        let (clock, deadline) = (self.api.env.clock.clone(), self.caller.context.deadline);
        let late = async {
            match deadline {
                Some(deadline) => clock.sleep(deadline.since(clock.monotonic())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = draining.cancelled() => Err(refuse(ErrorCode::ShuttingDown, "the broker is shutting down")),
            message = self.message() => message,
            () = late => Err(refuse(ErrorCode::TimedOut, "the client's deadline has passed")),
        }
    }

    async fn message(&mut self) -> Result<Option<v1::SubscribeResponse>, Status> {
        if let Some(pace) = &self.caller.pace
            && let Err(Stalled) = pace.room().await
        {
            let message = "the client took nothing for too long while data waited for it; subscribe again from where it \
                           stopped";
            return Err(refuse(ErrorCode::Throttled, message));
        }
        let Some(message) = self.subscription.next().await.map_err(status_of)? else { return Ok(None) };
        let partitions = match self.format {
            v1::FetchFormat::Batches => self.batches(message),
            v1::FetchFormat::Records => self.records(message).await.map_err(status_of)?,
        };
        Ok(Some(v1::SubscribeResponse { partitions }))
    }

    fn batches(&self, message: Subscribed) -> Vec<v1::PartitionSubscribed> {
        if let Some(permit) = message.permit {
            self.caller.permits.pay_answer(permit);
        }
        let parts = message.parts.into_iter().map(|part| {
            let fetched = part.result.map(|fetched| batches_to_wire(&fetched));
            v1::PartitionSubscribed { ended: part.ended, ..self.part(self.place(part.index), fetched) }
        });
        parts.collect()
    }

    /// Decodes the message; what does not fit into its bytes any more is read again.
    async fn records(&mut self, message: Subscribed) -> Result<Vec<v1::PartitionSubscribed>, ApiError> {
        let Subscribed { parts, permit } = message;
        let wanted = parts.iter().map(|part| v1::PartitionFetch {
            offset: part.from.get(),
            end_offset: part.end.map(Offset::get),
            ..Default::default()
        });
        let wanted: Vec<_> = wanted.collect();
        let (told, results): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .map(|SubscribedPart { index, ended, result, .. }| ((index, ended), result))
            .unzip();
        let nexts = results.iter().map(|result| result.as_ref().ok().map(|fetched| fetched.next_offset));
        let nexts: Vec<_> = nexts.collect();
        let decoded = decode(&self.api, &wanted, results, self.bytes_max).await?;
        let size = decoded.iter().flatten().map(|partition| partition.bytes).sum::<usize>();
        // The batches are gone; what counts now are the records.
        drop(permit);
        if size > 0 {
            self.caller.permits.pay_answer(self.api.broker.memory().acquire(size).await?);
        }
        let mut partitions = Vec::with_capacity(told.len());
        for (((index, ended), next), result) in told.into_iter().zip(nexts).zip(decoded) {
            match &result {
                Ok(decoded) if next.is_some_and(|next| decoded.next_offset < next) => {
                    self.subscription.go_back(index, decoded.next_offset);
                }
                Ok(_) => {}
                Err(_) => self.subscription.leave(index),
            }
            let part = self.part(self.place(index), result.map(records_to_wire));
            partitions.push(v1::PartitionSubscribed { ended, ..part });
        }
        Ok(partitions)
    }

    fn place(&self, index: usize) -> usize {
        self.places.get(index).copied().unwrap_or(index)
    }
}

pub(crate) fn question(part: &v1::PartitionSubscribe) -> Result<PartitionSubscribe, ApiError> {
    let begin = match part.begin {
        None | Some(wire::Begin::FromEarliest(_)) => Begin::Earliest,
        Some(wire::Begin::FromLatest(_)) => Begin::Latest,
        Some(wire::Begin::Offset(offset)) => Begin::Offset(parts::offset("offset", offset)?),
        Some(wire::Begin::FromMs(time)) => Begin::Time(TimestampMs(time.max(0))),
    };
    let end = match part.end {
        None => None,
        Some(wire::End::EndOffset(offset)) => Some(End::Offset(parts::offset("end offset", offset)?)),
        Some(wire::End::UntilMs(time)) => Some(End::Time(TimestampMs(time.max(0)))),
        Some(wire::End::UntilLatest(_)) => Some(End::Latest),
    };
    Ok(PartitionSubscribe {
        topic: parts::topic(part.topic.as_ref())?,
        partition: parts::partition(part.partition)?,
        begin,
        end,
        last_read_epoch: parts::epoch(part.last_read_epoch),
    })
}
