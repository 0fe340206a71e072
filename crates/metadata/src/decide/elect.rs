//! Elections that are asked for. Those that need not be asked for follow from the standing of the brokers
//! (`partition/election.rs`).
//!
//! - *Preferred* (KIP-460): the first replica leads again, if it is in sync.
//! - *Recovery* (KIP-966): nobody is in sync or eligible any more. All who were last known to be have said what they
//!   hold; the one with the newest leader epoch and the most records of it leads.
//! - *Unclean*: whoever asks names the replica and accepts what is lost.
//!
//! The last two leave a mark on the partition that tells who may have held what is lost.

use millrace_schema::MetadataRecord;
use millrace_types::{BrokerEpoch, ErrorCode, NodeId, TopicPartition};

use super::{CLUSTERS_SINCE, check_level, partition_of, record_of};
use crate::partition::{Change, lossy_election};
use crate::{Image, Partition, Refusal, ReplicaEnd};

/// Why nobody is elected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ElectRefusal {
    /// The preferred leader does not hold everything.
    #[error("{at}: node {node} is the preferred leader, but not in sync")]
    PreferredNotInSync {
        /// The partition.
        at: TopicPartition,
        /// The preferred leader.
        node: NodeId,
    },
    /// There is a leader: nothing needs to be lost.
    #[error("{at} is led by node {leader}")]
    HasLeader {
        /// The partition.
        at: TopicPartition,
        /// Its leader.
        leader: NodeId,
    },
    /// The node cannot lead it.
    #[error("{at}: node {node} is no replica of it, or not active")]
    NoCandidate {
        /// The partition.
        at: TopicPartition,
        /// The node.
        node: NodeId,
    },
    /// Somebody holds everything, and will lead once it is back.
    #[error("{at}: node {node} is eligible: nothing is lost if it comes back")]
    StillEligible {
        /// The partition.
        at: TopicPartition,
        /// Who is.
        node: NodeId,
    },
    /// One who was last known to be eligible has not said what it holds, or has started again since.
    #[error("{at}: what node {node} holds under its broker epoch is not known")]
    EndUnknown {
        /// The partition.
        at: TopicPartition,
        /// Who.
        node: NodeId,
    },
    /// Nobody is known to have been eligible.
    #[error("{0}: nobody is known to have held everything")]
    NobodyKnown(TopicPartition),
}

impl ElectRefusal {
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            ElectRefusal::HasLeader { .. } => ErrorCode::InvalidRequest,
            ElectRefusal::PreferredNotInSync { .. }
            | ElectRefusal::NoCandidate { .. }
            | ElectRefusal::StillEligible { .. }
            | ElectRefusal::EndUnknown { .. }
            | ElectRefusal::NobodyKnown(_) => ErrorCode::NotEnoughReplicas,
        }
    }
}

/// Gives the partition back to its preferred leader.
pub(super) fn preferred(image: &Image, at: TopicPartition) -> Result<Vec<MetadataRecord>, Refusal> {
    check_level(image, CLUSTERS_SINCE)?;
    let (topic, partition) = partition_of(image, at)?;
    let Some(node) = partition.replicas.first().copied() else { return Ok(Vec::new()) };
    if !partition.isr.contains(&node) {
        return Err(ElectRefusal::PreferredNotInSync { at, node }.into());
    }
    Ok(record_of(at, Change::new(image.rules(topic), partition).preferred(node).finish()))
}

/// Makes a replica lead that is not known to hold everything.
pub(super) fn unclean(
    image: &Image,
    at: TopicPartition,
    node: NodeId,
) -> Result<Vec<MetadataRecord>, Refusal> {
    check_level(image, CLUSTERS_SINCE)?;
    let (_, partition) = partition_of(image, at)?;
    check_leaderless(partition, at)?;
    if !partition.replicas.contains(&node) || !is_active(image, node) {
        return Err(ElectRefusal::NoCandidate { at, node }.into());
    }
    Ok(record_of(at, Some(lossy_election(partition, node))))
}

/// Makes the best of those lead who were last known to be eligible.
pub(super) fn recover(
    image: &Image,
    at: TopicPartition,
    ends: &[ReplicaEnd],
) -> Result<Vec<MetadataRecord>, Refusal> {
    check_level(image, CLUSTERS_SINCE)?;
    let (_, partition) = partition_of(image, at)?;
    check_leaderless(partition, at)?;
    if let Some(node) = partition.elr.first().copied() {
        return Err(ElectRefusal::StillEligible { at, node }.into());
    }
    let mut best: Option<ReplicaEnd> = None;
    for node in partition.last_known_elr.iter().copied() {
        let epoch = image.broker(node).map_or(BrokerEpoch::NONE, |broker| broker.epoch);
        let told = ends.iter().find(|end| end.node == node && end.epoch == epoch).copied();
        let end = told.filter(|_| is_active(image, node)).ok_or(ElectRefusal::EndUnknown { at, node })?;
        // Of equals the first replica leads.
        if best.is_none_or(|best| (end.leader_epoch, end.end) > (best.leader_epoch, best.end)) {
            best = Some(end);
        }
    }
    let best = best.ok_or(ElectRefusal::NobodyKnown(at))?;
    Ok(record_of(at, Some(lossy_election(partition, best.node))))
}

fn check_leaderless(partition: &Partition, at: TopicPartition) -> Result<(), ElectRefusal> {
    match partition.leader {
        Some(leader) => Err(ElectRefusal::HasLeader { at, leader }),
        None => Ok(()),
    }
}

fn is_active(image: &Image, node: NodeId) -> bool {
    image.broker(node).is_some_and(crate::Broker::is_active)
}
