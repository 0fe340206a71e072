//! Whether this node coordinates a partition's groups: elsewhere, being read, ready, or lost.
//!
//! ```text
//!                lead                       replayed
//!   elsewhere ─────────► being read ───────────────────────► ready
//!       ▲                  ▲    ▲  │ the medium does not give it  │ │
//!       │                  │    │  └────────► lost               │ │
//!       │                  │    └── a persist in doubt ──────────┘ │
//!       │                  └─────── lead, in a later epoch ────────┤
//!       └── follow, or the log refuses whoever does not lead ──────┘
//! ```
//! Nothing is served before all that was ever committed was read, and nothing of what was read in one epoch is served in another:
//! the generation of the value counts on whenever it is dropped, and a replay that ends in another generation is thrown away.
//! What was decided in one epoch is not written in another either, for the log asks for the epoch of each append.
//!
//! A record that is in the log and may or may not be committed keeps the value from being read: whoever answered without it would have
//! to take that back.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::Env;
use millrace_group::Pattern;
use millrace_log::{AppendError, Appended};
use millrace_types::{ErrorCode, GroupId, LeaderEpoch, Offset};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Look;
use super::coordinated::{Coordinated, Rules};
use super::draft::{Waiter, loading};
use super::partition::{GroupsPartition, State};
use super::replay::{FoundOffsets, Replayed, replay_groups};
use super::topics::{GroupTopics, TopicsOf};
use crate::ApiError;
use crate::io_pool::on_pool;
use crate::led_log::{LedError, LedLog};

/// So often a partition is read again at once, while nothing can be stored.
const REBUILDS_AT_ONCE: u32 = 20;
/// How long it waits then.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) enum Value {
    /// Another broker leads the partition, or nobody does.
    Elsewhere {
        /// Its gRPC address, where it is known.
        leader: Option<String>,
    },
    /// Dropped whole after a persist of unknown or inconvenient outcome, or led for a moment only; being replayed.
    Rebuilding,
    Ready(Box<Coordinated>),
    /// The replay failed.
    Lost(ApiError),
}

impl Value {
    pub(super) fn ready(&mut self) -> Result<&mut Coordinated, ApiError> {
        match self {
            Value::Ready(value) => Ok(value),
            other => Err(other.refusal().unwrap_or_else(loading)),
        }
    }

    /// Why nothing is served, if that is so.
    pub(super) fn refusal(&self) -> Option<ApiError> {
        match self {
            Value::Ready(_) => None,
            Value::Rebuilding => Some(loading()),
            Value::Lost(error) => Some(error.clone()),
            Value::Elsewhere { leader } => Some(elsewhere(leader.clone())),
        }
    }
}

/// What became of a persist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// It is committed, and lies there.
    Stored(Offset),
    /// Nothing of it is in the log, or the directory has failed.
    Refused,
    /// It is in the log, and nobody knows whether it stays there.
    Unknown,
    /// This node does not lead any more.
    Deposed,
}

impl Outcome {
    pub(super) fn of(outcome: &Result<Appended, LedError>) -> Outcome {
        match outcome {
            Ok(appended) => Outcome::Stored(appended.base_offset),
            Err(LedError::TooFewSince) => Outcome::Unknown,
            Err(LedError::Deposed | LedError::Append(AppendError::NotLeading | AppendError::Truncated)) => {
                Outcome::Deposed
            }
            Err(LedError::TooFew(_) | LedError::Behind { .. } | LedError::Append(_)) => Outcome::Refused,
        }
    }
}

/// What is answered for groups that another broker coordinates.
pub(super) fn elsewhere(leader: Option<String>) -> ApiError {
    let message = "another broker coordinates the group";
    ApiError { leader, ..ApiError::new(ErrorCode::NotCoordinator, message) }
}

/// What is told to whom something was written for, by a coordinator that is none any more.
fn unknown(leader: Option<String>) -> ApiError {
    let message = "another broker coordinates the group since this was asked for; it may have been done";
    ApiError { leader, ..ApiError::new(ErrorCode::OutcomeUnknown, message) }
}

impl State {
    /// Whether this node is to coordinate the groups.
    pub(super) fn is_here(&self) -> bool {
        !matches!(self.value, Value::Elsewhere { .. })
    }

    /// What may be told for certain: what was read, if that is still what the leader knows. The seat may be changing at this moment.
    ///
    /// # Errors
    /// Retriable.
    pub(super) fn look(&mut self) -> Result<Look<'_>, ApiError> {
        if self.log.as_ref().is_some_and(|log| !log.leads_in(self.epoch)) {
            return Err(loading());
        }
        let value = &*self.value.ready()?;
        Ok(Look { offsets: &value.offsets, value, doubt: self.doubt.as_ref() })
    }

    /// The gRPC address of the broker that leads the partition; `None` if it is this one.
    fn leader(&self) -> Option<Option<String>> {
        match &self.value {
            Value::Elsewhere { leader } => Some(leader.clone()),
            Value::Rebuilding | Value::Ready(_) | Value::Lost(_) => None,
        }
    }

    /// What is said to whom an answer was dropped with the value.
    pub(super) fn gone(&self) -> ApiError {
        self.leader().map_or_else(loading, elsewhere)
    }

    /// What is said to whom something was stored for, while what it was decided on is gone.
    pub(super) fn gone_though_stored(&self) -> ApiError {
        self.leader().map_or_else(loading, unknown)
    }

    /// Why nothing was persisted, or why nobody knows.
    pub(super) fn refusal_of(&self, error: LedError) -> ApiError {
        match error {
            LedError::Append(AppendError::NotLeading) => elsewhere(self.leader().flatten()),
            // A log that is led here is closed by nothing but the end of the broker.
            LedError::Append(AppendError::Closed) => self.leader().map_or_else(
                || ApiError::new(ErrorCode::ShuttingDown, "the broker is shutting down"),
                elsewhere,
            ),
            LedError::Deposed => unknown(self.leader().flatten()),
            error => error.into(),
        }
    }

    /// Coordinates no longer, or still does not. Answers what is to be dropped.
    pub(super) fn leave(&mut self, leader: Option<String>) -> Value {
        let told = leader.clone();
        let is_news = self.is_here();
        let value = Value::Elsewhere { leader };
        if !is_news {
            return std::mem::replace(&mut self.value, value);
        }
        (self.log, self.doubt, self.dropped) = (None, None, 0);
        let before = self.replace_value(value, |waiter: &Waiter| {
            let say = if waiter.has_written() { unknown } else { elsewhere };
            say(told.clone())
        });
        self.streams.lose_all(&self.gone());
        before
    }

    /// Leads from now on, and is to be read as soon as there is a log to read, unless that is stale. Answers what is to be dropped.
    fn take_seat(&mut self, log: Option<LedLog>, epoch: LeaderEpoch) -> Option<Value> {
        if epoch < self.epoch || (epoch == self.epoch && self.log.is_some()) {
            return None;
        }
        (self.log, self.epoch, self.dropped) = (log, epoch, 0);
        Some(self.replace_value(Value::Rebuilding, |_| loading()))
    }
}

impl GroupsPartition {
    /// One that another broker leads.
    pub(super) fn elsewhere(env: Env, rules: Rules, topics: Arc<GroupTopics>) -> GroupsPartition {
        let state = Mutex::new(State::new(env.clock.monotonic()));
        GroupsPartition { env, rules, topics, turned: Notify::new(), state }
    }

    /// One without other replicas, as a start has found it.
    pub(super) fn new(
        env: Env,
        rules: Rules,
        topics: Arc<GroupTopics>,
        found: FoundOffsets,
    ) -> GroupsPartition {
        let partition = GroupsPartition::elsewhere(env, rules, topics);
        let topics = partition.topics.newest();
        let (log, replayed) = match found {
            Ok((log, replayed)) => (Some(LedLog::alone(log)), replayed),
            Err(error) => (None, Err(error)),
        };
        {
            let mut state = partition.state.lock();
            state.log = log;
            partition.install(&mut state, replayed, topics);
        }
        partition
    }

    /// This node leads from now on, in this epoch; `log` holds all that was ever committed. Answers the generation that is read,
    /// unless that is stale.
    pub(super) fn lead(self: &Arc<Self>, log: LedLog, epoch: LeaderEpoch) -> Option<u64> {
        let (generation, before) = {
            let mut state = self.state.lock();
            let before = state.take_seat(Some(log), epoch)?;
            if state.outstanding == 0 {
                self.spawn_rebuild();
            }
            (state.generation, before)
        };
        self.turn(before);
        Some(generation)
    }

    /// This node leads from now on, in this epoch, and has yet to learn what was committed.
    pub(super) fn lead_soon(&self, epoch: LeaderEpoch) {
        let before = self.state.lock().take_seat(None, epoch);
        if let Some(before) = before {
            self.turn(before);
        }
    }

    /// Completes when that generation of the value has been read, or is none any more.
    pub(super) async fn has_been_read(&self, generation: u64) {
        loop {
            let mut turned = pin!(self.turned.notified());
            turned.as_mut().enable();
            if self.generation_and_whether_read() != (generation, false) {
                return;
            }
            turned.await;
        }
    }

    /// Another broker leads, or nobody does.
    pub(super) fn leave(&self, leader: Option<String>) {
        let before = self.state.lock().leave(leader);
        self.turn(before);
    }

    fn turn(&self, before: Value) {
        self.discard(before);
        self.turned.notify_waiters();
    }

    /// Drops what was read, which may be much.
    pub(super) fn discard(&self, value: Value) {
        if let Value::Ready(value) = value {
            let env = self.env.clone();
            let discard = async move {
                let _dropped = on_pool(&env, move || drop(value)).await;
            };
            let _task = self.env.tasks.spawn("drop groups", Box::pin(discard));
        }
    }

    fn generation_and_whether_read(&self) -> (u64, bool) {
        let state = self.state.lock();
        (state.generation, !matches!(state.value, Value::Rebuilding))
    }

    /// Whether there is something here, or will be.
    pub(super) fn is_served(&self) -> bool {
        let state = self.state.lock();
        matches!(state.value, Value::Ready(_) | Value::Rebuilding)
    }

    pub(super) fn spawn_rebuild(self: &Arc<Self>) {
        let partition = Arc::clone(self);
        let rebuild = async move { partition.rebuild().await };
        let _task = self.env.tasks.spawn("rebuild groups", Box::pin(rebuild));
    }

    async fn rebuild(self: Arc<Self>) {
        if self.lock().dropped > REBUILDS_AT_ONCE {
            // What comes to life may have something to write, for which there is no room either.
            self.env.clock.sleep(REBUILD_PAUSE).await;
        }
        let (generation, log) = {
            let state = self.lock();
            match (&state.value, &state.log) {
                (Value::Rebuilding, Some(log)) => (state.generation, log.clone()),
                // It is led by another now.
                _ => return,
            }
        };
        if !self.settled(generation, &log).await {
            return;
        }
        let log = Arc::clone(log.log());
        let replayed = on_pool(&self.env, move || replay_groups(&log)).await.and_then(|replayed| replayed);
        let patterns = replayed.as_ref().map(patterns_of).unwrap_or_default();
        let topics = self.topics.hold(&patterns);
        let groups: Vec<GroupId> = {
            let mut state = self.state.lock();
            if state.generation != generation || !matches!(state.value, Value::Rebuilding) {
                return;
            }
            self.install(&mut state, replayed, topics);
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
                Value::Rebuilding | Value::Elsewhere { .. } => Vec::new(),
            }
        };
        self.turned.notify_waiters();
        // Whoever threw a pattern out meanwhile did not know of these groups; from now on everybody does.
        self.take_topics(&self.topics.hold(&patterns));
        self.catch_up(groups).await;
    }

    /// Waits until all that is in the log is committed; `false` if it is not to be read any more.
    async fn settled(&self, generation: u64, log: &LedLog) -> bool {
        let mut settled = pin!(log.settled());
        loop {
            let mut turned = pin!(self.turned.notified());
            turned.as_mut().enable();
            if self.generation_and_whether_read() != (generation, false) {
                return false;
            }
            tokio::select! {
                biased;
                () = &mut settled => return true,
                () = turned => {}
            }
        }
    }

    /// Takes what was read back.
    fn install(&self, state: &mut State, replayed: Result<Replayed, ApiError>, topics: TopicsOf) {
        state.end = state.log.as_ref().map_or(Offset::ZERO, |log| log.log().offsets().end);
        #[cfg(feature = "teeth")]
        let replayed = millrace_types::planted!(ServedBeforeLoaded, Ok(Replayed::default()), else replayed);
        match replayed {
            Ok(replayed) => {
                let Replayed { offsets, groups, epoch_floor, doubt, dropped } = replayed;
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
}

/// The patterns that members subscribe by.
pub(super) fn patterns_of(replayed: &Replayed) -> Vec<Pattern> {
    let members = replayed.groups.values().flat_map(|group| group.members.values());
    members.filter_map(|profile| profile.subscription.pattern.clone()).collect()
}
