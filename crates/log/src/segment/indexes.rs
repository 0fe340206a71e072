//! The indexes of a segment that still grows: in memory, in the form of their files, so that they are written by
//! appending what the files do not have yet.

use millrace_types::{Offset, TimestampMs};

use super::{BatchSpot, Largest};
use crate::format::offset_index::{OffsetIndex, OffsetIndexEntry};
use crate::format::time_index::{TimeIndex, TimeIndexEntry};

/// Both indexes, as bytes. At most `segment.bytes / index.interval.bytes` entries.
#[derive(Debug, Default)]
pub(crate) struct LiveIndexes {
    pub(crate) offsets: Vec<u8>,
    pub(crate) times: Vec<u8>,
    /// How much of each lies in its file already.
    pub(crate) offsets_written: usize,
    pub(crate) times_written: usize,
    /// Log bytes since the last entry.
    since_entry: u64,
    last_timestamp: Option<TimestampMs>,
}

impl LiveIndexes {
    /// Indexes as their files hold them, up to a batch boundary.
    pub(crate) fn loaded(offsets: Vec<u8>, times: Vec<u8>, since_entry: u64) -> LiveIndexes {
        let last_timestamp = TimeIndex::whole_entries(&times).last().map(|entry| entry.timestamp);
        let (offsets_written, times_written) = (offsets.len(), times.len());
        LiveIndexes { offsets, times, offsets_written, times_written, since_entry, last_timestamp }
    }

    /// Takes note of a batch, as Kafka does: an entry for the first batch behind more than an interval of bytes, and
    /// with it the largest timestamp so far if it has grown.
    pub(crate) fn note(&mut self, base: Offset, spot: &BatchSpot, interval: u64, largest: Option<Largest>) {
        if self.since_entry > interval
            && let Some(entry) = OffsetIndexEntry::new(base, spot.last, spot.position)
        {
            self.offsets.extend_from_slice(&entry.encode());
            self.note_largest(base, largest);
            self.since_entry = 0;
        }
        self.since_entry = self.since_entry.saturating_add(spot.size);
    }

    /// Enters the largest timestamp, if it has grown since the last entry: with each offset entry, and at the end.
    pub(crate) fn note_largest(&mut self, base: Offset, largest: Option<Largest>) {
        let Some(largest) =
            largest.filter(|largest| self.last_timestamp.is_none_or(|t| t < largest.timestamp))
        else {
            return;
        };
        let last = TimeIndex::whole_entries(&self.times).last();
        if let Some(entry) = TimeIndexEntry::new(base, largest.last, largest.timestamp)
            && last.is_none_or(|last| last.relative < entry.relative)
        {
            self.times.extend_from_slice(&entry.encode());
            self.last_timestamp = Some(largest.timestamp);
        }
    }

    /// The files are gone: they are written anew, whole.
    pub(crate) fn nothing_is_written(&mut self) {
        (self.offsets_written, self.times_written) = (0, 0);
    }

    /// Gives the next batch an entry: it follows damage, and readers must find it.
    pub(crate) fn force_entry(&mut self) {
        self.since_entry = u64::MAX / 2;
    }

    pub(crate) fn offset_index(&self) -> OffsetIndex<'_> {
        OffsetIndex::whole_entries(&self.offsets)
    }

    pub(crate) fn time_index(&self) -> TimeIndex<'_> {
        TimeIndex::whole_entries(&self.times)
    }
}
