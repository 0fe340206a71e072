//! Checks a partition: every batch, the offsets across batches and segments, indexes, seals, the small files.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millrace_env::{Fs, FsExt};
use millrace_record::{Batch, BatchError};
use millrace_types::limits::{BATCH_DECOMPRESSED_BYTES_MAX, SEGMENT_BYTES_MAX};
use millrace_types::{LeaderEpoch, Offset, TimestampMs};

use super::report::{Finding, PartitionReport, Problem, SealState, SegmentReport};
use super::walk::{Found, FoundBatch, SegmentWalk};
use super::{Extent, PartitionPath, SegmentPath};
use crate::epochs::EpochCache;
use crate::format::offset_index::OffsetIndex;
use crate::format::seal::{self, Seal};
use crate::format::synced_marks::SyncedMark;
use crate::format::time_index::TimeIndex;
use crate::format::{compacted_to, epoch_file, partition_meta, producer_snapshot};
use crate::names::{self, SegmentFile};

/// The largest index that is loaded: every batch has 61 bytes or more, and an entry of at most 12.
const INDEX_BYTES_MAX: usize = 512 * 1024 * 1024;
const _: () = assert!(SEGMENT_BYTES_MAX / 61 * 12 <= INDEX_BYTES_MAX as u64);

/// The most findings that are kept of one segment; the others are counted.
pub const FINDINGS_PER_SEGMENT_MAX: usize = 1000;

/// How far a verification goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// Checksums of batches, and all that is around them.
    Batches,
    /// Also decompresses every batch and reads every record.
    Records,
}

/// What is known to have been synced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Synced {
    pub(super) mark: Option<SyncedMark>,
    pub(super) stopped_clean: bool,
}

impl Synced {
    fn covers(&self, base: Offset, position: u64) -> bool {
        let marked =
            self.mark.is_some_and(|mark| base < mark.base || (base == mark.base && position < mark.position));
        self.stopped_clean || marked
    }
}

/// What goes on from batch to batch and from segment to segment.
#[derive(Debug)]
struct Trail {
    expected: Option<Offset>,
    epoch: LeaderEpoch,
    epochs: Option<EpochCache>,
    /// Segments that begin below it, and whose seal does not open, may have been compacted.
    compacted_to: Offset,
}

pub(super) fn partition(
    fs: &dyn Fs,
    partition: &PartitionPath,
    synced: Synced,
    depth: Depth,
) -> PartitionReport {
    let mut findings = Vec::new();
    let meta_path = partition.dir.join(names::PARTITION_META);
    if let Some(meta) = load(fs, &meta_path, partition_meta::BYTES_MAX, &mut findings) {
        match partition_meta::decode(&meta) {
            Ok(meta) if partition.id.is_some_and(|id| id != meta.id) => {
                findings.push(Finding { path: meta_path, problem: Problem::OtherPartition });
            }
            Ok(_) => {}
            Err(error) => findings.push(Finding { path: meta_path, problem: Problem::Decode(error) }),
        }
    }
    let epochs_path = partition.dir.join(names::LEADER_EPOCHS);
    let epochs =
        load(fs, &epochs_path, epoch_file::BYTES_MAX, &mut findings).map(|bytes| epoch_file::decode(&bytes));
    let epochs = match epochs {
        Some(Err(error)) => {
            findings.push(Finding { path: epochs_path, problem: Problem::Decode(error) });
            None
        }
        Some(Ok(epochs)) => Some(epochs),
        None => None,
    };
    let compacted_path = partition.dir.join(names::COMPACTED_TO);
    let compacted = load(fs, &compacted_path, compacted_to::BYTES_MAX, &mut findings);
    let compacted_to = match compacted.map(|bytes| compacted_to::decode(&bytes)) {
        None => Offset::ZERO,
        Some(Ok(offset)) => offset,
        Some(Err(error)) => {
            findings.push(Finding { path: compacted_path, problem: Problem::Decode(error) });
            Offset::MAX
        }
    };
    let mut trail = Trail { expected: None, epoch: LeaderEpoch::NONE, epochs, compacted_to };
    let last = partition.segments.len().saturating_sub(1);
    let mut segments = Vec::with_capacity(partition.segments.len());
    for (number, path) in partition.segments.iter().enumerate() {
        let place = match partition.extent {
            Extent::Whole if number < last => Place::Before,
            Extent::Whole | Extent::OneFile => Place::PerhapsLast,
        };
        segments.push(Segment::new(fs, path, place).verify(&mut trail, synced, depth));
    }
    PartitionReport { dir: partition.dir.clone(), meta: partition.meta.clone(), segments, findings }
}

/// The content of a file that may be missing; what else goes wrong is a finding.
fn load(fs: &dyn Fs, path: &Path, bytes_max: usize, findings: &mut Vec<Finding>) -> Option<Bytes> {
    match fs.read_small(path, bytes_max) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            findings.push(Finding { path: path.to_owned(), problem: Problem::Unreadable(error.to_string()) });
            None
        }
    }
}

/// Where a segment stands among those that are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Another one follows.
    Before,
    /// It is the last, or nobody looked whether another one follows.
    PerhapsLast,
}

/// A segment while it is verified.
struct Segment<'a> {
    fs: &'a dyn Fs,
    path: &'a SegmentPath,
    place: Place,
    report: SegmentReport,
    may_have_holes: bool,
    offset_index: Option<Bytes>,
    time_index: Option<Bytes>,
    offset_entries_seen: usize,
    time_entries_seen: usize,
}

impl<'a> Segment<'a> {
    fn new(fs: &'a dyn Fs, path: &'a SegmentPath, place: Place) -> Segment<'a> {
        let report = SegmentReport {
            path: path.log.clone(),
            base: path.base,
            log_bytes: 0,
            valid_bytes: 0,
            batches: 0,
            records: 0,
            last_offset: None,
            largest_timestamp: TimestampMs::NONE,
            seal: SealState::Unsealed,
            findings: Vec::new(),
            findings_left_out: 0,
        };
        Segment {
            fs,
            path,
            place,
            report,
            may_have_holes: false,
            offset_index: None,
            time_index: None,
            offset_entries_seen: 0,
            time_entries_seen: 0,
        }
    }

    fn note(&mut self, file: SegmentFile, problem: Problem) {
        self.push(self.sibling(file), problem);
    }

    fn push(&mut self, path: PathBuf, problem: Problem) {
        if self.report.findings.len() < FINDINGS_PER_SEGMENT_MAX {
            self.report.findings.push(Finding { path, problem });
        } else {
            self.report.findings_left_out += 1;
        }
    }

    fn sibling(&self, file: SegmentFile) -> PathBuf {
        self.path.sibling(file)
    }

    fn load(&mut self, file: SegmentFile, bytes_max: usize) -> Option<Bytes> {
        load(self.fs, &self.path.sibling(file), bytes_max, &mut self.report.findings)
    }

    fn verify(mut self, trail: &mut Trail, synced: Synced, depth: Depth) -> SegmentReport {
        self.offset_index = self.load(SegmentFile::OffsetIndex, INDEX_BYTES_MAX);
        self.time_index = self.load(SegmentFile::TimeIndex, INDEX_BYTES_MAX);
        let seal = self.load_seal();
        self.may_have_holes = match &seal {
            Some(seal) => seal.compacted.is_some(),
            None => self.path.base.is_some_and(|base| base < trail.compacted_to),
        };
        match SegmentWalk::open(self.fs, &self.path.log) {
            Ok(mut walk) => {
                self.report.log_bytes = walk.bytes();
                self.walk(&mut walk, trail, synced, depth);
                if let Some(seal) = &seal {
                    self.check_blocks(seal, &walk);
                    self.check_totals(seal);
                }
            }
            Err(error) => self.note(SegmentFile::Log, Problem::Unreadable(error.to_string())),
        }
        self.check_indexes();
        self.check_other_files(seal.as_ref());
        self.report
    }

    fn load_seal(&mut self) -> Option<Seal> {
        let bytes = self.load(SegmentFile::Seal, seal::BYTES_MAX);
        match bytes.map(|bytes| Seal::decode(&bytes)) {
            None => {
                if self.place == Place::Before {
                    self.note(SegmentFile::Seal, Problem::NotSealed);
                }
                None
            }
            Some(Ok(seal)) => {
                self.report.seal = SealState::Sealed;
                Some(seal)
            }
            Some(Err(error)) => {
                self.report.seal = SealState::Broken;
                self.note(SegmentFile::Seal, Problem::Seal(error));
                None
            }
        }
    }

    fn walk(&mut self, walk: &mut SegmentWalk, trail: &mut Trail, synced: Synced, depth: Depth) {
        if let (Some(base), Some(expected)) = (self.path.base, trail.expected) {
            self.check_order(0, expected, base);
        }
        trail.expected = self.path.base.or(trail.expected);
        while let Some(found) = walk.next() {
            match found {
                Err(error) => self.note(SegmentFile::Log, Problem::Unreadable(error.to_string())),
                Ok(Found::Batch(found)) => self.batch(found, trail, depth),
                Ok(Found::Stopped { position, left, error }) => match self.next_indexed(position) {
                    Some(next) => {
                        walk.seek(next);
                        self.note(
                            SegmentFile::Log,
                            Problem::NoBatch { position, bytes: next - position, error },
                        );
                        // How many offsets were lost is told by what comes next.
                        trail.expected = None;
                    }
                    None => self.tail(position, left, error, synced),
                },
            }
        }
    }

    /// The position of the first batch behind `position` that the index knows.
    fn next_indexed(&self, position: u64) -> Option<u64> {
        let index = OffsetIndex::whole_entries(self.offset_index.as_deref()?);
        let next = index.iter().map(|entry| u64::from(entry.position)).find(|known| *known > position)?;
        (next < self.report.log_bytes).then_some(next)
    }

    fn tail(&mut self, position: u64, bytes: u64, error: BatchError, synced: Synced) {
        let covered = self.path.base.is_some_and(|base| synced.covers(base, position));
        let open = self.place == Place::PerhapsLast && self.report.seal == SealState::Unsealed;
        if open && !covered {
            self.note(SegmentFile::Log, Problem::TornTail { position, bytes, error });
        } else {
            self.note(SegmentFile::Log, Problem::NoBatch { position, bytes, error });
        }
    }

    fn check_order(&mut self, position: u64, expected: Offset, found: Offset) {
        if found > expected {
            self.note(SegmentFile::Log, Problem::Gap { position, expected, found });
        } else if found < expected {
            self.note(SegmentFile::Log, Problem::Overlap { position, expected, found });
        }
    }

    fn batch(&mut self, found: FoundBatch, trail: &mut Trail, depth: Depth) {
        let position = found.position;
        let batch = match found.batch {
            Ok(batch) => batch,
            Err(error) => {
                self.note(SegmentFile::Log, Problem::Batch { position, error });
                // The offsets of a damaged head are not to be believed.
                trail.expected = None;
                return;
            }
        };
        if let Some(expected) = trail.expected {
            let is_hole = self.may_have_holes && batch.base_offset() > expected;
            if !is_hole {
                self.check_order(position, expected, batch.base_offset());
            }
        }
        trail.expected = Some(batch.next_offset());
        self.check_epoch(position, &batch, trail);
        if depth == Depth::Records
            && let Err(error) = batch.verify_records(BATCH_DECOMPRESSED_BYTES_MAX)
        {
            self.note(SegmentFile::Log, Problem::Records { position, error });
        }
        let report = &mut self.report;
        report.base = report.base.or(Some(batch.base_offset()));
        report.valid_bytes += batch.size() as u64;
        report.batches += 1;
        report.records += u64::from(batch.record_count());
        report.last_offset = Some(batch.last_offset());
        report.largest_timestamp = report.largest_timestamp.max(batch.max_timestamp());
        self.check_offset_entries(position, &batch);
        self.check_time_entries(&batch);
    }

    fn check_epoch(&mut self, position: u64, batch: &Batch, trail: &mut Trail) {
        let epoch = batch.leader_epoch();
        if epoch < trail.epoch {
            self.note(SegmentFile::Log, Problem::EpochFalls { position, found: epoch });
        }
        let is_new = epoch != trail.epoch;
        trail.epoch = epoch;
        if let Some(epochs) = trail.epochs.as_ref().filter(|_| is_new) {
            let offset = batch.base_offset();
            let file = epochs.epoch_of(offset);
            // What was trimmed may still lie in the first segment; its epochs are gone from the file.
            let trimmed = epochs.entries().first().is_some_and(|first| offset < first.start);
            if file != Some(epoch) && !trimmed {
                let problem = Problem::EpochDisagrees { offset, batch: epoch, file };
                let path = self.path.log.with_file_name(names::LEADER_EPOCHS);
                self.push(path, problem);
            }
        }
    }

    /// Compares the index entries up to this batch: there is one for it, or none.
    fn check_offset_entries(&mut self, position: u64, batch: &Batch) {
        let (Some(bytes), Some(base)) = (self.offset_index.clone(), self.report.base) else {
            return;
        };
        let index = OffsetIndex::whole_entries(&bytes);
        while let Some(entry) =
            index.get(self.offset_entries_seen).filter(|entry| u64::from(entry.position) <= position)
        {
            let last = entry.last_offset(base);
            if u64::from(entry.position) != position || last != batch.last_offset() {
                self.note(
                    SegmentFile::OffsetIndex,
                    Problem::IndexDisagrees { position: entry.position, last },
                );
            }
            self.offset_entries_seen += 1;
        }
    }

    fn check_time_entries(&mut self, batch: &Batch) {
        let (Some(bytes), Some(base)) = (self.time_index.clone(), self.report.base) else {
            return;
        };
        let index = TimeIndex::whole_entries(&bytes);
        while let Some(entry) =
            index.get(self.time_entries_seen).filter(|entry| entry.offset(base) <= batch.last_offset())
        {
            let last = entry.offset(base);
            let agrees = last == batch.last_offset()
                && entry.timestamp == batch.max_timestamp()
                && entry.timestamp == self.report.largest_timestamp;
            if !agrees {
                let timestamp = entry.timestamp;
                self.note(SegmentFile::TimeIndex, Problem::TimeIndexDisagrees { last, timestamp });
            }
            self.time_entries_seen += 1;
        }
    }

    fn check_indexes(&mut self) {
        let base = self.report.base.unwrap_or_default();
        let log_bytes = self.report.log_bytes;
        let left_over = self
            .offset_index
            .as_deref()
            .and_then(|bytes| OffsetIndex::whole_entries(bytes).get(self.offset_entries_seen));
        if let Some(entry) = left_over.filter(|entry| u64::from(entry.position) < log_bytes) {
            let last = entry.last_offset(base);
            self.note(SegmentFile::OffsetIndex, Problem::IndexDisagrees { position: entry.position, last });
        }
        if let Some(bytes) = self.offset_index.clone()
            && let Err(error) = OffsetIndex::new(&bytes).and_then(|index| index.check(log_bytes))
        {
            self.note(SegmentFile::OffsetIndex, Problem::Index(error));
        }
        let last = self.report.last_offset.unwrap_or(base);
        if let Some(bytes) = self.time_index.clone()
            && let Err(error) = TimeIndex::new(&bytes).and_then(|index| index.check(base, last))
        {
            self.note(SegmentFile::TimeIndex, Problem::Index(error));
        }
    }

    fn check_blocks(&mut self, seal: &Seal, walk: &SegmentWalk) {
        if walk.bytes() != seal.log_bytes() {
            self.note(
                SegmentFile::Log,
                Problem::SealedSize { sealed: seal.log_bytes(), found: walk.bytes() },
            );
        }
        let mut buffer = Vec::new();
        for block in 0..seal.block_count() {
            let range = seal.block_range(block);
            let end = range.end.min(walk.bytes());
            // A block is at most 1 MiB.
            buffer.resize(usize::try_from(end.saturating_sub(range.start)).unwrap_or(0), 0);
            let read = walk.file().read_exact_at(&mut buffer, range.start);
            match read.map(|()| seal.check_block(block, &buffer)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.note(SegmentFile::Log, Problem::SealedBlock { block, error }),
                Err(error) => self.note(SegmentFile::Log, Problem::Unreadable(error.to_string())),
            }
        }
    }

    fn check_totals(&mut self, seal: &Seal) {
        let (sealed, report) = (&seal.records, &self.report);
        let differs = [
            ("the base offset", Some(sealed.base) != report.base),
            ("the number of records", sealed.records != report.records),
            ("the last offset", Some(sealed.last_offset) != report.last_offset),
            ("the largest timestamp", sealed.largest_timestamp != report.largest_timestamp),
        ];
        for (what, differs) in differs {
            if differs {
                self.note(SegmentFile::Seal, Problem::SealDisagrees(what));
            }
        }
    }

    fn check_other_files(&mut self, seal: Option<&Seal>) {
        if let Some(bytes) = self.load(SegmentFile::Producers, producer_snapshot::BYTES_MAX)
            && let Err(error) = producer_snapshot::decode(&bytes)
        {
            self.note(SegmentFile::Producers, Problem::Decode(error));
        }
        for sealed in seal.map(Seal::files).unwrap_or_default() {
            match self.load(sealed.file, INDEX_BYTES_MAX) {
                None => self.note(sealed.file, Problem::Missing),
                Some(bytes) => {
                    if let Some(Err(error)) = seal.map(|seal| seal.check_file(sealed.file, &bytes)) {
                        self.note(sealed.file, Problem::SealedFile(error));
                    }
                }
            }
        }
        let cut = self.fs.open(&self.sibling(SegmentFile::Cut), millrace_env::OpenMode::Read);
        if let Ok(bytes) = cut.and_then(|file| file.size()) {
            self.note(SegmentFile::Cut, Problem::Cut { bytes });
        }
    }
}
