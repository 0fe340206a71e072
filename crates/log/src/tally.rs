//! What a data directory counts of its own work: how long syncs take, how large writes are.
//!
//! Buckets are powers of two, so that counting is three additions and no table; whoever shows them gives them their names.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of a [`Tally`]; the last one has no upper bound.
const BUCKETS: usize = 32;

/// A histogram of whole numbers: bucket `n` counts the values up to 2^n.
#[derive(Debug)]
pub(crate) struct Tally {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// A histogram of whole numbers at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TallySnapshot {
    /// How many values there were of each size: up to 1, 2, 4, ... 2^30, and above. Each value is in one bucket.
    pub buckets: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

/// What was counted since the directory was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirStats {
    /// How long syncs of partition logs took, in microseconds.
    pub sync_micros: TallySnapshot,
    /// Bytes of each write to a log: one batch, or as many as had queued up.
    pub write_bytes: TallySnapshot,
    /// Batches of each write.
    pub write_batches: TallySnapshot,
    /// Segments that retention has let go.
    pub retention_segments: u64,
    /// Their bytes.
    pub retention_bytes: u64,
}

/// The counters behind [`DirStats`].
#[derive(Debug, Default)]
pub(crate) struct DirTallies {
    sync_micros: Tally,
    write_bytes: Tally,
    write_batches: Tally,
    retention_segments: AtomicU64,
    retention_bytes: AtomicU64,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

impl Tally {
    fn add(&self, value: u64) {
        // The number of doublings of 1 that it takes to reach the value.
        let doublings = value.saturating_sub(1).checked_ilog2().map_or(0, |log| log as usize + 1);
        if let Some(bucket) = self.buckets.get(doublings.min(BUCKETS - 1)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn snapshot(&self) -> TallySnapshot {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        TallySnapshot { buckets, sum: self.sum.load(Ordering::Relaxed) }
    }
}

impl DirTallies {
    /// A sync came back.
    pub(crate) fn synced(&self, took: Duration) {
        self.sync_micros.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// A write was made.
    pub(crate) fn wrote(&self, bytes: u64, batches: usize) {
        self.write_bytes.add(bytes);
        self.write_batches.add(batches as u64);
    }

    /// Retention has let segments go.
    pub(crate) fn retention_removed(&self, segments: usize, bytes: u64) {
        self.retention_segments.fetch_add(segments as u64, Ordering::Relaxed);
        self.retention_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> DirStats {
        DirStats {
            sync_micros: self.sync_micros.snapshot(),
            write_bytes: self.write_bytes.snapshot(),
            write_batches: self.write_batches.snapshot(),
            retention_segments: self.retention_segments.load(Ordering::Relaxed),
            retention_bytes: self.retention_bytes.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_in_the_first_bucket_that_reaches_it() {
        let tally = Tally::default();
        for value in [0, 1, 2, 3, 4, 5, 8, 9, 1 << 30, (1 << 30) + 1, u64::from(u32::MAX)] {
            tally.add(value);
        }
        let TallySnapshot { buckets, sum } = tally.snapshot();
        assert_eq!(buckets[..5], [2, 1, 2, 2, 1]);
        assert_eq!((buckets[30], buckets[31], buckets.iter().sum::<u64>()), (1, 2, 11));
        assert_eq!(sum, 32 + (1 << 30) + (1 << 30) + 1 + u64::from(u32::MAX));
    }
}
