//! Reads on and on: one message after the other, from whichever partitions have news.
//!
//! ```text
//!   ready:   [ c, a, d ]  ── plan, in turn, up to the bytes of a message ──► load ──► message
//!      ▲  └── read on: to the back of the line ◄───────────────────────────────┘
//!      └───── waiting: { b, e }   woken when a high watermark passes what was seen
//! ```
//! Whoever holds a subscription asks for the next message when it has sent the one before: nothing is read ahead, and what
//! nobody asks for holds no memory, no file and no map. A partition that fails is told once and left out; the others go on.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waking, Poll};

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use millrace_log::{OffsetWait, ReadPlan};
use millrace_types::limits::{FETCH_BYTES_MAX, SUBSCRIBE_PARTITIONS_PER_MESSAGE_MAX};
use millrace_types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};

use super::fetch::{Fetched, Isolation, PartitionFetch, Planned, Reader, Round};
use super::ranges::{Begin, End, RangeOfLog, ResolvedRange};
use crate::admission::{Operation, Resource};
use crate::core::{Core, check_partition_count};
use crate::metrics::OpenSubscription;
use crate::{ApiError, Context, Permit, TopicRef};

/// The part of a subscription for one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionSubscribe {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// Where to begin.
    pub begin: Begin,
    /// Where to end; `None` reads on.
    pub end: Option<End>,
    /// Epoch of the last record that the reader saw; a log without that record answers
    /// [`millrace_types::ErrorCode::LogTruncated`] (KIP-320).
    pub last_read_epoch: Option<LeaderEpoch>,
}

/// A subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscribeRequest {
    /// At most [`millrace_types::limits::PARTITIONS_PER_REQUEST_MAX`].
    pub partitions: Vec<PartitionSubscribe>,
    /// Byte budget of a message, capped at [`millrace_types::limits::FETCH_BYTES_MAX`]; a larger batch comes alone.
    pub bytes_max: usize,
    /// How far the reader sees.
    pub isolation: Isolation,
}

/// News of one partition.
#[derive(Debug)]
pub struct SubscribedPart {
    /// The place of the partition in the request.
    pub index: usize,
    /// From which offset on this was read; the first batch may begin below it.
    pub from: Offset,
    /// The first offset not wanted.
    pub end: Option<Offset>,
    /// What was read. With an error the partition is read no more.
    pub result: Result<Fetched, ApiError>,
    /// The end was reached; there are no bytes, and nothing more comes.
    pub ended: bool,
}

/// One message.
#[derive(Debug)]
pub struct Subscribed {
    /// Whoever has news; never empty.
    pub parts: Vec<SubscribedPart>,
    /// The memory of the batches, `None` if there are none. The door drops it when the bytes are sent.
    pub permit: Option<Permit>,
}

/// An open subscription. Dropping it ends it.
pub struct Subscription {
    core: Arc<Core>,
    ctx: Context,
    bytes_max: usize,
    ranges: Vec<Result<ResolvedRange, ApiError>>,
    /// By index in the request; `None` once it has ended or failed.
    readers: Vec<Option<Reader>>,
    left: usize,
    ready: VecDeque<usize>,
    waiting: FuturesUnordered<Waiting>,
    _open: OpenSubscription,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("partitions", &self.left).finish_non_exhaustive()
    }
}

/// A partition without news, until there is some.
#[derive(Debug)]
struct Waiting {
    index: usize,
    wait: OffsetWait,
}

impl Future for Waiting {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Waking<'_>) -> Poll<usize> {
        let index = self.index;
        Pin::new(&mut self.wait).poll(cx).map(|()| index)
    }
}

/// A partition of the message that is being made.
struct Part {
    index: usize,
    from: Offset,
    end: Option<Offset>,
    ended: bool,
}

impl Core {
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        ctx: &Context,
        request: SubscribeRequest,
    ) -> Result<Subscription, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::Subscribe, Resource::Cluster)?;
        check_partition_count(request.partitions.len())?;
        let logs = request.partitions.iter().map(|part| {
            let led = self.led_for(ctx, Operation::Subscribe, &part.topic, part.partition)?;
            Ok(RangeOfLog { led, begin: part.begin, end: part.end })
        });
        let logs: Vec<Result<RangeOfLog, ApiError>> = logs.collect();
        let ranges = self.resolved(logs.clone()).await?;
        let readers = request.partitions.into_iter().zip(logs).zip(&ranges).map(|((part, log), range)| {
            let (led, range) = (log.ok()?.led, range.as_ref().ok()?);
            let fetch = PartitionFetch {
                topic: part.topic,
                partition: part.partition,
                offset: range.begin,
                end_offset: range.end,
                bytes_max: None,
                last_read_epoch: part.last_read_epoch,
                leader_epoch: None,
            };
            Some(Reader { led, fetch, is_confirmed: false })
        });
        let mut readers: Vec<Option<Reader>> = readers.collect();
        self.confirm_beyond(readers.iter_mut().flatten()).await;
        let ready: VecDeque<usize> =
            readers.iter().enumerate().filter_map(|(index, reader)| reader.as_ref().map(|_| index)).collect();
        Ok(Subscription {
            core: Arc::clone(self),
            ctx: ctx.clone(),
            // A message must leave room for others in the budget.
            bytes_max: request.bytes_max.clamp(1, FETCH_BYTES_MAX).min(self.memory.bytes_max() / 2),
            left: ready.len(),
            ranges,
            readers,
            ready,
            waiting: FuturesUnordered::new(),
            _open: self.metrics.subscribed(),
        })
    }
}

impl Subscription {
    /// What each partition of the request became, in its order. One with an error is not read.
    pub fn ranges(&self) -> &[Result<ResolvedRange, ApiError>] {
        &self.ranges
    }

    /// Waits for news and answers them; `None` when every partition has ended or failed.
    ///
    /// # Errors
    /// [`ErrorCode::ShuttingDown`], or what keeps the broker from reading at all.
    pub async fn next(&mut self) -> Result<Option<Subscribed>, ApiError> {
        while self.left > 0 {
            let in_flight = self.core.admission.admit(&self.ctx, Operation::Subscribe, Resource::Cluster)?;
            let (parts, round) = self.plan();
            if !parts.is_empty()
                && let Some(message) = self.answer(parts, round).await?
            {
                return Ok(Some(message));
            }
            drop(in_flight);
            if self.ready.is_empty() && self.left > 0 {
                self.woken().await?;
            }
        }
        Ok(None)
    }

    /// Reads a partition again from an offset below the one that was answered: for a door that has taken a part only.
    pub fn go_back(&mut self, index: usize, offset: Offset) {
        if let Some(Some(reader)) = self.readers.get_mut(index) {
            reader.fetch.offset = offset;
        }
    }

    /// Reads a partition no more.
    pub fn leave(&mut self, index: usize) {
        if self.readers.get_mut(index).is_some_and(|reader| reader.take().is_some()) {
            self.left -= 1;
        }
    }

    async fn woken(&mut self) -> Result<(), ApiError> {
        let first = tokio::select! {
            biased;
            () = self.core.admission.closed() => {
                return Err(ApiError::new(ErrorCode::ShuttingDown, "the broker is shutting down"));
            }
            first = self.waiting.next() => first,
        };
        self.ready.extend(first);
        Ok(())
    }

    /// Plans a message: who is ready takes a turn, until the message is full. Whoever has no news waits.
    fn plan(&mut self) -> (Vec<Part>, Round) {
        // Behind those who are ready: a partition that is never at its end must not keep the others out.
        while let Some(Some(index)) = self.waiting.next().now_or_never() {
            self.ready.push_back(index);
        }
        let mut round = Round { partitions: Vec::new(), bytes: 0, at_once: true };
        let mut parts = Vec::new();
        for _ in 0..self.ready.len().min(SUBSCRIBE_PARTITIONS_PER_MESSAGE_MAX) {
            let Some(index) = self.ready.pop_front() else { break };
            let Some(Some(reader)) = self.readers.get_mut(index) else { continue };
            let left = self.bytes_max.saturating_sub(round.bytes);
            let planned = reader.plan(left, round.bytes == 0);
            let (from, end) = (reader.fetch.offset, reader.fetch.end_offset);
            let mut part = Part { index, from, end, ended: false };
            if let Ok(Planned { plan, offsets, .. }) = &planned {
                // Where it was before is settled once it has been asked.
                reader.fetch.last_read_epoch = None;
                part.ended = end.is_some_and(|end| from >= end);
                match plan.as_ref().map(ReadPlan::size_bytes) {
                    _ if part.ended => {}
                    // It does not fit any more: the next message begins with it.
                    None => {
                        self.ready.push_front(index);
                        break;
                    }
                    Some(0) => {
                        let wait = reader.led.log().wait_above(offsets.high_watermark.max(from));
                        self.waiting.push(Waiting { index, wait });
                        continue;
                    }
                    Some(bytes) => round.bytes += bytes,
                }
            }
            parts.push(part);
            round.partitions.push(planned);
        }
        (parts, round)
    }

    /// Loads what was planned. `None` if it came to nothing: the files have changed meanwhile, and are asked again.
    async fn answer(&mut self, parts: Vec<Part>, round: Round) -> Result<Option<Subscribed>, ApiError> {
        // Waits for as long as others hold the memory: a subscription that waits holds none itself.
        let permit = match round.bytes {
            0 => None,
            bytes => Some(self.core.memory.acquire(bytes).await?),
        };
        let loaded = self.core.load::<Bytes>(round).await?;
        let mut told = Vec::with_capacity(parts.len());
        let mut has_bytes = false;
        for (Part { index, from, end, ended }, result) in parts.into_iter().zip(loaded) {
            let result = result.map_err(|error| self.core.unless_closing(error));
            let is_news = match &result {
                Ok(fetched) => {
                    has_bytes |= !fetched.extents.is_empty();
                    self.go_back(index, fetched.next_offset);
                    ended || !fetched.extents.is_empty() || fetched.next_offset > from
                }
                Err(error) if error.code == ErrorCode::ShuttingDown => return Err(error.clone()),
                Err(_) => true,
            };
            self.core.count_read(Operation::Subscribe, &result, Some(from));
            if ended || result.is_err() {
                self.leave(index);
            } else {
                self.ready.push_back(index);
            }
            if is_news {
                told.push(SubscribedPart { index, from, end, result, ended });
            }
        }
        let permit = permit.filter(|_| has_bytes);
        Ok((!told.is_empty()).then_some(Subscribed { parts: told, permit }))
    }
}
