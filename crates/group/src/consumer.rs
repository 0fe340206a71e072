//! A group whose members are assigned by the coordinator, without a barrier (the model of KIP-848).
//!
//! ```text
//!   members, topics ── change ──► group epoch + 1, new target (who is to own what)
//!                                      │ each member walks there alone, at its own heartbeats:
//!      epoch 5, owns a b ──► told "a": epoch 5, revoking b ──► says it owns a: epoch 6 ──► gets what others let go
//! ```
//! - A partition is *owned* by who was told to have it until it has said that it let go, or is no member any more. Only
//!   then does the next one get it: two members never own one partition.
//! - Losing a partition always raises the member's epoch, so a commit that was sent before the loss is refused after it.
//! - Nothing happens to a member between its heartbeats: its epoch never rises behind its back. [`Effect::Due`] says that one
//!   would hear something new; whoever can reach it steps [`Event::Poll`] for it and sends the answer.
//!
//! # For who drives it
//! 1. Replay: [`GroupRecord`]s into a [`GroupState`], then [`ConsumerGroup::restore`].
//! 2. Per event: [`ConsumerGroup::step`], under one lock with the append. The effects go into an
//!    [`Outbox`](crate::Outbox): each waits for every persist that was asked for before it. If a persist fails, drop the
//!    value and replay.
//! 3. A commit: [`ConsumerGroup::check_commit`] first, then `GroupOffsets::step`, under the same lock.
//! 4. At [`ConsumerGroup::next_deadline`]: step [`Event::Deadline`].
//! 5. When topics come, go or grow, or a new pattern was resolved: [`Event::Topics`].

mod heartbeat;
mod join;
mod leave;
mod reconcile;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_types::limits::{GROUP_MEMBERS_MAX, SESSION_TIMEOUT_MS_DEFAULT};
use millrace_types::{TimestampMs, TopicName, TopicPartition};

use crate::assign::Assignor;
use crate::fence::{CommitRefused, Committer, Refusal};
use crate::ids::{GroupEpoch, InstanceId, MemberId, Moment, Now};
use crate::state::{Current, GroupRecord, GroupState, Profile, Standing};
use crate::topics::Topics;

/// What a group is run by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// Who assigns if the members do not say.
    pub assignor: Assignor,
    /// How long a member may be silent.
    pub session_timeout_ms: u64,
    /// How many may be members.
    pub members_max: usize,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            assignor: Assignor::default(),
            session_timeout_ms: SESSION_TIMEOUT_MS_DEFAULT,
            members_max: GROUP_MEMBERS_MAX,
        }
    }
}

/// A consumer wants to become a member, or begins anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Join {
    /// The id of this life of it.
    pub member: MemberId,
    /// What it is and wants.
    pub profile: Profile,
}

/// A member is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Which.
    pub member: MemberId,
    /// Its lasting name, if it is static and says so.
    pub instance: Option<InstanceId>,
    /// The epoch that it was told last.
    pub epoch: GroupEpoch,
    /// The revision of the newest assignment that it has heard. What it says of its partitions counts only if that is the
    /// newest that there is: a list that was sent before the member heard that it must let go acknowledges nothing. `None` where the
    /// protocol cannot say (Kafka's); then it is believed.
    pub heard: Option<u64>,
    /// What it owns; `None` if it does not say, as most heartbeats of a Kafka client. Whatever it was told to let go counts as
    /// its own until a list says otherwise.
    pub owned: Option<BTreeSet<TopicPartition>>,
    /// What it is and wants, if that has changed; the instance does not count.
    pub profile: Option<Profile>,
}

/// How a member goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    /// For good.
    ForGood,
    /// A static member that will be back within the session timeout; its place is kept.
    ForNow,
}

/// What happens to a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Answered with an assignment.
    Join(Join),
    /// Answered with an assignment.
    Heartbeat(Heartbeat),
    /// The driver asks on behalf of a member that it can reach; no sign of life. Answered with an assignment.
    Poll {
        /// Which.
        member: MemberId,
    },
    /// Answered with `Done`.
    Leave {
        /// Which.
        member: MemberId,
        /// Its lasting name, if it says so.
        instance: Option<InstanceId>,
        /// The epoch that it was told last, where the protocol tells.
        epoch: Option<GroupEpoch>,
        /// How.
        leaving: Leaving,
    },
    /// The connection of a member broke; it has a short time to come back. Not answered.
    Disconnected {
        /// Which.
        member: MemberId,
    },
    /// The topics are these now. Not answered.
    Topics(Arc<Topics>),
    /// A deadline may have passed. Not answered.
    Deadline,
    /// Forget the group, if nobody is in it. Answered with `Done`.
    Delete,
}

/// What a member is to own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// The member.
    pub member: MemberId,
    /// The epoch to heartbeat and commit with from now on.
    pub epoch: GroupEpoch,
    /// Counts what was told to this member; to be sent back as [`Heartbeat::heard`].
    pub revision: u64,
    /// All that it is to own; whatever else it has, it must let go and then say so.
    pub assigned: BTreeSet<TopicPartition>,
    /// How many more it will get as soon as others have let them go.
    pub waiting: usize,
}

/// What is answered to who caused the event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// What it is to own.
    Assignment(Assignment),
    /// It is done.
    Done,
}

/// Why a member is none any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LostBecause {
    /// It left.
    Left,
    /// It was silent for too long.
    SessionExpired,
    /// It kept partitions that it was told to let go.
    RevocationTimedOut,
    /// Another life of the same static member has come.
    Replaced,
    /// It has begun anew, so whatever was open for it before is over.
    JoinedAgain,
}

/// What the driver is to do, in this order; each waits for every earlier persist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Append these records as one batch.
    Persist(Vec<GroupRecord>),
    /// Answer who caused the event.
    Reply(Result<Answer, Refusal>),
    /// The member is none any more: end the stream that is open for it. It comes before the reply, so that a member that has
    /// joined again loses the old stream and not the new one.
    Lost {
        /// Which.
        member: MemberId,
        /// Why.
        because: LostBecause,
    },
    /// The member would hear something new: poll for it, if it can be reached, or leave it to its next heartbeat.
    Due(MemberId),
}

/// What is known of a member and not written down.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Live {
    session_until: Moment,
    revoke_until: Option<Moment>,
    /// Whether it has ever shown that it knows its epoch; until then a repeated join is the same join.
    confirmed: bool,
}

impl Live {
    fn deadline(&self) -> Moment {
        self.revoke_until.map_or(self.session_until, |until| until.min(self.session_until))
    }
}

/// What a step has gathered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Draft {
    records: Vec<GroupRecord>,
    lost: Vec<(MemberId, LostBecause)>,
    due: BTreeSet<MemberId>,
}

/// The value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerGroup {
    config: GroupConfig,
    state: GroupState,
    topics: Arc<Topics>,
    // Derived from the state.
    instances: BTreeMap<InstanceId, MemberId>,
    owners: BTreeMap<TopicPartition, MemberId>,
    targeted: BTreeMap<TopicPartition, MemberId>,
    // Forgotten by a restart.
    live: BTreeMap<MemberId, Live>,
    deadlines: BTreeSet<(Moment, MemberId)>,
    draft: Draft,
}

impl ConsumerGroup {
    /// A group that nobody is in.
    #[must_use]
    pub fn new(config: GroupConfig, topics: Arc<Topics>) -> ConsumerGroup {
        ConsumerGroup {
            config,
            state: GroupState::default(),
            topics,
            instances: BTreeMap::new(),
            owners: BTreeMap::new(),
            targeted: BTreeMap::new(),
            live: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            draft: Draft::default(),
        }
    }

    /// The group that its records tell of. Every member gets a whole session timeout to be heard of. If the topics
    /// have changed meanwhile, the effects say what follows.
    #[must_use]
    pub fn restore(
        config: GroupConfig,
        topics: Arc<Topics>,
        state: GroupState,
        now: Now,
    ) -> (ConsumerGroup, Vec<Effect>) {
        let mut group = ConsumerGroup::new(config, Arc::clone(&topics));
        for (id, profile) in &state.members {
            if let Some(instance) = &profile.instance {
                group.instances.insert(instance.clone(), id.clone());
            }
        }
        for (id, target) in &state.targets {
            group.targeted.extend(target.iter().map(|partition| (*partition, id.clone())));
        }
        for (id, current) in &state.currents {
            group.owners.extend(current.held().map(|partition| (partition, id.clone())));
        }
        group.state = state;
        let members: Vec<MemberId> = group.state.members.keys().cloned().collect();
        for id in members {
            group.set_live(&id, now, true);
            let revoking = group.state.currents.get(&id).is_some_and(|current| !current.revoking.is_empty());
            if revoking {
                group.expect_revocation(&id, now);
            }
        }
        let effects = group.step(Event::Topics(topics), now);
        (group, effects)
    }

    /// Decides about an event.
    pub fn step(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let reply = match event {
            Event::Join(join) => Some(self.join(join, now).map(Answer::Assignment)),
            Event::Heartbeat(heartbeat) => Some(self.heartbeat(heartbeat, now).map(Answer::Assignment)),
            Event::Poll { member } => Some(self.poll(&member, now).map(Answer::Assignment)),
            Event::Leave { member, instance, epoch, leaving } => {
                let who = Committer { member: Some(member), instance, epoch };
                Some(self.leave(&who, leaving, now).map(|()| Answer::Done))
            }
            Event::Disconnected { member } => {
                self.disconnected(&member, now);
                None
            }
            Event::Topics(topics) => {
                self.topics = topics;
                if !self.state.members.is_empty() && self.digest() != self.state.meta.digest {
                    self.begin_epoch(now);
                }
                None
            }
            Event::Deadline => {
                self.expire(now);
                None
            }
            Event::Delete => Some(self.delete().map(|()| Answer::Done)),
        };
        self.finish(reply)
    }

    /// When [`Event::Deadline`] is to be stepped, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|(moment, _)| *moment)
    }

    /// Whether a commit may be taken.
    ///
    /// # Errors
    /// [`CommitRefused`] says why not; nothing of the commit may then be persisted.
    pub fn check_commit(&self, who: &Committer) -> Result<(), CommitRefused> {
        let Some(member) = &who.member else {
            return if who.instance.is_some() || who.epoch.is_some() || !self.state.members.is_empty() {
                Err(CommitRefused::NotAMember)
            } else {
                Ok(())
            };
        };
        let current = self.state.identify(member, who.instance.as_ref(), &self.instances)?;
        #[cfg(feature = "teeth")]
        millrace_types::planted!(StaleCommitTaken => return Ok(()));
        match who.epoch {
            Some(epoch) if epoch == current.epoch && current.standing == Standing::Here => Ok(()),
            given => Err(CommitRefused::StaleEpoch { given, current: current.epoch }),
        }
    }

    /// From when on the retention of an offset counts; `None` while it must not expire.
    #[must_use]
    pub fn expires_from(&self, topic: &TopicName, committed_at: TimestampMs) -> Option<TimestampMs> {
        if self.state.members.is_empty() {
            return Some(self.state.meta.emptied_at.map_or(committed_at, |at| at.max(committed_at)));
        }
        #[cfg(feature = "teeth")]
        millrace_types::planted!(ExpiredUnderMember => return Some(committed_at));
        let wanted = self.state.members.values().any(|m| self.topics.covers(&m.subscription, topic));
        (!wanted).then_some(committed_at)
    }

    /// What is written down of the group.
    #[must_use]
    pub fn state(&self) -> &GroupState {
        &self.state
    }

    /// Whether every member owns what it is to own.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state.currents.iter().all(|(id, current)| {
            current.standing == Standing::Departed
                || (current.epoch == self.state.meta.epoch
                    && current.revoking.is_empty()
                    && self.state.targets.get(id) == Some(&current.assigned))
        })
    }

    /// Writes one record: into the state, and into the persist of this step.
    fn write(&mut self, record: GroupRecord) {
        self.state.apply(record.clone());
        self.draft.records.push(record);
    }

    fn write_current(&mut self, member: &MemberId, mut current: Current) {
        current.revision += 1;
        self.write(GroupRecord::Current { member: member.clone(), value: Some(current) });
    }

    fn finish(&mut self, reply: Option<Result<Answer, Refusal>>) -> Vec<Effect> {
        let Draft { records, lost, mut due } = std::mem::take(&mut self.draft);
        // Who is answered now hears it by the answer.
        if let Some(Ok(Answer::Assignment(assignment))) = &reply {
            due.remove(&assignment.member);
        }
        let persist = (!records.is_empty()).then_some(Effect::Persist(records));
        let lost = lost.into_iter().map(|(member, because)| Effect::Lost { member, because });
        let due = due.into_iter().filter(|id| self.state.members.contains_key(id)).map(Effect::Due);
        persist.into_iter().chain(lost).chain(reply.map(Effect::Reply)).chain(due).collect()
    }

    fn set_live(&mut self, member: &MemberId, now: Now, confirmed: bool) {
        self.forget_live(member);
        let session_until = now.moment.after_ms(self.config.session_timeout_ms);
        let live = Live { session_until, revoke_until: None, confirmed };
        self.deadlines.insert((live.deadline(), member.clone()));
        self.live.insert(member.clone(), live);
    }

    fn forget_live(&mut self, member: &MemberId) {
        if let Some(live) = self.live.remove(member) {
            self.deadlines.remove(&(live.deadline(), member.clone()));
        }
    }

    /// Changes what is not written down of a member, and its deadline with it.
    fn with_live(&mut self, member: &MemberId, change: impl FnOnce(&mut Live)) {
        let Some(live) = self.live.get_mut(member) else { return };
        let before = live.deadline();
        change(live);
        let after = live.deadline();
        if before != after {
            self.deadlines.remove(&(before, member.clone()));
            self.deadlines.insert((after, member.clone()));
        }
    }

    fn expect_revocation(&mut self, member: &MemberId, now: Now) {
        let Some(profile) = self.state.members.get(member) else { return };
        let until = now.moment.after_ms(profile.rebalance_timeout_ms);
        self.with_live(member, |live| live.revoke_until = Some(until));
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
