//! The names of files and directories in a data directory, both ways.
//!
//! ```text
//!  data-dir/
//!    node.meta  synced.marks  running.mark  clean.mark  scrub.progress  lock
//!    0123456789abcdef0123456789abcdef-7/            <topic id>-<partition>
//!      partition.meta  leader.epochs  log.start  compacted.to  sync.os
//!      00000000000000000000.log                     <base offset, 20 digits>.<suffix>
//!      00000000000000000000.index  .timeindex       Kafka's suffixes: for Kafka's formats only
//!      00000000000000000000.seal   .producers  .cut ours
//!      00000000000000000000.log.cleaned             what compaction writes beside, .index and .timeindex too
//!      00000000000000000000.seal.swap               the seal of it: it is whole, and takes the place of what is there
//!      next.spare                                   the file that the next roll renames
//!    0123456789abcdef0123456789abcdef-7.gone/       deleted, not yet unlinked
//! ```
//! Only the canonical spelling is read: a name that we would not write is not ours and is left alone.

use millrace_types::{Offset, PartitionIndex, TopicId, TopicPartition};

/// `node.meta`: whose data directory this is.
pub const NODE_META: &str = "node.meta";
/// `synced.marks`: up to where each partition was synced.
pub const SYNCED_MARKS: &str = "synced.marks";
/// `running.mark`: a process serves this directory, or died while it did.
pub const RUNNING_MARK: &str = "running.mark";
/// `clean.mark`: the last process stopped in order.
pub const CLEAN_MARK: &str = "clean.mark";
/// `scrub.progress`: how far the scrub of sealed bytes has come.
pub const SCRUB_PROGRESS: &str = "scrub.progress";
/// `partition.meta`: what partition a directory holds.
pub const PARTITION_META: &str = "partition.meta";
/// `leader.epochs`: where each leader epoch of a partition starts.
pub const LEADER_EPOCHS: &str = "leader.epochs";
/// `log.start`: the first offset of a partition that was trimmed or reset.
pub const LOG_START: &str = "log.start";
/// `compacted.to`: below which offset the segments of a partition may have holes.
pub const COMPACTED_TO: &str = "compacted.to";
/// `sync.os`: appends to the partition may have been acknowledged by sync mode `os`, so there is no bound on what of it
/// is unsynced. Empty: that it is there is all that it says.
pub const SYNC_OS: &str = "sync.os";
/// The preallocated file that the next roll renames.
pub const SPARE: &str = "next.spare";
/// What the name of something deleted ends with, until it is unlinked.
pub const GONE_SUFFIX: &str = ".gone";
/// What the name of a partition directory that a repair has taken out of the way has behind it, and a number. No start looks
/// into it, and nothing deletes it.
pub const ASIDE_SUFFIX: &str = ".aside-";
/// What the name of a file that compaction has written ends with, until it is put in its place.
pub const CLEANED_SUFFIX: &str = ".cleaned";
/// What the name of the seal of such files ends with: once it is there they are to be put in their place.
pub const SWAP_SUFFIX: &str = ".swap";
/// What the name of a file that is being written ends with, until it is renamed.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// Digits of a base offset in a file name (Kafka's).
const OFFSET_DIGITS: usize = 20;

/// The files of one segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SegmentFile {
    /// The batches (Kafka's).
    Log,
    /// Offset to position (Kafka's).
    OffsetIndex,
    /// Time to offset (Kafka's).
    TimeIndex,
    /// Aborted transactions (Kafka's).
    TxnIndex,
    /// Sizes and checksums of a segment that is never written again.
    Seal,
    /// The state of idempotent producers as it was before the first record of the segment.
    Producers,
    /// A copy of what recovery cut off.
    Cut,
}

impl SegmentFile {
    /// Every kind, in the order in which they are listed here.
    pub const ALL: [SegmentFile; 7] = [
        SegmentFile::Log,
        SegmentFile::OffsetIndex,
        SegmentFile::TimeIndex,
        SegmentFile::TxnIndex,
        SegmentFile::Seal,
        SegmentFile::Producers,
        SegmentFile::Cut,
    ];

    /// The suffix, without the dot.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            SegmentFile::Log => "log",
            SegmentFile::OffsetIndex => "index",
            SegmentFile::TimeIndex => "timeindex",
            SegmentFile::TxnIndex => "txnindex",
            SegmentFile::Seal => "seal",
            SegmentFile::Producers => "producers",
            SegmentFile::Cut => "cut",
        }
    }
}

/// What a name in a partition's directory means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartitionEntry {
    /// A file of a segment.
    Segment {
        /// The base offset of the segment.
        base: Offset,
        /// Which of its files.
        file: SegmentFile,
    },
    /// `partition.meta`.
    Meta,
    /// `leader.epochs`.
    Epochs,
    /// `log.start`.
    LogStart,
    /// `compacted.to`.
    CompactedTo,
    /// `sync.os`.
    SyncOs,
    /// A file that compaction was writing, and that no seal beside vouches for.
    Cleaned {
        /// The base offset of the segment.
        base: Offset,
        /// Which of its files.
        file: SegmentFile,
    },
    /// The seal of a compacted segment whose files are to be put in their place.
    Swap {
        /// The base offset of the segment.
        base: Offset,
    },
    /// A spare file.
    Spare,
    /// A file that was being written; nothing refers to it.
    Temporary,
    /// A file that was deleted and not yet unlinked.
    Gone,
    /// Not ours: never read, never deleted.
    Foreign,
}

/// The name of a file of the segment that starts at `base`.
#[must_use]
pub fn segment_file(base: Offset, file: SegmentFile) -> String {
    format!("{:0width$}.{}", base.get(), file.suffix(), width = OFFSET_DIGITS)
}

/// The name under which compaction writes a file of the segment that starts at `base`.
#[must_use]
pub fn cleaned_file(base: Offset, file: SegmentFile) -> String {
    segment_file(base, file) + CLEANED_SUFFIX
}

/// The name of the seal of a segment that compaction has written and that is to be put in its place.
#[must_use]
pub fn swap_file(base: Offset) -> String {
    segment_file(base, SegmentFile::Seal) + SWAP_SUFFIX
}

/// What `name` means in the directory of a partition.
#[must_use]
pub fn partition_entry(name: &str) -> PartitionEntry {
    match name {
        PARTITION_META => PartitionEntry::Meta,
        LEADER_EPOCHS => PartitionEntry::Epochs,
        LOG_START => PartitionEntry::LogStart,
        COMPACTED_TO => PartitionEntry::CompactedTo,
        SYNC_OS => PartitionEntry::SyncOs,
        SPARE => PartitionEntry::Spare,
        _ => match parse_segment_file(name) {
            Some((base, file)) => PartitionEntry::Segment { base, file },
            None => leftover(name),
        },
    }
}

/// A temporary or deleted file counts as ours only if its name without the suffix is ours.
fn leftover(name: &str) -> PartitionEntry {
    let ours = |stem: &str| {
        matches!(stem, PARTITION_META | LEADER_EPOCHS | LOG_START | COMPACTED_TO | SPARE)
            || parse_segment_file(stem.strip_suffix(SWAP_SUFFIX).unwrap_or(stem)).is_some()
    };
    let of_segment = |suffix| name.strip_suffix(suffix).and_then(parse_segment_file);
    if let Some((base, file)) = of_segment(CLEANED_SUFFIX) {
        PartitionEntry::Cleaned { base, file }
    } else if let Some((base, SegmentFile::Seal)) = of_segment(SWAP_SUFFIX) {
        PartitionEntry::Swap { base }
    } else if name.strip_suffix(TEMPORARY_SUFFIX).is_some_and(ours) {
        PartitionEntry::Temporary
    } else if name.strip_suffix(GONE_SUFFIX).is_some_and(ours) {
        PartitionEntry::Gone
    } else {
        PartitionEntry::Foreign
    }
}

/// The base offset and the kind of a segment's file, from its name.
#[must_use]
pub fn parse_segment_file(name: &str) -> Option<(Offset, SegmentFile)> {
    let (digits, suffix) = name.split_once('.')?;
    if digits.len() != OFFSET_DIGITS || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let base = Offset::new(digits.parse().ok()?)?;
    let file = SegmentFile::ALL.into_iter().find(|file| file.suffix() == suffix)?;
    Some((base, file))
}

/// The name of the directory of a partition: `<topic id, 32 hex digits>-<partition>`.
#[must_use]
pub fn partition_dir(partition: TopicPartition) -> String {
    partition.to_string()
}

/// The partition whose directory has this name.
#[must_use]
pub fn parse_partition_dir(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.split_once('-')?;
    let parsed = TopicPartition {
        topic: TopicId::from_hex(topic)?,
        partition: PartitionIndex(partition.parse().ok()?),
    };
    (parsed.to_string() == name).then_some(parsed)
}

/// The name under which a deleted file or directory waits to be unlinked.
#[must_use]
pub fn gone(name: &str) -> String {
    format!("{name}{GONE_SUFFIX}")
}

/// The partition whose deleted directory has this name.
#[must_use]
pub fn parse_gone_partition_dir(name: &str) -> Option<TopicPartition> {
    parse_partition_dir(name.strip_suffix(GONE_SUFFIX)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_segment_files_read_back() {
        for base in [Offset::ZERO, Offset::from_count(1_234_567), Offset::MAX] {
            for file in SegmentFile::ALL {
                let name = segment_file(base, file);
                assert_eq!(parse_segment_file(&name), Some((base, file)), "{name}");
            }
        }
        assert_eq!(
            segment_file(Offset::from_count(42), SegmentFile::TimeIndex),
            "00000000000000000042.timeindex"
        );
    }

    #[test]
    fn only_the_canonical_spelling_is_ours() {
        for name in [
            "0.log",
            "+0000000000000000042.log",
            "00000000000000000042.LOG",
            "00000000000000000042.snapshot",
            "00000000000000000042.log.deleted",
            "99999999999999999999.log",
            "000000000000000000420.log",
            "00000000000000000042",
            "",
        ] {
            assert_eq!(partition_entry(name), PartitionEntry::Foreign, "{name}");
        }
    }

    #[test]
    fn leftovers_of_ours_are_told_from_what_is_foreign() {
        assert_eq!(partition_entry("00000000000000000042.log.gone"), PartitionEntry::Gone);
        assert_eq!(partition_entry("leader.epochs.tmp"), PartitionEntry::Temporary);
        assert_eq!(partition_entry("notes.tmp"), PartitionEntry::Foreign);
        assert_eq!(partition_entry(SPARE), PartitionEntry::Spare);
        assert_eq!(partition_entry(SYNC_OS), PartitionEntry::SyncOs);
        assert_eq!(partition_entry(COMPACTED_TO), PartitionEntry::CompactedTo);
        assert_eq!(partition_entry(PARTITION_META), PartitionEntry::Meta);
    }

    #[test]
    fn what_compaction_writes_beside_is_told_from_what_is_in_its_place() {
        let base = Offset::from_count(42);
        for file in SegmentFile::ALL {
            assert_eq!(partition_entry(&cleaned_file(base, file)), PartitionEntry::Cleaned { base, file });
        }
        assert_eq!(swap_file(base), "00000000000000000042.seal.swap");
        assert_eq!(partition_entry(&swap_file(base)), PartitionEntry::Swap { base });
        assert_eq!(partition_entry("00000000000000000042.seal.swap.tmp"), PartitionEntry::Temporary);
        for foreign in ["00000000000000000042.log.swap", "notes.cleaned", "notes.swap", "42.log.cleaned"] {
            assert_eq!(partition_entry(foreign), PartitionEntry::Foreign, "{foreign}");
        }
    }

    #[test]
    fn names_of_partition_directories_read_back() {
        let partition = TopicPartition { topic: TopicId([0xab; 16]), partition: PartitionIndex(7) };
        let name = partition_dir(partition);
        assert_eq!(name, format!("{}-7", "ab".repeat(16)));
        assert_eq!(parse_partition_dir(&name), Some(partition));
        assert_eq!(parse_gone_partition_dir(&gone(&name)), Some(partition));
        assert_eq!(parse_gone_partition_dir(&name), None);
        for foreign in
            ["lost+found", "-", &format!("{}-07", "ab".repeat(16)), &format!("{}-7", "AB".repeat(16))]
        {
            assert_eq!(parse_partition_dir(foreign), None, "{foreign}");
        }
    }
}
