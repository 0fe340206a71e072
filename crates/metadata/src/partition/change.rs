//! What becomes of a partition when its in-sync set, its replicas, or its brokers change.
//!
//! The one place where that is worked out: commands ask it before they write a record, and the fold of a record about
//! a broker asks it for every partition of that broker. So these rules are part of what such a record means: another
//! rule needs another version of the record.
//!
//! 1. Nobody is in sync who is not active (KIP-841).
//! 2. A reassignment is complete once all that it adds are in sync, and `min.insync.replicas` are without those that
//!    it removes (KIP-455).
//! 3. While at least `min.insync.replicas` are in sync, nobody else is eligible. Below that nothing is committed, so
//!    whoever leaves stays eligible, unless it may have lost something (KIP-966).
//! 4. Who leads: `election.rs`.
//! 5. Another leader, or the end of a reassignment, begins a leader epoch; whatever changes, the partition epoch rises.

use std::collections::BTreeMap;

use millrace_types::NodeId;

use super::{Partition, shared};
use crate::Broker;

/// What the rules look at besides the partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    /// Every broker.
    pub(crate) brokers: &'a BTreeMap<NodeId, Broker>,
    /// The topic's `min.insync.replicas`.
    pub(crate) min_insync: usize,
}

impl Rules<'_> {
    pub(super) fn is_active(self, node: NodeId) -> bool {
        self.brokers.get(&node).is_some_and(Broker::is_active)
    }
}

/// A change that is being worked out.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(super) rules: Rules<'a>,
    pub(super) was: &'a Partition,
    pub(super) replicas: Vec<NodeId>,
    pub(super) isr: Vec<NodeId>,
    pub(super) adding: Vec<NodeId>,
    pub(super) removing: Vec<NodeId>,
    pub(super) lossy: Option<NodeId>,
    pub(super) preferred: Option<NodeId>,
}

impl<'a> Change<'a> {
    /// A change of nothing but what the brokers' standing asks for.
    pub(crate) fn new(rules: Rules<'a>, was: &'a Partition) -> Change<'a> {
        Change {
            rules,
            was,
            replicas: was.replicas.to_vec(),
            isr: was.isr.to_vec(),
            adding: was.adding.clone(),
            removing: was.removing.clone(),
            lossy: None,
            preferred: None,
        }
    }

    /// These are in sync.
    pub(crate) fn in_sync(mut self, isr: Vec<NodeId>) -> Change<'a> {
        self.isr = isr;
        self
    }

    /// This replica may have lost records: it is neither in sync nor eligible.
    pub(crate) fn lossy(mut self, node: NodeId) -> Change<'a> {
        self.lossy = Some(node);
        self
    }

    /// This one leads, if it is in sync.
    pub(crate) fn preferred(mut self, node: NodeId) -> Change<'a> {
        self.preferred = Some(node);
        self
    }

    /// These hold it, some of them for the time of a reassignment only.
    pub(crate) fn replicas(
        mut self,
        replicas: Vec<NodeId>,
        adding: Vec<NodeId>,
        removing: Vec<NodeId>,
    ) -> Change<'a> {
        (self.replicas, self.adding, self.removing) = (replicas, adding, removing);
        self
    }

    /// The partition afterwards; `None` if nothing changes.
    pub(crate) fn finish(mut self) -> Option<Partition> {
        let (rules, replicas) = (self.rules, &self.replicas);
        let lossy = self.lossy;
        self.isr.retain(|node| rules.is_active(*node) && replicas.contains(node) && lossy != Some(*node));
        let completed = self.complete_reassignment();
        let leader = self.elect();
        let (elr, last_known_elr) = self.eligible(&self.isr);
        let removed = self.was.replicas.iter().any(|node| !self.replicas.contains(node));
        let new_epoch = leader != self.was.leader || completed || removed;
        let (replicas, isr) = shared(&self.replicas, &self.isr);
        let mut after = Partition {
            leader,
            replicas,
            isr,
            elr,
            last_known_elr,
            adding: self.adding,
            removing: self.removing,
            ..self.was.clone()
        };
        if new_epoch {
            after.leader_epoch = after.leader_epoch.next();
        }
        if after == *self.was { None } else { Some(after.successor()) }
    }

    fn complete_reassignment(&mut self) -> bool {
        if self.adding.is_empty() && self.removing.is_empty() {
            return false;
        }
        let removing = self.removing.clone();
        let stay = self.isr.iter().filter(|node| !removing.contains(node)).count();
        if stay < self.rules.min_insync || self.adding.iter().any(|node| !self.isr.contains(node)) {
            return false;
        }
        self.isr.retain(|node| !removing.contains(node));
        self.replicas.retain(|node| !removing.contains(node));
        self.adding.clear();
        self.removing.clear();
        true
    }

    /// Who is eligible, and who was last known to be, if these are in sync. In the order of the replicas.
    pub(super) fn eligible(&self, isr: &[NodeId]) -> (Vec<NodeId>, Vec<NodeId>) {
        if isr.len() >= self.rules.min_insync {
            return (Vec::new(), Vec::new());
        }
        let was = self.was;
        let candidate = |node: &NodeId| was.isr.contains(node) || was.elr.contains(node);
        let others = self.replicas.iter().copied().filter(|node| !isr.contains(node));
        let (elr, rest): (Vec<_>, Vec<_>) =
            others.partition(|node| candidate(node) && self.lossy != Some(*node));
        let known = |node: &NodeId| candidate(node) || was.last_known_elr.contains(node);
        (elr, rest.into_iter().filter(known).collect())
    }
}
