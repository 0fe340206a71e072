//! R14: who is eligible. Nobody while enough are in sync; who leaves when too few are stays so, unless it may have lost something.

use super::{Invariant, Scene, Verdict};
use crate::replication::helm::Partition;
use crate::replication::wire::Message;

pub(crate) struct Eligible;

impl Invariant for Eligible {
    fn name(&self) -> &'static str {
        "R14 eligible leaders"
    }

    fn decided(&mut self, scene: Scene<'_>, before: &Partition, message: &Message) -> Verdict {
        let after = &scene.helm.partition;
        if after.view.id != before.view.id || after.view.isr_min != before.view.isr_min {
            return Ok(());
        }
        if after.view.isr.len() >= after.view.isr_min && !after.elr.is_empty() {
            return Err(format!("{:?} in sync are enough, {:?} are eligible", after.view.isr, after.elr));
        }
        if after.view.isr.iter().any(|node| after.elr.contains(node)) {
            return Err(format!("{:?} in sync, {:?} eligible", after.view.isr, after.elr));
        }
        // Who registers may say that it has lost something.
        let lossy = matches!(message, Message::Register(_));
        if lossy || after.view.isr.len() >= after.view.isr_min {
            return Ok(());
        }
        for node in before.view.isr.union(&before.elr).filter(|node| after.view.replicas.contains(node)) {
            if !after.view.isr.contains(node) && !after.elr.contains(node) {
                return Err(format!("{node} was complete and is not eligible any more: {after:?}"));
            }
        }
        Ok(())
    }
}
