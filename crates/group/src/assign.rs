//! Assignors: plain functions from who is there and what they want to who reads what.
//!
//! | assignor | what it promises beside "every partition of a subscribed topic once, to a subscriber" |
//! |---|---|
//! | range | per topic, consecutive partitions, the same member for the same place in topics of one size |
//! | uniform | within one of each other where all subscribe to the same; a function of members and topics only |
//! | sticky | as uniform, and no partition moves that balance does not move. The default; what Kafka calls `uniform` |
//! | rack | as sticky, and as many partitions as exchanges can bring there lie with a member of a rack that has a replica |
//!
//! All are deterministic, take their inputs sorted by construction, and a second run over its own result changes nothing. With
//! unequal subscriptions "balanced" means that no single move to another subscriber makes a difference of two smaller.

mod balance;
mod rack;
mod range;

use std::collections::{BTreeMap, BTreeSet};

use millrace_types::{PartitionIndex, TopicId, TopicPartition};

use crate::ids::{InstanceId, MemberId, RackId};

/// How partitions are spread over members.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Assignor {
    /// Consecutive partitions of each topic.
    Range,
    /// Balanced, whoever held what.
    Uniform,
    /// Balanced, and nothing moves that need not.
    #[default]
    Sticky,
    /// Sticky, and near to replicas.
    Rack,
}

impl Assignor {
    /// Every assignor.
    pub const ALL: [Assignor; 4] = [Assignor::Range, Assignor::Uniform, Assignor::Sticky, Assignor::Rack];

    /// The name in configurations and requests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::Uniform => "uniform",
            Assignor::Sticky => "sticky",
            Assignor::Rack => "rack",
        }
    }

    /// The assignor of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }
}

/// A member, as an assignor sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemberInput {
    /// What it subscribes to; ids that no topic has count for nothing.
    pub topics: BTreeSet<TopicId>,
    /// Where it stands.
    pub rack: Option<RackId>,
    /// The name by which a static member is sorted, so that its next life takes its place.
    pub instance: Option<InstanceId>,
    /// What it was last meant to own. What it may not own any more counts for nothing; of two who claim a partition, the
    /// first has it.
    pub owned: BTreeSet<TopicPartition>,
}

/// A topic, as an assignor sees it: for each partition, the racks that hold a replica.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopicInput {
    /// From partition 0 on, without a gap.
    pub partitions: Vec<BTreeSet<RackId>>,
}

impl TopicInput {
    /// A topic of so many partitions, anywhere.
    #[must_use]
    pub fn of(partitions: u32) -> TopicInput {
        TopicInput { partitions: (0..partitions).map(|_| BTreeSet::new()).collect() }
    }

    fn indexes(&self) -> impl Iterator<Item = PartitionIndex> + use<> {
        // A topic has at most `PARTITIONS_PER_TOPIC_MAX` partitions.
        (0..u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)).map(PartitionIndex)
    }
}

/// All that an assignor looks at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AssignInput {
    /// The members.
    pub members: BTreeMap<MemberId, MemberInput>,
    /// The topics that exist.
    pub topics: BTreeMap<TopicId, TopicInput>,
}

/// Who is to own what; every member is in it.
pub type Target = BTreeMap<MemberId, BTreeSet<TopicPartition>>;

/// Computes the target assignment.
#[must_use]
pub fn assign(assignor: Assignor, input: &AssignInput) -> Target {
    match assignor {
        Assignor::Range => range::assign(input),
        Assignor::Uniform => balance::assign(input, balance::Keep::Nothing),
        Assignor::Sticky => balance::assign(input, balance::Keep::Owned),
        Assignor::Rack => rack::assign(input),
    }
}

/// The members in the order in which partitions are dealt: static ones by their lasting name.
fn dealing_order(input: &AssignInput) -> Vec<(&MemberId, &MemberInput)> {
    let mut members: Vec<_> = input.members.iter().collect();
    members.sort_by_key(|(id, member)| member.instance.as_ref().map_or(id.as_str(), InstanceId::as_str));
    members
}

#[cfg(test)]
mod tests;
