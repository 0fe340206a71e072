//! What producers and collectors of a run count together.

use std::sync::atomic::{AtomicBool, AtomicU64};

use indicatif::ProgressBar;
use parking_lot::Mutex;

use super::RunClock;
use super::tally::Tally;

/// What producers and collectors of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: RunClock,
    pub(super) tallies: Vec<Mutex<Tally>>,
    /// Records that were acknowledged, those of the warm-up with them.
    pub(super) acknowledged: AtomicU64,
    pub(super) is_stopped: AtomicBool,
    pub(super) progress: ProgressBar,
}

impl Shared {
    /// The counts of a producer.
    pub(super) fn tally(&self, producer: u64) -> Option<&Mutex<Tally>> {
        let shards = u64::try_from(self.tallies.len()).unwrap_or(1).max(1);
        usize::try_from(producer % shards).ok().and_then(|shard| self.tallies.get(shard))
    }
}
