//! The record of a partition whose replicas, leader or in-sync set changed (KIP-497, KIP-966).

use millrace_types::limits::BROKERS_MAX;
use millrace_types::{LeaderEpoch, NodeId, PartitionIndex, TopicPartition};

use super::{NEWEST, topic_id};
use crate::{Frame, FrameError, wire};

/// A partition as it is from here on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionChanged {
    /// Which one.
    pub at: TopicPartition,
    /// All of it.
    pub state: PartitionState,
}

/// Where a partition lies, who leads it, and who could.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionState {
    /// The nodes that hold it; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// Those of them that are in sync; none if nobody leads.
    pub isr: Vec<NodeId>,
    /// Eligible leaders that are not in sync: they hold everything that is committed, too.
    pub elr: Vec<NodeId>,
    /// Who was eligible until it may have lost something.
    pub last_known_elr: Vec<NodeId>,
    /// The leader, if there is one: in sync.
    pub leader: Option<NodeId>,
    /// Counts the leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts the changes of everything here.
    pub partition_epoch: i32,
    /// Replicas that were none before the reassignment that is under way.
    pub adding: Vec<NodeId>,
    /// Replicas that will be none after it.
    pub removing: Vec<NodeId>,
    /// The last election that may have lost records.
    pub lossy: Option<LossyElection>,
}

/// An election of a replica that was not known to hold everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LossyElection {
    /// The leader epoch that began with it.
    pub leader_epoch: LeaderEpoch,
    /// Who may have held what it lost.
    pub given_up: Vec<NodeId>,
}

impl PartitionChanged {
    pub(super) fn to_wire(&self) -> wire::PartitionChanged {
        wire::PartitionChanged {
            topic: self.at.topic.0.to_vec().into(),
            partition: self.at.partition.0,
            state: Some(self.state.to_wire()),
        }
    }

    pub(super) fn from_wire(frame: &Frame<'_>) -> Result<PartitionChanged, FrameError> {
        let message: wire::PartitionChanged = frame.message(NEWEST)?;
        let at = TopicPartition {
            topic: topic_id(frame, &message.topic)?,
            partition: PartitionIndex(message.partition),
        };
        let state = message.state.as_ref().ok_or_else(|| frame.invalid("state", "missing"))?;
        Ok(PartitionChanged { at, state: PartitionState::from_wire(frame, state)? })
    }
}

impl PartitionState {
    pub(super) fn to_wire(&self) -> wire::PartitionState {
        wire::PartitionState {
            replicas: numbers(&self.replicas),
            isr: numbers(&self.isr),
            elr: numbers(&self.elr),
            last_known_elr: numbers(&self.last_known_elr),
            leader: self.leader.map(|node| node.0),
            leader_epoch: self.leader_epoch.0,
            partition_epoch: self.partition_epoch,
            adding: numbers(&self.adding),
            removing: numbers(&self.removing),
            lossy: self.lossy.as_ref().map(|lossy| wire::LossyElection {
                leader_epoch: lossy.leader_epoch.0,
                given_up: numbers(&lossy.given_up),
            }),
        }
    }

    pub(super) fn from_wire(
        frame: &Frame<'_>,
        message: &wire::PartitionState,
    ) -> Result<PartitionState, FrameError> {
        let replicas = nodes(frame, "replicas", &message.replicas)?;
        if replicas.is_empty() {
            return Err(frame.invalid("replicas", "empty"));
        }
        let of_replicas = |field, numbers: &[i32]| {
            let nodes = nodes(frame, field, numbers)?;
            match nodes.iter().find(|node| !replicas.contains(node)) {
                Some(node) => Err(frame.invalid(field, format!("with {node}, which is no replica"))),
                None => Ok(nodes),
            }
        };
        let isr = of_replicas("isr", &message.isr)?;
        let elr = of_replicas("elr", &message.elr)?;
        let last_known_elr = of_replicas("last_known_elr", &message.last_known_elr)?;
        if elr.iter().any(|node| isr.contains(node)) {
            return Err(frame.invalid("elr", "with a node that is in sync"));
        }
        if last_known_elr.iter().any(|node| isr.contains(node) || elr.contains(node)) {
            return Err(frame.invalid("last_known_elr", "with a node that is in sync or eligible"));
        }
        let leader = message.leader.map(NodeId);
        if leader.map_or(!isr.is_empty(), |node| !isr.contains(&node)) {
            return Err(frame.invalid("leader", "not in sync, or absent although some are"));
        }
        if message.leader_epoch < 0 || message.partition_epoch < 0 {
            return Err(frame.invalid("leader_epoch", "or the partition's is negative"));
        }
        let lossy = match &message.lossy {
            None => None,
            Some(lossy) => Some(LossyElection {
                leader_epoch: LeaderEpoch(lossy.leader_epoch),
                given_up: nodes(frame, "given_up", &lossy.given_up)?,
            }),
        };
        let (adding, removing) =
            (of_replicas("adding", &message.adding)?, of_replicas("removing", &message.removing)?);
        if adding.iter().any(|node| removing.contains(node)) {
            return Err(frame.invalid("adding", "with a node that is removed"));
        }
        Ok(PartitionState {
            leader,
            leader_epoch: LeaderEpoch(message.leader_epoch),
            partition_epoch: message.partition_epoch,
            adding,
            removing,
            isr,
            elr,
            last_known_elr,
            lossy,
            replicas,
        })
    }
}

fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

/// Nodes, each once.
fn nodes(frame: &Frame<'_>, field: &'static str, numbers: &[i32]) -> Result<Vec<NodeId>, FrameError> {
    if numbers.len() > BROKERS_MAX {
        return Err(frame.invalid(field, format!("{} nodes", numbers.len())));
    }
    let mut nodes: Vec<NodeId> = Vec::with_capacity(numbers.len());
    for number in numbers {
        let node = NodeId(*number);
        if node.0 < 0 || nodes.contains(&node) {
            return Err(frame.invalid(field, format!("{node}, which is negative or there twice")));
        }
        nodes.push(node);
    }
    Ok(nodes)
}
