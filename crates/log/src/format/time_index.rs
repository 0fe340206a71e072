//! Kafka's time index, `<base>.timeindex`, byte for byte: from which offset on to look for a time.
//!
//! ```text
//!  0                   8                 12
//!  ┌───────────────────┬─────────────────┬───────────────────┬─────────────────┬─
//!  │ largest timestamp │ relative offset │ largest timestamp │ relative offset │ ...
//!  │ i64               │ u32             │ i64               │ u32             │
//!  └───────────────────┴─────────────────┴───────────────────┴─────────────────┴─
//!  relative offset = LAST offset of the batch that holds the largest timestamp so far, minus the base offset
//! ```
//! Timestamps and offsets rise strictly: an entry is written only when the largest timestamp of the segment has
//! grown. So no record at or before an entry's offset is later than its timestamp. As with the offset index, the seal
//! covers the bytes, and an entry is believed only if the batch that it names agrees.

use millrace_types::{Offset, TimestampMs};

use super::offset_index::{IndexError, relative_offset};

/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 12;

/// One entry: up to the offset `base + relative`, no record is later than `timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeIndexEntry {
    /// The largest timestamp so far.
    pub timestamp: TimestampMs,
    /// The last offset of the batch that holds it, relative to the base offset of the segment.
    pub relative: u32,
}

impl TimeIndexEntry {
    /// The entry of the batch that ends with `last` and holds `timestamp`, in the segment that starts at `base`.
    ///
    /// `None` where the format has no room (see [`super::offset_index::OffsetIndexEntry::new`]) or no timestamp.
    #[must_use]
    pub fn new(base: Offset, last: Offset, timestamp: TimestampMs) -> Option<TimeIndexEntry> {
        timestamp.is_some().then_some(())?;
        Some(TimeIndexEntry { timestamp, relative: relative_offset(base, last)? })
    }

    /// The bytes to append to the file.
    #[must_use]
    pub fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        let (timestamp, relative) = out.split_at_mut(8);
        timestamp.copy_from_slice(&self.timestamp.0.to_be_bytes());
        relative.copy_from_slice(&self.relative.to_be_bytes());
        out
    }

    /// Reads one entry.
    #[must_use]
    pub fn decode(bytes: [u8; ENTRY_BYTES]) -> TimeIndexEntry {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        TimeIndexEntry {
            timestamp: TimestampMs(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
            relative: u32::from_be_bytes([i, j, k, l]),
        }
    }

    /// The last offset of the batch that holds the timestamp.
    #[must_use]
    pub fn offset(self, base: Offset) -> Offset {
        base.saturating_add(self.relative.into())
    }
}

/// Reads an index from its bytes, mapped or loaded.
#[derive(Clone, Copy, Debug)]
pub struct TimeIndex<'a> {
    entries: &'a [[u8; ENTRY_BYTES]],
}

impl<'a> TimeIndex<'a> {
    /// Takes the bytes of a whole file. Looks at the size only, so that opening costs nothing.
    ///
    /// # Errors
    /// [`IndexError::PartialEntry`].
    pub fn new(bytes: &'a [u8]) -> Result<TimeIndex<'a>, IndexError> {
        match bytes.as_chunks() {
            (entries, []) => Ok(TimeIndex { entries }),
            _ => Err(IndexError::PartialEntry { bytes: bytes.len() }),
        }
    }

    /// Takes the bytes of a file that was perhaps not written to its end, and leaves out a partial last entry.
    #[must_use]
    pub fn whole_entries(bytes: &'a [u8]) -> TimeIndex<'a> {
        TimeIndex { entries: bytes.as_chunks().0 }
    }

    /// Reads every entry: strictly rising, at a time, at or before the offset `last` of a segment that starts at `base`.
    ///
    /// # Errors
    /// The first entry that is not so.
    pub fn check(&self, base: Offset, last: Offset) -> Result<(), IndexError> {
        let mut previous: Option<TimeIndexEntry> = None;
        for (number, entry) in self.iter().enumerate() {
            let rising =
                previous.is_none_or(|p| p.timestamp < entry.timestamp && p.relative < entry.relative);
            if !rising || !entry.timestamp.is_some() {
                return Err(IndexError::NotRising { entry: number });
            }
            if entry.offset(base) > last {
                return Err(IndexError::BehindEnd { entry: number });
            }
            previous = Some(entry);
        }
        Ok(())
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry with this number, from 0.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<TimeIndexEntry> {
        self.entries.get(number).map(|bytes| TimeIndexEntry::decode(*bytes))
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Option<TimeIndexEntry> {
        self.entries.last().map(|bytes| TimeIndexEntry::decode(*bytes))
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = TimeIndexEntry> + 'a {
        self.entries.iter().map(|bytes| TimeIndexEntry::decode(*bytes))
    }

    /// The greatest entry earlier than `target`: every record at or before its offset is too early, so the first
    /// record at or after `target` lies behind that offset. `None`: look from the base offset on.
    ///
    /// Kafka takes the greatest entry at *or* before the target and begins at its offset, and so can miss records of
    /// that very batch; earlier by one entry costs one interval of reading and misses none.
    #[must_use]
    pub fn lookup(&self, target: TimestampMs) -> Option<TimeIndexEntry> {
        let behind = self.entries.partition_point(|bytes| TimeIndexEntry::decode(*bytes).timestamp < target);
        self.get(behind.checked_sub(1)?)
    }

    /// How many entries are kept when the log is cut so that it ends at `end` (exclusive).
    #[must_use]
    pub fn entries_below(&self, base: Offset, end: Offset) -> usize {
        self.entries.partition_point(|bytes| TimeIndexEntry::decode(*bytes).offset(base) < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entries: &[(i64, u32)]) -> Vec<u8> {
        let entry =
            |&(ms, relative): &(i64, u32)| TimeIndexEntry { timestamp: TimestampMs(ms), relative }.encode();
        entries.iter().flat_map(entry).collect()
    }

    #[test]
    fn the_bytes_are_kafkas() {
        let base = Offset::from_count(100);
        let entry =
            TimeIndexEntry::new(base, Offset::from_count(103), TimestampMs(0x0102_0304_0506_0708)).unwrap();
        assert_eq!(entry.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 3]);
        assert_eq!(TimeIndexEntry::decode(entry.encode()), entry);
        assert_eq!(entry.offset(base), Offset::from_count(103));
        assert_eq!(TimeIndexEntry::new(base, base, TimestampMs::NONE), None);
    }

    #[test]
    fn a_lookup_finds_what_is_certainly_too_early() {
        let bytes = file(&[(1000, 9), (2000, 19), (3000, 29)]);
        let index = TimeIndex::new(&bytes).unwrap();
        let behind = |ms| index.lookup(TimestampMs(ms)).map(|entry| entry.relative);
        assert_eq!(behind(0), None);
        assert_eq!(behind(1000), None);
        assert_eq!(behind(1001), Some(9));
        assert_eq!(behind(3000), Some(19));
        assert_eq!(behind(i64::MAX), Some(29));
    }

    #[test]
    fn garbage_is_refused_by_the_check() {
        let last = Offset::from_count(50);
        let check =
            |entries: &[(i64, u32)]| TimeIndex::new(&file(entries)).unwrap().check(Offset::ZERO, last);
        assert_eq!(check(&[(0, 0), (5, 3)]), Ok(()));
        assert_eq!(check(&[(0, 0), (0, 0)]), Err(IndexError::NotRising { entry: 1 }));
        assert_eq!(check(&[(5, 1), (6, 1)]), Err(IndexError::NotRising { entry: 1 }));
        assert_eq!(check(&[(5, 1), (4, 2)]), Err(IndexError::NotRising { entry: 1 }));
        assert_eq!(check(&[(-5, 1)]), Err(IndexError::NotRising { entry: 0 }));
        assert_eq!(check(&[(5, 51)]), Err(IndexError::BehindEnd { entry: 0 }));
    }

    #[test]
    fn a_file_cut_at_any_byte_is_refused_or_a_prefix() {
        let bytes = file(&[(1000, 9), (2000, 19)]);
        for end in 0..bytes.len() {
            match TimeIndex::new(&bytes[..end]) {
                Ok(index) => assert_eq!(index.len() * ENTRY_BYTES, end),
                Err(error) => assert_eq!(error, IndexError::PartialEntry { bytes: end }),
            }
            assert_eq!(TimeIndex::whole_entries(&bytes[..end]).len(), end / ENTRY_BYTES);
        }
    }

    #[test]
    fn a_cut_log_keeps_the_entries_before_the_cut() {
        let bytes = file(&[(1000, 9), (2000, 19)]);
        let index = TimeIndex::new(&bytes).unwrap();
        assert_eq!(index.entries_below(Offset::ZERO, Offset::from_count(19)), 1);
        assert_eq!(index.entries_below(Offset::ZERO, Offset::from_count(20)), 2);
    }
}
