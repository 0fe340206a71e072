//! Every kind of damage is found, and an intact log has no finding.

use std::path::Path;

use millrace_env::OpenMode;
use millrace_record::{Batch, BatchBuilder, BatchOptions, NO_HEADERS};
use millrace_types::{LeaderEpoch, PartitionIndex, TimestampMs, TopicId, TopicName};

use super::*;
use crate::epochs::EpochCache;
use crate::format::offset_index::OffsetIndexEntry;
use crate::format::seal::{BlockSums, Seal, SealedFile, SealedRecords};
use crate::format::time_index::TimeIndexEntry;
use crate::format::{epoch_file, synced_marks};

const RECORDS: u64 = 3;
const BATCHES: u64 = 10;

fn id() -> TopicPartition {
    TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(2) }
}

/// A data directory with one partition: a sealed segment of ten batches, and an active one of ten more.
struct Scratch {
    directory: tempfile::TempDir,
    fs: Arc<dyn Fs>,
}

impl Scratch {
    fn new() -> Scratch {
        let scratch = Scratch { directory: tempfile::tempdir().unwrap(), fs: millrace_env::real::env().fs };
        let node = NodeMeta {
            cluster: millrace_types::ClusterId([1; 16]),
            node: millrace_types::NodeId(1),
            directory: millrace_types::DirectoryId([2; 16]),
            format: node_meta::DIRECTORY_FORMAT,
        };
        scratch.write(&scratch.directory.path().join(names::NODE_META), &node_meta::encode(&node));
        scratch.fs.create_dir_all(&scratch.partition()).unwrap();
        let meta = PartitionMeta {
            id: id(),
            name: TopicName::new("flights").unwrap(),
            partitions: 4,
            replication_factor: 1,
        };
        scratch.write(&scratch.partition().join(names::PARTITION_META), &partition_meta::encode(&meta));
        let mut epochs = EpochCache::default();
        let _ = epochs.assign(LeaderEpoch(0), Offset::ZERO);
        let _ = epochs.assign(LeaderEpoch(1), Offset::from_count(RECORDS * BATCHES));
        scratch.write(&scratch.partition().join(names::LEADER_EPOCHS), &epoch_file::encode(&epochs));
        scratch.segment(0, LeaderEpoch(0), SealState::Sealed);
        scratch.segment(RECORDS * BATCHES, LeaderEpoch(1), SealState::Unsealed);
        scratch
    }

    fn partition(&self) -> PathBuf {
        self.directory.path().join(names::partition_dir(id()))
    }

    fn path(&self, base: u64, file: SegmentFile) -> PathBuf {
        self.partition().join(names::segment_file(Offset::from_count(base), file))
    }

    fn write(&self, path: &Path, content: &[u8]) {
        self.fs.open(path, OpenMode::CreateOrTruncate).unwrap().write_all_at(content, 0).unwrap();
    }

    fn read(&self, path: &Path) -> Vec<u8> {
        self.fs.read_small(path, 1 << 20).unwrap().to_vec()
    }

    fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut content = self.read(path);
        change(&mut content);
        self.write(path, &content);
    }

    fn segment(&self, base: u64, epoch: LeaderEpoch, seal: SealState) {
        let start = Offset::from_count(base);
        let (mut log, mut index, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..BATCHES {
            let first = Offset::from_count(base + number * RECORDS);
            let batch = batch(first, epoch);
            if number > 0 {
                let position = log.len() as u64;
                index.extend(OffsetIndexEntry::new(start, batch.last_offset(), position).unwrap().encode());
                let time = TimeIndexEntry::new(start, batch.last_offset(), batch.max_timestamp()).unwrap();
                times.extend(time.encode());
            }
            log.extend_from_slice(batch.bytes());
        }
        if seal == SealState::Sealed {
            let mut sums = BlockSums::new();
            sums.push(&log);
            let last_offset = Offset::from_count(base + BATCHES * RECORDS - 1);
            let records = SealedRecords {
                base: start,
                records: BATCHES * RECORDS,
                last_offset,
                largest_timestamp: time_of(last_offset),
                last_append: TimestampMs(9),
            };
            let files = vec![
                SealedFile::of(SegmentFile::OffsetIndex, &index),
                SealedFile::of(SegmentFile::TimeIndex, &times),
            ];
            self.write(&self.path(base, SegmentFile::Seal), &Seal::build(records, sums, files).encode());
        }
        self.write(&self.path(base, SegmentFile::Log), &log);
        self.write(&self.path(base, SegmentFile::OffsetIndex), &index);
        self.write(&self.path(base, SegmentFile::TimeIndex), &times);
    }

    fn open(&self, path: &Path) -> Inspection {
        Inspection::open(Arc::clone(&self.fs), path).unwrap()
    }

    fn verify(&self) -> VerifyReport {
        self.open(self.directory.path()).verify(Depth::Records)
    }

    fn problems(&self) -> Vec<Problem> {
        let report = self.verify();
        report.partitions[0].all_findings().map(|finding| finding.problem.clone()).collect()
    }
}

fn time_of(offset: Offset) -> TimestampMs {
    TimestampMs(1000 + offset.get())
}

fn batch(first: Offset, epoch: LeaderEpoch) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in 0..RECORDS {
        let time = time_of(first.saturating_add(record));
        builder.append(time, Some(b"key"), Some(b"a value"), NO_HEADERS).unwrap();
    }
    builder.build().unwrap().placed_at(first, epoch)
}

fn batch_bytes() -> usize {
    batch(Offset::ZERO, LeaderEpoch(0)).size()
}

#[test]
fn an_intact_directory_has_no_finding() {
    let scratch = Scratch::new();
    assert_eq!(scratch.problems(), []);
    let report = scratch.verify();
    assert_eq!(report.worst(), None);
    let partition = &report.partitions[0];
    assert_eq!(partition.meta.as_ref().unwrap().name.as_str(), "flights");
    assert_eq!(partition.records(), 2 * BATCHES * RECORDS);
    assert_eq!(partition.segments[0].seal, SealState::Sealed);
    assert_eq!(partition.segments[1].seal, SealState::Unsealed);
    assert_eq!(partition.segments[1].last_offset, Some(Offset::from_count(2 * BATCHES * RECORDS - 1)));
}

#[test]
fn a_partition_and_a_single_file_can_be_looked_at_too() {
    let scratch = Scratch::new();
    let partition = scratch.open(&scratch.partition()).verify(Depth::Batches);
    assert_eq!((partition.worst(), partition.partitions[0].records()), (None, 2 * BATCHES * RECORDS));
    let file = scratch.open(&scratch.path(0, SegmentFile::Log)).verify(Depth::Batches);
    assert_eq!((file.worst(), file.partitions[0].records()), (None, BATCHES * RECORDS));
    let elsewhere = scratch.directory.path().join("copied.log");
    scratch.write(&elsewhere, &scratch.read(&scratch.path(RECORDS * BATCHES, SegmentFile::Log)));
    let copied = scratch.open(&elsewhere).verify(Depth::Records);
    assert_eq!((copied.worst(), copied.partitions[0].records()), (None, BATCHES * RECORDS));
}

#[test]
fn what_is_no_log_is_refused() {
    let scratch = Scratch::new();
    let open = |path: &Path| Inspection::open(Arc::clone(&scratch.fs), path);
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(open(empty.path()), Err(InspectError::NotALog(_))));
    assert!(matches!(open(&scratch.path(0, SegmentFile::Seal)), Err(InspectError::NotALog(_))));
    assert!(matches!(open(&empty.path().join("missing")), Err(InspectError::Io { .. })));
}

#[test]
fn a_directory_that_is_served_is_refused_and_one_that_is_looked_at_cannot_be_served() {
    let scratch = Scratch::new();
    let served = scratch.fs.lock_dir(scratch.directory.path()).unwrap();
    for path in [scratch.directory.path().to_owned(), scratch.partition(), scratch.path(0, SegmentFile::Log)]
    {
        let refused = Inspection::open(Arc::clone(&scratch.fs), &path);
        assert!(matches!(refused, Err(InspectError::Served(_))), "{path:?}");
    }
    drop(served);
    let looking = scratch.open(scratch.directory.path());
    let error = scratch.fs.lock_dir(scratch.directory.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(looking);
}

#[test]
fn a_walk_tells_every_batch_and_where_it_lies() {
    let scratch = Scratch::new();
    let inspection = scratch.open(&scratch.partition());
    let walk = inspection.walk(&inspection.partitions()[0].segments[1]).unwrap();
    let mut expected = 0;
    for found in walk {
        let Found::Batch(found) = found.unwrap() else { panic!("stopped") };
        assert_eq!(found.position, expected * batch_bytes() as u64);
        let records = found.batch.unwrap().records().unwrap();
        assert_eq!(records.into_iter().map(Result::unwrap).count() as u64, RECORDS);
        expected += 1;
    }
    assert_eq!(expected, BATCHES);
}

#[test]
fn every_flipped_byte_of_a_sealed_log_is_found() {
    let scratch = Scratch::new();
    let path = scratch.path(0, SegmentFile::Log);
    let content = scratch.read(&path);
    for at in 0..content.len() {
        let mut flipped = content.clone();
        flipped[at] ^= 0x10;
        scratch.write(&path, &flipped);
        let problems = scratch.problems();
        assert!(problems.iter().any(|p| matches!(p, Problem::SealedBlock { block: 0, .. })), "byte {at}");
    }
}

#[test]
fn a_sealed_log_cut_anywhere_is_damage() {
    let scratch = Scratch::new();
    let path = scratch.path(0, SegmentFile::Log);
    let content = scratch.read(&path);
    for end in (0..content.len()).step_by(13) {
        scratch.write(&path, &content[..end]);
        assert_eq!(scratch.verify().worst(), Some(Severity::Damage), "cut at {end}");
    }
}

#[test]
fn a_torn_tail_of_the_active_segment_is_a_note_unless_it_was_synced() {
    let scratch = Scratch::new();
    let base = RECORDS * BATCHES;
    let path = scratch.path(base, SegmentFile::Log);
    let cut = batch_bytes() * 9 + 40;
    scratch.change(&path, |content| content.truncate(cut));
    for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
        scratch.write(&scratch.path(base, file), &[]);
    }
    let tail = batch_bytes() * 9;
    let problems = scratch.problems();
    assert!(matches!(problems[..], [Problem::TornTail { bytes: 40, .. }]), "{problems:?}");
    assert_eq!(scratch.verify().worst(), Some(Severity::Note));
    // A mark says that a sync had covered those bytes.
    let mark = synced_marks::SyncedMark {
        partition: id(),
        base: Offset::from_count(base),
        position: tail as u64 + 1,
        offset: Offset::from_count(base + 30),
    };
    let marks = scratch.directory.path().join(names::SYNCED_MARKS);
    scratch.write(&marks, &synced_marks::encode_file(4096, 1, &[mark]));
    assert!(matches!(scratch.problems()[..], [Problem::NoBatch { .. }]));
    let behind = synced_marks::SyncedMark { position: tail as u64, ..mark };
    scratch.write(&marks, &synced_marks::encode_file(4096, 1, &[behind]));
    assert!(matches!(scratch.problems()[..], [Problem::TornTail { .. }]));
    // A clean stop had synced everything.
    scratch.write(&scratch.directory.path().join(names::CLEAN_MARK), b"");
    assert!(matches!(scratch.problems()[..], [Problem::NoBatch { .. }]));
}

#[test]
fn damage_in_the_middle_does_not_hide_what_follows() {
    let scratch = Scratch::new();
    let path = scratch.path(RECORDS * BATCHES, SegmentFile::Log);
    let size = batch_bytes();
    scratch.change(&path, |content| content[4 * size + 8..4 * size + 12].fill(0xff));
    let report = scratch.verify();
    let segment = &report.partitions[0].segments[1];
    assert_eq!(segment.batches, BATCHES - 1);
    let lost = segment.findings.iter().any(|finding| {
        matches!(finding.problem, Problem::NoBatch { position, bytes, .. }
            if (position, bytes) == (4 * size as u64, size as u64))
    });
    assert!(lost, "{:?}", segment.findings);
}

#[test]
fn missing_and_repeated_segments_are_found() {
    let scratch = Scratch::new();
    let size = batch_bytes();
    let path = scratch.path(RECORDS * BATCHES, SegmentFile::Log);
    let content = scratch.read(&path);
    scratch.write(&path, &[&content[..size], &content[2 * size..]].concat());
    assert!(scratch.problems().iter().any(|problem| matches!(problem, Problem::Gap { .. })));
    scratch.write(&path, &[&content[..size], &content].concat());
    assert!(scratch.problems().iter().any(|problem| matches!(problem, Problem::Overlap { .. })));
}

#[test]
fn indexes_that_lie_are_found_and_called_rebuildable() {
    let scratch = Scratch::new();
    let base = RECORDS * BATCHES;
    for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
        let path = scratch.path(base, file);
        let content = scratch.read(&path);
        for at in 0..content.len() {
            let mut flipped = content.clone();
            flipped[at] ^= 1;
            scratch.write(&path, &flipped);
            assert_eq!(scratch.verify().worst(), Some(Severity::Rebuildable), "{file:?} byte {at}");
        }
        scratch.write(&path, &content);
    }
    assert_eq!(scratch.verify().worst(), None);
}

#[test]
fn sealed_indexes_and_seals_are_checked() {
    let scratch = Scratch::new();
    let index = scratch.path(0, SegmentFile::OffsetIndex);
    scratch.change(&index, |content| content.clear());
    assert!(matches!(scratch.problems()[..], [Problem::SealedFile(_)]));
    scratch.fs.unlink(&index).unwrap();
    assert_eq!(scratch.problems(), [Problem::Missing]);
    scratch.change(&scratch.path(0, SegmentFile::Seal), |content| content[20] ^= 1);
    assert!(matches!(scratch.problems()[..], [Problem::Seal(DecodeError::Damaged { .. })]));
    scratch.fs.unlink(&scratch.path(0, SegmentFile::Seal)).unwrap();
    assert_eq!(scratch.problems(), [Problem::NotSealed]);
}

#[test]
fn the_small_files_are_checked() {
    let scratch = Scratch::new();
    scratch.change(&scratch.partition().join(names::LEADER_EPOCHS), |content| content[16] ^= 1);
    assert!(matches!(scratch.problems()[..], [Problem::Decode(_)]));
    let mut epochs = EpochCache::default();
    let _ = epochs.assign(LeaderEpoch(0), Offset::ZERO);
    scratch.write(&scratch.partition().join(names::LEADER_EPOCHS), &epoch_file::encode(&epochs));
    assert!(matches!(scratch.problems()[..], [Problem::EpochDisagrees { .. }]));
}

#[test]
fn what_was_trimmed_may_lie_before_the_first_known_epoch() {
    let scratch = Scratch::new();
    let mut epochs = EpochCache::default();
    let _ = epochs.assign(LeaderEpoch(0), Offset::from_count(4));
    let _ = epochs.assign(LeaderEpoch(1), Offset::from_count(RECORDS * BATCHES));
    scratch.write(&scratch.partition().join(names::LEADER_EPOCHS), &epoch_file::encode(&epochs));
    assert_eq!(scratch.problems(), []);
}

#[test]
fn looking_changes_nothing() {
    let scratch = Scratch::new();
    let listing = |dir: &Path| -> Vec<_> {
        let entries = scratch.fs.read_dir(dir).unwrap();
        let files = entries.into_iter().filter(|entry| entry.kind == EntryKind::File);
        files.map(|entry| (entry.name.clone(), scratch.read(&dir.join(entry.name)))).collect()
    };
    let before = (listing(scratch.directory.path()), listing(&scratch.partition()));
    scratch.verify();
    assert_eq!(before, (listing(scratch.directory.path()), listing(&scratch.partition())));
}
