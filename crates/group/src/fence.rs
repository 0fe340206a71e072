//! Who may act in a group's name, and the precise refusal of everybody else.

use std::collections::BTreeMap;

use millrace_types::limits::{PARTITIONS_PER_REQUEST_MAX, REBALANCE_TIMEOUT_MS_MAX, SUBSCRIBED_NAMES_MAX};

use crate::ids::{GroupEpoch, InstanceId, MemberId};
use crate::state::{Current, GroupState};

/// Who sends a commit, as it says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Committer {
    /// The member; `None` if the caller commits without being one, which only an empty group allows.
    pub member: Option<MemberId>,
    /// Its lasting name, if it is static and says so.
    pub instance: Option<InstanceId>,
    /// The epoch, or generation, that it was told last.
    pub epoch: Option<GroupEpoch>,
}

/// Why an id is not that of a member.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Stranger {
    /// Kafka's `UNKNOWN_MEMBER_ID`: it never was one, has left, or was silent for too long.
    #[error("{member} is not a member of the group")]
    Unknown {
        /// The id.
        member: MemberId,
    },
    /// Kafka's `UNKNOWN_MEMBER_ID`: no member has that lasting name.
    #[error("no member of the group is {instance:?}")]
    UnknownInstance {
        /// The lasting name, if any was given.
        instance: Option<InstanceId>,
    },
    /// Kafka's `FENCED_INSTANCE_ID`: a newer life of the static member is in its place.
    #[error("{instance} is another member now")]
    FencedInstance {
        /// The lasting name.
        instance: InstanceId,
    },
}

/// Why a commit is not taken. In Kafka's words: `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`, `STALE_MEMBER_EPOCH` (in a classic
/// group `ILLEGAL_GENERATION`), `REBALANCE_IN_PROGRESS`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitRefused {
    /// The group has members, and this is none; or it names an epoch without a member.
    #[error("the group has members, and only they may commit")]
    NotAMember,
    /// See there.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// The member has another epoch than the commit.
    #[error("the commit is of epoch {given:?}, the member's is {current}")]
    StaleEpoch {
        /// What the commit says.
        given: Option<GroupEpoch>,
        /// What the member has.
        current: GroupEpoch,
    },
    /// The members of a classic group wait for their assignments.
    #[error("a new generation is being formed")]
    Rebalancing,
}

/// Why a join, heartbeat, leave or delete is refused. Nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// See there.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// Kafka's `FENCED_MEMBER_EPOCH`: the member must let go of everything and join again.
    #[error("the member comes with epoch {given}, its own is {current}")]
    FencedEpoch {
        /// What it said.
        given: GroupEpoch,
        /// What it has.
        current: GroupEpoch,
    },
    /// Kafka's `GROUP_MAX_SIZE_REACHED`.
    #[error("the group has {max} members, which is as many as may be")]
    Full {
        /// The limit.
        max: usize,
    },
    /// It subscribes to too much by name.
    #[error("a subscription names {names} topics, {SUBSCRIBED_NAMES_MAX} are allowed")]
    TooManyNames {
        /// How many.
        names: usize,
    },
    /// It claims more than anybody can own.
    #[error("a heartbeat names {partitions} partitions, {PARTITIONS_PER_REQUEST_MAX} are allowed")]
    TooManyOwned {
        /// How many.
        partitions: usize,
    },
    /// It wants too long to let go.
    #[error("a rebalance timeout of {ms} ms is out of range; {REBALANCE_TIMEOUT_MS_MAX} is the longest")]
    RebalanceTimeout {
        /// How long.
        ms: u64,
    },
    /// Only a static member can leave for now.
    #[error("a member without an instance id cannot leave for now")]
    NotStatic,
    /// Kafka's `NON_EMPTY_GROUP`.
    #[error("the group has {members} members")]
    NotEmpty {
        /// How many.
        members: usize,
    },
}

impl GroupState {
    /// Where the member stands, if it is the one that it says.
    pub(crate) fn identify(
        &self,
        member: &MemberId,
        instance: Option<&InstanceId>,
        instances: &BTreeMap<InstanceId, MemberId>,
    ) -> Result<&Current, Stranger> {
        if let Some(instance) = instance
            && instances.get(instance).is_some_and(|holder| holder != member)
        {
            #[cfg(feature = "teeth")]
            millrace_types::planted!(FencedInstanceTaken =>
                if let Some(holder) = instances.get(instance).and_then(|holder| self.currents.get(holder)) {
                    return Ok(holder);
                }
            );
            return Err(Stranger::FencedInstance { instance: instance.clone() });
        }
        let unknown = || Stranger::Unknown { member: member.clone() };
        let profile = self.members.get(member).ok_or_else(unknown)?;
        if instance.is_some() && profile.instance.as_ref() != instance {
            return Err(unknown());
        }
        self.currents.get(member).ok_or_else(unknown)
    }
}
