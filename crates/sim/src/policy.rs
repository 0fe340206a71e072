//! What happens to the old records of a partition, and what of it the oracle says on its own.

use millrace_log::{CompactionConfig, LogConfig};
use millrace_types::CleanupPolicy;
use millrace_types::limits::SEGMENT_BYTES_MIN;

use crate::ledger::Partition;

/// How long a compacted partition keeps its tombstones.
pub(crate) const TOMBSTONES_MS: u64 = 60_000;
/// Age at which a segment is rolled: before producers are forgotten.
pub(crate) const SEGMENT_MS: u64 = 3_600_000;
/// Two hours.
const AGE_MS: u64 = 2 * SEGMENT_MS;
/// A segment and a half.
const SIZE_BYTES: u64 = SEGMENT_BYTES_MIN * 3 / 2;

/// What happens to old records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Policy {
    /// They are kept.
    #[default]
    Kept,
    /// The last of every key is kept.
    Compacted,
    /// They go some hours after they were appended.
    Aged,
    /// As many are kept as fit into a size.
    Sized,
    /// The last of every key is kept, for some hours.
    CompactedAndAged,
}

impl Policy {
    pub(crate) fn compacts(self) -> bool {
        matches!(self, Policy::Compacted | Policy::CompactedAndAged)
    }

    pub(crate) fn ms(self) -> Option<u64> {
        matches!(self, Policy::Aged | Policy::CompactedAndAged).then_some(AGE_MS)
    }

    pub(crate) fn bytes(self) -> Option<u64> {
        (self == Policy::Sized).then_some(SIZE_BYTES)
    }

    /// Segments of the smallest size, so that little is needed to roll.
    pub(crate) fn config(self) -> LogConfig {
        let cleanup = match self {
            Policy::Kept | Policy::Aged | Policy::Sized => CleanupPolicy::Delete,
            Policy::Compacted => CleanupPolicy::Compact,
            Policy::CompactedAndAged => CleanupPolicy::CompactAndDelete,
        };
        let compaction = CompactionConfig {
            dirty_parts_min: 0,
            tombstones_ms: TOMBSTONES_MS,
            ..CompactionConfig::default()
        };
        LogConfig {
            segment_bytes: SEGMENT_BYTES_MIN,
            segment_ms: SEGMENT_MS,
            retention_ms: self.ms(),
            retention_bytes: self.bytes(),
            cleanup,
            compaction,
            ..LogConfig::default()
        }
    }
}

/// A segment file as it lies in the directory.
#[derive(Clone, Debug)]
pub(crate) struct SegmentOnDisk {
    pub(crate) base: u64,
    pub(crate) bytes: u64,
}

/// Where retention lets a log begin at `now`: whole segments go, the oldest first, and never the last one. A segment is
/// as old as its last append, whatever the times of its records.
pub(crate) fn retained_from(is: &Partition, files: &[SegmentOnDisk], now: i64) -> u64 {
    let mut left: u64 = files.iter().map(|file| file.bytes).sum();
    let mut start = is.log_start;
    for (file, next) in files.iter().zip(files.iter().skip(1)) {
        let appended = is.sent.iter().filter(|sent| sent.base < next.base).map(|sent| sent.appended).max();
        let age_ms = now.saturating_sub(appended.unwrap_or(now)).unsigned_abs();
        let is_old = is.policy.ms().is_some_and(|ms| age_ms > ms);
        let is_much = is.policy.bytes().is_some_and(|bytes| left - file.bytes >= bytes);
        if !is_old && !is_much {
            break;
        }
        left -= file.bytes;
        start = start.max(next.base);
    }
    start
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::Sent;

    fn file(base: u64, bytes: u64) -> SegmentOnDisk {
        SegmentOnDisk { base, bytes }
    }

    #[test]
    fn what_is_old_goes_by_its_append_and_what_is_much_by_what_is_left() {
        let sent = |base, appended| Arc::new(Sent { base, records: 1, appended, ..Sent::default() });
        let mut is = Partition { sent: vec![sent(0, 0), sent(1, 10), sent(2, 20)], ..Partition::default() };
        let files = [file(0, 60_000), file(1, 60_000), file(2, 60_000)];
        let hours = i64::try_from(AGE_MS).unwrap();
        assert_eq!(retained_from(&is, &files, i64::MAX), 0);
        is.policy = Policy::Aged;
        assert_eq!(retained_from(&is, &files, hours), 0);
        assert_eq!(retained_from(&is, &files, hours + 1), 1);
        assert_eq!(retained_from(&is, &files, i64::MAX), 2);
        is.policy = Policy::Sized;
        assert_eq!(retained_from(&is, &files, 0), 1);
        assert_eq!(retained_from(&is, &files[1..], 0), 0);
    }
}
