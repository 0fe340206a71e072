//! Slots in turn, growth, and every way in which a slot can be lost.

use millrace_env::sim::{SimDisk, Survival};

use super::super::exam;
use super::*;

fn marks(count: u32, position: u64) -> Vec<SyncedMark> {
    let mark = |number| SyncedMark {
        partition: TopicPartition { topic: TopicId([5; 16]), partition: PartitionIndex(number) },
        base: Offset::from_count(100),
        position,
        offset: Offset::from_count(100 + position),
    };
    (0..count).map(mark).collect()
}

fn none() -> SyncedMarks {
    SyncedMarks { generation: 0, marks: Vec::new() }
}

fn scratch() -> (tempfile::TempDir, PathBuf, Arc<dyn Fs>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(crate::names::SYNCED_MARKS);
    (directory, path, millrace_env::real::env().fs)
}

#[test]
fn a_slot_comes_back_whatever_follows_it() {
    let mut bytes = encode_slot(3, &marks(2, 10));
    exam::every_cut_is_refused(&bytes, decode_slot);
    exam::every_flip_is_refused(&bytes, decode_slot);
    bytes.extend_from_slice(b"left over from a longer write");
    assert_eq!(decode_slot(&bytes), Ok(SyncedMarks { generation: 3, marks: marks(2, 10) }));
}

#[test]
fn an_intact_slot_that_contradicts_itself_is_refused() {
    let mut falling = marks(2, 10);
    falling.reverse();
    assert!(matches!(decode_slot(&encode_slot(1, &falling)), Err(DecodeError::Invalid(_))));
    let mut before_its_file = marks(1, 10);
    before_its_file[0].offset = Offset::ZERO;
    assert!(matches!(decode_slot(&encode_slot(1, &before_its_file)), Err(DecodeError::Invalid(_))));
    let bytes = encode_slot(3, &marks(1, 10));
    let body = envelope::open(FileKind::SyncedMarksSlot, VERSION, &bytes).unwrap().body;
    exam::every_cut_is_refused(body, |body| {
        decode_slot(&envelope::seal(FileKind::SyncedMarksSlot, VERSION, body))
    });
}

#[test]
fn a_new_file_opens_whichever_slot_it_starts_with() {
    for generation in [1, 2] {
        let bytes = encode_file(PAGE_BYTES, generation, &marks(3, 7));
        assert_eq!(bytes.len(), HEAD_BYTES + 2 * PAGE_BYTES);
        assert_eq!(decode_file(&bytes), Ok(SyncedMarks { generation, marks: marks(3, 7) }));
    }
}

#[test]
fn writes_take_turns_and_the_last_counts() {
    let (_directory, path, fs) = scratch();
    let mut file = SyncedMarksFile::create(Arc::clone(&fs), &path, &none()).unwrap();
    for position in 1..=5 {
        file.write(&marks(2, position)).unwrap();
        let read = read(fs.as_ref(), &path).unwrap();
        assert_eq!(read, SyncedMarks { generation: position + 1, marks: marks(2, position) });
    }
    file.sync().unwrap();
}

#[test]
fn a_write_torn_at_any_byte_leaves_the_one_before_it() {
    let before = marks(2, 10);
    let whole = {
        let mut bytes = encode_file(PAGE_BYTES, 1, &before);
        let slot = encode_slot(2, &marks(2, 20));
        bytes[HEAD_BYTES..HEAD_BYTES + slot.len()].copy_from_slice(&slot);
        bytes
    };
    assert_eq!(decode_file(&whole).unwrap().generation, 2);
    let slot_len = encode_slot(2, &marks(2, 20)).len();
    for torn_at in 0..slot_len {
        let mut bytes = whole.clone();
        bytes[HEAD_BYTES + torn_at..HEAD_BYTES + slot_len].fill(0xee);
        assert_eq!(decode_file(&bytes), Ok(SyncedMarks { generation: 1, marks: before.clone() }));
    }
}

#[test]
fn both_slots_broken_is_an_error() {
    let mut bytes = encode_file(PAGE_BYTES, 1, &marks(2, 10));
    bytes[HEAD_BYTES + PAGE_BYTES + 20] ^= 1;
    assert!(decode_file(&bytes).is_err());
}

#[test]
fn a_file_cut_at_any_byte_is_refused_or_holds_what_was_written() {
    let written = SyncedMarks { generation: 2, marks: marks(2, 10) };
    let bytes = encode_file(PAGE_BYTES, 2, &written.marks);
    for end in 0..bytes.len() {
        if let Ok(read) = decode_file(&bytes[..end]) {
            assert_eq!(read, written);
        }
    }
}

#[test]
fn the_file_grows_with_the_partitions_and_keeps_counting() {
    let (_directory, path, fs) = scratch();
    let mut file = SyncedMarksFile::create(Arc::clone(&fs), &path, &none()).unwrap();
    for (count, position) in [(1, 1), (1000, 2), (1001, 3), (5000, 4), (2, 5), (3, 6)] {
        file.write(&marks(count, position)).unwrap();
        assert_eq!(read(fs.as_ref(), &path).unwrap().marks, marks(count, position));
    }
    let last = read(fs.as_ref(), &path).unwrap();
    drop(file);
    let next_run = SyncedMarksFile::create(Arc::clone(&fs), &path, &last).unwrap();
    assert_eq!(next_run.generation, last.generation + 1);
    assert_eq!(read(fs.as_ref(), &path).unwrap().marks, last.marks);
}

#[test]
fn no_file_and_marks_out_of_order_are_errors() {
    let (_directory, path, fs) = scratch();
    assert!(matches!(read(fs.as_ref(), &path), Err(ReadMarksError::Io(_))));
    let mut file = SyncedMarksFile::create(fs, &path, &none()).unwrap();
    let mut falling = marks(2, 1);
    falling.reverse();
    assert_eq!(file.write(&falling).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

/// Marks as they may be read after a power cut of a file that was written five times.
fn after_power_cut(seed: u64, syncs: SyncBetween) -> Result<SyncedMarks, ReadMarksError> {
    let disk = SimDisk::new(seed);
    let path = Path::new("/synced.marks");
    let mut file = SyncedMarksFile::create(disk.fs(), path, &none()).unwrap();
    for position in 1..=5 {
        if syncs == SyncBetween::Writes {
            file.sync().unwrap();
        }
        file.write(&marks(200, position)).unwrap();
    }
    read(disk.power_cut(Survival::Random).as_ref(), path)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SyncBetween {
    Writes,
    Never,
}

#[test]
fn a_power_cut_between_synced_writes_costs_the_last_one_at_most() {
    for seed in 0..200 {
        let read = after_power_cut(seed, SyncBetween::Writes).unwrap();
        assert!([5, 6].contains(&read.generation), "seed {seed}: generation {}", read.generation);
        assert_eq!(read.marks, marks(200, read.generation - 1), "seed {seed}");
    }
}

#[test]
fn a_power_cut_without_any_sync_leaves_marks_that_were_written_or_none() {
    let mut none_left = 0;
    for seed in 0..200 {
        match after_power_cut(seed, SyncBetween::Never) {
            Ok(read) if read.generation == 1 => assert!(read.marks.is_empty(), "seed {seed}"),
            Ok(read) => assert_eq!(read.marks, marks(200, read.generation - 1), "seed {seed}"),
            Err(ReadMarksError::Decode(_)) => none_left += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(none_left > 0, "no seed tore both slots: the disk is too kind");
}
