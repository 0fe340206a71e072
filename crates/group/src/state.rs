//! What is written down of a group, as records, and the fold that reads them back.
//!
//! | record | key | says |
//! |---|---|---|
//! | `Meta` | group | epoch, assignor, digest of the topics, since when it is empty |
//! | `Member` | group, member | what the member is and wants |
//! | `Target` | group, member | what it is to own at the group's epoch |
//! | `Current` | group, member | the epoch that it has reached, what it owns, what it is to let go |
//! | `Classic` | group | a classic group, whole |
//!
//! Each replaces the last of its key, and `None` is its tombstone, so that the fold over a compacted log is the fold over the
//! log. What one step writes is one batch: the log has all of it or nothing.

use std::collections::{BTreeMap, BTreeSet};

use millrace_types::{TimestampMs, TopicPartition};

use crate::assign::Assignor;
use crate::classic::ClassicState;
use crate::ids::{GroupEpoch, InstanceId, MemberId, RackId};
use crate::topics::Subscription;

/// What a member is and wants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Profile {
    /// The lasting name of a static member.
    pub instance: Option<InstanceId>,
    /// Where it stands.
    pub rack: Option<RackId>,
    /// Name of the client, for people.
    pub client_id: String,
    /// Address of the client, for people.
    pub client_host: String,
    /// What it reads.
    pub subscription: Subscription,
    /// By whom it wants to be assigned; the majority of those who say decides.
    pub assignor: Option<Assignor>,
    /// How long it may take to let go of partitions, in milliseconds.
    pub rebalance_timeout_ms: u64,
}

/// Whether a member is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Standing {
    /// It is.
    #[default]
    Here,
    /// A static member left for now; its target is kept, it owns nothing and may do nothing.
    Departed,
}

/// Where a member stands on its way to its target.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Current {
    /// The epoch that it was told last.
    pub epoch: GroupEpoch,
    /// The one before: it comes with that if an answer was lost.
    pub previous_epoch: GroupEpoch,
    /// What it owns.
    pub assigned: BTreeSet<TopicPartition>,
    /// What it is to let go, and owns until it has said so.
    pub revoking: BTreeSet<TopicPartition>,
    /// Counts the changes of this value, also over a change of coordinators.
    pub revision: u64,
    /// Whether it is there.
    pub standing: Standing,
}

impl Current {
    /// All that nobody else may have.
    pub fn held(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.assigned.iter().chain(&self.revoking).copied()
    }
}

/// What is written down of the group as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupMeta {
    /// Counts the changes; also the epoch of the target.
    pub epoch: GroupEpoch,
    /// Who computed the target.
    pub assignor: Assignor,
    /// Of the topics that it was computed over.
    pub digest: u64,
    /// When the last member went, by the wall clock.
    pub emptied_at: Option<TimestampMs>,
}

/// A record of a group beside its offsets; the group's name is part of each key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupRecord {
    /// The group as a whole.
    Meta(Option<GroupMeta>),
    /// What a member is and wants.
    Member {
        /// Which.
        member: MemberId,
        /// `None` if it is none any more.
        value: Option<Profile>,
    },
    /// What a member is to own.
    Target {
        /// Which.
        member: MemberId,
        /// `None` if it is none any more.
        value: Option<BTreeSet<TopicPartition>>,
    },
    /// What a member owns.
    Current {
        /// Which.
        member: MemberId,
        /// `None` if it is none any more.
        value: Option<Current>,
    },
    /// A classic group.
    Classic(Option<ClassicState>),
}

/// What a record replaces: the last one of the same key. In the log the group's name stands before it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GroupKey {
    /// The group as a whole.
    Meta,
    /// What a member is and wants.
    Member(MemberId),
    /// What a member is to own.
    Target(MemberId),
    /// What a member owns.
    Current(MemberId),
    /// A classic group.
    Classic,
}

impl GroupRecord {
    /// What it replaces.
    #[must_use]
    pub fn key(&self) -> GroupKey {
        match self {
            GroupRecord::Meta(_) => GroupKey::Meta,
            GroupRecord::Member { member, .. } => GroupKey::Member(member.clone()),
            GroupRecord::Target { member, .. } => GroupKey::Target(member.clone()),
            GroupRecord::Current { member, .. } => GroupKey::Current(member.clone()),
            GroupRecord::Classic(_) => GroupKey::Classic,
        }
    }

    /// Whether it says that there is nothing any more under its key.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        match self {
            GroupRecord::Meta(value) => value.is_none(),
            GroupRecord::Member { value, .. } => value.is_none(),
            GroupRecord::Target { value, .. } => value.is_none(),
            GroupRecord::Current { value, .. } => value.is_none(),
            GroupRecord::Classic(value) => value.is_none(),
        }
    }
}

/// The fold over a group's records.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupState {
    /// The group as a whole.
    pub meta: GroupMeta,
    /// What its members are and want.
    pub members: BTreeMap<MemberId, Profile>,
    /// What they are to own.
    pub targets: BTreeMap<MemberId, BTreeSet<TopicPartition>>,
    /// What they own.
    pub currents: BTreeMap<MemberId, Current>,
    /// The group if it is a classic one.
    pub classic: Option<ClassicState>,
}

impl GroupState {
    /// Takes one record, in the order of the log.
    pub fn apply(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::Meta(meta) => self.meta = meta.unwrap_or_default(),
            GroupRecord::Member { member, value } => put(&mut self.members, member, value),
            GroupRecord::Target { member, value } => put(&mut self.targets, member, value),
            GroupRecord::Current { member, value } => put(&mut self.currents, member, value),
            GroupRecord::Classic(classic) => self.classic = classic,
        }
    }

    /// Whether nothing is left of the group but, perhaps, offsets.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        *self == GroupState::default()
    }
}

fn put<T>(map: &mut BTreeMap<MemberId, T>, member: MemberId, value: Option<T>) {
    match value {
        Some(value) => map.insert(member, value),
        None => map.remove(&member),
    };
}
