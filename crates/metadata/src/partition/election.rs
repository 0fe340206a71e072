//! Who leads a partition.
//!
//! The leader stays while it is in sync. Otherwise the first replica that is in sync leads; if nobody is in sync, the
//! first that is active and eligible (KIP-966), alone in sync then. Nobody else is ever elected by itself: whoever
//! accepts that records may be lost says so ([`lossy_election`]).

use std::sync::Arc;

use millrace_schema::LossyElection;
use millrace_types::NodeId;

use super::{Change, Partition};

impl Change<'_> {
    /// The leader afterwards. If it is elected from the eligible ones, it is in sync from here on.
    pub(super) fn elect(&mut self) -> Option<NodeId> {
        let wanted = [self.preferred, self.was.leader];
        if let Some(node) = wanted.into_iter().flatten().find(|node| self.isr.contains(node)) {
            return Some(node);
        }
        let first = |of: &[NodeId]| self.replicas.iter().copied().find(|node| of.contains(node));
        if !self.isr.is_empty() {
            return first(&self.isr);
        }
        let (mut elr, _) = self.eligible(&[]);
        elr.retain(|node| self.rules.is_active(*node));
        let leader = first(&elr)?;
        self.isr = vec![leader];
        Some(leader)
    }
}

/// The partition led by a replica that is not known to hold everything: it alone is in sync, and what it does not hold
/// is lost.
pub(crate) fn lossy_election(was: &Partition, node: NodeId) -> Partition {
    let leader_epoch = was.leader_epoch.next();
    let complete = [&*was.isr, &was.elr, &was.last_known_elr].concat();
    let given_up = complete.into_iter().filter(|other| *other != node).collect();
    Partition {
        leader: Some(node),
        leader_epoch,
        isr: Arc::from([node].as_slice()),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        lossy: Some(LossyElection { leader_epoch, given_up }),
        ..was.successor()
    }
}
