//! Kafka's offset index, `<base>.index`, byte for byte: where in the `.log` to start looking for an offset.
//!
//! ```text
//!  0                 4           8
//!  ┌─────────────────┬───────────┬─────────────────┬───────────┬─
//!  │ relative offset │ position  │ relative offset │ position  │ ...
//!  │ u32             │ u32       │ u32             │ u32       │
//!  └─────────────────┴───────────┴─────────────────┴───────────┴─
//!  relative offset = LAST offset of the batch at `position`, minus the base offset of the segment
//! ```
//! Offsets and positions rise strictly. The first batch of a segment (position 0) never has an entry: a look-up that
//! finds none starts there. The file carries no checksum of its own: the segment's seal covers it, and an entry is
//! believed only if the batch at its position agrees. Bytes that lie cannot make a look-up fail or run for long.

use millrace_types::Offset;

/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 8;

/// One entry: the batch at `position` ends with the offset `base + relative`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetIndexEntry {
    /// The last offset of the batch, relative to the base offset of the segment.
    pub relative: u32,
    /// The position of the batch in the `.log`, in bytes.
    pub position: u32,
}

impl OffsetIndexEntry {
    /// The entry of the batch at `position` whose last offset is `last`, in the segment that starts at `base`.
    ///
    /// `None` where Kafka's format has no room for it (offsets and positions are signed 32-bit numbers to Kafka): such
    /// a batch must start a new segment.
    #[must_use]
    pub fn new(base: Offset, last: Offset, position: u64) -> Option<OffsetIndexEntry> {
        Some(OffsetIndexEntry {
            relative: relative_offset(base, last)?,
            position: u32::try_from(i32::try_from(position).ok()?).ok()?,
        })
    }

    /// The bytes to append to the file.
    #[must_use]
    pub fn encode(self) -> [u8; ENTRY_BYTES] {
        ((u64::from(self.relative) << 32) | u64::from(self.position)).to_be_bytes()
    }

    /// Reads one entry.
    #[must_use]
    pub fn decode(bytes: [u8; ENTRY_BYTES]) -> OffsetIndexEntry {
        let [a, b, c, d, e, f, g, h] = bytes;
        OffsetIndexEntry {
            relative: u32::from_be_bytes([a, b, c, d]),
            position: u32::from_be_bytes([e, f, g, h]),
        }
    }

    /// The last offset of the batch.
    #[must_use]
    pub fn last_offset(self, base: Offset) -> Offset {
        base.saturating_add(self.relative.into())
    }
}

/// `offset` relative to `base`, if it fits into the signed 32 bits that Kafka reads it with.
#[must_use]
pub fn relative_offset(base: Offset, offset: Offset) -> Option<u32> {
    let relative = offset.get().checked_sub(base.get())?;
    u32::try_from(i32::try_from(relative).ok()?).ok()
}

/// Why an index cannot be what we wrote. It is rebuilt from the `.log` then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IndexError {
    /// The size is not a whole number of entries.
    #[error("{bytes} bytes are not a whole number of entries")]
    PartialEntry {
        /// The size of the file.
        bytes: usize,
    },
    /// An entry points at the first batch of the segment, which never has one (zeros, for example).
    #[error("entry {entry} is zero")]
    Zero {
        /// The number of the entry, from 0.
        entry: usize,
    },
    /// An entry does not lie after the one before it.
    #[error("entry {entry} does not lie after the one before it")]
    NotRising {
        /// The number of the entry, from 0.
        entry: usize,
    },
    /// An entry points behind the end of the segment.
    #[error("entry {entry} points behind the end of the segment")]
    BehindEnd {
        /// The number of the entry, from 0.
        entry: usize,
    },
}

/// Reads an index from its bytes, mapped or loaded.
#[derive(Clone, Copy, Debug)]
pub struct OffsetIndex<'a> {
    entries: &'a [[u8; ENTRY_BYTES]],
}

impl<'a> OffsetIndex<'a> {
    /// Takes the bytes of a whole file. Looks at the size only, so that opening costs nothing.
    ///
    /// # Errors
    /// [`IndexError::PartialEntry`].
    pub fn new(bytes: &'a [u8]) -> Result<OffsetIndex<'a>, IndexError> {
        match bytes.as_chunks() {
            (entries, []) => Ok(OffsetIndex { entries }),
            _ => Err(IndexError::PartialEntry { bytes: bytes.len() }),
        }
    }

    /// Takes the bytes of a file that was perhaps not written to its end, and leaves out a partial last entry.
    #[must_use]
    pub fn whole_entries(bytes: &'a [u8]) -> OffsetIndex<'a> {
        OffsetIndex { entries: bytes.as_chunks().0 }
    }

    /// Reads every entry: strictly rising, never zero, inside a `.log` of `log_bytes`.
    ///
    /// # Errors
    /// The first entry that is not so.
    pub fn check(&self, log_bytes: u64) -> Result<(), IndexError> {
        let mut previous = OffsetIndexEntry { relative: 0, position: 0 };
        for (number, entry) in self.iter().enumerate() {
            if entry.relative == 0 || entry.position == 0 {
                return Err(IndexError::Zero { entry: number });
            }
            if entry.relative <= previous.relative || entry.position <= previous.position {
                return Err(IndexError::NotRising { entry: number });
            }
            if u64::from(entry.position) >= log_bytes {
                return Err(IndexError::BehindEnd { entry: number });
            }
            previous = entry;
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
    pub fn get(&self, number: usize) -> Option<OffsetIndexEntry> {
        self.entries.get(number).map(|bytes| OffsetIndexEntry::decode(*bytes))
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Option<OffsetIndexEntry> {
        self.entries.last().map(|bytes| OffsetIndexEntry::decode(*bytes))
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = OffsetIndexEntry> + 'a {
        self.entries.iter().map(|bytes| OffsetIndexEntry::decode(*bytes))
    }

    /// The greatest entry whose offset is at or below `target`. The batch that holds `target` is the batch of that
    /// entry (if the offsets are equal) or lies between it and the next entry. `None`: start at position 0.
    #[must_use]
    pub fn lookup(&self, base: Offset, target: Offset) -> Option<OffsetIndexEntry> {
        let behind = self.entries.partition_point(|bytes| {
            let entry = OffsetIndexEntry::decode(*bytes);
            entry.last_offset(base) <= target
        });
        self.get(behind.checked_sub(1)?)
    }

    /// How many entries are kept when the `.log` is cut to `log_bytes`: those of batches that begin before.
    #[must_use]
    pub fn entries_below(&self, log_bytes: u64) -> usize {
        self.entries.partition_point(|bytes| u64::from(OffsetIndexEntry::decode(*bytes).position) < log_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Offset = Offset::ZERO;

    fn file(entries: &[(u32, u32)]) -> Vec<u8> {
        entries
            .iter()
            .flat_map(|&(relative, position)| OffsetIndexEntry { relative, position }.encode())
            .collect()
    }

    #[test]
    fn the_bytes_are_kafkas() {
        let base = Offset::from_count(1000);
        let entry = OffsetIndexEntry::new(base, Offset::from_count(1258), 0x0102_0304).unwrap();
        assert_eq!(entry.encode(), [0, 0, 1, 2, 1, 2, 3, 4]);
        assert_eq!(OffsetIndexEntry::decode(entry.encode()), entry);
        assert_eq!(entry.last_offset(base), Offset::from_count(1258));
    }

    #[test]
    fn what_the_format_cannot_name_has_no_entry() {
        let far = Offset::from_count(0x8000_0000);
        assert_eq!(OffsetIndexEntry::new(BASE, far, 1), None);
        assert_eq!(OffsetIndexEntry::new(BASE, Offset::from_count(5), 0x8000_0000), None);
        assert_eq!(OffsetIndexEntry::new(far, BASE, 1), None);
        assert!(OffsetIndexEntry::new(BASE, Offset::from_count(0x7fff_ffff), 0x7fff_ffff).is_some());
    }

    #[test]
    fn a_lookup_finds_the_greatest_entry_at_or_below() {
        let bytes = file(&[(10, 5000), (20, 10_000), (30, 15_000)]);
        let index = OffsetIndex::new(&bytes).unwrap();
        let at = |target| index.lookup(BASE, Offset::from_count(target)).map(|entry| entry.position);
        assert_eq!(at(0), None);
        assert_eq!(at(9), None);
        assert_eq!(at(10), Some(5000));
        assert_eq!(at(19), Some(5000));
        assert_eq!(at(20), Some(10_000));
        assert_eq!(at(1_000_000), Some(15_000));
        assert_eq!(OffsetIndex::new(&[]).unwrap().lookup(BASE, BASE), None);
    }

    #[test]
    fn garbage_is_refused_by_the_check() {
        let check = |entries: &[(u32, u32)]| OffsetIndex::new(&file(entries)).unwrap().check(20_000);
        assert_eq!(check(&[(1, 1), (2, 2)]), Ok(()));
        assert_eq!(check(&[(0, 0)]), Err(IndexError::Zero { entry: 0 }));
        assert_eq!(check(&[(1, 1), (0, 0)]), Err(IndexError::Zero { entry: 1 }));
        assert_eq!(check(&[(2, 1), (2, 2)]), Err(IndexError::NotRising { entry: 1 }));
        assert_eq!(check(&[(2, 2), (3, 2)]), Err(IndexError::NotRising { entry: 1 }));
        assert_eq!(check(&[(1, 20_000)]), Err(IndexError::BehindEnd { entry: 0 }));
    }

    #[test]
    fn a_file_cut_at_any_byte_is_refused_or_a_prefix() {
        let bytes = file(&[(10, 5000), (20, 10_000)]);
        for end in 0..bytes.len() {
            match OffsetIndex::new(&bytes[..end]) {
                Ok(index) => assert_eq!(index.len() * ENTRY_BYTES, end),
                Err(error) => assert_eq!(error, IndexError::PartialEntry { bytes: end }),
            }
            assert_eq!(OffsetIndex::whole_entries(&bytes[..end]).len(), end / ENTRY_BYTES);
        }
    }

    #[test]
    fn a_cut_log_keeps_the_entries_before_the_cut() {
        let bytes = file(&[(10, 5000), (20, 10_000), (30, 15_000)]);
        let index = OffsetIndex::new(&bytes).unwrap();
        assert_eq!(index.entries_below(10_000), 1);
        assert_eq!(index.entries_below(10_001), 2);
        assert_eq!(index.entries_below(0), 0);
    }

    #[test]
    fn a_lookup_in_garbage_ends() {
        let bytes: Vec<u8> = (0..800u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        let index = OffsetIndex::new(&bytes).unwrap();
        for target in 0..1000 {
            let _ = index.lookup(Offset::MAX.saturating_sub(5), Offset::from_count(target));
        }
    }
}
