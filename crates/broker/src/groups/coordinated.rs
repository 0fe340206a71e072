//! One partition of `__consumer_offsets` in memory: what was committed, and the groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_group::consumer::{Answer as GroupAnswer, ConsumerGroup, Effect, Event, GroupConfig, Heartbeat};
use millrace_group::{
    Committer, Effect as OffsetsEffect, Event as OffsetsEvent, Front, GroupEpoch, GroupMeta, GroupOffsets,
    GroupRecord, GroupState, MemberId, Moment, Now, Pattern, RecordBytes, members_dropped,
};
use millrace_types::limits::{GROUP_MEMBERS_BYTES_MAX, GROUPS_PER_BROKER_MAX};
use millrace_types::{ErrorCode, GroupId, TimestampMs};
use tokio::sync::{Notify, oneshot};

use super::draft::{Answer, Answered, Delivery, Draft};
use super::topics::TopicsOf;
use crate::ApiError;
use crate::metrics::GroupCounters;

/// An event, and who waits for the answer.
pub(super) type Asked = (Event, Option<oneshot::Sender<Answer>>);

/// What all partitions of a broker share.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Groups with a state of their own.
    pub(super) groups: AtomicUsize,
    /// What their members take, as they are written down.
    pub(super) bytes: AtomicUsize,
    /// Wakes the timer, which sleeps while no group has a deadline.
    pub(super) woken: Arc<Notify>,
}

/// What a partition's groups are run by.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) config: GroupConfig,
    pub(super) totals: Arc<Totals>,
    pub(super) counters: GroupCounters,
}

/// A group that is more than its offsets.
#[derive(Debug)]
pub(crate) enum Group {
    /// As it was read back. It comes to life when somebody asks for it or the coordinator has gone round.
    Stored(Box<GroupState>),
    /// The coordinator assigns.
    Consumer(Box<Live>),
}

#[derive(Debug)]
pub(crate) struct Live {
    group: ConsumerGroup,
    /// The topics that it knows.
    topics: u64,
    /// What each member takes, as it is written down.
    bytes: BTreeMap<MemberId, usize>,
    deadline: Option<Moment>,
}

impl Live {
    pub(super) fn group(&self) -> &ConsumerGroup {
        &self.group
    }

    fn new(group: ConsumerGroup, topics: u64) -> Live {
        Live { group, topics, bytes: BTreeMap::new(), deadline: None }
    }

    /// The member takes so much from now on.
    fn weigh(&mut self, totals: &Totals, member: &MemberId, bytes: Option<usize>) {
        let before = match bytes {
            Some(bytes) => self.bytes.insert(member.clone(), bytes),
            None => self.bytes.remove(member),
        };
        totals.bytes.fetch_add(bytes.unwrap_or(0), Ordering::Relaxed);
        totals.bytes.fetch_sub(before.unwrap_or(0), Ordering::Relaxed);
    }
}

impl Group {
    pub(crate) fn state(&self) -> &GroupState {
        match self {
            Group::Stored(state) => state,
            Group::Consumer(live) => live.group.state(),
        }
    }

    /// The group, if the coordinator assigns and it has come to life.
    pub(crate) fn consumer(&self) -> Option<&ConsumerGroup> {
        match self {
            Group::Consumer(live) => Some(&live.group),
            Group::Stored(_) => None,
        }
    }

    /// How many are members.
    pub(crate) fn members(&self) -> usize {
        let state = self.state();
        state.classic.as_ref().map_or(state.members.len(), |classic| classic.members.len())
    }
}

/// The value of a partition.
#[derive(Debug)]
pub(super) struct Coordinated {
    pub(super) offsets: GroupOffsets,
    groups: BTreeMap<GroupId, Group>,
    deadlines: BTreeSet<(Moment, GroupId)>,
    topics: TopicsOf,
    /// No epoch up to this one is given to a group that begins.
    epoch_floor: GroupEpoch,
    /// Whether the log has yet to say that the members are dropped.
    pub(super) unmarked: bool,
    rules: Rules,
}

impl Coordinated {
    pub(super) fn new(
        rules: Rules,
        topics: TopicsOf,
        offsets: GroupOffsets,
        groups: BTreeMap<GroupId, GroupState>,
    ) -> Coordinated {
        rules.totals.groups.fetch_add(groups.len(), Ordering::Relaxed);
        let stored = |(id, state)| (id, Group::Stored(Box::new(state)));
        Coordinated {
            offsets,
            groups: groups.into_iter().map(stored).collect(),
            deadlines: BTreeSet::new(),
            topics,
            epoch_floor: GroupEpoch(0),
            unmarked: false,
            rules,
        }
    }

    /// All members were dropped: their last epochs are not known.
    pub(super) fn raise_epochs(&mut self, floor: GroupEpoch, unmarked: bool) {
        (self.epoch_floor, self.unmarked) = (floor, unmarked);
    }

    /// The record without which the members that were dropped would be there again after the next start.
    pub(super) fn mark(&self, draft: &mut Draft) {
        draft.group_record(members_dropped(self.epoch_floor));
    }

    pub(super) fn group(&self, id: &GroupId) -> Option<&Group> {
        self.groups.get(id)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = (&GroupId, &Group)> {
        self.groups.iter()
    }

    /// Whether the topics that groups are given hold what the pattern matches.
    pub(super) fn knows(&self, pattern: &Pattern) -> bool {
        self.topics.topics.matches.contains_key(pattern)
    }

    /// Gives later topics to the groups, each when it is stepped the next time. The answer names the patterns of members that
    /// these topics do not hold; then they are not taken.
    pub(super) fn set_topics(&mut self, topics: &TopicsOf) -> BTreeSet<Pattern> {
        if topics.version <= self.topics.version {
            return BTreeSet::new();
        }
        let lost = |pattern: &&Pattern| !topics.topics.matches.contains_key(*pattern);
        let mut missing = BTreeSet::new();
        if self.topics.topics.matches.keys().any(|pattern| lost(&pattern)) {
            missing = self.patterns().filter(lost).cloned().collect();
        }
        if missing.is_empty() {
            self.topics = topics.clone();
        }
        missing
    }

    /// The patterns that members subscribe by.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let members = self.groups.values().flat_map(|group| group.state().members.values());
        members.filter_map(|profile| profile.subscription.pattern.as_ref())
    }

    /// Whether the group has a reason to be looked at that it does not know of: it was read back, or the topics have changed.
    pub(super) fn is_behind(&self, id: &GroupId) -> bool {
        match self.groups.get(id) {
            Some(Group::Stored(state)) => state.classic.is_none(),
            Some(Group::Consumer(live)) => live.topics < self.topics.version,
            None => false,
        }
    }

    /// Brings a group to life and to the newest topics.
    pub(super) fn catch_up(&mut self, id: &GroupId, draft: &mut Draft, now: Now) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let effects = match group {
            Group::Stored(state) if state.classic.is_some() => return,
            Group::Stored(state) => {
                let topics = Arc::clone(&self.topics.topics);
                let state = std::mem::take(&mut **state);
                let (restored, effects) = ConsumerGroup::restore(self.rules.config, topics, state, now);
                let mut live = Live::new(restored, self.topics.version);
                let members = live.group.state().members.clone();
                for (member, profile) in members {
                    let record = GroupRecord::Member { member: member.clone(), value: Some(profile) };
                    let bytes = bytes_of(&record.encode(id));
                    live.weigh(&self.rules.totals, &member, Some(bytes));
                }
                *group = Group::Consumer(Box::new(live));
                effects
            }
            Group::Consumer(live) if live.topics < self.topics.version => {
                live.topics = self.topics.version;
                live.group.step(Event::Topics(Arc::clone(&self.topics.topics)), now)
            }
            Group::Consumer(_) => return,
        };
        self.gather(id, effects, draft, None);
    }

    /// Steps a group that is there. Answers nothing if it is not.
    pub(super) fn step(&mut self, id: &GroupId, (event, reply): Asked, now: Now, draft: &mut Draft) {
        let Some(Group::Consumer(live)) = self.groups.get_mut(id) else { return };
        let effects = live.group.step(event, now);
        self.gather(id, effects, draft, reply);
    }

    /// A member that has not heard the newest yet, on the stream by which it is being told, says only that it is there: its epoch
    /// was raised while its heartbeat was under way, perhaps more than once. What it owns it says again when it has heard.
    pub(super) fn forgive_crossing(&self, id: &GroupId, heartbeat: &mut Heartbeat) {
        let Some(Group::Consumer(live)) = self.groups.get(id) else { return };
        let Some(current) = live.group.state().currents.get(&heartbeat.member) else { return };
        if heartbeat.heard.is_some_and(|heard| heard < current.revision) && heartbeat.epoch < current.epoch {
            heartbeat.epoch = current.epoch;
            heartbeat.owned = None;
        }
    }

    /// Makes a group that is not there, for somebody to join.
    ///
    /// # Errors
    /// If there are too many.
    pub(super) fn begin_group(&mut self, id: &GroupId, now: Now) -> Result<(), ApiError> {
        self.check_memory()?;
        if self.groups.contains_key(id) {
            return Ok(());
        }
        if self.rules.totals.groups.load(Ordering::Relaxed) >= GROUPS_PER_BROKER_MAX {
            let message = format!("the broker coordinates {GROUPS_PER_BROKER_MAX} groups, as many as may be");
            return Err(ApiError::new(ErrorCode::Throttled, message));
        }
        let (group, _nothing) = ConsumerGroup::restore(
            self.rules.config,
            Arc::clone(&self.topics.topics),
            self.empty_state(),
            now,
        );
        let live = Live::new(group, self.topics.version);
        self.groups.insert(id.clone(), Group::Consumer(Box::new(live)));
        self.rules.totals.groups.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Refuses members, and larger subscriptions, when all there are take too much.
    pub(super) fn check_memory(&self) -> Result<(), ApiError> {
        if self.rules.totals.bytes.load(Ordering::Relaxed) < GROUP_MEMBERS_BYTES_MAX {
            return Ok(());
        }
        let message = format!("the members of all groups take {GROUP_MEMBERS_BYTES_MAX} bytes already");
        Err(ApiError::new(ErrorCode::Throttled, message))
    }

    /// Refuses what a group of the other kind cannot do.
    pub(super) fn check_front(&self, id: &GroupId) -> Result<(), ApiError> {
        match self.groups.get(id) {
            Some(group) if group.state().front() == Some(Front::Classic) => {
                let message = "the members of the group are assigned by one of them";
                Err(ApiError::new(ErrorCode::GroupKindMismatch, message))
            }
            _ => Ok(()),
        }
    }

    /// Whether that one may commit for the group, or ask what it has committed.
    pub(super) fn check_committer(&self, id: &GroupId, who: &Committer) -> Result<(), ApiError> {
        match self.groups.get(id) {
            Some(Group::Consumer(live)) => Ok(live.group.check_commit(who)?),
            Some(Group::Stored(state)) => {
                self.check_front(id)?;
                // Nothing is decided on this one: it comes to life with the group's next step.
                let (topics, state) = (Arc::clone(&self.topics.topics), (**state).clone());
                let whenever = Now { moment: Moment(0), wall: TimestampMs(0) };
                let (group, _effects) = ConsumerGroup::restore(self.rules.config, topics, state, whenever);
                Ok(group.check_commit(who)?)
            }
            None => {
                let nobody = ConsumerGroup::new(self.rules.config, Arc::clone(&self.topics.topics));
                Ok(nobody.check_commit(who)?)
            }
        }
    }

    /// Steps the committed offsets.
    pub(super) fn step_offsets(
        &mut self,
        event: OffsetsEvent,
        now: Now,
        draft: &mut Draft,
        reply: Option<oneshot::Sender<Answer>>,
    ) {
        let mut answer = Vec::new();
        for effect in self.offsets.step(event, now.wall) {
            match effect {
                OffsetsEffect::Persist { id, records } => draft.offsets(id, &records),
                OffsetsEffect::Reply(reply) => answer = reply,
            }
        }
        if let Some(reply) = reply {
            draft.reply(reply, Ok(Answered::Commits(answer)));
        }
    }

    /// The groups whose time may be up, the longest overdue first.
    pub(super) fn overdue(&self, moment: Moment) -> Vec<GroupId> {
        let late = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= moment);
        late.map(|(_, id)| id.clone()).collect()
    }

    /// When the next group's time is up.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|(moment, _)| *moment)
    }

    fn empty_state(&self) -> GroupState {
        let meta = GroupMeta { epoch: self.epoch_floor, ..GroupMeta::default() };
        GroupState { meta, ..GroupState::default() }
    }

    fn gather(
        &mut self,
        id: &GroupId,
        effects: Vec<Effect>,
        draft: &mut Draft,
        mut reply: Option<oneshot::Sender<Answer>>,
    ) {
        for effect in effects {
            match effect {
                Effect::Persist(records) => {
                    for record in records {
                        if matches!(record, GroupRecord::Meta(Some(_))) {
                            self.rules.counters.epoch_begun();
                        }
                        let bytes = record.encode(id);
                        if let GroupRecord::Member { member, .. } = &record
                            && let Some(Group::Consumer(live)) = self.groups.get_mut(id)
                        {
                            let weight = bytes.1.is_some().then(|| bytes_of(&bytes));
                            live.weigh(&self.rules.totals, member, weight);
                        }
                        draft.group_record(bytes);
                    }
                }
                Effect::Reply(answer) => {
                    let answer = answer.map_err(ApiError::from).map(|answer| match answer {
                        GroupAnswer::Assignment(assignment) => Answered::Assignment(assignment),
                        GroupAnswer::Done => Answered::Done,
                    });
                    if let Some(reply) = reply.take() {
                        draft.reply(reply, answer);
                    }
                }
                Effect::Lost { member, because } => {
                    draft.deliveries.push(Delivery::Lost(id.clone(), member, because));
                }
                Effect::Due(member) => draft.deliveries.push(Delivery::Due(id.clone(), member)),
            }
        }
        self.after_step(id);
    }

    /// Keeps the deadlines in order, and nothing of a group that nothing is left of.
    fn after_step(&mut self, id: &GroupId) {
        let empty = self.empty_state();
        let Some(Group::Consumer(live)) = self.groups.get_mut(id) else { return };
        let deadline = live.group.next_deadline();
        if deadline != live.deadline {
            if let Some(before) = live.deadline {
                self.deadlines.remove(&(before, id.clone()));
            }
            live.deadline = deadline;
            if self.deadlines.is_empty() && deadline.is_some() {
                self.rules.totals.woken.notify_one();
            }
            self.deadlines.extend(deadline.map(|deadline| (deadline, id.clone())));
        }
        if live.group.state().is_forgotten() || *live.group.state() == empty {
            self.groups.remove(id);
            self.rules.totals.groups.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Coordinated {
    fn drop(&mut self) {
        self.rules.totals.groups.fetch_sub(self.groups.len(), Ordering::Relaxed);
        for group in self.groups.values() {
            if let Group::Consumer(live) = group {
                let bytes = live.bytes.values().sum();
                self.rules.totals.bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
    }
}

fn bytes_of((key, value): &RecordBytes) -> usize {
    key.len() + value.as_ref().map_or(0, Vec::len)
}
