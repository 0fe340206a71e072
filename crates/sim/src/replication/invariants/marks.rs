//! R4, R6, S1: high watermarks. A leader's moves forward only, a follower's is not ahead of what it holds, and below any two of them
//! the logs are the same: each is held against what is committed.

use std::collections::BTreeMap;

use millrace_types::{NodeId, Offset};

use super::{Invariant, Scene, Verdict};
use crate::replication::truth::place;

#[derive(Default)]
pub(crate) struct Marks {
    /// By broker: in which leader epoch it led, and its high watermark then.
    led: BTreeMap<NodeId, (i32, Offset)>,
}

impl Invariant for Marks {
    fn name(&self) -> &'static str {
        "R4 R6 high watermarks"
    }

    fn after(&mut self, scene: Scene<'_>) -> Verdict {
        for node in scene.nodes.values() {
            let part = node.run.as_ref().and_then(|run| run.parts.get(&scene.truth.topic));
            let Some((part, replica)) = part.and_then(|part| Some((part, part.replica.as_ref()?))) else {
                self.led.remove(&node.id);
                continue;
            };
            let (claims, log) = (replica.high_watermark(), part.store.log.offsets());
            if log.high_watermark > log.held || log.held > log.end || log.high_watermark > claims {
                return Err(format!("{} has high watermark {claims} and a log with {log:?}", node.id));
            }
            if place(claims) > scene.truth.committed.len() {
                let committed = scene.truth.committed.len();
                return Err(format!("{} has high watermark {claims}, {committed} are committed", node.id));
            }
            if scene.truth.agrees(node.id) < place(claims) {
                let agrees = scene.truth.agrees(node.id);
                return Err(format!("{} has high watermark {claims} and differs from {agrees} on", node.id));
            }
            let Some(leader) = replica.leader() else {
                self.led.remove(&node.id);
                continue;
            };
            let now = (leader.leader_epoch().0, claims);
            if let Some(before) = self.led.insert(node.id, now)
                && now.1 < before.1
            {
                return Err(format!(
                    "{} leads, and its high watermark fell from {} to {claims}",
                    node.id, before.1
                ));
            }
        }
        Ok(())
    }
}
