//! R3: what was acknowledged lies on some replica, in the place that was told.

use super::{Invariant, Scene, Verdict};
use crate::replication::truth::place;
use crate::replication::wire::Answer;

pub(crate) struct Kept;

impl Invariant for Kept {
    fn name(&self) -> &'static str {
        "R3 nothing committed is lost"
    }

    fn told(&mut self, scene: Scene<'_>, node: millrace_types::NodeId, answer: &Answer) -> Verdict {
        let Answer::Committed(offset) = answer else { return Ok(()) };
        if place(*offset) < scene.truth.committed.len() {
            return Ok(());
        }
        Err(format!("{node} acknowledges {offset}, {} are committed", scene.truth.committed.len()))
    }

    fn after(&mut self, scene: Scene<'_>) -> Verdict {
        let most = scene.nodes.keys().map(|node| scene.truth.agrees(*node)).max().unwrap_or_default();
        if most < scene.truth.committed.len() {
            return Err(format!("{} records are committed, {most} are left", scene.truth.committed.len()));
        }
        Ok(())
    }
}
