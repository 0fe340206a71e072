//! R16: a reassignment adds nobody to the in-sync replicas, and its end leaves enough of them.

use super::{Invariant, Scene, Verdict};
use crate::replication::helm::Partition;
use crate::replication::wire::Message;

pub(crate) struct Reassigned;

impl Invariant for Reassigned {
    fn name(&self) -> &'static str {
        "R16 reassignments"
    }

    fn decided(&mut self, scene: Scene<'_>, before: &Partition, message: &Message) -> Verdict {
        let after = &scene.helm.partition;
        if before.view.id != after.view.id || before.view.replicas == after.view.replicas {
            return Ok(());
        }
        let asked_for = matches!(message, Message::Alter(_));
        let joined = after.view.isr.iter().any(|node| !before.view.isr.contains(node));
        if joined && !asked_for && !before.elr.iter().any(|node| after.view.isr.contains(node)) {
            return Err(format!("{:?} became {:?} by a reassignment", before.view.isr, after.view.isr));
        }
        let removed = before.view.replicas.iter().any(|node| !after.view.replicas.contains(node));
        if removed && after.view.isr.len() < after.view.isr_min {
            return Err(format!("{:?} are left in sync behind a reassignment", after.view.isr));
        }
        Ok(())
    }
}
