//! Which brokers hold a new partition: a spread without racks.
//!
//! Leaders go round robin over the active brokers, starting where the topic before left off. The followers of a
//! leader are those behind it in the round, shifted by one with every round: so the partitions of a broker that goes
//! away are taken over by all others, not by its neighbour alone. Brokers that are not active hold what the active
//! ones are too few for, and are not in sync with it.

use millrace_schema::PartitionPlaced;
use millrace_types::{LeaderEpoch, NodeId};

use crate::Image;

/// Where partitions can lie.
pub(super) struct Places {
    /// Brokers that may lead, sorted.
    active: Vec<NodeId>,
    /// The others, sorted.
    others: Vec<NodeId>,
}

impl Places {
    pub(super) fn of(image: &Image) -> Places {
        let (active, others): (Vec<_>, Vec<_>) = image.brokers().partition(|broker| broker.is_active());
        let nodes = |brokers: Vec<&crate::Broker>| brokers.into_iter().map(|broker| broker.node).collect();
        Places { active: nodes(active), others: nodes(others) }
    }

    /// How many brokers there are.
    pub(super) fn count(&self) -> usize {
        self.active.len() + self.others.len()
    }

    /// Whether nobody could lead a new partition.
    pub(super) fn has_no_leader(&self) -> bool {
        self.active.is_empty()
    }

    /// So many partitions, with so many replicas each if there are that many brokers; `start` counts the partitions
    /// before them.
    pub(super) fn place(&self, partitions: u32, replication_factor: u32, start: u64) -> Vec<PartitionPlaced> {
        let wanted = usize::try_from(replication_factor).unwrap_or(usize::MAX);
        (0..partitions)
            .map(|partition| {
                let turn = usize::try_from(start + u64::from(partition)).unwrap_or(0);
                let mut replicas = self.round(turn);
                replicas.extend(rotated(&self.others, turn));
                replicas.truncate(wanted);
                let isr: Vec<_> =
                    replicas.iter().copied().filter(|node| self.active.contains(node)).collect();
                PartitionPlaced {
                    leader: isr.first().copied(),
                    isr,
                    replicas,
                    leader_epoch: LeaderEpoch(0),
                    partition_epoch: 0,
                }
            })
            .collect()
    }

    /// Active brokers that are to join these replicas, so that there are that many of them; fewer if there are no more.
    pub(super) fn more(&self, replicas: &[NodeId], wanted: usize, turn: usize) -> Vec<NodeId> {
        let others = self.round(turn).into_iter().filter(|node| !replicas.contains(node));
        others.take(wanted.saturating_sub(replicas.len())).collect()
    }

    /// The active brokers in the order in which this turn takes them.
    fn round(&self, turn: usize) -> Vec<NodeId> {
        let mut order = rotated(&self.active, turn);
        if let (Some((_, followers)), Some(round)) =
            (order.split_first_mut(), turn.checked_div(self.active.len()))
            && !followers.is_empty()
        {
            followers.rotate_left(round % followers.len());
        }
        order
    }
}

fn rotated(nodes: &[NodeId], by: usize) -> Vec<NodeId> {
    let mut nodes = nodes.to_vec();
    if !nodes.is_empty() {
        let by = by % nodes.len();
        nodes.rotate_left(by);
    }
    nodes
}
