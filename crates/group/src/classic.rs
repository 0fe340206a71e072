//! A group whose members assign themselves: join, sync, heartbeat, leave (Kafka's first protocol, with static members of
//! KIP-345 and the returned ids of KIP-394).
//!
//! ```text
//!            a member joins, leaves, is lost, changes its mind          all have joined,          the leader
//!   Empty ─────────────────────────────────────────► Joining ──────── or time is up ──► Syncing ── syncs ──► Stable
//!     ▲                                                 │ ▲                                │                    │
//!     └────────────── nobody is left ───────────────────┘ └────────────────────────────────┴────────────────────┘
//! ```
//! - Each generation is written down *before* its members hear of it, and once more with the assignments: a coordinator that
//!   takes over never gives the same number to another set of members. (Kafka writes only the second time.)
//! - Joins and syncs wait for each other, so a reply names the request that it answers.
//! - Who is a member but not of the written generation (it has joined for the next) may not commit.
//!
//! Driven as [`crate::consumer`] is; offsets, fencing and [`Outbox`](crate::Outbox) are the same.

mod join;
mod rebalance;
mod sync;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use millrace_types::TimestampMs;
use millrace_types::limits::{CLASSIC_INITIAL_DELAY_MS, GROUP_MEMBERS_MAX};

use crate::fence::{CommitRefused, Committer, Stranger};
use crate::ids::{GroupEpoch, InstanceId, MemberId, Moment, Now};
use crate::state::GroupRecord;

/// What a classic group is run by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClassicConfig {
    /// How many may be members or have been given an id to come back with.
    pub members_max: usize,
    /// How long the first generation waits for more members.
    pub initial_delay_ms: u64,
}

impl Default for ClassicConfig {
    fn default() -> ClassicConfig {
        ClassicConfig { members_max: GROUP_MEMBERS_MAX, initial_delay_ms: CLASSIC_INITIAL_DELAY_MS }
    }
}

/// A way to assign that a member knows, and what it tells the leader in that case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassicProtocol {
    /// Its name.
    pub name: String,
    /// For the leader; opaque to us.
    pub metadata: Bytes,
}

/// A member, written down.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClassicMember {
    /// The lasting name of a static member.
    pub instance: Option<InstanceId>,
    /// Name of the client, for people.
    pub client_id: String,
    /// Address of the client, for people.
    pub client_host: String,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: u64,
    /// How long it may take to join again, in milliseconds.
    pub rebalance_timeout_ms: u64,
    /// The ways to assign that it knows, the dearest first.
    pub protocols: Vec<ClassicProtocol>,
    /// What the leader gave it; opaque to us.
    pub assignment: Bytes,
}

impl ClassicMember {
    /// What the member takes of a record, besides its assignment.
    fn bytes(&self, id: &MemberId) -> usize {
        let instance = self.instance.as_ref().map_or(0, |instance| instance.as_str().len());
        let protocols = self.protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len());
        id.as_str().len()
            + instance
            + self.client_id.len()
            + self.client_host.len()
            + protocols.sum::<usize>()
    }

    fn knows(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|known| known.name == protocol)
    }
}

/// A classic group as it is written down: its newest generation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClassicState {
    /// Counts the generations.
    pub generation: GroupEpoch,
    /// `consumer`, `connect` and the like.
    pub protocol_type: String,
    /// The way to assign that all its members know.
    pub protocol: Option<String>,
    /// Who assigns.
    pub leader: Option<MemberId>,
    /// The members of that generation.
    pub members: BTreeMap<MemberId, ClassicMember>,
    /// Whether the leader has assigned.
    pub synced: bool,
    /// When the last member went, by the wall clock.
    pub emptied_at: Option<TimestampMs>,
}

/// Names a request that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// With what id a member comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Came {
    /// With one that it was given.
    WithId,
    /// Without; the door has drawn one.
    Fresh,
    /// Without, and it knows how to come back with the one that the door has drawn (KIP-394).
    FreshAndReturns,
}

/// A consumer wants to be in the next generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassicJoin {
    /// Its id.
    pub member: MemberId,
    /// Where that is from.
    pub came: Came,
    /// What it is and wants; the assignment does not count.
    pub profile: ClassicMember,
    /// `consumer`, `connect` and the like; the same for all members.
    pub protocol_type: String,
}

/// A member wants its assignment; the leader brings all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassicSync {
    /// Who.
    pub who: Committer,
    /// The kind of protocol that it joined with, if it says so.
    pub protocol_type: Option<String>,
    /// The protocol that it was told, if it says so.
    pub protocol: Option<String>,
    /// By the leader: what each member is to own.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// What happens to a classic group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClassicEvent {
    /// Answered when the generation is formed.
    Join(RequestId, ClassicJoin),
    /// Answered when the leader has assigned.
    Sync(RequestId, ClassicSync),
    /// Answered at once.
    Heartbeat(RequestId, Committer),
    /// Answered at once. A member may be named by its instance alone.
    Leave(RequestId, Committer),
    /// Whoever waits for the answer to that has gone. Writes nothing down.
    HungUp(RequestId),
    /// A deadline may have passed.
    Deadline,
    /// Forget the group, if nobody is in it.
    Delete(RequestId),
}

/// What a member has to do in the generation that it has joined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// To sync and wait.
    Follower,
    /// To assign these members, of whom it is one.
    Leader(Vec<(MemberId, Option<InstanceId>, Bytes)>),
    /// It has come back to a generation that is assigned, and is not to assign anew (KIP-814). A door whose client does not
    /// know of that names another member as the leader.
    ReturnedLeader(Vec<(MemberId, Option<InstanceId>, Bytes)>),
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClassicAnswer {
    /// To a join.
    Joined {
        /// The member.
        member: MemberId,
        /// The generation.
        generation: GroupEpoch,
        /// `consumer`, `connect` and the like.
        protocol_type: String,
        /// How it assigns.
        protocol: String,
        /// Who assigns.
        leader: MemberId,
        /// What this member has to do.
        role: Role,
    },
    /// To a sync.
    Synced {
        /// `consumer`, `connect` and the like.
        protocol_type: String,
        /// How it was assigned.
        protocol: String,
        /// What the leader gave.
        assignment: Bytes,
    },
    /// To anything else.
    Done,
}

/// Why a request is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClassicRefusal {
    /// See there.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// Kafka's `MEMBER_ID_REQUIRED`: join again with this id.
    #[error("join again as {member}")]
    MemberIdRequired {
        /// The id.
        member: MemberId,
    },
    /// Kafka's `ILLEGAL_GENERATION`.
    #[error("the request is of generation {given:?}, the group is at {current}")]
    StaleGeneration {
        /// What the request says.
        given: Option<GroupEpoch>,
        /// What the group has.
        current: GroupEpoch,
    },
    /// Kafka's `REBALANCE_IN_PROGRESS`: join again.
    #[error("a new generation is being formed")]
    Rebalancing,
    /// Kafka's `INCONSISTENT_GROUP_PROTOCOL`.
    #[error("the member knows no way to assign that all members know")]
    InconsistentProtocol,
    /// Kafka's `GROUP_MAX_SIZE_REACHED`.
    #[error("the group has {max} members, which is as many as may be")]
    Full {
        /// The limit.
        max: usize,
    },
    /// A timeout is out of range, or there is too much of something.
    #[error("{what} of {given} is out of range")]
    OutOfRange {
        /// Of what.
        what: &'static str,
        /// What was given.
        given: u64,
    },
    /// Kafka's `NON_EMPTY_GROUP`.
    #[error("the group has {members} members")]
    NotEmpty {
        /// How many.
        members: usize,
    },
}

/// What the driver is to do, in this order; each waits for every earlier persist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClassicEffect {
    /// Append these records as one batch.
    Persist(Vec<GroupRecord>),
    /// Answer that request.
    Reply(RequestId, Result<ClassicAnswer, ClassicRefusal>),
}

/// How far the newest generation is, for people. In Kafka's words: `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Nobody is in it.
    Empty,
    /// The next generation is being formed.
    Joining,
    /// The leader has not assigned yet.
    Syncing,
    /// Everybody reads.
    Stable,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Empty,
    /// `hold` is until when the first generation waits for more, though all have joined.
    Joining {
        until: Moment,
        hold: Option<Moment>,
    },
    Syncing {
        until: Moment,
    },
    Stable,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Live {
    profile: ClassicMember,
    session_until: Moment,
    join: Option<RequestId>,
    sync: Option<RequestId>,
    has_synced: bool,
    /// Whether its client has been told its id: without, it can only come back as somebody else.
    knows_its_id: bool,
}

/// The value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassicGroup {
    config: ClassicConfig,
    /// What is written down.
    state: ClassicState,
    phase: Phase,
    members: BTreeMap<MemberId, Live>,
    instances: BTreeMap<InstanceId, MemberId>,
    /// Ids that were given out and have not come back.
    expected: BTreeMap<MemberId, Moment>,
    effects: Vec<ClassicEffect>,
}

impl ClassicGroup {
    /// The group of a record; the default one if there is none. Every member gets a whole session timeout to be heard of.
    #[must_use]
    pub fn restore(config: ClassicConfig, state: ClassicState, now: Now) -> ClassicGroup {
        let live = |member: &ClassicMember| Live {
            profile: member.clone(),
            session_until: now.moment.after_ms(member.session_timeout_ms),
            join: None,
            sync: None,
            has_synced: false,
            knows_its_id: true,
        };
        let members: BTreeMap<_, _> = state.members.iter().map(|(id, m)| (id.clone(), live(m))).collect();
        let instances =
            state.members.iter().filter_map(|(id, m)| Some((m.instance.clone()?, id.clone()))).collect();
        let mut group = ClassicGroup {
            config,
            phase: Phase::Empty,
            members,
            instances,
            expected: BTreeMap::new(),
            effects: Vec::new(),
            state,
        };
        if !group.members.is_empty() {
            let until = now.moment.after_ms(group.rebalance_timeout_ms());
            group.phase = if group.state.synced { Phase::Stable } else { Phase::Syncing { until } };
        }
        group
    }

    /// Decides about an event.
    pub fn step(&mut self, event: ClassicEvent, now: Now) -> Vec<ClassicEffect> {
        match event {
            ClassicEvent::Join(request, join) => self.join(request, join, now),
            ClassicEvent::Sync(request, sync) => self.sync(request, sync, now),
            ClassicEvent::Heartbeat(request, who) => {
                let answer = self.heartbeat(&who, now).map(|()| ClassicAnswer::Done);
                self.reply(request, answer);
            }
            ClassicEvent::Leave(request, who) => {
                let answer = self.leave(&who, now).map(|()| ClassicAnswer::Done);
                self.reply(request, answer);
            }
            ClassicEvent::HungUp(request) => self.hung_up(request, now),
            ClassicEvent::Deadline => self.expire(now),
            ClassicEvent::Delete(request) => {
                let answer = self.delete().map(|()| ClassicAnswer::Done);
                self.reply(request, answer);
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// When [`ClassicEvent::Deadline`] is to be stepped, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let phase = match self.phase {
            Phase::Empty | Phase::Stable => None,
            Phase::Syncing { until } => Some(until),
            Phase::Joining { until, hold } => Some(hold.map_or(until, |hold| hold.min(until))),
        };
        let sessions = self.members.values().filter(|live| self.counts(live)).map(|live| live.session_until);
        sessions.chain(self.expected.values().copied()).chain(phase).min()
    }

    /// Whether a commit may be taken.
    ///
    /// # Errors
    /// [`CommitRefused`] says why not; nothing of the commit may then be persisted.
    pub fn check_commit(&self, who: &Committer) -> Result<(), CommitRefused> {
        if who.member.is_none() {
            let anonymous = who.instance.is_none() && who.epoch.is_none() && self.members.is_empty();
            return if anonymous { Ok(()) } else { Err(CommitRefused::NotAMember) };
        }
        let member = self.identify(who)?;
        let current = self.state.generation;
        #[cfg(feature = "teeth")]
        millrace_types::planted!(StaleGenerationTaken => return Ok(()););
        if who.epoch != Some(current) || !self.state.members.contains_key(&member) {
            return Err(CommitRefused::StaleEpoch { given: who.epoch, current });
        }
        match self.phase {
            // It knows the generation but not yet what it owns in it.
            Phase::Syncing { .. } => Err(CommitRefused::Rebalancing),
            // While the next generation forms, the members of this one commit what they have done.
            Phase::Empty | Phase::Joining { .. } | Phase::Stable => Ok(()),
        }
    }

    /// From when on the retention of an offset counts; `None` while it must not expire.
    #[must_use]
    pub fn expires_from(&self, committed_at: TimestampMs) -> Option<TimestampMs> {
        let emptied_at = self.state.emptied_at.unwrap_or(committed_at);
        self.members.is_empty().then(|| emptied_at.max(committed_at))
    }

    /// What is written down of the group.
    #[must_use]
    pub fn state(&self) -> &ClassicState {
        &self.state
    }

    /// How far it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.phase {
            Phase::Empty => Stage::Empty,
            Phase::Joining { .. } => Stage::Joining,
            Phase::Syncing { .. } => Stage::Syncing,
            Phase::Stable => Stage::Stable,
        }
    }

    /// All members, also those who wait for the next generation.
    pub fn members(&self) -> impl Iterator<Item = (&MemberId, &ClassicMember)> {
        self.members.iter().map(|(id, live)| (id, &live.profile))
    }

    /// Whether nobody is in it, and nobody has been given an id to come back with.
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        self.members.is_empty() && self.expected.is_empty()
    }

    /// What its members take of memory, as they are written down.
    #[must_use]
    pub fn members_bytes(&self) -> usize {
        let bytes = |(id, live): (&MemberId, &Live)| live.profile.bytes(id) + live.profile.assignment.len();
        self.members.iter().map(bytes).sum()
    }

    /// The member that this is, if it is one. With an instance alone: whoever has it.
    fn identify(&self, who: &Committer) -> Result<MemberId, Stranger> {
        let holder = who.instance.as_ref().and_then(|instance| self.instances.get(instance));
        match (&who.member, &who.instance, holder) {
            (Some(member), Some(instance), Some(holder)) if member != holder => {
                Err(Stranger::FencedInstance { instance: instance.clone() })
            }
            (Some(member), None, _) if self.members.contains_key(member) => Ok(member.clone()),
            (_, Some(_), Some(holder)) => Ok(holder.clone()),
            (Some(member), _, _) => Err(Stranger::Unknown { member: member.clone() }),
            (None, instance, _) => Err(Stranger::UnknownInstance { instance: instance.clone() }),
        }
    }

    /// Whether the member's silence counts: not while we are the ones who do not answer.
    fn counts(&self, live: &Live) -> bool {
        live.join.is_none()
    }

    fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|live| live.profile.rebalance_timeout_ms).max().unwrap_or(0)
    }

    fn reply(&mut self, request: RequestId, answer: Result<ClassicAnswer, ClassicRefusal>) {
        self.effects.push(ClassicEffect::Reply(request, answer));
    }

    fn write(&mut self) {
        let record = GroupRecord::Classic(Some(self.state.clone()));
        self.effects.push(ClassicEffect::Persist(vec![record]));
    }

    fn delete(&mut self) -> Result<(), ClassicRefusal> {
        let members = self.members.len();
        if members > 0 {
            return Err(ClassicRefusal::NotEmpty { members });
        }
        if self.state != ClassicState::default() {
            self.state = ClassicState::default();
            self.effects.push(ClassicEffect::Persist(vec![GroupRecord::Classic(None)]));
        }
        Ok(())
    }

    /// The protocols that every member knows.
    fn common_protocols(&self) -> BTreeSet<String> {
        let mut members = self.members.values();
        let first = members.next().into_iter().flat_map(|live| &live.profile.protocols);
        let mut common: BTreeSet<String> = first.map(|protocol| protocol.name.clone()).collect();
        for live in members {
            common.retain(|name| live.profile.knows(name));
        }
        common
    }
}

#[cfg(test)]
mod tests;
