//! `leader.epochs`: at which offset each leader epoch of a partition began.
//!
//! ```text
//!  envelope(kind Epochs, version 1):
//!  0         4           8                 16
//!  ┌─────────┬───────────┬─────────────────┬───────────┬─────────────────┬─
//!  │ count   │ epoch     │ start offset    │ epoch     │ start offset    │ ...
//!  │ u32     │ i32       │ i64             │ i32       │ i64             │
//!  └─────────┴───────────┴─────────────────┴───────────┴─────────────────┴─
//! ```
//! Epochs and offsets rise strictly. Rebuildable: every batch carries its epoch.

use millrace_types::LeaderEpoch;

use super::envelope::{self, DecodeError, FileKind};
use super::fields::Fields;
use crate::epochs::{EpochCache, EpochEntry};

/// The newest version that this build reads, and the one that it writes.
pub const VERSION: u16 = 1;
/// The largest file: more than five million changes of leader, each of which appended.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;

const ENTRY_BYTES: usize = 12;

/// The content of the file.
#[must_use]
pub fn encode(epochs: &EpochCache) -> Vec<u8> {
    let entries = epochs.entries();
    let mut body = Vec::with_capacity(4 + entries.len() * ENTRY_BYTES);
    body.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_be_bytes());
    for entry in entries {
        body.extend_from_slice(&entry.epoch.0.to_be_bytes());
        body.extend_from_slice(&entry.start.get().to_be_bytes());
    }
    envelope::seal(FileKind::Epochs, VERSION, &body)
}

/// Reads the content of the file.
///
/// # Errors
/// Damage, a newer version, or entries that do not rise.
pub fn decode(bytes: &[u8]) -> Result<EpochCache, DecodeError> {
    let opened = envelope::open(FileKind::Epochs, VERSION, bytes)?;
    let mut fields = Fields::new(opened.body);
    let count = fields.length()?;
    let count = fields.count_of(count, ENTRY_BYTES)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(EpochEntry { epoch: LeaderEpoch(fields.i32()?), start: fields.offset()? });
    }
    fields.end()?;
    EpochCache::from_entries(entries).ok_or(DecodeError::Invalid("leader epochs that do not rise"))
}

#[cfg(test)]
mod tests {
    use millrace_types::Offset;

    use super::super::exam;
    use super::*;

    fn example() -> EpochCache {
        let mut epochs = EpochCache::default();
        for (epoch, start) in [(0, 0), (3, 17), (4, 4000)] {
            let _ = epochs.assign(LeaderEpoch(epoch), Offset::from_count(start));
        }
        epochs
    }

    #[test]
    fn entries_come_back() {
        assert_eq!(decode(&encode(&example())), Ok(example()));
        assert_eq!(decode(&encode(&EpochCache::default())), Ok(EpochCache::default()));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = encode(&example());
        exam::every_cut_is_refused(&bytes, decode);
        exam::every_flip_is_refused(&bytes, decode);
    }

    #[test]
    fn intact_nonsense_is_refused() {
        let wrap = |body: &[u8]| decode(&envelope::seal(FileKind::Epochs, VERSION, body));
        assert!(matches!(wrap(&[0xff, 0xff, 0xff, 0xff]), Err(DecodeError::Short { .. })));
        assert!(matches!(wrap(&[0, 0, 0, 0, 1]), Err(DecodeError::Trailing { extra: 1 })));
        let mut falling = vec![0, 0, 0, 2];
        for (epoch, start) in [(2i32, 5i64), (1, 9)] {
            falling.extend_from_slice(&epoch.to_be_bytes());
            falling.extend_from_slice(&start.to_be_bytes());
        }
        assert!(matches!(wrap(&falling), Err(DecodeError::Invalid(_))));
    }
}
