//! One partition of `__consumer_offsets`: one lock, under which each step is taken and its records are queued.
//!
//! So the order of the log is the order of the steps. Nothing is awaited there. What was decided is told, and what was committed
//! is shown, when the log has it and all that was decided before it: see [`millrace_group::Outbox`].
//!
//! A persist that failed is undone if it was a commit and the newest; else the value is dropped whole and read again from the
//! log, once no other persist is on its way there. Whoever waits for what was decided on it hears that it must ask again. So it
//! is if nobody knows whether it will be committed: see [`super::seat`], also for what another broker coordinates.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use millrace_env::{Env, Monotonic};
use millrace_group::{Now, Outbox, PersistId, PersistTicket};
use millrace_log::AppendError;
use millrace_record::Batch;
use millrace_types::{GroupId, LeaderEpoch, Offset};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::clock::{Flow, GroupClock};
use super::coordinated::{Coordinated, Group, Rules};
use super::draft::{Delivery, Draft, Waiter, batch_of, loading};
use super::seat::{Outcome, Value};
use super::streams::Streams;
use super::topics::{GroupTopics, TopicsOf};
use crate::ApiError;
use crate::admission::InFlight;
use crate::led_log::{LedError, LedLog, LedTicket, Reach};

/// A persist that is on its way for longer than this keeps members from being heard of.
const STUCK_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct GroupsPartition {
    pub(super) env: Env,
    pub(super) rules: Rules,
    pub(super) topics: Arc<GroupTopics>,
    /// Notified when this node begins or ends to lead it, and when it has been read.
    pub(super) turned: Notify,
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// `None` if there is no log that can be served, or another broker leads it.
    pub(super) log: Option<LedLog>,
    /// The newest epoch in which this node was to lead it.
    pub(super) epoch: LeaderEpoch,
    /// Counts the values: what an older one has persisted is not the newer one's to confirm.
    pub(super) generation: u64,
    /// Persists that are queued or written and whose outcome is not known yet.
    pub(super) outstanding: usize,
    /// How often the value was dropped since something was stored.
    pub(super) dropped: u32,
    /// When the last outcome came, or the first of those that are outstanding began.
    moved_at: Monotonic,
    /// Where the first record of the first of `pending` lies if it is stored: nobody else writes to this log.
    pub(super) end: Offset,
    /// Persists of this generation without an outcome.
    pub(super) pending: VecDeque<Pending>,
    pub(super) outbox: Outbox<Delivery>,
    pub(super) value: Value,
    /// Why what the value does not hold may have been committed all the same.
    pub(super) doubt: Option<ApiError>,
    pub(super) streams: Streams,
    clock: GroupClock,
}

#[derive(Debug)]
pub(super) struct Pending {
    persist: PersistTicket,
    /// The persist of the committed offsets in it, if there is one.
    offsets: Option<PersistId>,
    records: u64,
    /// Whether it can be undone.
    of_groups: bool,
}

/// Whose a persist is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Of {
    /// The value's that decided on it.
    generation: u64,
    /// The epoch in which it was to be written.
    epoch: LeaderEpoch,
}

/// A persist whose outcome is awaited.
#[derive(Debug)]
pub(super) struct Begun {
    of: Of,
    persist: PersistTicket,
    waiter: Option<Waiter>,
    ticket: LedTicket,
}

#[cfg(test)]
impl Begun {
    pub(super) fn parts(self) -> (Of, PersistTicket, LedTicket) {
        (self.of, self.persist, self.ticket)
    }
}

/// What the outcome of a persist leaves to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Settled {
    Nothing,
    RebuildNow,
}

impl State {
    /// Of a partition that another broker leads.
    pub(super) fn new(now: Monotonic) -> State {
        State {
            log: None,
            epoch: LeaderEpoch::NONE,
            generation: 0,
            outstanding: 0,
            dropped: 0,
            moved_at: now,
            end: Offset::ZERO,
            pending: VecDeque::new(),
            outbox: Outbox::default(),
            value: Value::Elsewhere { leader: None },
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
    fn follow(&mut self, persist: PersistTicket, outcome: Outcome) -> bool {
        let Value::Ready(value) = &mut self.value else { return true };
        let stored_at = match outcome {
            Outcome::Stored(at) => Some(at),
            Outcome::Refused => None,
            Outcome::Unknown | Outcome::Deposed => return false,
        };
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
    pub(super) fn release(&mut self) {
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
        self.dropped = self.dropped.saturating_add(1);
        self.replace_value(Value::Rebuilding, |_| loading());
    }

    /// Takes another value; who waits in the outbox for no outcome of its own is told what `told` says. Answers the one before.
    pub(super) fn replace_value(&mut self, value: Value, told: impl Fn(&Waiter) -> ApiError) -> Value {
        self.generation += 1;
        self.pending.clear();
        let before = std::mem::replace(&mut self.value, value);
        let mut outbox = std::mem::take(&mut self.outbox);
        for delivery in outbox.drain() {
            match delivery {
                Delivery::Reply(waiter) if !waiter.has_persisted() => waiter.tell_instead(told(&waiter)),
                // Its own outcome tells it.
                Delivery::Reply(_) => {}
                // Opened, so that it hears what comes of the member.
                Delivery::Open(group, member, stream) => self.streams.open(group, member, stream),
                Delivery::Due(..) | Delivery::Lost(..) => {}
            }
        }
        before
    }
}

impl GroupsPartition {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
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
        let (done, begun) = loop {
            let room = {
                let mut state = self.state.lock();
                match state.log.as_ref().filter(|log| !log.log().has_room()) {
                    None => break self.begin(&mut state, act)?,
                    Some(log) => log.log().room(),
                }
            };
            room.await;
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
            match append(state.log.as_ref(), state.epoch, batch_of(&records, now.wall)) {
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
                    deliveries.iter().for_each(Delivery::set_written);
                    let of = Of { generation: state.generation, epoch: state.epoch };
                    begun = Some(Begun { of, persist, waiter, ticket });
                }
                Err(Unappended::Led(LedError::Append(AppendError::NotLeading))) => {
                    self.discard(state.leave(None));
                    return Err(state.gone());
                }
                Err(unappended) => {
                    let undone = !of_groups && offsets.is_none_or(|id| value.offsets.refused(id));
                    let error = match unappended {
                        Unappended::Led(error) => state.refusal_of(error),
                        Unappended::Batch(error) => error,
                    };
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
        let Begun { of, persist, waiter, ticket } = begun;
        let appended = ticket.await;
        let outcome = Outcome::of(&appended);
        if let Err(error) = appended {
            // Before it is settled: what rests on it may be released by that.
            #[cfg(feature = "teeth")]
            millrace_types::planted!(FailedPersistTold => waiter.iter().for_each(Waiter::tell););
            if let Some(waiter) = &waiter {
                waiter.tell_instead(self.lock().refusal_of(error));
            }
        }
        if self.settle(of, persist, outcome) == Settled::RebuildNow {
            self.spawn_rebuild();
        }
        if let Some(waiter) = waiter {
            waiter.tell_if_it_stands(|| self.lock().gone_though_stored());
        }
    }

    /// Takes the outcome of a persist.
    pub(super) fn settle(&self, of: Of, persist: PersistTicket, outcome: Outcome) -> Settled {
        let mut state = self.state.lock();
        state.outstanding = state.outstanding.saturating_sub(1);
        state.moved_at = self.env.clock.monotonic();
        if outcome == Outcome::Deposed && state.epoch == of.epoch {
            // Who leads is told by whoever knows.
            if state.is_here() {
                self.discard(state.leave(None));
            }
        } else if state.generation == of.generation {
            if state.follow(persist, outcome) {
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

/// Why nothing was appended.
enum Unappended {
    /// The records are no batch.
    Batch(ApiError),
    /// The log's word.
    Led(LedError),
}

fn append(
    log: Option<&LedLog>,
    epoch: LeaderEpoch,
    batch: Result<Batch, ApiError>,
) -> Result<LedTicket, Unappended> {
    // Whoever has a value has a log.
    let log = log.ok_or_else(|| Unappended::Batch(loading()))?;
    log.append_in(epoch, batch.map_err(Unappended::Batch)?, Reach::Committed).map_err(Unappended::Led)
}
