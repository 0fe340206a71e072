//! Reads batches, waiting for them if need be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use millrace_env::Monotonic;
use millrace_log::{Extent, Log, LogOffsets, ReadAnswer, ReadError, ReadPlan, ReadRequest};
use millrace_types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, limits};

use crate::admission::{Operation, Resource};
use crate::core::{Core, check_leader_epoch, check_partition_count, earlier};
use crate::io_pool::on_pool;
use crate::led_log::LedLog;
use crate::{ApiError, Context, Divergence, Permit, TopicRef};

/// How far a reader sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Isolation {
    /// To the high watermark.
    #[default]
    Committed,
    /// To the last stable offset; equal until there are transactions.
    Stable,
}

/// The part of a fetch for one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionFetch {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// First offset wanted.
    pub offset: Offset,
    /// First offset not wanted.
    pub end_offset: Option<Offset>,
    /// Byte budget of this partition.
    pub bytes_max: Option<usize>,
    /// Epoch of the last record that the reader saw; a log without that record answers
    /// [`millrace_types::ErrorCode::LogTruncated`] (KIP-320).
    pub last_read_epoch: Option<LeaderEpoch>,
    /// The epoch in which the reader believes the partition's leader to be; another one is refused (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
}

/// A fetch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// At most [`millrace_types::limits::PARTITIONS_PER_REQUEST_MAX`].
    pub partitions: Vec<PartitionFetch>,
    /// Byte budget of the answer, capped at [`millrace_types::limits::FETCH_BYTES_MAX`].
    pub bytes_max: usize,
    /// Answer as soon as there are this many bytes (or an error, or a reached `end_offset`).
    pub bytes_min: usize,
    /// How long to wait for `bytes_min`, capped at [`millrace_types::limits::FETCH_WAIT_MS_MAX`].
    pub wait: Duration,
    /// How far the reader sees.
    pub isolation: Isolation,
}

/// What one partition answers: [`Bytes`], or [`Extent`]s for a door that can send from files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched<E = Bytes> {
    /// Runs of whole batches as stored; the first may begin below the offset asked for.
    pub extents: Vec<E>,
    /// Where to go on: behind the last batch, or the offset asked for.
    pub next_offset: Offset,
    /// The high watermark.
    pub high_watermark: Offset,
    /// The last stable offset.
    pub last_stable: Offset,
    /// The log start.
    pub log_start: Offset,
}

/// The answer: one result for each partition of the request, in its order.
#[derive(Debug)]
pub struct FetchResponse<E = Bytes> {
    /// The results.
    pub partitions: Vec<Result<Fetched<E>, ApiError>>,
    /// The memory of the answer, `None` if it holds no batches. The door drops it when the bytes are sent.
    pub permit: Option<Permit>,
}

/// In which form the batches are answered.
pub(crate) trait Piece: Sized + Send + 'static {
    fn len(&self) -> usize;
    /// How much of it takes no memory of ours.
    fn bytes_in_files(&self) -> usize;
    /// Answers the plan; may block.
    fn load(plan: &ReadPlan) -> Result<ReadAnswer<Self>, ReadError>;
    /// Answers the plan, `None` if that might block.
    fn load_resident(plan: &ReadPlan) -> Option<Result<ReadAnswer<Self>, ReadError>>;
}

impl Piece for Bytes {
    fn len(&self) -> usize {
        self.len()
    }

    fn bytes_in_files(&self) -> usize {
        0
    }

    fn load(plan: &ReadPlan) -> Result<ReadAnswer, ReadError> {
        plan.load()
    }

    fn load_resident(plan: &ReadPlan) -> Option<Result<ReadAnswer, ReadError>> {
        plan.load_resident()
    }
}

impl Piece for Extent {
    fn len(&self) -> usize {
        self.len()
    }

    fn bytes_in_files(&self) -> usize {
        match self {
            Extent::Memory(_) => 0,
            Extent::File(range) => range.len(),
        }
    }

    fn load(plan: &ReadPlan) -> Result<ReadAnswer<Extent>, ReadError> {
        plan.locate()
    }

    fn load_resident(plan: &ReadPlan) -> Option<Result<ReadAnswer<Extent>, ReadError>> {
        plan.locate_resident()
    }
}

/// A partition of the request, its log found.
pub(super) struct Reader {
    pub(super) led: LedLog,
    pub(super) fetch: PartitionFetch,
    /// Whether this node has learnt since the request came whether it was replaced.
    pub(super) is_confirmed: bool,
}

/// What one partition can answer now.
pub(super) struct Planned {
    led: LedLog,
    /// The marks before the plan was made.
    pub(super) offsets: LogOffsets,
    from: Offset,
    /// `None` if the byte budget was used up by the partitions before.
    pub(super) plan: Option<ReadPlan>,
    /// Whether waiting cannot bring more: the end of the range that was asked for is reached.
    complete: bool,
}

/// What all partitions can answer now.
pub(super) struct Round {
    pub(super) partitions: Vec<Result<Planned, ApiError>>,
    pub(super) bytes: usize,
    /// Whether to answer however few bytes there are.
    pub(super) at_once: bool,
}

impl Core {
    pub(crate) async fn fetch<E: Piece>(
        self: &Arc<Self>,
        ctx: &Context,
        request: FetchRequest,
    ) -> Result<FetchResponse<E>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::Fetch, Resource::Cluster)?;
        check_partition_count(request.partitions.len())?;
        let wait = request.wait.min(Duration::from_millis(limits::FETCH_WAIT_MS_MAX));
        let deadline = earlier(self.env.clock.monotonic().after(wait), ctx);
        // An answer must leave room for others in the budget.
        let bytes_max = request.bytes_max.min(limits::FETCH_BYTES_MAX).min(self.memory.bytes_max() / 2);
        let mut readers: Vec<Result<Reader, ApiError>> =
            request.partitions.into_iter().map(|fetch| self.reader(ctx, fetch)).collect();
        self.confirm_beyond(readers.iter_mut().flatten()).await;
        let mut last_round = wait.is_zero();
        loop {
            let round = plan_all(&readers, bytes_max);
            let enough = round.bytes >= request.bytes_min || round.bytes >= bytes_max;
            if last_round || enough || round.at_once || readers.is_empty() {
                return self.answer(round).await;
            }
            // Holding a plan would hold its files; the wait needs the marks only.
            let seen = marks(&readers, round);
            last_round = !self.woken(seen, deadline).await;
        }
    }

    fn reader(&self, ctx: &Context, fetch: PartitionFetch) -> Result<Reader, ApiError> {
        let topic = self.topic(&fetch.topic)?;
        self.admission.authorize(ctx, Operation::Fetch, Resource::Topic(&topic.name))?;
        let led = self.led(&topic, fetch.partition)?;
        check_leader_epoch(led.log(), fetch.leader_epoch)?;
        Ok(Reader { led, fetch, is_confirmed: false })
    }

    /// Before a reader is told that there is nothing where it reads: who led until now, was replaced and has not heard of it knows
    /// less than was committed.
    pub(super) async fn confirm_beyond<'a>(&self, readers: impl Iterator<Item = &'a mut Reader>) {
        let beyond: Vec<&'a mut Reader> =
            readers.filter(|reader| reader.led.is_beyond(reader.fetch.offset)).collect();
        if !beyond.is_empty() && self.metadata.confirm().await.is_ok() {
            beyond.into_iter().for_each(|reader| reader.is_confirmed = true);
        }
    }

    /// Waits until a high watermark has passed the one that was seen; `false` if there is no time left.
    async fn woken(&self, seen: Vec<(Arc<Log>, Offset)>, deadline: Monotonic) -> bool {
        let left = deadline.since(self.env.clock.monotonic());
        let mut waits: FuturesUnordered<_> =
            seen.iter().map(|(log, high_watermark)| log.wait_above(*high_watermark)).collect();
        tokio::select! {
            biased;
            _ = waits.next() => true,
            () = self.admission.closed() => false,
            () = self.env.clock.sleep(left) => false,
        }
    }

    async fn answer<E: Piece>(&self, round: Round) -> Result<FetchResponse<E>, ApiError> {
        let mut permit = match round.bytes {
            0 => None,
            bytes => Some(self.memory_for(bytes).await?),
        };
        let froms: Vec<_> =
            round.partitions.iter().map(|planned| planned.as_ref().ok().map(|p| p.from)).collect();
        let partitions = self.load::<E>(round).await?;
        for (result, from) in partitions.iter().zip(froms) {
            self.count_read(Operation::Fetch, result, from);
        }
        let fetched = partitions.iter().flatten().flat_map(|fetched| &fetched.extents);
        if let Some(permit) = &mut permit {
            permit.give_back(fetched.map(Piece::bytes_in_files).sum());
        }
        let partitions =
            partitions.into_iter().map(|fetched| fetched.map_err(|error| self.unless_closing(error)));
        Ok(FetchResponse { partitions: partitions.collect(), permit })
    }

    /// Counts what was read of a partition, beginning at `from`.
    pub(super) fn count_read<E: Piece>(
        &self,
        operation: Operation,
        result: &Result<Fetched<E>, ApiError>,
        from: Option<Offset>,
    ) {
        match result {
            Ok(fetched) if fetched.extents.is_empty() => {}
            Ok(fetched) => {
                let records = from.map_or(0, |from| fetched.next_offset.get() - from.get());
                let bytes = fetched.extents.iter().map(Piece::len).sum();
                self.metrics.fetched(bytes, u64::try_from(records).unwrap_or(0));
            }
            Err(error) => self.metrics.partition_failed(operation, error.code),
        }
    }

    /// Loads what is in memory here and the rest on the pool: a hop there and back costs more than copying 64 KiB.
    pub(super) async fn load<E: Piece>(
        &self,
        round: Round,
    ) -> Result<Vec<Result<Fetched<E>, ApiError>>, ApiError> {
        let few = round.bytes <= limits::READ_IN_PLACE_BYTES_MAX;
        let mut loaded: Vec<Result<Fetched<E>, ApiError>> = Vec::with_capacity(round.partitions.len());
        let mut rest = round.partitions.into_iter();
        let mut blocking = None;
        for planned in rest.by_ref() {
            let in_place = planned.as_ref().map(|planned| planned.load_in_place(few));
            match in_place {
                Ok(Some(fetched)) => loaded.push(fetched),
                Ok(None) => {
                    blocking = Some(planned);
                    break;
                }
                Err(error) => loaded.push(Err(error.clone())),
            }
        }
        if let Some(first) = blocking {
            let all = std::iter::once(first).chain(rest);
            let load = move || all.map(|planned| planned.and_then(|planned| planned.load())).collect();
            let more: Vec<_> = on_pool(&self.env, load).await?;
            loaded.extend(more);
        }
        Ok(loaded)
    }

    /// The memory of an answer. The wait for it is bounded: fetches that hold their requests and wait for each
    /// other's memory would wait for ever.
    async fn memory_for(&self, bytes: usize) -> Result<Permit, ApiError> {
        let patience = Duration::from_millis(limits::MEMORY_WAIT_MS_MAX);
        tokio::select! {
            biased;
            permit = self.memory.acquire(bytes) => permit,
            () = self.env.clock.sleep(patience) => {
                let message = format!("no {bytes} bytes came free for the answer");
                Err(ApiError::new(ErrorCode::Throttled, message))
            }
        }
    }
}

fn plan_all(readers: &[Result<Reader, ApiError>], bytes_max: usize) -> Round {
    let mut round = Round { partitions: Vec::with_capacity(readers.len()), bytes: 0, at_once: false };
    for reader in readers {
        let left = bytes_max.saturating_sub(round.bytes);
        let first = round.bytes == 0;
        let planned = match reader {
            Ok(reader) => reader.plan(left, first),
            Err(error) => Err(error.clone()),
        };
        match &planned {
            Ok(planned) => {
                round.bytes += planned.plan.as_ref().map_or(0, ReadPlan::size_bytes);
                round.at_once |= planned.complete;
            }
            Err(_) => round.at_once = true,
        }
        round.partitions.push(planned);
    }
    round
}

/// The logs of a round and how far they were seen.
fn marks(readers: &[Result<Reader, ApiError>], round: Round) -> Vec<(Arc<Log>, Offset)> {
    let seen = readers.iter().zip(round.partitions);
    let seen = seen.filter_map(|(reader, planned)| {
        let (reader, planned) = (reader.as_ref().ok()?, planned.ok()?);
        Some((Arc::clone(reader.led.log()), planned.offsets.high_watermark))
    });
    seen.collect()
}

impl Reader {
    /// Plans within `left` bytes. Only the first batch of a whole answer may be larger than what is left.
    pub(super) fn plan(&self, left: usize, first: bool) -> Result<Planned, ApiError> {
        let PartitionFetch { offset: from, end_offset, last_read_epoch, .. } = self.fetch;
        let complete = self.led.check_leads()?;
        let log = self.led.log();
        // Before the plan: a mark that rises in between wakes the wait at once.
        let offsets = log.offsets();
        if let Some(epoch) = last_read_epoch {
            self.check_epoch(epoch, offsets.end)?;
        }
        let reached = end_offset.is_some_and(|end| from >= end);
        let mut planned = Planned { led: self.led.clone(), offsets, from, plan: None, complete: reached };
        if reached || (left == 0 && !first) {
            return Ok(planned);
        }
        let bytes_max = self.fetch.bytes_max.unwrap_or(left).min(left);
        let knows_end = complete && (self.is_confirmed || !self.led.is_replicated());
        let plan = match log.read(&ReadRequest { from, until: end_offset, bytes_max }) {
            // One that was replaced and has not heard of it has less than was committed, and than the reader has read.
            Err(ReadError::OutOfRange { .. }) if from > offsets.end && !knows_end => {
                let message = format!("this leader does not know yet whether there is an offset {from}");
                return Err(ApiError::new(ErrorCode::OffsetNotAvailable, message));
            }
            plan => plan?,
        };
        let size = plan.size_bytes();
        planned.complete = size > 0 && end_offset.is_some_and(|end| end <= offsets.high_watermark);
        if first || size <= left {
            planned.plan = Some(plan);
        } else {
            // There is more than fits: waiting would not help.
            planned.complete = true;
        }
        Ok(planned)
    }

    /// Compares where the reader's epoch ended here with where the reader is (KIP-320): a reader that is ahead of the
    /// log read records that an unclean stop has taken.
    fn check_epoch(&self, epoch: LeaderEpoch, end: Offset) -> Result<(), ApiError> {
        let (offset, log) = (self.fetch.offset, self.led.log());
        if self.led.is_replicated() && epoch > log.leader_epoch() {
            // It has read what a later leader has written: whoever leads here does not any more, and does not know it.
            let message = format!(
                "the record before {offset} was read in epoch {epoch}, which this broker does not know yet"
            );
            return Err(ApiError::new(ErrorCode::UnknownLeaderEpoch, message));
        }
        // The usual case: the current epoch ends where the log does. Anything else asks the writer's books.
        if epoch == log.leader_epoch() && offset <= end {
            return Ok(());
        }
        match log.end_of_epoch(epoch) {
            Some((found, end)) if found == epoch && offset <= end => Ok(()),
            Some((found, end)) => {
                let message = format!(
                    "the record before {offset} was read in epoch {epoch}; here epoch {found} ended at {end}"
                );
                Err(ApiError { diverging: Some(Divergence { epoch: found, end }), ..truncated(message) })
            }
            None => Err(truncated(format!(
                "the record before {offset} was read in epoch {epoch}, of which this log knows nothing"
            ))),
        }
    }
}

fn truncated(message: String) -> ApiError {
    ApiError::new(ErrorCode::LogTruncated, message)
}

impl Planned {
    /// What can be had without blocking, `None` if it cannot. `few` bytes may be copied here.
    fn load_in_place<E: Piece>(&self, few: bool) -> Option<Result<Fetched<E>, ApiError>> {
        let answer = match &self.plan {
            None => None,
            Some(plan) if plan.is_resident() => Some(E::load(plan)),
            Some(plan) if few => Some(E::load_resident(plan)?),
            Some(_) => return None,
        };
        Some(self.fetched(answer))
    }

    fn load<E: Piece>(&self) -> Result<Fetched<E>, ApiError> {
        self.fetched(self.plan.as_ref().map(E::load))
    }

    fn fetched<E>(&self, answer: Option<Result<ReadAnswer<E>, ReadError>>) -> Result<Fetched<E>, ApiError> {
        let answer = answer.transpose().map_err(|error| self.led.read_error(error))?;
        let (extents, next_offset) = match answer {
            Some(answer) if !answer.range.is_empty() => (answer.extents, answer.range.end),
            _ => (Vec::new(), self.from),
        };
        let LogOffsets { high_watermark, last_stable, log_start, .. } = self.offsets;
        Ok(Fetched { extents, next_offset, high_watermark, last_stable, log_start })
    }
}
