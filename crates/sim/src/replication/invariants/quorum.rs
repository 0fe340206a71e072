//! R5: as long as enough are in sync, a leader that the controller stands by waits for everybody that the controller may elect.

use std::collections::BTreeSet;

use super::{Invariant, Scene, Verdict};

pub(crate) struct QuorumSuperset;

impl Invariant for QuorumSuperset {
    fn name(&self) -> &'static str {
        "R5 the replication quorum holds the election quorum"
    }

    fn after(&mut self, scene: Scene<'_>) -> Verdict {
        let Some((node, leader)) = scene.leader() else { return Ok(()) };
        let (maximal, partition) = (leader.maximal_isr(), &scene.helm.partition);
        if !leader.is_in_doubt() && maximal != leader.view().isr {
            return Err(format!("{} asks for nothing and waits for {maximal:?}", node.id));
        }
        let electable: BTreeSet<_> = partition.view.isr.union(&partition.elr).copied().collect();
        if leader.view().can_commit() && !electable.is_subset(&maximal) {
            return Err(format!("{} waits for {maximal:?}, {electable:?} may be elected", node.id));
        }
        Ok(())
    }
}
