//! One partition of `__consumer_offsets` in memory: what was committed, and the groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use millrace_group::classic::ClassicConfig;
use millrace_group::consumer::{Answer as GroupAnswer, ConsumerGroup, Effect, Event, GroupConfig, Heartbeat};
use millrace_group::{
    Committer, Effect as OffsetsEffect, Event as OffsetsEvent, Front, GroupEpoch, GroupMeta, GroupOffsets,
    GroupRecord, GroupState, MemberId, Moment, Now, Pattern, RecordBytes, members_dropped,
};
use millrace_types::limits::{GROUP_MEMBERS_BYTES_MAX, GROUPS_PER_BROKER_MAX};
use millrace_types::{ErrorCode, GroupId, TimestampMs};
use tokio::sync::{Notify, oneshot};

use super::draft::{Answer, Answered, Delivery, Draft};
use super::live_classic::LiveClassic;
use super::settings::GroupSettings;
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
    /// Numbers the requests that wait in classic groups.
    pub(super) requests: AtomicU64,
    /// Wakes the timer, which sleeps while no group has a deadline.
    pub(super) woken: Arc<Notify>,
}

/// What a partition's groups are run by.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) config: GroupConfig,
    pub(super) classic: ClassicConfig,
    pub(super) totals: Arc<Totals>,
    pub(super) counters: GroupCounters,
}

impl Rules {
    pub(super) fn new(settings: &GroupSettings, counters: GroupCounters) -> Rules {
        let config = GroupConfig {
            session_timeout_ms: settings.session_timeout_ms,
            members_max: settings.members_max,
            ..GroupConfig::default()
        };
        let classic = ClassicConfig {
            members_max: settings.members_max,
            initial_delay_ms: settings.classic_initial_delay_ms,
        };
        Rules { config, classic, totals: Arc::default(), counters }
    }
}

/// A group that is more than its offsets.
#[derive(Debug)]
pub(crate) enum Group {
    /// As it was read back. It comes to life when somebody asks for it or the coordinator has gone round.
    Stored(Box<GroupState>),
    /// The coordinator assigns.
    Consumer(Box<Live>),
    /// A member assigns.
    Classic(Box<LiveClassic>),
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
            Group::Classic(live) => live.written(),
        }
    }

    /// The group, if the coordinator assigns and it has come to life.
    pub(crate) fn consumer(&self) -> Option<&ConsumerGroup> {
        match self {
            Group::Consumer(live) => Some(&live.group),
            Group::Stored(_) | Group::Classic(_) => None,
        }
    }

    /// Who drives it; `None` if it was read back and says so little.
    pub(crate) fn front(&self) -> Option<Front> {
        match self {
            Group::Stored(state) => state.front(),
            Group::Consumer(_) => Some(Front::Consumer),
            Group::Classic(_) => Some(Front::Classic),
        }
    }

    /// How many are members, those who wait for the next generation too.
    pub(crate) fn members(&self) -> usize {
        match self {
            Group::Stored(state) => {
                state.classic.as_ref().map_or(state.members.len(), |classic| classic.members.len())
            }
            Group::Consumer(live) => live.group.state().members.len(),
            Group::Classic(live) => live.group().members().count(),
        }
    }

    /// When it is to be stepped, if nothing happens before.
    fn deadline(&self) -> Option<Moment> {
        match self {
            Group::Stored(_) => None,
            Group::Consumer(live) => live.deadline,
            Group::Classic(live) => live.deadline,
        }
    }

    /// What its members take, as they are written down.
    fn bytes(&self) -> usize {
        match self {
            Group::Stored(_) => 0,
            Group::Consumer(live) => live.bytes.values().sum(),
            Group::Classic(live) => live.bytes(),
        }
    }
}

/// The value of a partition.
#[derive(Debug)]
pub(super) struct Coordinated {
    pub(super) offsets: GroupOffsets,
    pub(super) groups: BTreeMap<GroupId, Group>,
    deadlines: BTreeSet<(Moment, GroupId)>,
    topics: TopicsOf,
    /// No epoch up to this one is given to a group that begins.
    pub(super) epoch_floor: GroupEpoch,
    /// Whether the log has yet to say that the members are dropped.
    pub(super) unmarked: bool,
    pub(super) rules: Rules,
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
            Some(Group::Stored(_)) => true,
            Some(Group::Consumer(live)) => live.topics < self.topics.version,
            Some(Group::Classic(_)) | None => false,
        }
    }

    /// Brings a group to life and to the newest topics.
    pub(super) fn catch_up(&mut self, id: &GroupId, draft: &mut Draft, now: Now) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let effects = match group {
            Group::Stored(state) if state.classic.is_some() => {
                let state = std::mem::take(&mut **state);
                let live = LiveClassic::restore(self.rules.classic, state, now);
                self.rules.totals.bytes.fetch_add(live.bytes(), Ordering::Relaxed);
                *group = Group::Classic(Box::new(live));
                return self.after_step(id);
            }
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
            Group::Consumer(_) | Group::Classic(_) => return,
        };
        self.gather(id, effects, draft, None);
    }

    /// Steps a group that is there and that the coordinator assigns. Answers nothing if it is not.
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

    /// The time of a group may be up.
    pub(super) fn expire(&mut self, id: &GroupId, now: Now, draft: &mut Draft) {
        match self.groups.get(id) {
            Some(Group::Consumer(_)) => self.step(id, (Event::Deadline, None), now, draft),
            Some(Group::Classic(_)) => self.expire_classic(id, now, draft),
            Some(Group::Stored(_)) | None => {}
        }
    }

    /// Forgets a group that nobody is in.
    pub(super) fn delete(&mut self, id: &GroupId, now: Now, draft: &mut Draft) {
        match self.groups.get(id) {
            Some(Group::Consumer(_)) => self.step(id, (Event::Delete, None), now, draft),
            Some(Group::Classic(_)) => self.delete_classic(id, now, draft),
            Some(Group::Stored(_)) | None => {}
        }
    }

    /// Makes a group of that kind that is not there, or of one that nobody is in, for somebody to join.
    ///
    /// # Errors
    /// If there are too many, or it is of the other kind and has members; then nothing has changed.
    pub(super) fn begin_group(
        &mut self,
        id: &GroupId,
        front: Front,
        now: Now,
        draft: &mut Draft,
    ) -> Result<(), ApiError> {
        self.check_memory()?;
        self.check_front(id, front)?;
        if self.groups.contains_key(id) {
            self.catch_up(id, draft, now);
            return self.become_front(id, front, now, draft);
        }
        if self.rules.totals.groups.load(Ordering::Relaxed) >= GROUPS_PER_BROKER_MAX {
            let message = format!("the broker coordinates {GROUPS_PER_BROKER_MAX} groups, as many as may be");
            return Err(ApiError::new(ErrorCode::Throttled, message));
        }
        let group = match front {
            Front::Consumer => self.consumer_of(self.empty_state(), now),
            Front::Classic => self.new_classic(now),
        };
        self.groups.insert(id.clone(), group);
        self.rules.totals.groups.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A group that nobody is in, which has come to life, becomes one of that kind if it is of the other.
    fn become_front(
        &mut self,
        id: &GroupId,
        front: Front,
        now: Now,
        draft: &mut Draft,
    ) -> Result<(), ApiError> {
        let Some(group) = self.groups.get(id).filter(|group| group.front() != Some(front)) else {
            return Ok(());
        };
        let mut state = group.state().clone();
        for record in state.become_front(front).map_err(|error| mismatch(error.members))? {
            draft.group_record(record.encode(id));
            state.apply(record);
        }
        self.rules.totals.bytes.fetch_sub(group.bytes(), Ordering::Relaxed);
        if let Some(deadline) = group.deadline() {
            self.deadlines.remove(&(deadline, id.clone()));
        }
        let group = match (front, state.front()) {
            (Front::Consumer, Some(_)) => self.consumer_of(state, now),
            (Front::Consumer, None) => self.consumer_of(self.empty_state(), now),
            (Front::Classic, Some(_)) => {
                Group::Classic(Box::new(LiveClassic::restore(self.rules.classic, state, now)))
            }
            (Front::Classic, None) => self.new_classic(now),
        };
        self.groups.insert(id.clone(), group);
        Ok(())
    }

    fn new_classic(&self, now: Now) -> Group {
        Group::Classic(Box::new(LiveClassic::begin(self.rules.classic, self.epoch_floor, now)))
    }

    /// A group that nobody is in.
    fn consumer_of(&self, state: GroupState, now: Now) -> Group {
        let topics = Arc::clone(&self.topics.topics);
        let (group, _nothing) = ConsumerGroup::restore(self.rules.config, topics, state, now);
        Group::Consumer(Box::new(Live::new(group, self.topics.version)))
    }

    /// Refuses members, and larger subscriptions, when all there are take too much.
    pub(super) fn check_memory(&self) -> Result<(), ApiError> {
        if self.rules.totals.bytes.load(Ordering::Relaxed) < GROUP_MEMBERS_BYTES_MAX {
            return Ok(());
        }
        let message = format!("the members of all groups take {GROUP_MEMBERS_BYTES_MAX} bytes already");
        Err(ApiError::new(ErrorCode::Throttled, message))
    }

    /// Refuses what a group of the other kind, with members, cannot do.
    pub(super) fn check_front(&self, id: &GroupId, front: Front) -> Result<(), ApiError> {
        let other = self.groups.get(id).filter(|group| group.front().is_some_and(|of| of != front));
        match other.map_or(0, Group::members) {
            0 => Ok(()),
            members => Err(mismatch(members)),
        }
    }

    /// Whether the group is there and of that kind.
    pub(super) fn is_of(&self, id: &GroupId, front: Front) -> bool {
        self.groups.get(id).is_some_and(|group| group.front().is_none_or(|of| of == front))
    }

    /// Whether that one may commit for the group.
    pub(super) fn check_committer(&self, id: &GroupId, who: &Committer) -> Result<(), ApiError> {
        match self.groups.get(id) {
            Some(Group::Consumer(live)) => Ok(live.group.check_commit(who)?),
            Some(Group::Classic(live)) => live.check_commit(who),
            Some(Group::Stored(state)) if state.classic.is_some() => {
                // As below.
                let whenever = Now { moment: Moment(0), wall: TimestampMs(0) };
                LiveClassic::restore(self.rules.classic, (**state).clone(), whenever).check_commit(who)
            }
            Some(Group::Stored(state)) => {
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

    /// Whether that one may ask what the group has committed. Kafka lets anybody ask that of a classic group.
    pub(super) fn check_reader(&self, id: &GroupId, who: &Committer) -> Result<(), ApiError> {
        match self.groups.get(id).and_then(Group::front) {
            Some(Front::Classic) => Ok(()),
            Some(Front::Consumer) | None => self.check_committer(id, who),
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
    pub(super) fn after_step(&mut self, id: &GroupId) {
        let empty = self.empty_state();
        let (deadline, before, is_over) = match self.groups.get_mut(id) {
            Some(Group::Consumer(live)) => {
                let (deadline, state) = (live.group.next_deadline(), live.group.state());
                let is_over = state.is_forgotten() || *state == empty;
                (deadline, std::mem::replace(&mut live.deadline, deadline), is_over)
            }
            Some(Group::Classic(live)) => {
                let deadline = live.group().next_deadline();
                (deadline, std::mem::replace(&mut live.deadline, deadline), live.is_over())
            }
            Some(Group::Stored(_)) | None => return,
        };
        if deadline != before {
            if let Some(before) = before {
                self.deadlines.remove(&(before, id.clone()));
            }
            if self.deadlines.is_empty() && deadline.is_some() {
                self.rules.totals.woken.notify_one();
            }
            self.deadlines.extend(deadline.map(|deadline| (deadline, id.clone())));
        }
        if is_over {
            self.groups.remove(id);
            self.rules.totals.groups.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Coordinated {
    fn drop(&mut self) {
        self.rules.totals.groups.fetch_sub(self.groups.len(), Ordering::Relaxed);
        for group in self.groups.values() {
            self.rules.totals.bytes.fetch_sub(group.bytes(), Ordering::Relaxed);
        }
    }
}

fn mismatch(members: usize) -> ApiError {
    let message = format!("the group has {members} members that are assigned in another way");
    ApiError::new(ErrorCode::GroupKindMismatch, message)
}

fn bytes_of((key, value): &RecordBytes) -> usize {
    key.len() + value.as_ref().map_or(0, Vec::len)
}
