//! The committed offsets, kept in `__consumer_offsets`: drives one pure value for each of its partitions.
//!
//! Stepping the value and queueing its records happen under one lock, so that the order of the steps is the order of
//! the log; nothing is awaited there. What was persisted becomes visible when its sync has returned.
//!
//! Where the log of a partition is damaged, the newest commit of any group may lie in the damage, and an older one must not
//! be answered for it. So what was committed *before* the last damage is forgotten and in *doubt*: asked for it, a group
//! hears CORRUPT until it commits anew. What was committed behind the damage is certainly the newest, and is served.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use millrace_env::Env;
use millrace_group::{
    CommitRefusal, Effect, Event, GroupOffsets, OffsetCommitKey, OffsetCommitValue, OffsetRecord, PersistId,
};
use millrace_log::{AppendError, Log, Ticket};
use millrace_record::{Batch, BatchBuilder, BatchOptions, NO_HEADERS};
use millrace_types::{ErrorCode, Offset, PartitionIndex, TimestampMs, TopicId, limits};
use parking_lot::Mutex;

use crate::ApiError;
use crate::io_pool::on_pool;
use crate::replay::{damaged, replay_around};

/// All partitions of `__consumer_offsets`.
#[derive(Debug)]
pub(crate) struct OffsetsStore {
    env: Env,
    partitions: Vec<Arc<OffsetsPartition>>,
}

#[derive(Debug)]
struct OffsetsPartition {
    /// `None` if there is no log that can be served.
    log: Option<Arc<Log>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Counts the values: what an older one has persisted is not the newer one's to confirm.
    generation: u64,
    /// Persists that are queued or written and whose outcome is not known yet.
    outstanding: usize,
    /// Where the first record of the first of `pending` lies if it is stored: nobody else writes to this log.
    end: Offset,
    /// Persists of this generation without an outcome, and how many records each has.
    pending: VecDeque<(PersistId, u64)>,
    value: Value,
    /// Why what the value does not hold may have been committed all the same.
    doubt: Option<ApiError>,
}

/// A partition that was read back.
#[derive(Debug)]
pub(crate) struct ReplayedOffsets {
    value: GroupOffsets,
    doubt: Option<ApiError>,
}

/// What a start has found of one partition: its log and what is in it, or why there is none.
pub(crate) type FoundOffsets = Result<(Arc<Log>, Result<ReplayedOffsets, ApiError>), ApiError>;

/// A value as it may be looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    pub(crate) value: &'a GroupOffsets,
    doubt: Option<&'a ApiError>,
}

impl Look<'_> {
    /// What was committed under a key.
    ///
    /// # Errors
    /// CORRUPT if that is not certain, because the log is damaged behind whatever was committed.
    pub(crate) fn fetch(
        &self,
        key: &OffsetCommitKey,
        topic: TopicId,
    ) -> Result<Option<&OffsetCommitValue>, ApiError> {
        match (self.value.fetch(key, topic), self.doubt) {
            (None, Some(doubt)) => Err(doubt.clone()),
            (found, _) => Ok(found),
        }
    }

    /// Whether the value holds all that was ever committed.
    ///
    /// # Errors
    /// CORRUPT if not.
    pub(crate) fn whole(&self) -> Result<(), ApiError> {
        self.doubt.map_or(Ok(()), |doubt| Err(doubt.clone()))
    }
}

#[derive(Debug)]
enum Value {
    Ready(GroupOffsets),
    /// Dropped whole after a persist of unknown or inconvenient outcome; being replayed.
    Rebuilding,
    /// The replay failed.
    Lost(ApiError),
}

/// A step whose records are queued.
#[derive(Debug)]
struct Begun {
    reply: Vec<Result<(), CommitRefusal>>,
    waiting: Option<(u64, PersistId, Ticket)>,
}

enum BeginError {
    QueueFull,
    Api(ApiError),
}

/// Builds the value of one partition from its log. Blocks.
///
/// # Errors
/// If the medium does not give it.
pub(crate) fn replay_offsets(log: &Log) -> Result<ReplayedOffsets, ApiError> {
    let mut replayed = ReplayedOffsets { value: GroupOffsets::default(), doubt: None };
    replay_around(log, |record| {
        let value = &mut replayed.value;
        let taken = record.and_then(|record| {
            value
                .replay(record.key.as_deref(), record.value.as_deref())
                .map_err(|error| damaged(log, format!("offset {}: {error}", record.offset)))
        });
        if let Err(doubt) = taken {
            tracing::error!(%doubt, "committed offsets from before this place are not served any more");
            replayed = ReplayedOffsets { value: GroupOffsets::default(), doubt: Some(doubt) };
        }
    })?;
    Ok(replayed)
}

impl OffsetsStore {
    /// The store of replayed partitions, in their order.
    pub(crate) fn new(env: Env, found: Vec<FoundOffsets>) -> OffsetsStore {
        let partition = |found| Arc::new(OffsetsPartition::new(found));
        OffsetsStore { env, partitions: found.into_iter().map(partition).collect() }
    }

    /// Steps the value of one partition with the event that `make` gives under its lock, and answers when what it
    /// persisted is committed. Not to be dropped half-way: callers run it in a task of its own.
    ///
    /// # Errors
    /// As an append; an indefinite one says that the records may be there.
    pub(crate) async fn step(
        &self,
        partition: PartitionIndex,
        mut make: impl FnMut() -> Event + Send,
    ) -> Result<Vec<Result<(), CommitRefusal>>, ApiError> {
        let partition = self.partition(partition)?;
        let begun = loop {
            match partition.begin(self.env.clock.wall(), make()) {
                Ok(begun) => break begun,
                Err(BeginError::QueueFull) => partition.log()?.room().await,
                Err(BeginError::Api(error)) => return Err(error),
            }
        };
        let Some((generation, id, ticket)) = begun.waiting else {
            return Ok(begun.reply);
        };
        let persisted = ticket.await;
        let stored_at = persisted.as_ref().ok().map(|appended| appended.base_offset);
        if partition.settle(generation, id, stored_at) == Settled::RebuildNow {
            let (env, partition) = (self.env.clone(), Arc::clone(partition));
            let rebuild = async move { partition.rebuild(&env).await };
            let _task = self.env.tasks.spawn("rebuild committed offsets", Box::pin(rebuild));
        }
        persisted?;
        Ok(begun.reply)
    }

    /// Looks at the value of one partition.
    ///
    /// # Errors
    /// Retriable while the value is being rebuilt.
    pub(crate) fn look<T>(
        &self,
        partition: PartitionIndex,
        look: impl FnOnce(Look<'_>) -> T,
    ) -> Result<T, ApiError> {
        let state = self.partition(partition)?.state.lock();
        match &state.value {
            Value::Ready(value) => Ok(look(Look { value, doubt: state.doubt.as_ref() })),
            Value::Rebuilding => Err(rebuilding()),
            Value::Lost(error) => Err(error.clone()),
        }
    }

    /// Forgets, in every partition, what was committed for deleted topics.
    ///
    /// # Errors
    /// Of the first partition that could not.
    pub(crate) async fn forget(&self, ids: &BTreeSet<TopicId>) -> Result<(), ApiError> {
        // Where nothing can be read there is nothing to forget: a commit names the topic by its id, too.
        let readable = (0..limits::CONSUMER_OFFSETS_PARTITIONS).map(PartitionIndex);
        let readable =
            readable.filter(|partition| self.partition(*partition).is_ok_and(|found| !found.is_lost()));
        let steps =
            readable.map(|partition| self.step(partition, || Event::TopicsDeleted { ids: ids.clone() }));
        for result in futures::future::join_all(steps).await {
            result?;
        }
        Ok(())
    }

    /// The topics that something is committed for, in any partition.
    pub(crate) fn topic_ids(&self) -> BTreeSet<TopicId> {
        let all = (0..limits::CONSUMER_OFFSETS_PARTITIONS).map(PartitionIndex);
        all.filter_map(|partition| self.look(partition, |look| look.value.topic_ids()).ok())
            .flatten()
            .collect()
    }

    fn partition(&self, partition: PartitionIndex) -> Result<&Arc<OffsetsPartition>, ApiError> {
        let found = usize::try_from(partition.0).ok().and_then(|number| self.partitions.get(number));
        found
            .ok_or_else(|| ApiError::new(ErrorCode::Internal, "a partition of __consumer_offsets is missing"))
    }
}

/// What the outcome of a persist leaves to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Settled {
    Nothing,
    RebuildNow,
}

impl State {
    fn new(end: Offset, value: Value, doubt: Option<ApiError>) -> State {
        State { generation: 0, outstanding: 0, end, pending: VecDeque::new(), value, doubt }
    }

    /// Follows the outcome of a persist; `false` if the value is no longer what its log says.
    fn follow(&mut self, id: PersistId, stored_at: Option<Offset>) -> bool {
        let Value::Ready(value) = &mut self.value else { return true };
        let Some(stored_at) = stored_at else {
            self.pending.pop_back_if(|(last, _)| *last == id);
            return value.refused(id);
        };
        // With it every earlier persist becomes visible, so every one of them must be stored. One that was refused, and
        // whose own outcome comes later than this, shows by where this one came to lie.
        let mut behind = self.end;
        while let Some((_, records)) = self.pending.pop_front_if(|(first, _)| *first < id) {
            behind = behind.saturating_add(records);
        }
        match self.pending.pop_front_if(|(first, _)| *first == id) {
            Some((_, records)) if behind == stored_at => {
                value.committed(id);
                self.end = stored_at.saturating_add(records);
                true
            }
            Some(_) => false,
            // A later one was stored and has shown it.
            None => true,
        }
    }
}

impl OffsetsPartition {
    fn new(found: FoundOffsets) -> OffsetsPartition {
        let (log, replayed) = match found {
            Ok((log, replayed)) => (Some(log), replayed),
            Err(error) => (None, Err(error)),
        };
        let end = log.as_ref().map_or(Offset::ZERO, |log| log.offsets().end);
        let (value, doubt) = readable(replayed);
        OffsetsPartition { log, state: Mutex::new(State::new(end, value, doubt)) }
    }

    fn log(&self) -> Result<&Arc<Log>, ApiError> {
        let gone = || ApiError::new(ErrorCode::Corrupt, "a partition of __consumer_offsets has no log");
        self.log.as_ref().ok_or_else(gone)
    }

    fn is_lost(&self) -> bool {
        matches!(self.state.lock().value, Value::Lost(_))
    }

    fn begin(&self, now: TimestampMs, event: Event) -> Result<Begun, BeginError> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let generation = state.generation;
        let value = match &mut state.value {
            Value::Ready(value) => value,
            Value::Rebuilding => return Err(BeginError::Api(rebuilding())),
            Value::Lost(error) => return Err(BeginError::Api(error.clone())),
        };
        let mut begun = Begun { reply: Vec::new(), waiting: None };
        for effect in value.step(event, now) {
            match effect {
                Effect::Persist { id, records } => match self.append(&records, now) {
                    Ok(ticket) => {
                        begun.waiting = Some((generation, id, ticket));
                        state.pending.push_back((id, records.len() as u64));
                    }
                    Err(error) => {
                        // The newest step, undone under the same lock: it cannot fail.
                        let undone = value.refused(id);
                        debug_assert!(undone, "the newest persist can be undone");
                        return Err(error);
                    }
                },
                Effect::Reply(reply) => begun.reply = reply,
            }
        }
        state.outstanding += usize::from(begun.waiting.is_some());
        Ok(begun)
    }

    fn append(&self, records: &[OffsetRecord], now: TimestampMs) -> Result<Ticket, BeginError> {
        let batch = batch_of(records, now).map_err(BeginError::Api)?;
        self.log().map_err(BeginError::Api)?.append(batch).map_err(|error| match error {
            AppendError::QueueFull => BeginError::QueueFull,
            AppendError::Closed => {
                BeginError::Api(ApiError::new(ErrorCode::ShuttingDown, "the broker is shutting down"))
            }
            error => BeginError::Api(error.into()),
        })
    }

    /// Takes the outcome of a persist: where it is stored, if it is. One that failed is undone if nothing was stepped
    /// since; else the value is dropped whole, and rebuilt from its log once no other persist is on its way there.
    fn settle(&self, generation: u64, id: PersistId, stored_at: Option<Offset>) -> Settled {
        let mut state = self.state.lock();
        state.outstanding = state.outstanding.saturating_sub(1);
        if state.generation == generation && !state.follow(id, stored_at) {
            state.generation += 1;
            state.pending.clear();
            state.value = Value::Rebuilding;
        }
        match state.value {
            Value::Rebuilding if state.outstanding == 0 => Settled::RebuildNow,
            _ => Settled::Nothing,
        }
    }

    async fn rebuild(self: Arc<Self>, env: &Env) {
        let replayed = match self.log().cloned() {
            Ok(log) => on_pool(env, move || replay_offsets(&log)).await.and_then(|replayed| replayed),
            Err(error) => Err(error),
        };
        let mut state = self.state.lock();
        state.end = self.log.as_ref().map_or(Offset::ZERO, |log| log.offsets().end);
        (state.value, state.doubt) = readable(replayed);
    }
}

/// The value that was read back, or why there is none.
fn readable(replayed: Result<ReplayedOffsets, ApiError>) -> (Value, Option<ApiError>) {
    match replayed {
        Ok(ReplayedOffsets { value, doubt }) => (Value::Ready(value), doubt),
        Err(error) => {
            tracing::error!(%error, "committed offsets cannot be read");
            (Value::Lost(error), None)
        }
    }
}

fn rebuilding() -> ApiError {
    ApiError::new(ErrorCode::Throttled, "committed offsets are being read again from their log")
}

fn batch_of(records: &[OffsetRecord], now: TimestampMs) -> Result<Batch, ApiError> {
    let bytes_max = limits::BATCH_BYTES_MAX;
    let mut builder =
        BatchBuilder::new(BatchOptions { bytes_target: bytes_max, bytes_max, ..BatchOptions::default() });
    let too_large = |error: String| ApiError::new(ErrorCode::BatchTooLarge, format!("the commit: {error}"));
    for record in records {
        let value = record.value.as_ref().map(|value| value.encode());
        builder
            .append(now, Some(&record.key.encode()), value.as_deref(), NO_HEADERS)
            .map_err(|error| too_large(error.to_string()))?;
    }
    builder.build().map_err(|error| too_large(error.to_string()))
}

#[cfg(test)]
mod tests;
