//! R2, R12: whoever may be elected holds all that is committed. Of those that run: what a broker that is down has lost, it says
//! when it registers again.

use super::{Invariant, Scene, Verdict};

pub(crate) struct CandidatesComplete;

impl Invariant for CandidatesComplete {
    fn name(&self) -> &'static str {
        "R2 who may be elected is complete"
    }

    fn after(&mut self, scene: Scene<'_>) -> Verdict {
        let partition = &scene.helm.partition;
        for (node, _) in scene.current() {
            let candidate = partition.view.isr.contains(&node.id) || partition.elr.contains(&node.id);
            let held = if scene.always { node.certain(scene.truth.topic) } else { usize::MAX };
            let committed = scene.truth.committed.len();
            if candidate && scene.truth.agrees(node.id).min(held) < committed {
                return Err(format!(
                    "{} may be elected (in sync {:?}, eligible {:?}) and holds {} of {committed} committed records",
                    node.id,
                    partition.view.isr,
                    partition.elr,
                    scene.truth.agrees(node.id).min(held),
                ));
            }
        }
        Ok(())
    }
}
