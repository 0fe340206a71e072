//! One partition of `__consumer_offsets`: one lock, under which each step is taken and its records are queued.
//!
//! So the order of the log is the order of the steps. Nothing is awaited there. What was decided is told, and what was committed
//! is shown, when the log has it and all that was decided before it: see [`millrace_group::Outbox`].
//!
//! A persist that failed is undone if it was a commit and the newest; else the value is dropped whole and read again from the
//! log, once no other persist is on its way there. Whoever waits for what was decided on it hears that it must ask again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use millrace_env::{Env, Monotonic};
use millrace_group::{Now, Outbox, PersistId, PersistTicket};
use millrace_log::{AppendError, Log, Ticket};
use millrace_types::{ErrorCode, GroupId, Offset};
use parking_lot::{Mutex, MutexGuard};

use super::clock::{Flow, GroupClock};
use super::coordinated::{Coordinated, Group, Rules};
use super::draft::{Delivery, Draft, Waiter, batch_of, loading};
use super::replay::{FoundOffsets, Replayed, replay_groups};
use super::streams::Streams;
use super::topics::{GroupTopics, TopicsOf};
use crate::ApiError;
use crate::admission::InFlight;
use crate::io_pool::on_pool;

/// A persist that is on its way for longer than this keeps members from being heard of.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// So often a partition is read again at once, while nothing can be stored.
const REBUILDS_AT_ONCE: u32 = 20;
/// How long it waits then.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct GroupsPartition {
    env: Env,
    rules: Rules,
    topics: Arc<GroupTopics>,
    /// `None` if there is no log that can be served.
    log: Option<Arc<Log>>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// Counts the values: what an older one has persisted is not the newer one's to confirm.
    generation: u64,
    /// Persists that are queued or written and whose outcome is not known yet.
    outstanding: usize,
    /// How often the value was dropped since something was stored.
    dropped: u32,
    /// When the last outcome came, or the first of those that are outstanding began.
    moved_at: Monotonic,
    /// Where the first record of the first of `pending` lies if it is stored: nobody else writes to this log.
    end: Offset,
    /// Persists of this generation without an outcome.
    pending: VecDeque<Pending>,
    outbox: Outbox<Delivery>,
    pub(super) value: Value,
    /// Why what the value does not hold may have been committed all the same.
    pub(super) doubt: Option<ApiError>,
    pub(super) streams: Streams,
    clock: GroupClock,
}

#[derive(Debug)]
struct Pending {
    persist: PersistTicket,
    /// The persist of the committed offsets in it, if there is one.
    offsets: Option<PersistId>,
    records: u64,
    /// Whether it can be undone.
    of_groups: bool,
}

#[derive(Debug)]
pub(super) enum Value {
    Ready(Box<Coordinated>),
    /// Dropped whole after a persist of unknown or inconvenient outcome; being replayed.
    Rebuilding,
    /// The replay failed.
    Lost(ApiError),
}

impl Value {
    pub(super) fn ready(&mut self) -> Result<&mut Coordinated, ApiError> {
        match self {
            Value::Ready(value) => Ok(value),
            Value::Rebuilding => Err(loading()),
            Value::Lost(error) => Err(error.clone()),
        }
    }
}

/// A persist whose outcome is awaited.
#[derive(Debug)]
pub(super) struct Begun {
    generation: u64,
    persist: PersistTicket,
    waiter: Option<Waiter>,
    ticket: Ticket,
}

#[cfg(test)]
impl Begun {
    pub(super) fn parts(self) -> (u64, PersistTicket, Ticket) {
        (self.generation, self.persist, self.ticket)
    }
}

/// What the outcome of a persist leaves to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Settled {
    Nothing,
    RebuildNow,
}

impl State {
    fn new(now: Monotonic, end: Offset) -> State {
        State {
            generation: 0,
            outstanding: 0,
            dropped: 0,
            moved_at: now,
            end,
            pending: VecDeque::new(),
            outbox: Outbox::default(),
            value: Value::Rebuilding,
            doubt: None,
            streams: Streams::default(),
            clock: GroupClock::new(now),
        }
    }

    fn now(&mut self, env: &Env) -> Now {
        let now = env.clock.monotonic();
        let stuck = self.outstanding > 0 && now.since(self.moved_at) > STUCK_AFTER;
        let moment = self.clock.look(now, if stuck { Flow::Stuck } else { Flow::Running });
        Now { moment, wall: env.clock.wall() }
    }

    /// Follows the outcome of a persist; `false` if the value is no longer what its log says.
    fn follow(&mut self, persist: PersistTicket, stored_at: Option<Offset>) -> bool {
        let Value::Ready(value) = &mut self.value else { return true };
        let Some(stored_at) = stored_at else {
            let Some(last) = self.pending.pop_back_if(|last| last.persist == persist) else { return false };
            if last.of_groups || last.offsets.is_some_and(|id| !value.offsets.refused(id)) {
                return false;
            }
            self.outbox.undone(persist);
            return true;
        };
        // With it every earlier persist becomes visible, so every one of them must be stored. One that was refused, and
        // whose own outcome comes later than this, shows by where this one came to lie.
        let mut behind = self.end;
        let mut offsets = None;
        while let Some(earlier) = self.pending.pop_front_if(|first| first.persist < persist) {
            behind = behind.saturating_add(earlier.records);
            offsets = earlier.offsets.or(offsets);
        }
        match self.pending.pop_front_if(|first| first.persist == persist) {
            Some(stored) if behind == stored_at => {
                if let Some(id) = stored.offsets.or(offsets) {
                    value.offsets.committed(id);
                }
                self.end = stored_at.saturating_add(stored.records);
                self.dropped = 0;
                self.outbox.committed(persist);
                true
            }
            Some(_) => false,
            // A later one was stored and has shown it.
            None => true,
        }
    }

    /// Tells what may be told.
    fn release(&mut self) {
        while let Some(delivery) = self.outbox.pop() {
            match delivery {
                Delivery::Reply(waiter) => waiter.tell(),
                Delivery::Open(group, member, stream) => self.streams.open(group, member, stream),
                Delivery::Due(group, member) => self.streams.tell(&group, &member),
                Delivery::Lost(group, member, because) => self.streams.lose(&group, &member, because),
            }
        }
    }

    /// The value is not what the log says, or nobody knows.
    fn drop_value(&mut self) {
        self.generation += 1;
        self.dropped = self.dropped.saturating_add(1);
        self.pending.clear();
        self.value = Value::Rebuilding;
        let mut outbox = std::mem::take(&mut self.outbox);
        for delivery in outbox.drain() {
            match delivery {
                Delivery::Reply(waiter) if !waiter.has_persisted() => waiter.tell_instead(loading()),
                // Its own outcome tells it.
                Delivery::Reply(_) => {}
                // Opened, so that it hears what comes of the member.
                Delivery::Open(group, member, stream) => self.streams.open(group, member, stream),
                Delivery::Due(..) | Delivery::Lost(..) => {}
            }
        }
    }
}

impl GroupsPartition {
    pub(super) fn new(
        env: Env,
        rules: Rules,
        topics: Arc<GroupTopics>,
        found: FoundOffsets,
    ) -> GroupsPartition {
        let (log, replayed) = match found {
            Ok((log, replayed)) => (Some(log), replayed),
            Err(error) => (None, Err(error)),
        };
        let end = log.as_ref().map_or(Offset::ZERO, |log| log.offsets().end);
        let state = Mutex::new(State::new(env.clock.monotonic(), end));
        let partition = GroupsPartition { env, rules, topics, log, state };
        partition.install(&mut partition.state.lock(), replayed);
        partition
    }

    pub(super) fn log(&self) -> Result<&Arc<Log>, ApiError> {
        let gone = || ApiError::new(ErrorCode::Corrupt, "a partition of __consumer_offsets has no log");
        self.log.as_ref().ok_or_else(gone)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self.state.lock().value, Value::Lost(_))
    }

    /// Takes one step: `act` decides, under the lock, and puts into the draft what follows. Waits only for room in the
    /// log's queue. What is persisted is followed to its end, whoever gives up; `guard` lives as long.
    ///
    /// # Errors
    /// Those of `act`, which then has changed nothing; or why nothing can be persisted.
    pub(super) async fn step<T>(
        self: &Arc<Self>,
        guard: Option<InFlight>,
        act: impl FnOnce(&mut Coordinated, Now, &mut Draft) -> Result<T, ApiError> + Send,
    ) -> Result<T, ApiError> {
        let log = Arc::clone(self.log()?);
        let (done, begun) = loop {
            {
                let mut state = self.state.lock();
                if log.has_room() {
                    break self.begin(&mut state, &log, act)?;
                }
            }
            log.room().await;
        };
        if let Some(begun) = begun {
            self.follow(begun, guard);
        }
        Ok(done)
    }

    /// Awaits the outcome of a persist in a task of its own.
    pub(super) fn follow(self: &Arc<Self>, begun: Begun, guard: Option<InFlight>) {
        let partition = Arc::clone(self);
        let follow = async move {
            partition.follow_to_its_end(begun).await;
            drop(guard);
        };
        let _task = self.env.tasks.spawn("persist of groups", Box::pin(follow));
    }

    pub(super) fn begin<T>(
        self: &Arc<Self>,
        state: &mut State,
        log: &Log,
        act: impl FnOnce(&mut Coordinated, Now, &mut Draft) -> Result<T, ApiError>,
    ) -> Result<(T, Option<Begun>), ApiError> {
        let now = state.now(&self.env);
        let value = state.value.ready()?;
        let mut draft = Draft::default();
        let unmarked = std::mem::take(&mut value.unmarked);
        if unmarked {
            value.mark(&mut draft);
        }
        let done = match act(value, now, &mut draft) {
            Ok(done) => done,
            Err(error) => {
                value.unmarked = unmarked;
                return Err(error);
            }
        };
        let Draft { records, offsets, of_groups, deliveries, waiter } = draft;
        let mut begun = None;
        if !records.is_empty() {
            let appended = batch_of(&records, now.wall).and_then(|batch| append(log, batch));
            match appended {
                Ok(ticket) => {
                    let persist = state.outbox.persist();
                    let records = records.len() as u64;
                    state.pending.push_back(Pending { persist, offsets, records, of_groups });
                    if state.outstanding == 0 {
                        state.moved_at = self.env.clock.monotonic();
                    }
                    state.outstanding += 1;
                    if let Some(waiter) = &waiter {
                        waiter.set_persisted();
                    }
                    begun = Some(Begun { generation: state.generation, persist, waiter, ticket });
                }
                Err(error) => {
                    let undone = !of_groups && offsets.is_none_or(|id| value.offsets.refused(id));
                    if !undone {
                        tracing::warn!(%error, "a step of groups could not be persisted; they are read again");
                        state.drop_value();
                        if state.outstanding == 0 {
                            self.spawn_rebuild();
                        }
                    }
                    return Err(error);
                }
            }
        }
        deliveries.into_iter().for_each(|delivery| state.outbox.push(delivery));
        state.release();
        Ok((done, begun))
    }

    async fn follow_to_its_end(self: &Arc<Self>, begun: Begun) {
        let Begun { generation, persist, waiter, ticket } = begun;
        let outcome = ticket.await;
        let stored_at = match outcome {
            Ok(appended) => Some(appended.base_offset),
            Err(error) => {
                // Before it is settled: what rests on it may be released by that.
                #[cfg(feature = "teeth")]
                millrace_types::planted!(FailedPersistTold => waiter.iter().for_each(Waiter::tell););
                if let Some(waiter) = &waiter {
                    waiter.tell_instead(as_api_error(error));
                }
                None
            }
        };
        if self.settle(generation, persist, stored_at) == Settled::RebuildNow {
            self.spawn_rebuild();
        }
        if let Some(waiter) = waiter {
            waiter.tell_if_it_stands();
        }
    }

    /// Takes the outcome of a persist: where it is stored, if it is.
    pub(super) fn settle(
        &self,
        generation: u64,
        persist: PersistTicket,
        stored_at: Option<Offset>,
    ) -> Settled {
        let mut state = self.state.lock();
        state.outstanding = state.outstanding.saturating_sub(1);
        state.moved_at = self.env.clock.monotonic();
        if state.generation == generation {
            if state.follow(persist, stored_at) {
                state.release();
            } else {
                state.drop_value();
            }
        }
        match state.value {
            Value::Rebuilding if state.outstanding == 0 => Settled::RebuildNow,
            _ => Settled::Nothing,
        }
    }

    fn spawn_rebuild(self: &Arc<Self>) {
        let partition = Arc::clone(self);
        let rebuild = async move { partition.rebuild().await };
        let _task = self.env.tasks.spawn("rebuild groups", Box::pin(rebuild));
    }

    async fn rebuild(self: Arc<Self>) {
        if self.lock().dropped > REBUILDS_AT_ONCE {
            // What comes to life may have something to write, for which there is no room either.
            self.env.clock.sleep(REBUILD_PAUSE).await;
        }
        let replayed = match self.log().cloned() {
            Ok(log) => on_pool(&self.env, move || replay_groups(&log)).await.and_then(|replayed| replayed),
            Err(error) => Err(error),
        };
        let groups: Vec<GroupId> = {
            let mut state = self.state.lock();
            self.install(&mut state, replayed);
            let State { value, streams, .. } = &mut *state;
            match value {
                Value::Ready(value) => {
                    streams.after_rebuild(|group, member| {
                        value.group(group).is_some_and(|group| group.state().members.contains_key(member))
                    });
                    value.groups().map(|(id, _)| id.clone()).collect()
                }
                Value::Lost(error) => {
                    streams.lose_all(error);
                    Vec::new()
                }
                Value::Rebuilding => Vec::new(),
            }
        };
        self.catch_up(groups).await;
    }

    /// Takes what was read back.
    fn install(&self, state: &mut State, replayed: Result<Replayed, ApiError>) {
        state.end = self.log.as_ref().map_or(Offset::ZERO, |log| log.offsets().end);
        #[cfg(feature = "teeth")]
        let replayed = millrace_types::planted!(ServedBeforeLoaded, Ok(Replayed::default()), else replayed);
        match replayed {
            Ok(replayed) => {
                let Replayed { offsets, groups, epoch_floor, doubt, dropped } = replayed;
                let topics = self.topics.newest();
                let mut value = Coordinated::new(self.rules.clone(), topics, offsets, groups);
                value.raise_epochs(epoch_floor, dropped);
                state.value = Value::Ready(Box::new(value));
                state.doubt = doubt;
            }
            Err(error) => {
                tracing::error!(%error, "committed offsets cannot be read");
                state.value = Value::Lost(error);
                state.doubt = None;
            }
        }
    }

    /// Brings these groups to life and to the newest topics, one after the other.
    pub(super) async fn catch_up(self: &Arc<Self>, groups: Vec<GroupId>) {
        for group in groups {
            let caught_up = self.step(None, |value, now, draft| {
                value.catch_up(&group, draft, now);
                Ok(())
            });
            if caught_up.await.is_err() {
                // It is being read again, and then caught up again; or it is closed.
                return;
            }
        }
    }

    /// The groups that have something to learn.
    pub(super) fn behind(&self) -> Vec<GroupId> {
        let mut state = self.state.lock();
        let Ok(value) = state.value.ready() else { return Vec::new() };
        let value = &*value;
        value.groups().map(|(id, _)| id).filter(|id| value.is_behind(id)).cloned().collect()
    }

    /// The groups whose deadline has come, by the clock that knows pauses.
    pub(super) fn overdue(&self) -> Vec<GroupId> {
        let mut state = self.state.lock();
        let now = state.now(&self.env);
        state.value.ready().map(|value| value.overdue(now.moment)).unwrap_or_default()
    }

    /// In how long the next deadline comes.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        let now = state.now(&self.env).moment;
        let next = state.value.ready().ok()?.next_deadline()?;
        Some(Duration::from_millis(next.0.saturating_sub(now.0)))
    }

    /// Gives later topics to the groups; answers the patterns of members for which these do not do.
    pub(super) fn take_topics(&self, topics: &TopicsOf) -> BTreeSet<millrace_group::Pattern> {
        self.state.lock().value.ready().map(|value| value.set_topics(topics)).unwrap_or_default()
    }

    /// The patterns that members of its groups subscribe by.
    pub(super) fn patterns(&self) -> BTreeSet<millrace_group::Pattern> {
        let mut state = self.state.lock();
        state.value.ready().map(|value| value.patterns().cloned().collect()).unwrap_or_default()
    }

    /// Looks at every group.
    pub(super) fn each_group(&self, mut look: impl FnMut(&Group)) {
        if let Ok(value) = self.state.lock().value.ready() {
            value.groups().for_each(|(_, group)| look(group));
        }
    }
}

fn append(log: &Log, batch: millrace_record::Batch) -> Result<Ticket, ApiError> {
    log.append(batch).map_err(as_api_error)
}

fn as_api_error(error: AppendError) -> ApiError {
    match error {
        // This log is closed by nothing but the end of the broker.
        AppendError::Closed => ApiError::new(ErrorCode::ShuttingDown, "the broker is shutting down"),
        error => error.into(),
    }
}
