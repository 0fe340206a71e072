//! What a leader says of its in-sync replicas (KIP-497, with KIP-841, KIP-903 and KIP-966).
//!
//! The leader counts who is in sync; the cluster decides. It takes the leader's word only if that is about the
//! partition as it is now (leader epoch, partition epoch), comes from the run that leads (broker epoch), and names
//! the runs of the others that were seen in sync: who has started again since may have lost what was seen.

use millrace_schema::MetadataRecord;
use millrace_types::{BrokerEpoch, LeaderEpoch, NodeId, TopicPartition};

use super::{CLUSTERS_SINCE, check_level, partition_of, record_of};
use crate::partition::Change;
use crate::{AlterPartition, Image, InSync, Partition, Refusal, Standing};

/// Why a leader's word is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AlterPartitionRefusal {
    /// Another run of the asking broker has come since.
    #[error("node {node} asks under broker epoch {given}, but runs under {current}")]
    StaleBrokerEpoch {
        /// Who asks.
        node: NodeId,
        /// The epoch that it named.
        given: BrokerEpoch,
        /// The one that is known.
        current: BrokerEpoch,
    },
    /// Another leader has come since.
    #[error("{at} is at leader epoch {current}, not {given}")]
    FencedLeaderEpoch {
        /// The partition.
        at: TopicPartition,
        /// The epoch that was named.
        given: LeaderEpoch,
        /// The one that is known.
        current: LeaderEpoch,
    },
    /// The asking broker has heard of changes that this image does not have: whoever decides is out of date.
    #[error("{at}: leader epoch {leader_epoch} or partition epoch {partition_epoch} is not known here yet")]
    NotKnownYet {
        /// The partition.
        at: TopicPartition,
        /// The leader epoch that was named.
        leader_epoch: LeaderEpoch,
        /// The partition epoch that was named.
        partition_epoch: i32,
    },
    /// The asking broker does not lead.
    #[error("{at} is not led by node {node}")]
    NotLeader {
        /// The partition.
        at: TopicPartition,
        /// Who asks.
        node: NodeId,
    },
    /// The partition has changed since.
    #[error("{at} is at partition epoch {current}, not {given}")]
    StalePartitionEpoch {
        /// The partition.
        at: TopicPartition,
        /// The epoch that was named.
        given: i32,
        /// The one that is known.
        current: i32,
    },
    /// The set is none that could be: without the leader, with a stranger, or with a node twice.
    #[error("{at} cannot have this in-sync set: node {node} {problem}")]
    NoSuchSet {
        /// The partition.
        at: TopicPartition,
        /// The node that is wrong or missing.
        node: NodeId,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A member may not be in sync now; the leader asks again without it.
    #[error("{at}: node {node} under broker epoch {given} may not be in sync: it {why}")]
    Ineligible {
        /// The partition.
        at: TopicPartition,
        /// The member.
        node: NodeId,
        /// The epoch that it was seen under.
        given: BrokerEpoch,
        /// Why it may not.
        why: Ineligible,
    },
}

/// Why a replica may not be in sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Ineligible {
    /// It is no broker.
    #[error("is not registered")]
    Unknown,
    /// It has started again since it was seen.
    #[error("runs under another epoch")]
    AnotherRun,
    /// It was not heard of.
    #[error("is fenced")]
    Fenced,
    /// It is about to stop.
    #[error("is draining")]
    Draining,
}

/// Takes a leader's word, or refuses it.
pub(super) fn decide(image: &Image, wanted: &AlterPartition) -> Result<Vec<MetadataRecord>, Refusal> {
    check_level(image, CLUSTERS_SINCE)?;
    let at = wanted.at;
    check_run(image, wanted.node, wanted.broker_epoch)?;
    let (topic, partition) = partition_of(image, at)?;
    check_epochs(partition, wanted)?;
    check_set(partition, wanted)?;
    for member in &wanted.isr {
        if let Err(why) = check_member(image, *member) {
            let (node, given) = (member.node, member.epoch);
            return Err(AlterPartitionRefusal::Ineligible { at, node, given, why }.into());
        }
    }
    // Those who were in sync stay in their order, so that the same set is the same list.
    let named = |node: &NodeId| wanted.isr.iter().any(|member| member.node == *node);
    let mut isr: Vec<NodeId> = partition.isr.iter().copied().filter(named).collect();
    let more = wanted.isr.iter().map(|member| member.node).filter(|node| !partition.isr.contains(node));
    isr.extend(more);
    let after = Change::new(image.rules(topic), partition).in_sync(isr).finish();
    // A leader asks for the set that is in force to be rid of what it has asked for before: a copy of a request that was
    // refused may still come, and be right by then. With the next partition epoch it is stale.
    Ok(record_of(at, Some(after.unwrap_or_else(|| partition.successor()))))
}

/// Lets a leader go on in an epoch above one that it has found in its log. A broker alone in its cluster begins epochs
/// by itself after an unclean stop, and says nothing of it: so its log may be ahead of what the cluster knows when
/// others join, and epochs in a log never fall.
pub(super) fn raise_epoch(
    image: &Image,
    (node, broker_epoch): (NodeId, BrokerEpoch),
    at: TopicPartition,
    above: LeaderEpoch,
) -> Result<Vec<MetadataRecord>, Refusal> {
    check_level(image, CLUSTERS_SINCE)?;
    check_run(image, node, broker_epoch)?;
    let (_, partition) = partition_of(image, at)?;
    if partition.leader != Some(node) {
        return Err(AlterPartitionRefusal::NotLeader { at, node }.into());
    }
    if above < partition.leader_epoch {
        return Ok(Vec::new());
    }
    let raised = Partition { leader_epoch: above.next(), ..partition.successor() };
    Ok(record_of(at, Some(raised)))
}

fn check_run(image: &Image, node: NodeId, given: BrokerEpoch) -> Result<(), Refusal> {
    let current = image.broker(node).ok_or(Refusal::UnknownBroker(node))?.epoch;
    if current == given {
        Ok(())
    } else {
        Err(AlterPartitionRefusal::StaleBrokerEpoch { node, given, current }.into())
    }
}

fn check_epochs(partition: &Partition, wanted: &AlterPartition) -> Result<(), AlterPartitionRefusal> {
    let AlterPartition { at, node, leader_epoch, partition_epoch, .. } = *wanted;
    let known = (partition.leader_epoch, partition.partition_epoch);
    if leader_epoch > known.0 || partition_epoch > known.1 {
        return Err(AlterPartitionRefusal::NotKnownYet { at, leader_epoch, partition_epoch });
    }
    if leader_epoch < known.0 {
        return Err(AlterPartitionRefusal::FencedLeaderEpoch { at, given: leader_epoch, current: known.0 });
    }
    if partition.leader != Some(node) {
        return Err(AlterPartitionRefusal::NotLeader { at, node });
    }
    #[cfg(feature = "teeth")]
    millrace_types::planted!(OldPartitionEpochTaken => return Ok(()));
    if partition_epoch < known.1 {
        return Err(AlterPartitionRefusal::StalePartitionEpoch {
            at,
            given: partition_epoch,
            current: known.1,
        });
    }
    Ok(())
}

fn check_set(partition: &Partition, wanted: &AlterPartition) -> Result<(), AlterPartitionRefusal> {
    let at = wanted.at;
    let wrong = |node, problem| Err(AlterPartitionRefusal::NoSuchSet { at, node, problem });
    if !wanted.isr.iter().any(|member| member.node == wanted.node) {
        return wrong(wanted.node, "leads and is missing");
    }
    for (index, member) in wanted.isr.iter().enumerate() {
        if !partition.replicas.contains(&member.node) {
            return wrong(member.node, "is no replica");
        }
        if wanted.isr.iter().skip(index + 1).any(|other| other.node == member.node) {
            return wrong(member.node, "is named twice");
        }
    }
    Ok(())
}

fn check_member(image: &Image, member: InSync) -> Result<(), Ineligible> {
    let broker = image.broker(member.node).ok_or(Ineligible::Unknown)?;
    let same_run = broker.epoch == member.epoch;
    #[cfg(feature = "teeth")]
    let same_run = millrace_types::planted!(IsrJoinWithoutEpoch, true, else same_run);
    if !same_run {
        return Err(Ineligible::AnotherRun);
    }
    match broker.standing {
        Standing::Active => Ok(()),
        Standing::Fenced => Err(Ineligible::Fenced),
        Standing::Draining => Err(Ineligible::Draining),
    }
}
