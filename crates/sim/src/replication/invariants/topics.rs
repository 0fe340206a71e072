//! R17: what was sent for one topic never lies in another that has its name.

use super::{Invariant, Scene, Verdict};
use crate::replication::node::{Did, Node};

pub(crate) struct Topics;

impl Invariant for Topics {
    fn name(&self) -> &'static str {
        "R17 topics that were deleted"
    }

    fn did(&mut self, scene: Scene<'_>, node: &Node, did: &Did) -> Verdict {
        let Did::Replicated { topic, records } = did else { return Ok(()) };
        let mirror = node.mirrors.get(topic).map_or(&[][..], Vec::as_slice);
        if *topic != scene.truth.topic {
            return Ok(());
        }
        let fresh = mirror.get(mirror.len().saturating_sub(*records)..).unwrap_or_default();
        match fresh.iter().find(|entry| !scene.truth.sent.contains(&entry.value)) {
            Some(entry) => Err(format!("{} has {} of another topic", node.id, entry.value)),
            None => Ok(()),
        }
    }
}
