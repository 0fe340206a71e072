//! The damaged ranges of a log: one bounded list, whoever found them (the start, a read, the scrub).
//!
//! What is listed is kept on the disk and not served: reads that touch it answer CORRUPT with the offsets, and what lies
//! around it stays readable. The list lives as long as the log is open, but for what is cut, trimmed or mended; the next start looks
//! again.

use std::ops::Range;
use std::path::PathBuf;

use millrace_types::OffsetRange;
use millrace_types::limits::DAMAGED_RANGES_PER_LOG_MAX;
use parking_lot::Mutex;

/// Bytes of a log that are not what was written and synced there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DamagedRange {
    /// The file.
    pub path: PathBuf,
    /// The damaged bytes, as far as it is known which they are.
    pub bytes: Range<u64>,
    /// Offsets of which some or all are not served. Empty if no record is touched: an index is built anew.
    pub offsets: OffsetRange,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for DamagedRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DamagedRange { path, bytes, offsets, what } = self;
        write!(f, "{}: bytes {} to {}: {what}", path.display(), bytes.start, bytes.end)?;
        if offsets.start < offsets.end {
            write!(f, "; offsets {} to {} are not served whole", offsets.start, offsets.end)?;
        }
        Ok(())
    }
}

/// How much damage is known of a log.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DamageTotal {
    /// Damaged ranges of its files.
    pub ranges: usize,
    /// Their bytes together, as far as it is known which they are.
    pub bytes: u64,
}

/// The list of one log.
#[derive(Debug, Default)]
pub(crate) struct DamageList {
    ranges: Mutex<Vec<DamagedRange>>,
}

/// Whether a range was known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    /// It lies in one that is listed, or the list is full.
    Already,
    /// It is listed now.
    New,
}

impl DamageList {
    /// Lists a range, with an event in the log of the process if it is a new one.
    pub(crate) fn note(&self, range: DamagedRange) -> Known {
        let mut ranges = self.ranges.lock();
        let touching = ranges.iter_mut().find(|known| {
            known.path == range.path
                && known.bytes.start <= range.bytes.end
                && range.bytes.start <= known.bytes.end
        });
        if let Some(known) = touching {
            // One damage, seen from several sides: by batch, by block.
            known.bytes = known.bytes.start.min(range.bytes.start)..known.bytes.end.max(range.bytes.end);
            if known.offsets.start == known.offsets.end {
                known.offsets = range.offsets;
            } else if range.offsets.start < range.offsets.end {
                known.offsets.start = known.offsets.start.min(range.offsets.start);
                known.offsets.end = known.offsets.end.max(range.offsets.end);
            }
            return Known::Already;
        }
        if ranges.len() >= DAMAGED_RANGES_PER_LOG_MAX {
            return Known::Already;
        }
        tracing::error!(damage = %range, "damage was found; it is kept and not served");
        ranges.push(range);
        Known::New
    }

    /// What is listed.
    pub(crate) fn list(&self) -> Vec<DamagedRange> {
        self.ranges.lock().clone()
    }

    /// How much is listed.
    pub(crate) fn total(&self) -> DamageTotal {
        let ranges = self.ranges.lock();
        let bytes = ranges.iter().map(|known| known.bytes.end.saturating_sub(known.bytes.start)).sum();
        DamageTotal { ranges: ranges.len(), bytes }
    }

    /// Forgets what lies in the log no more, which has `offsets` by now: it was cut, trimmed or reset.
    pub(crate) fn keep_within(&self, offsets: OffsetRange) {
        let OffsetRange { start, end } = offsets;
        self.ranges.lock().retain(|known| {
            known.offsets.start < end && (start <= known.offsets.start || start < known.offsets.end)
        });
    }

    /// Forgets what begins in a range that was mended; what reaches beyond it stays.
    pub(crate) fn forget(&self, mended: OffsetRange) {
        let OffsetRange { start, end } = mended;
        self.ranges.lock().retain_mut(|known| {
            if known.offsets.start < start || known.offsets.start >= end {
                return true;
            }
            known.offsets.start = end;
            known.offsets.end > end
        });
    }

    pub(crate) fn count(&self) -> usize {
        self.ranges.lock().len()
    }
}
