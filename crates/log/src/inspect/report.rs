//! What a verification answers: plain data, nothing printed.

use std::path::PathBuf;

use millrace_record::{BatchError, RecordError};
use millrace_types::{LeaderEpoch, Offset, TimestampMs};

use crate::PartitionMeta;
use crate::format::envelope::DecodeError;
use crate::format::offset_index::IndexError;
use crate::format::seal::SealMismatch;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// As it may be after an ordinary crash.
    Note,
    /// The next start rebuilds it from the log; no record is touched.
    Rebuildable,
    /// Records are damaged or missing, or their protection is.
    Damage,
}

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// What.
    pub problem: Problem,
}

impl Finding {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.problem.severity()
    }
}

/// What is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// The medium failed.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// A batch is damaged.
    #[error("the batch at position {position} is damaged: {error}")]
    Batch {
        /// Where it begins.
        position: u64,
        /// What is wrong with it.
        error: BatchError,
    },
    /// The records inside of a batch cannot be read.
    #[error("the records of the batch at position {position} cannot be read: {error}")]
    Records {
        /// Where the batch begins.
        position: u64,
        /// What is wrong with them.
        error: RecordError,
    },
    /// No batch where one should be, in bytes that were synced.
    #[error("{bytes} bytes from position {position} on are no batch: {error}")]
    NoBatch {
        /// Where it begins.
        position: u64,
        /// How many bytes.
        bytes: u64,
        /// What is wrong with the first of them.
        error: BatchError,
    },
    /// The end of the last segment was not synced and is torn; the next start cuts it.
    #[error("a torn tail of {bytes} bytes from position {position} on: {error}")]
    TornTail {
        /// Where it begins.
        position: u64,
        /// How many bytes.
        bytes: u64,
        /// What is wrong with the first of them.
        error: BatchError,
    },
    /// Offsets are missing.
    #[error("at position {position} comes offset {found}, expected is {expected}: offsets are missing")]
    Gap {
        /// Where.
        position: u64,
        /// The offset that should come.
        expected: Offset,
        /// The one that comes.
        found: Offset,
    },
    /// Offsets come again.
    #[error("at position {position} comes offset {found}, expected is {expected}: offsets come twice")]
    Overlap {
        /// Where.
        position: u64,
        /// The offset that should come.
        expected: Offset,
        /// The one that comes.
        found: Offset,
    },
    /// The leader epoch of a batch is below the one before it.
    #[error("at position {position} the leader epoch falls to {found}")]
    EpochFalls {
        /// Where.
        position: u64,
        /// The epoch.
        found: LeaderEpoch,
    },
    /// The epoch file says otherwise than the batches.
    #[error("offset {offset} is of leader epoch {batch}, the file says {file:?}")]
    EpochDisagrees {
        /// The first offset that is said to be of another epoch.
        offset: Offset,
        /// The epoch of its batch.
        batch: LeaderEpoch,
        /// The epoch that the file gives.
        file: Option<LeaderEpoch>,
    },
    /// An index that cannot be what was written.
    #[error("{0}")]
    Index(#[from] IndexError),
    /// An entry of the offset index names no batch, or another one than lies there.
    #[error("the entry for position {position} names offset {last}, which no batch there ends with")]
    IndexDisagrees {
        /// The position of the entry.
        position: u32,
        /// The offset of the entry.
        last: Offset,
    },
    /// An entry of the time index names no batch, or one with another time.
    #[error("the entry for offset {last} names time {timestamp}, which is not the largest up to there")]
    TimeIndexDisagrees {
        /// The offset of the entry.
        last: Offset,
        /// The time of the entry.
        timestamp: TimestampMs,
    },
    /// A sealed segment lacks a file that its seal names.
    #[error("missing, though the seal names it")]
    Missing,
    /// A block of a sealed `.log` is not what was sealed.
    #[error("block {block}: {error}")]
    SealedBlock {
        /// Which block of 1 MiB, from 0.
        block: usize,
        /// What is wrong with it.
        error: SealMismatch,
    },
    /// A sealed `.log` has another size than was sealed.
    #[error("{found} bytes, {sealed} were sealed")]
    SealedSize {
        /// The size sealed.
        sealed: u64,
        /// The size found.
        found: u64,
    },
    /// An index or snapshot is not what was sealed.
    #[error("{0}")]
    SealedFile(SealMismatch),
    /// The seal counts other records than the segment holds.
    #[error("the seal counts other records than there are: {0}")]
    SealDisagrees(&'static str),
    /// A seal that does not open.
    #[error("{0}")]
    Seal(DecodeError),
    /// A small file of ours, other than a seal, that does not open.
    #[error("{0}")]
    Decode(DecodeError),
    /// A segment that is not the last has no seal.
    #[error("not sealed, though it is not the last")]
    NotSealed,
    /// Recovery cut something off here earlier and kept a copy.
    #[error("a copy of {bytes} bytes that an earlier recovery cut off")]
    Cut {
        /// How many.
        bytes: u64,
    },
    /// The directory and its `partition.meta` are not about the same partition.
    #[error("is about another partition than its directory")]
    OtherPartition,
}

impl Problem {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Problem::TornTail { .. } | Problem::NotSealed | Problem::Cut { .. } => Severity::Note,
            Problem::Index(_)
            | Problem::IndexDisagrees { .. }
            | Problem::TimeIndexDisagrees { .. }
            | Problem::EpochDisagrees { .. }
            | Problem::Missing
            | Problem::SealedFile(_)
            | Problem::Decode(_) => Severity::Rebuildable,
            Problem::Unreadable(_)
            | Problem::Batch { .. }
            | Problem::Records { .. }
            | Problem::NoBatch { .. }
            | Problem::Gap { .. }
            | Problem::Overlap { .. }
            | Problem::EpochFalls { .. }
            | Problem::SealedBlock { .. }
            | Problem::SealedSize { .. }
            | Problem::SealDisagrees(_)
            | Problem::Seal(_)
            | Problem::OtherPartition => Severity::Damage,
        }
    }
}

/// One segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentReport {
    /// The `.log` file.
    pub path: PathBuf,
    /// The base offset; of a file with another name, the first one found.
    pub base: Option<Offset>,
    /// The size of the `.log`.
    pub log_bytes: u64,
    /// The bytes of intact batches.
    pub valid_bytes: u64,
    /// How many intact batches there are.
    pub batches: u64,
    /// How many records they hold.
    pub records: u64,
    /// The offset of the last record.
    pub last_offset: Option<Offset>,
    /// The largest timestamp.
    pub largest_timestamp: TimestampMs,
    /// Whether there is a seal that opens. An unsealed one is the tail that only batch checksums protect.
    pub seal: SealState,
    /// What is not as it should be, in the order in which it was found.
    pub findings: Vec<Finding>,
    /// How many more findings there were than are kept.
    pub findings_left_out: u64,
}

/// Whether a segment is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SealState {
    /// It has a seal, and its bytes were checked against it.
    Sealed,
    /// It has none: still written to, or about to be sealed.
    Unsealed,
    /// It has one that does not open.
    Broken,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionReport {
    /// The directory.
    pub dir: PathBuf,
    /// What `partition.meta` says, if it opens.
    pub meta: Option<PartitionMeta>,
    /// The segments by rising base offset.
    pub segments: Vec<SegmentReport>,
    /// What is not as it should be about the partition as a whole.
    pub findings: Vec<Finding>,
}

impl PartitionReport {
    /// Everything that is not as it should be.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().chain(self.segments.iter().flat_map(|segment| &segment.findings))
    }

    /// How many records the intact batches hold.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.segments.iter().map(|segment| segment.records).sum()
    }
}

/// Everything that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyReport {
    /// The partitions in order.
    pub partitions: Vec<PartitionReport>,
}

impl VerifyReport {
    /// The worst finding; `None` if all is well.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.partitions.iter().flat_map(PartitionReport::all_findings).map(Finding::severity).max()
    }
}
