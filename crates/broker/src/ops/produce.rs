//! Appends to partitions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_env::{BoxFuture, Monotonic};
use millrace_log::{AppendError, Appended};
use millrace_metadata::Topic;
use millrace_record::{Batch, Checks, Compression, Origin};
use millrace_types::{
    ErrorCode, Offset, Outcome, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicPartition,
    limits,
};

use crate::admission::{InFlight, Operation, Resource};
use crate::core::{Core, check_partition_count, earlier};
use crate::led_log::{LedError, LedLog, LedTicket, Reach};
use crate::ops::build_batch::build_batch;
use crate::{ApiError, Context, TopicRef};

/// When a produce is answered. None is weaker than the topic's sync mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// When every in-sync replica holds the records.
    #[default]
    Committed,
    /// When the leader holds them.
    Leader,
    /// At once.
    None,
}

/// A header of a record to be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewHeader {
    /// Name; several headers may share it.
    pub key: Bytes,
    /// Value, if any.
    pub value: Option<Bytes>,
}

/// A plain record to be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRecord {
    /// Key, if any.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<NewHeader>,
    /// When it happened; `None` takes the broker's clock.
    pub timestamp: Option<TimestampMs>,
}

/// The identity that makes plain records idempotent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequenceStart {
    /// Producer id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub base_sequence: i32,
}

/// What is appended to one partition: always as one batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProduceData {
    /// One encoded batch.
    Batch(Bytes),
    /// Plain records, of which the broker builds one batch.
    Records {
        /// The records, one at least.
        records: Vec<NewRecord>,
        /// Set: the batch is idempotent.
        sequence: Option<SequenceStart>,
        /// How the batch is compressed.
        compression: Compression,
    },
}

/// The part of a produce for one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionProduce {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// What to append.
    pub data: ProduceData,
}

/// A produce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProduceRequest {
    /// At most [`millrace_types::limits::PARTITIONS_PER_REQUEST_MAX`].
    pub partitions: Vec<PartitionProduce>,
    /// When to answer.
    pub durability: Durability,
    /// After this long the answer is an indefinite [`millrace_types::ErrorCode::TimedOut`].
    pub timeout: Option<Duration>,
}

/// Where one partition's batch came to lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Produced {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// The broker's timestamp, where the topic says `LogAppendTime`.
    pub log_append_time: Option<TimestampMs>,
    /// The partition's log start.
    pub log_start: Offset,
    /// Whether it was stored earlier and this was a retry.
    pub duplicate: bool,
}

/// The answer: one result for each partition of the request, in its order; empty with [`Durability::None`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProduceResponse {
    /// The results.
    pub partitions: Vec<Result<Produced, ApiError>>,
}

/// A produce whose batches are appended (or refused) and not yet acknowledged. A pipelined door appends the next
/// request while it waits for this one. Dropping it abandons the wait, not the appends.
#[derive(Debug)]
pub struct PendingProduce {
    core: Arc<Core>,
    parts: Vec<Part>,
    durability: Durability,
    started: Monotonic,
    deadline: Monotonic,
    _in_flight: InFlight,
}

#[derive(Debug)]
enum Part {
    Appended(LedTicket, LedLog),
    Refused(ApiError),
}

impl Core {
    pub(crate) async fn produce(
        self: &Arc<Self>,
        ctx: &Context,
        request: ProduceRequest,
    ) -> Result<PendingProduce, ApiError> {
        let in_flight = self.admission.admit(ctx, Operation::Produce, Resource::Cluster)?;
        check_partition_count(request.partitions.len())?;
        let started = self.env.clock.monotonic();
        let timeout = Duration::from_millis(limits::PRODUCE_TIMEOUT_MS_MAX);
        let timeout = request.timeout.unwrap_or(timeout).min(timeout);
        let deadline = earlier(started.after(timeout), ctx);
        let reach = match request.durability {
            Durability::Committed => Reach::Committed,
            Durability::Leader | Durability::None => Reach::Held,
        };
        let mut parts = Vec::with_capacity(request.partitions.len());
        for part in request.partitions {
            let appended = self.append(ctx, part, (reach, deadline)).await;
            parts.push(appended.unwrap_or_else(|error| Part::Refused(self.unless_closing(error))));
        }
        let (core, durability) = (Arc::clone(self), request.durability);
        Ok(PendingProduce { core, parts, durability, started, deadline, _in_flight: in_flight })
    }

    async fn append(
        &self,
        ctx: &Context,
        part: PartitionProduce,
        (reach, deadline): (Reach, Monotonic),
    ) -> Result<Part, ApiError> {
        let topic = self.topic(&part.topic)?;
        self.admission.authorize(ctx, Operation::Produce, Resource::Topic(&topic.name))?;
        if topic.name.is_internal() {
            let message = format!("topic {} belongs to the product", topic.name);
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
        let led = self.led(&topic, part.partition)?;
        let batch = self.batch(&topic, part.data)?;
        let (bytes, records) = (batch.size(), u64::from(batch.record_count()));
        let ticket = self.append_when_there_is_room(&led, batch, (reach, deadline)).await?;
        self.metrics.produced(bytes, records);
        Ok(Part::Appended(ticket, led))
    }

    /// Tells a producer of a gap in what it has sent only if no other broker can have the rest: this one may have been replaced and
    /// not have heard of it.
    async fn told_of_gap(&self, led: &LedLog, error: LedError) -> ApiError {
        if let LedError::Behind { epoch, expected, found } = error
            && self.metadata.confirm().await.is_ok()
            && led.leads_in(epoch)
        {
            return AppendError::OutOfOrderSequence { expected, found }.into();
        }
        error.into()
    }

    fn batch(&self, topic: &Topic, data: ProduceData) -> Result<Batch, ApiError> {
        let bytes_max = topic.config.batch_bytes_max;
        let batch = match data {
            ProduceData::Batch(bytes) => {
                let checks = Checks { bytes_max, origin: Origin::Client };
                Batch::check(bytes, &checks).map_err(|error| ApiError::new(error.code(), error.to_string()))
            }
            ProduceData::Records { records, sequence, compression } => {
                build_batch(&self.env, &records, sequence, (compression, bytes_max))
            }
        }?;
        if topic.config.cleanup.compacts() {
            self.check_keys(&batch)?;
        }
        Ok(batch)
    }

    /// Refuses records without a key, which compaction could not keep apart. Opens the batch, compressed or not.
    fn check_keys(&self, batch: &Batch) -> Result<(), ApiError> {
        let invalid = |text: String| ApiError::new(ErrorCode::InvalidRecord, text);
        let mut checked = Ok(());
        let mut check = || {
            let opened = batch.records().map_err(|error| invalid(error.to_string()));
            checked = opened.and_then(|records| {
                let mut without = Vec::new();
                for (at, view) in records.views().enumerate() {
                    let view = view.map_err(|error| invalid(error.to_string()))?;
                    if view.key.is_none() && without.len() < limits::REFUSED_RECORDS_MAX {
                        without.push(at);
                    }
                }
                let Some(first) = without.first() else { return Ok(()) };
                let message = format!("record {first}: the topic is compacted, and the record has no key");
                Err(ApiError { records: without.into(), ..invalid(message) })
            });
        };
        match batch.compression() {
            Some(Compression::None) => check(),
            _ => self.env.tasks.blocking_section(&mut check),
        }
        checked
    }

    async fn append_when_there_is_room(
        &self,
        led: &LedLog,
        batch: Batch,
        (reach, deadline): (Reach, Monotonic),
    ) -> Result<LedTicket, ApiError> {
        loop {
            match led.append(batch.clone(), reach) {
                Err(LedError::Append(AppendError::QueueFull)) => {}
                other => return Ok(other?),
            }
            let left = deadline.since(self.env.clock.monotonic());
            tokio::select! {
                biased;
                () = led.log().room() => {}
                // Definite: the batch was never queued.
                () = self.env.clock.sleep(left) => return Err(AppendError::QueueFull.into()),
            }
        }
    }
}

impl PendingProduce {
    /// Why a part of the request was refused before it was appended, if one was: of a produce that waits for nothing,
    /// this is all that can be known.
    #[must_use]
    pub fn refusal(&self) -> Option<&ApiError> {
        self.parts.iter().find_map(|part| match part {
            Part::Refused(error) => Some(error),
            Part::Appended(..) => None,
        })
    }

    /// The partition whose sync is run by whoever polls [`PendingProduce::acknowledged`].
    #[must_use]
    pub fn led(&self) -> Option<TopicPartition> {
        self.tickets().next().and_then(LedTicket::partition)
    }

    /// Starts the syncs of its batches on the flusher's threads, but for that of the partition `led`. For a request that
    /// stands in line behind another one: that one runs the sync of `led`, and the two must not wait for each other's.
    pub fn sync_beside(&self, led: Option<TopicPartition>) {
        let others = self.tickets().filter(|ticket| ticket.partition() != led);
        others.for_each(LedTicket::sync_in_background);
    }

    fn tickets(&self) -> impl Iterator<Item = &LedTicket> {
        self.parts.iter().filter_map(|part| match part {
            Part::Appended(ticket, _) => Some(ticket),
            Part::Refused(_) => None,
        })
    }

    /// Waits until the request's durability is reached, or its timeout has passed.
    pub async fn acknowledged(self) -> ProduceResponse {
        // The first ticket is synced by whoever polls it, which is this task; the others side by side with it. A
        // produce that waits for nothing still has its records synced, so that readers see them soon.
        let waited_for = usize::from(self.durability != Durability::None);
        self.tickets().skip(waited_for).for_each(LedTicket::sync_in_background);
        let PendingProduce { core, parts, durability, started, deadline, _in_flight } = self;
        if durability == Durability::None {
            core.metrics.count_code(Operation::Produce, None);
            return ProduceResponse { partitions: Vec::new() };
        }
        let mut timer = core.env.clock.sleep(deadline.since(core.env.clock.monotonic()));
        let mut results = Vec::with_capacity(parts.len());
        for part in parts {
            let result = match part {
                Part::Refused(error) => Err(error),
                Part::Appended(ticket, led) => match wait(ticket, &mut timer).await {
                    Some(Err(error)) => Err(core.told_of_gap(&led, error).await),
                    Some(Ok(appended)) => Ok(done(appended)),
                    None => Err(timed_out()),
                },
            };
            results.push(result.map_err(|error| core.unless_closing(error)));
        }
        let failed = results.iter().find_map(|result| result.as_ref().err());
        core.metrics.count_code(Operation::Produce, failed.map(|error| error.code));
        core.metrics.acknowledged(core.env.clock.monotonic().since(started).as_secs_f64());
        ProduceResponse { partitions: results }
    }
}

/// Waits for one ticket until the timer of the whole request rings, which is `None`. When it has rung, a ticket that is done still
/// counts.
async fn wait(ticket: LedTicket, timer: &mut BoxFuture<()>) -> Option<Result<Appended, LedError>> {
    tokio::select! {
        biased;
        appended = ticket => Some(appended),
        () = &mut *timer => {
            // A future that has completed must not be polled again; the next ticket gets a timer that rings at once.
            *timer = Box::pin(std::future::ready(()));
            None
        }
    }
}

fn done(appended: Appended) -> Produced {
    let Appended { base_offset, last_offset, log_append_time, log_start, duplicate } = appended;
    Produced { base_offset, last_offset, log_append_time, log_start, duplicate }
}

fn timed_out() -> ApiError {
    debug_assert!(
        ErrorCode::TimedOut.outcome() == Outcome::Indefinite,
        "the batch is queued and may be stored"
    );
    ApiError::new(ErrorCode::TimedOut, "the batch was appended, but not yet safe when the time was up")
}
