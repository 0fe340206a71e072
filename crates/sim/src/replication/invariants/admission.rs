//! R15: what was refused for certain never comes, and what is sent again lies in the log once.

use std::collections::BTreeSet;

use super::{Invariant, Scene, Verdict};

#[derive(Default)]
pub(crate) struct Admission {
    seen: BTreeSet<u64>,
    looked_at: usize,
    topic: Option<millrace_types::TopicId>,
}

impl Invariant for Admission {
    fn name(&self) -> &'static str {
        "R15 refusals and repetitions"
    }

    fn after(&mut self, scene: Scene<'_>) -> Verdict {
        if self.topic.replace(scene.truth.topic) != Some(scene.truth.topic) {
            self.seen.clear();
            self.looked_at = 0;
        }
        for entry in scene.truth.committed.get(self.looked_at..).unwrap_or_default() {
            self.looked_at += 1;
            if !self.seen.insert(entry.value) {
                return Err(format!("{} is committed twice", entry.value));
            }
            if scene.truth.refused.contains(&entry.value) {
                return Err(format!("{} was refused and is committed", entry.value));
            }
        }
        Ok(())
    }
}
