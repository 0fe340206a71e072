//! What lies in the directory of a partition.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use millrace_env::{EntryKind, Fs, FsExt};
use millrace_types::Offset;

use crate::format::{compacted_to, log_start};
use crate::names::{COMPACTED_TO, LOG_START, PartitionEntry, SegmentFile, partition_entry, segment_file};

/// The files of the directory, by what they are.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Base offsets of the `.log` files, and whether each has a seal.
    pub(crate) segments: BTreeMap<Offset, HasSeal>,
    /// Base offsets of the producer snapshots, rising.
    pub(crate) snapshots: Vec<Offset>,
    /// `log.start`, if there is one: what it says, or what is wrong with it.
    pub(crate) log_start: Option<Result<Offset, String>>,
    /// Whether sync mode `os` may have been in force.
    pub(crate) os_marked: bool,
    /// `compacted.to`, if there is one: what it says, or what is wrong with it.
    pub(crate) compacted_to: Option<Result<Offset, String>>,
    /// Bases of compacted segments that are to be put in their place.
    pub(crate) swaps: Vec<Offset>,
    /// What nothing refers to: temporary and deleted files, a spare, indexes without a log.
    leftovers: Vec<String>,
}

/// Whether a `.seal` stands beside a `.log`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HasSeal {
    Yes,
    No,
}

impl Listing {
    pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let mut seals = Vec::new();
        let mut indexes = Vec::new();
        for entry in fs.read_dir(dir)?.into_iter().filter(|entry| entry.kind == EntryKind::File) {
            match partition_entry(&entry.name) {
                PartitionEntry::Segment { base, file: SegmentFile::Log } => {
                    listing.segments.insert(base, HasSeal::No);
                }
                PartitionEntry::Segment { base, file: SegmentFile::Seal } => seals.push(base),
                PartitionEntry::Segment { base, file: SegmentFile::Producers } => {
                    listing.snapshots.push(base)
                }
                PartitionEntry::Segment { file: SegmentFile::Cut, .. } => {}
                PartitionEntry::Segment { base, .. } => indexes.push((base, entry.name)),
                PartitionEntry::LogStart => {
                    let bytes = fs.read_small(&dir.join(LOG_START), log_start::BYTES_MAX)?;
                    listing.log_start = Some(log_start::decode(&bytes).map_err(|e| e.to_string()));
                }
                PartitionEntry::CompactedTo => {
                    let bytes = fs.read_small(&dir.join(COMPACTED_TO), compacted_to::BYTES_MAX)?;
                    listing.compacted_to = Some(compacted_to::decode(&bytes).map_err(|e| e.to_string()));
                }
                PartitionEntry::Swap { base } => listing.swaps.push(base),
                PartitionEntry::Cleaned { .. } => listing.leftovers.push(entry.name),
                PartitionEntry::SyncOs => listing.os_marked = true,
                PartitionEntry::Spare | PartitionEntry::Temporary | PartitionEntry::Gone => {
                    listing.leftovers.push(entry.name);
                }
                PartitionEntry::Meta | PartitionEntry::Epochs | PartitionEntry::Foreign => {}
            }
        }
        for base in seals {
            match listing.segments.get_mut(&base) {
                Some(has_seal) => *has_seal = HasSeal::Yes,
                None => listing.leftovers.push(segment_file(base, SegmentFile::Seal)),
            }
        }
        let orphans = indexes.into_iter().filter(|(base, _)| !listing.segments.contains_key(base));
        listing.leftovers.extend(orphans.map(|(_, name)| name));
        Ok(listing)
    }

    /// Unlinks snapshots of an end that the log no longer has: once it has grown past it again, with other records,
    /// they would be believed.
    pub(crate) fn drop_snapshots_above(&mut self, fs: &dyn Fs, dir: &Path, end: Offset) -> io::Result<()> {
        #[cfg(feature = "teeth")]
        millrace_types::planted!(SnapshotNotTruncated => return Ok(()));
        let kept = self.snapshots.partition_point(|base| *base <= end);
        if kept == self.snapshots.len() {
            return Ok(());
        }
        for base in self.snapshots.drain(kept..) {
            unlink_if_there(fs, &dir.join(segment_file(base, SegmentFile::Producers)))?;
        }
        fs.sync_dir(dir)
    }

    /// Unlinks what nothing refers to.
    pub(crate) fn sweep(&mut self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        for name in self.leftovers.drain(..) {
            fs.unlink(&dir.join(name))?;
        }
        Ok(())
    }
}

/// Unlinks the files of a segment, the `.log` first: without it the others are leftovers.
pub(crate) fn unlink_segment(fs: &dyn Fs, dir: &Path, base: Offset) -> io::Result<()> {
    for file in [SegmentFile::Log, SegmentFile::Seal] {
        unlink_if_there(fs, &dir.join(segment_file(base, file)))?;
    }
    unlink_indexes(fs, dir, base)
}

/// Takes the last segments out of a log, and syncs that. A power cut on the way leaves the log before, or a prefix of it:
/// without its seal (and above its log's mark, which the caller has lowered) a segment behind a gap counts as never
/// synced, in whatever order the names go.
pub(crate) fn unlink_suffix(fs: &dyn Fs, dir: &Path, bases: &[Offset]) -> io::Result<()> {
    if bases.is_empty() {
        return Ok(());
    }
    for base in bases {
        unlink_if_there(fs, &dir.join(segment_file(*base, SegmentFile::Seal)))?;
    }
    fs.sync_dir(dir)?;
    for base in bases.iter().rev() {
        unlink_segment(fs, dir, *base)?;
    }
    fs.sync_dir(dir)
}

/// Unlinks the indexes of a segment. They are written anew from memory.
pub(crate) fn unlink_indexes(fs: &dyn Fs, dir: &Path, base: Offset) -> io::Result<()> {
    for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
        unlink_if_there(fs, &dir.join(segment_file(base, file)))?;
    }
    Ok(())
}

/// Unlinks a file that may be gone already.
pub(crate) fn unlink_if_there(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.unlink(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
