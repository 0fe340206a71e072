//! One file of every format and version, kept for ever: what an old build wrote, this build reads.
//!
//! A new version adds files and examples; the old ones stay as they are.

use std::collections::BTreeMap;
use std::fmt::Debug;

use millrace_env::MountIdentity;
use millrace_types::{
    ClusterId, DirectoryId, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId,
    TimestampMs, TopicId, TopicName, TopicPartition,
};

use super::envelope::DecodeError;
use super::offset_index::{OffsetIndex, OffsetIndexEntry};
use super::run_mark::{CleanLog, CleanMark, RunningMark};
use super::scrub_progress::{ScrubPlace, ScrubProgress};
use super::seal::{BlockSums, CompactedPart, Seal, SealedFile, SealedRecords};
use super::synced_marks::{SyncedMark, SyncedMarks};
use super::time_index::{TimeIndex, TimeIndexEntry};
use super::{
    compacted_to, epoch_file, node_meta, partition_meta, producer_snapshot, scrub_progress, synced_marks,
};
use crate::PartitionMeta;
use crate::epochs::EpochCache;
use crate::names::SegmentFile;
use crate::producers::{BatchFacts, ProducerState};

/// The file of this name, as it was written by the version in its name.
macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/", $name)).as_slice()
    };
}

/// The file decodes to the example. The newest version is also what the example is written as.
fn holds<T: PartialEq + Debug>(file: &[u8], decoded: Result<T, DecodeError>, example: &T, written: &[u8]) {
    assert_eq!(decoded.as_ref(), Ok(example));
    assert!(file == written, "the format has changed: raise its version and keep the old file");
}

fn partition() -> TopicPartition {
    TopicPartition { topic: TopicId([0xa7; 16]), partition: PartitionIndex(3) }
}

#[test]
fn node_meta_of_version_one() {
    let example = node_meta::NodeMeta {
        cluster: ClusterId([0xc1; 16]),
        node: NodeId(1),
        directory: DirectoryId([0xd1; 16]),
        format: 1,
    };
    let file = fixture!("node.meta.v1");
    holds(file, node_meta::decode(file), &example, &node_meta::encode(&example));
}

#[test]
fn partition_meta_of_version_one() {
    let example = PartitionMeta {
        id: partition(),
        name: TopicName::new("flights").unwrap(),
        partitions: 16,
        replication_factor: 3,
    };
    let file = fixture!("partition.meta.v1");
    holds(file, partition_meta::decode(file), &example, &partition_meta::encode(&example));
}

#[test]
fn seal_of_version_one() {
    let mut log = BlockSums::new();
    log.push(&vec![0x5a; 1_500_000]);
    let files = vec![
        SealedFile::of(SegmentFile::OffsetIndex, b"offset index"),
        SealedFile::of(SegmentFile::TimeIndex, b"time index"),
        SealedFile::of(SegmentFile::Producers, b"producers"),
    ];
    let records = SealedRecords {
        base: Offset::from_count(1000),
        records: 500,
        last_offset: Offset::from_count(1499),
        largest_timestamp: TimestampMs(1_357_016_400_000),
        last_append: TimestampMs(1_700_000_000_000),
    };
    let example = Seal::build(records, log, files);
    let file = fixture!("seal.v1");
    holds(file, Seal::decode(file), &example, &example.encode());
}

#[test]
fn seal_of_version_two() {
    let mut log = BlockSums::new();
    log.push(&vec![0x5a; 1_500_000]);
    let files = vec![SealedFile::of(SegmentFile::OffsetIndex, b"offset index")];
    let records = SealedRecords {
        base: Offset::from_count(1000),
        records: 17,
        last_offset: Offset::from_count(1499),
        largest_timestamp: TimestampMs(1_357_016_400_000),
        last_append: TimestampMs(1_700_000_000_000),
    };
    let mut example = Seal::build(records, log, files);
    example.compacted = Some(CompactedPart {
        cleaned_to: Offset::from_count(1500),
        tombstones_due: TimestampMs(1_700_086_400_000),
    });
    let file = fixture!("seal.v2");
    holds(file, Seal::decode(file), &example, &example.encode());
}

#[test]
fn compacted_to_of_version_one() {
    let example = Offset::from_count(1500);
    let file = fixture!("compacted.to.v1");
    holds(file, compacted_to::decode(file), &example, &compacted_to::encode(example));
}

#[test]
fn leader_epochs_of_version_one() {
    let mut example = EpochCache::default();
    for (epoch, start) in [(0, 0), (2, 17), (3, 1_000_000)] {
        let _ = example.assign(LeaderEpoch(epoch), Offset::from_count(start));
    }
    let file = fixture!("leader.epochs.v1");
    holds(file, epoch_file::decode(file), &example, &epoch_file::encode(&example));
}

#[test]
fn producers_of_version_one() {
    let mut state = ProducerState::lost(TimestampMs(1_600_000_000_000));
    for (number, producer) in [4000, 4001, 4000, 4000, 4000, 4000, 4000, 4000].into_iter().enumerate() {
        let first_sequence = i32::try_from(number).unwrap() * 2;
        let batch = BatchFacts {
            producer: ProducerId(producer),
            epoch: ProducerEpoch(1),
            first_sequence: if number < 2 { 0 } else { first_sequence - 2 },
            last_offset_delta: 1,
            timestamp: TimestampMs(1_357_016_400_000 + i64::from(first_sequence)),
        };
        state.apply(&batch, Offset::from_count(number as u64 * 2), TimestampMs(1_700_000_000_000));
    }
    let example = (Offset::from_count(16), state);
    let file = fixture!("producers.v1");
    holds(file, producer_snapshot::decode(file), &example, &producer_snapshot::encode(&example.1, example.0));
}

#[test]
fn marks_of_version_one() {
    let mount = MountIdentity {
        boot_id: "0a1b2c3d-1111-2222-3333-444455556666".to_owned(),
        mount_id_unique: Some(2_147_483_999),
    };
    let running = RunningMark { mount };
    let file = fixture!("running.mark.v1");
    holds(file, RunningMark::decode(file), &running, &running.encode());
    let clean = CleanMark { generation: 7, logs: BTreeMap::new() };
    assert_eq!(CleanMark::decode(fixture!("clean.mark.v1")), Ok(clean));
}

#[test]
fn clean_mark_of_version_two() {
    let log = CleanLog::of(b"offsets", b"times", b"epochs", Offset::from_count(5));
    let example = CleanMark { generation: 7, logs: BTreeMap::from([(partition(), log)]) };
    let file = fixture!("clean.mark.v2");
    holds(file, CleanMark::decode(file), &example, &example.encode());
}

#[test]
fn synced_marks_of_version_one() {
    let mark = SyncedMark {
        partition: partition(),
        base: Offset::from_count(1000),
        position: 123_456,
        offset: Offset::from_count(1200),
    };
    let example = SyncedMarks { generation: 5, marks: vec![mark] };
    let file = fixture!("synced.marks.v1");
    let written = synced_marks::encode_file(4096, 5, &example.marks);
    holds(file, synced_marks::decode_file(file), &example, &written);
}

#[test]
fn scrub_progress_of_version_one() {
    let place = ScrubPlace { partition: partition(), base: Offset::from_count(1000), item: 12 };
    let example = ScrubProgress {
        began: TimestampMs(1_700_000_000_000),
        ended: TimestampMs(1_699_000_000_000),
        next: Some(place),
    };
    let file = fixture!("scrub.progress.v1");
    holds(file, scrub_progress::decode(file), &example, &scrub_progress::encode(&example));
}

#[test]
fn a_lie_under_a_right_checksum_is_refused_or_taken_whole() {
    use super::exam::every_changed_body_is_survived as survived;
    survived(fixture!("node.meta.v1"), node_meta::decode, node_meta::encode);
    survived(fixture!("partition.meta.v1"), partition_meta::decode, partition_meta::encode);
    survived(fixture!("seal.v1"), Seal::decode, Seal::encode);
    survived(fixture!("seal.v2"), Seal::decode, Seal::encode);
    survived(fixture!("leader.epochs.v1"), epoch_file::decode, epoch_file::encode);
    survived(fixture!("running.mark.v1"), RunningMark::decode, RunningMark::encode);
    survived(fixture!("clean.mark.v2"), CleanMark::decode, CleanMark::encode);
    let slot =
        synced_marks::encode_slot(5, &synced_marks::decode_file(fixture!("synced.marks.v1")).unwrap().marks);
    survived(&slot, synced_marks::decode_slot, |read| {
        synced_marks::encode_slot(read.generation, &read.marks)
    });
    let end = Offset::from_count(16);
    let in_use = |file: &[u8]| {
        let (offset, state) = producer_snapshot::decode(file)?;
        let mut used = state.clone();
        for (producer, first_sequence) in [(4000, 0), (4000, 14), (4001, i32::MAX), (4002, 5)] {
            let (producer, epoch) = (ProducerId(producer), ProducerEpoch(1));
            let batch = BatchFacts {
                producer,
                epoch,
                first_sequence,
                last_offset_delta: 9,
                timestamp: TimestampMs(0),
            };
            let _verdict = used.check(&batch);
            used.apply(&batch, end, TimestampMs(1));
        }
        used.expire(TimestampMs(i64::MAX), 0);
        Ok((offset, state))
    };
    survived(fixture!("producers.v1"), in_use, |(offset, state)| producer_snapshot::encode(state, *offset));
}

#[test]
fn indexes_as_kafka_has_them() {
    let entry = |relative, position| OffsetIndexEntry { relative, position };
    let file = fixture!("kafka.index");
    let index = OffsetIndex::new(file).unwrap();
    assert_eq!(index.iter().collect::<Vec<_>>(), [entry(9, 4200), entry(0x0102_0304, 0x0506_0708)]);
    let entry = |ms, relative| TimeIndexEntry { timestamp: TimestampMs(ms), relative };
    let file = fixture!("kafka.timeindex");
    let index = TimeIndex::new(file).unwrap();
    assert_eq!(
        index.iter().collect::<Vec<_>>(),
        [entry(1_357_016_400_000, 9), entry(0x0102_0304_0506_0708, 70)]
    );
}
