//! Disks that fail: a sync answers EIO, and what it was to move is gone, though the cache shows it.
//!
//! The process ends then; whoever starts next finds a disk that works. Directories are spared: what a file system has not noted down of
//! its own it does not go on with.

use millrace_env::counting::CallKind;
use millrace_env::sim::Fault;
use millrace_types::{NodeId, SyncMode};

use super::node::Node;
use super::world::World;

/// How many syncs pass before one fails, at most.
const SYNCS_BEFORE_MAX: u64 = 4;
/// What every error that comes of a failed sync tells.
const FAILED_SYNC: &str = "(os error 5)";

impl World {
    /// The next sync of some broker fails, or one soon after it.
    pub(super) fn fail_disk(&mut self) {
        let draw = std::sync::Arc::clone(&self.more_rng);
        let nodes = u64::try_from(self.nodes.len()).unwrap_or(1);
        let id = NodeId(1 + i32::try_from(draw.below(nodes)).unwrap_or_default());
        // Without a sync for each acknowledgement it takes what was held.
        let may_lose = self.weather.sync_mode != SyncMode::Always;
        if may_lose && !self.is_spare(id) {
            return;
        }
        let fault = Fault::io(CallKind::SyncData).after(draw.below(SYNCS_BEFORE_MAX));
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.failing) {
            node.sim.disk().inject(fault);
            node.failing = true;
            node.suspect |= may_lose;
            node.lacking |= may_lose;
            self.tell(|| format!("  a sync of {id} will fail"));
        }
    }

    /// A process ends on a failed sync, if that is why. The disk works again.
    pub(super) fn ended_by_disk(&mut self, id: NodeId, why: &str) -> bool {
        let failing = |node: &&mut Node| node.failing && why.contains(FAILED_SYNC);
        let Some(node) = self.nodes.get_mut(&id).filter(failing) else { return false };
        node.kill();
        node.repair();
        self.tell(|| format!("  {id} ends by a failed sync: {why}"));
        self.back_soon(id);
        true
    }
}
