//! R5, R20: what becomes committed is held by every replica that may be elected, and by enough of them, at that moment. Only what is
//! held counts, the leader's own records too. A copy that was lost with its disk counts for as long as it has not come back: that is the
//! loss which the others are there for.

use super::{Invariant, Scene, Verdict};
use crate::replication::node::{Did, Node};
use crate::replication::truth::place;

pub(crate) struct Durable;

impl Invariant for Durable {
    fn name(&self) -> &'static str {
        "R20 what is committed is held by enough replicas"
    }

    fn did(&mut self, scene: Scene<'_>, node: &Node, did: &Did) -> Verdict {
        let Did::HighWatermark { topic, to, leads: true } = did else { return Ok(()) };
        if *topic != scene.truth.topic || place(*to) < scene.truth.committed.len() {
            return Ok(());
        }
        let part = node.run.as_ref().and_then(|run| run.parts.get(topic));
        let Some(leader) = part.and_then(|part| part.replica.as_ref()?.leader()) else { return Ok(()) };
        let holds = |node: &&Node| {
            let held = if scene.always { node.certain(*topic) } else { usize::MAX };
            node.lacking || scene.truth.agrees(node.id).min(held) >= place(*to)
        };
        let copies = scene.nodes.values().filter(holds).count();
        let needed = leader.view().isr_min;
        if copies < needed {
            return Err(format!(
                "{} commits up to {to}; {copies} replicas hold that, {needed} must",
                node.id
            ));
        }
        Ok(())
    }
}
