//! R1: a leader that runs holds all that is committed, and what was acknowledged is part of that.

use super::{Invariant, Scene, Verdict};

pub(crate) struct LeaderComplete;

impl Invariant for LeaderComplete {
    fn name(&self) -> &'static str {
        "R1 the leader is complete"
    }

    fn after(&mut self, scene: Scene<'_>) -> Verdict {
        let Some((node, leader)) = scene.leader() else { return Ok(()) };
        if scene.truth.is_complete(node.id) {
            return Ok(());
        }
        Err(format!(
            "{} leads in epoch {} and agrees with {} of {} committed records",
            node.id,
            leader.leader_epoch(),
            scene.truth.agrees(node.id),
            scene.truth.committed.len()
        ))
    }
}
