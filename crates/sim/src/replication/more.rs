//! What one kind of world has more than the others: failing disks, or records that are deleted.
//!
//! It is drawn from a sequence of its own, so that a seed makes the same run without it whatever is added here.

use std::sync::Arc;

use millrace_env::sim::SimRng;

use super::invariants::Verdict;
use super::world::{Happening, World};

/// Which world it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum More {
    Nothing,
    /// Syncs fail.
    FailingDisks,
    /// Records are deleted from the front.
    Deletions,
}

/// How long it is from one to the next, at least and at most.
const EVERY_MS: (u64, u64) = (200, 1_500);

impl More {
    pub(super) fn draw(seed: u64) -> Arc<SimRng> {
        Arc::new(SimRng::new(seed ^ 0xd15c))
    }
}

impl World {
    pub(super) fn plan_more(&mut self) {
        if self.more != More::Nothing && !self.healing {
            let wait = EVERY_MS.0 + self.more_rng.below(EVERY_MS.1 - EVERY_MS.0);
            self.later(wait, Happening::More);
        }
    }

    pub(super) fn happen_more(&mut self) -> Verdict {
        self.plan_more();
        match self.more {
            _ if self.healing => Ok(()),
            More::Nothing => Ok(()),
            More::FailingDisks => {
                self.fail_disk();
                Ok(())
            }
            More::Deletions => self.delete_records(),
        }
    }
}
