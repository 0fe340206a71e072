//! A partition as the cluster sees it.

mod change;
mod election;

use std::sync::Arc;

use millrace_schema::{LossyElection, PartitionPlaced, PartitionState};
use millrace_types::{LeaderEpoch, NodeId};

pub(crate) use change::{Change, Rules};
pub(crate) use election::lossy_election;

/// A partition as the cluster sees it.
///
/// `isr`, `elr` and `last_known_elr` have no node in common, and there is a leader if and only if `isr` has nodes: the
/// leader is one of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Who leads it.
    pub leader: Option<NodeId>,
    /// Counts the leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts the changes.
    pub partition_epoch: i32,
    /// Who holds it; the first is the preferred leader.
    pub replicas: Arc<[NodeId]>,
    /// Who of them is in sync; the same allocation where that is all of them.
    pub isr: Arc<[NodeId]>,
    /// Who is not in sync and holds everything that is committed nevertheless (KIP-966): nothing was committed since
    /// they left, because fewer than `min.insync.replicas` were in sync. Empty while that many are.
    pub elr: Vec<NodeId>,
    /// Who was in sync or eligible until it may have lost something, or went away with nobody left.
    pub last_known_elr: Vec<NodeId>,
    /// Replicas that were none before the reassignment that is under way (KIP-455).
    pub adding: Vec<NodeId>,
    /// Replicas that will be none after it.
    pub removing: Vec<NodeId>,
    /// The last election that may have lost records. A follower truncates below its high watermark for its epoch only.
    pub lossy: Option<LossyElection>,
}

impl Partition {
    pub(crate) fn of(placed: &PartitionPlaced) -> Partition {
        let (replicas, isr) = shared(&placed.replicas, &placed.isr);
        Partition {
            leader: placed.leader,
            leader_epoch: placed.leader_epoch,
            partition_epoch: placed.partition_epoch,
            replicas,
            isr,
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            adding: Vec::new(),
            removing: Vec::new(),
            lossy: None,
        }
    }

    pub(crate) fn of_state(state: &PartitionState) -> Partition {
        let (replicas, isr) = shared(&state.replicas, &state.isr);
        Partition {
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            replicas,
            isr,
            elr: state.elr.clone(),
            last_known_elr: state.last_known_elr.clone(),
            adding: state.adding.clone(),
            removing: state.removing.clone(),
            lossy: state.lossy.clone(),
        }
    }

    pub(crate) fn to_state(&self) -> PartitionState {
        PartitionState {
            replicas: self.replicas.to_vec(),
            isr: self.isr.to_vec(),
            elr: self.elr.clone(),
            last_known_elr: self.last_known_elr.clone(),
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            adding: self.adding.clone(),
            removing: self.removing.clone(),
            lossy: self.lossy.clone(),
        }
    }

    /// What comes next, so far like this: every change is one more of them.
    pub(crate) fn successor(&self) -> Partition {
        Partition { partition_epoch: self.partition_epoch.saturating_add(1), ..self.clone() }
    }

    /// Whether it is led by another replica than the preferred one, which is in sync and could lead.
    #[must_use]
    pub fn is_away(&self) -> bool {
        let preferred = self.replicas.first();
        preferred.is_some_and(|node| self.leader != Some(*node) && self.isr.contains(node))
    }

    /// Whether replicas are being added or removed.
    #[must_use]
    pub fn is_reassigned(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }
}

/// Replicas and who of them is in sync, in one allocation where that is all of them.
fn shared(replicas: &[NodeId], isr: &[NodeId]) -> (Arc<[NodeId]>, Arc<[NodeId]>) {
    let shared: Arc<[NodeId]> = replicas.into();
    let isr = if isr == replicas { Arc::clone(&shared) } else { isr.into() };
    (shared, isr)
}
