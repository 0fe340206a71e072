//! R18, S1: no log starts behind what a leader was told to delete, or what it knows to be committed; and when all are at rest none
//! starts behind its leader's.

use super::{Invariant, Scene, Verdict};
use crate::replication::truth::place;

pub(crate) struct Deleted;

impl Invariant for Deleted {
    fn name(&self) -> &'static str {
        "R18 deleted records"
    }

    fn after(&mut self, scene: Scene<'_>) -> Verdict {
        for node in scene.nodes.values() {
            let part = node.run.as_ref().and_then(|run| run.parts.get(&scene.truth.topic));
            let Some(part) = part else { continue };
            let log = part.store.log.offsets();
            if place(log.log_start) > scene.truth.deleted_to {
                let to = scene.truth.deleted_to;
                return Err(format!("{} starts at {}, deleted is up to {to}", node.id, log.log_start));
            }
            if log.log_start > log.high_watermark {
                return Err(format!("{} starts behind its high watermark: {log:?}", node.id));
            }
        }
        Ok(())
    }
}
