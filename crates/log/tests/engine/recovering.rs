//! Torn tails, damage, lost files, and the leader epochs that tell readers about it.

use std::path::PathBuf;

use millrace_env::sim::Survival;
use millrace_env::{EntryKind, Env, FsExt, OpenMode};
use millrace_log::names::{SegmentFile, partition_dir, segment_file};
use millrace_log::{Log, ReadError, ReadRequest};
use millrace_types::{LeaderEpoch, Offset};

use crate::world::{append, batch, fresh, offset, partition, reopen, values};

fn path(base: u64, file: SegmentFile) -> PathBuf {
    PathBuf::from("/data").join(partition_dir(partition(0))).join(segment_file(offset(base), file))
}

fn overwrite(env: &Env, path: &std::path::Path, position: u64, bytes: &[u8]) {
    let file = env.fs.open(path, OpenMode::ReadWrite).unwrap();
    file.write_all_at(bytes, position).unwrap();
    file.sync_data().unwrap();
}

fn size(env: &Env, path: &std::path::Path) -> u64 {
    env.fs.open(path, OpenMode::Read).unwrap().size().unwrap()
}

fn read_at(log: &Log, from: u64) -> Result<(Offset, Offset), ReadError> {
    let request = ReadRequest { from: offset(from), until: None, bytes_max: 10_000 };
    let range = log.read(&request)?.load()?.range;
    Ok((range.start, range.end))
}

#[test]
fn a_torn_tail_is_copied_cut_and_reported() {
    let (sim, dir, log) = fresh(1);
    for _ in 0..3 {
        append(&log, &[1; 500]).unwrap();
    }
    drop((dir, log));
    let env = sim.kill();
    let end = size(&env, &path(0, SegmentFile::Log));
    let torn = batch(&[&[2; 500]]).into_bytes();
    overwrite(&env, &path(0, SegmentFile::Log), end, &torn[..300]);
    let (dir, log) = reopen(&env);
    assert_eq!(log.offsets().end, offset(3));
    let report = dir.start_report();
    assert_eq!((report.cut.len(), report.damaged.len()), (1, 0), "{report:?}");
    assert!(report.bytes_read > 0);
    assert_eq!(env.fs.read_small(&path(0, SegmentFile::Cut), 1000).unwrap(), torn[..300]);
    assert_eq!(size(&env, &path(0, SegmentFile::Log)), end);
    assert_eq!(append(&log, b"next").unwrap().base_offset, offset(3));
    assert_eq!(values(&log).len(), 4);
}

#[test]
fn damage_below_the_mark_is_kept_and_answered_as_such() {
    let (sim, dir, log) = fresh(2);
    for _ in 0..10 {
        append(&log, &[1; 500]).unwrap();
    }
    dir.janitor_step();
    for _ in 0..5 {
        append(&log, &[2; 500]).unwrap();
    }
    drop((dir, log));
    let env = sim.kill();
    let log_path = path(0, SegmentFile::Log);
    let whole = size(&env, &log_path);
    // The head of the third batch, far below the mark of the janitor.
    let batch_bytes = whole / 15;
    overwrite(&env, &log_path, 2 * batch_bytes, &[0xff; 40]);
    let (dir, log) = reopen(&env);
    assert_eq!(size(&env, &log_path), whole, "nothing is cut");
    assert_eq!(log.offsets().end, offset(15));
    let report = dir.start_report();
    assert_eq!((report.cut.len(), report.damaged.len()), (0, 1), "{report:?}");
    assert_eq!(read_at(&log, 0).unwrap(), (offset(0), offset(2)));
    let Err(ReadError::Corrupt(range)) = read_at(&log, 2) else { panic!("damage is served") };
    assert_eq!((range.start, range.end), (offset(2), offset(3)));
    assert_eq!(read_at(&log, 3).unwrap(), (offset(3), offset(15)));
    assert_eq!(append(&log, b"next").unwrap().base_offset, offset(15));
    // The damage is still known after a clean stop.
    dir.close().unwrap();
    drop((dir, log));
    let (_dir, log) = reopen(&sim.env());
    assert!(matches!(read_at(&log, 2), Err(ReadError::Corrupt(_))));
    assert_eq!(read_at(&log, 3).unwrap().0, offset(3));
}

#[test]
fn a_payload_that_rots_below_the_mark_is_not_served() {
    let (sim, dir, log) = fresh(3);
    for _ in 0..5 {
        append(&log, &[1; 500]).unwrap();
    }
    dir.janitor_step();
    dir.close().unwrap();
    drop((dir, log));
    sim.disk().flip_bit(&path(0, SegmentFile::Log), 100, 3).unwrap();
    // The cache would hide the rot.
    sim.disk().remount();
    let (_dir, log) = reopen(&sim.env());
    assert!(matches!(read_at(&log, 0), Err(ReadError::Corrupt(_))));
    assert_eq!(log.offsets().end, offset(5));
}

#[test]
fn a_rotten_block_of_a_sealed_segment_answers_corrupt_for_its_range_only() {
    let (sim, dir, log) = fresh(4);
    for _ in 0..100 {
        append(&log, &[1; 2000]).unwrap();
    }
    dir.janitor_step();
    dir.close().unwrap();
    drop((dir, log));
    sim.disk().flip_bit(&path(0, SegmentFile::Log), 30_000, 0).unwrap();
    // The cache would hide the rot.
    sim.disk().remount();
    let (dir, log) = reopen(&sim.env());
    assert_eq!(dir.start_report().damaged, Vec::<String>::new());
    let Err(ReadError::Corrupt(range)) = read_at(&log, 0) else { panic!("a rotten block is served") };
    assert_eq!(range.start, offset(0));
    assert!(range.end > offset(20) && range.end < offset(50), "{range:?}");
    assert_eq!(read_at(&log, u64::try_from(range.end.get()).unwrap()).unwrap().0, range.end);
    assert_eq!(read_at(&log, 99).unwrap().1, offset(100));
}

#[test]
fn indexes_that_are_gone_cut_or_garbage_change_no_answer() {
    for change in 0..4 {
        let (sim, dir, log) = fresh(5);
        for _ in 0..150 {
            append(&log, &[1; 1000]).unwrap();
        }
        dir.janitor_step();
        let expected = values(&log);
        dir.close().unwrap();
        drop((dir, log));
        let env = sim.env();
        for entry in env.fs.read_dir(&PathBuf::from("/data").join(partition_dir(partition(0)))).unwrap() {
            if !entry.name.ends_with("index") {
                continue;
            }
            let file = PathBuf::from("/data").join(partition_dir(partition(0))).join(&entry.name);
            match change {
                0 => env.fs.unlink(&file).unwrap(),
                1 => env.fs.open(&file, OpenMode::ReadWrite).unwrap().set_len(13).unwrap(),
                2 => overwrite(&env, &file, 0, &[0xab; 64]),
                _ => overwrite(&env, &file, 0, &[0; 200]),
            }
        }
        let (_dir, log) = reopen(&env);
        assert_eq!(values(&log), expected);
        for number in (0..150).step_by(17) {
            assert_eq!(read_at(&log, number).unwrap().0, offset(number));
        }
    }
}

#[test]
fn an_unclean_stop_begins_a_leader_epoch_and_tells_where_the_old_one_ended() {
    let (sim, dir, log) = fresh(6);
    append(&log, b"one").unwrap();
    let unsynced = log.append(batch(&[b"two"])).unwrap();
    assert_eq!(log.leader_epoch(), LeaderEpoch(0));
    assert_eq!(log.offsets().end, offset(2));
    drop((dir, log, unsynced));
    let env = sim.power_cut(Survival::Nothing);
    let (dir, log) = reopen(&env);
    assert!(dir.start_report().cache_may_be_lost);
    assert_eq!(log.leader_epoch(), LeaderEpoch(1));
    // A reader that was at 2 in epoch 0 learns that epoch 0 ended at 1.
    assert_eq!(log.end_of_epoch(LeaderEpoch(0)), Some((LeaderEpoch(0), offset(1))));
    append(&log, b"another two").unwrap();
    assert_eq!(log.end_of_epoch(LeaderEpoch(1)), Some((LeaderEpoch(1), offset(2))));
    log.begin_epoch(LeaderEpoch(7)).unwrap();
    assert!(log.begin_epoch(LeaderEpoch(7)).is_err());
    append(&log, b"three").unwrap();
    dir.close().unwrap();
    drop((dir, log));
    let (_dir, log) = reopen(&sim.env());
    assert_eq!(log.leader_epoch(), LeaderEpoch(7), "a clean start begins none");
    assert_eq!(log.end_of_epoch(LeaderEpoch(1)), Some((LeaderEpoch(1), offset(2))));
    let epochs: Vec<i32> = crate::world::batches(&log).iter().map(|batch| batch.leader_epoch().0).collect();
    assert_eq!(epochs, [0, 1, 7]);
}

#[test]
fn bytes_that_were_synced_and_are_lost_leave_a_hole_and_not_other_records() {
    for stopped_clean in [false, true] {
        let (sim, dir, log) = fresh(7);
        for _ in 0..10 {
            append(&log, &[1; 500]).unwrap();
        }
        dir.janitor_step();
        if stopped_clean {
            dir.close().unwrap();
        }
        drop((dir, log));
        let env = sim.kill();
        let log_path = path(0, SegmentFile::Log);
        let half = size(&env, &log_path) / 2;
        env.fs.open(&log_path, OpenMode::ReadWrite).unwrap().set_len(half).unwrap();
        let (dir, log) = reopen(&env);
        assert_eq!(dir.start_report().damaged.len(), 1);
        assert_eq!(log.offsets().end, offset(10));
        assert_eq!(read_at(&log, 0).unwrap(), (offset(0), offset(5)));
        let Err(ReadError::Corrupt(range)) = read_at(&log, 5) else { panic!("a hole is served") };
        assert_eq!((range.start, range.end), (offset(5), offset(10)));
        assert_eq!(append(&log, b"new").unwrap().base_offset, offset(10));
        assert_eq!(read_at(&log, 10).unwrap(), (offset(10), offset(11)));
    }
}

/// Every file that the engine writes, a bit at a time: found out, or no answer changes.
#[test]
fn a_flipped_bit_in_any_file_is_found_or_changes_no_answer() {
    let (sim, dir, log) = fresh(9);
    for number in 0..120_i32 {
        log.append(crate::world::batch_at(
            1000 + i64::from(number),
            &[&[1; 1000]],
            crate::world::stamp(4, number),
        ))
        .unwrap();
    }
    log.trim_to(offset(0)).unwrap();
    dir.janitor_step();
    log.trim_to(offset(70)).unwrap();
    let expected = values(&log);
    dir.close().unwrap();
    drop((dir, log));
    let home = PathBuf::from("/data");
    let partition_home = home.join(partition_dir(partition(0)));
    let mut files: Vec<PathBuf> = Vec::new();
    for dir in [&home, &partition_home] {
        let entries = sim.env().fs.read_dir(dir).unwrap();
        files.extend(entries.iter().filter(|e| e.kind == EntryKind::File).map(|entry| dir.join(&entry.name)));
    }
    assert!(files.len() > 9, "{files:?}");
    let saved: Vec<_> = files.iter().map(|file| sim.env().fs.read_small(file, 10_000_000).unwrap()).collect();
    for (file, content) in files.iter().zip(&saved) {
        for position in [0, 5, 17, content.len() / 2, content.len().saturating_sub(3)] {
            if position >= content.len() {
                continue;
            }
            sim.disk().remount();
            let env = sim.env();
            for (other, content) in files.iter().zip(&saved) {
                let restored = env.fs.open(other, OpenMode::CreateOrTruncate).unwrap();
                restored.write_all_at(content, 0).unwrap();
                restored.sync_data().unwrap();
            }
            overwrite(&env, file, position as u64, &[content[position] ^ 4]);
            answer_or_tell(&env, &expected, &format!("{} at {position}", file.display()));
        }
    }
}

/// Opens the directory: an error, a report, a read that answers `Corrupt`, or the very same records.
fn answer_or_tell(env: &Env, expected: &[(i64, Vec<u8>)], what: &str) {
    let Ok(opened) = millrace_log::LogDir::open(env, crate::world::options(0)) else { return };
    let Ok(log) = opened.dir.open_log(partition(0), crate::world::small()) else { return };
    let told = !opened.dir.start_report().damaged.is_empty();
    let mut from = log.offsets().log_start;
    while from < log.offsets().end {
        let request = ReadRequest { from, until: None, bytes_max: 10_000 };
        match log.read(&request).unwrap().load() {
            Ok(answer) => from = answer.range.end,
            Err(ReadError::Corrupt(_)) => return,
            Err(other) => panic!("{what}: {other}"),
        }
    }
    assert!(told || values(&log) == expected, "{what}: other records, and nobody is told");
    let send = |n: i32| {
        log.append(crate::world::batch_at(1000 + i64::from(n), &[&[1; 1000]], crate::world::stamp(4, n)))
    };
    let retry = send(119).unwrap().wait().unwrap();
    assert_eq!((retry.base_offset, retry.duplicate), (offset(119), true), "{what}");
}

#[test]
fn a_directory_that_no_mark_describes_is_read_from_its_seals_on() {
    let (sim, dir, log) = fresh(8);
    for _ in 0..100 {
        append(&log, &[1; 2000]).unwrap();
    }
    dir.janitor_step();
    append(&log, b"last").unwrap();
    drop((dir, log));
    let env = sim.kill();
    env.fs.unlink(&PathBuf::from("/data/synced.marks")).unwrap();
    env.fs.unlink(&PathBuf::from("/data/running.mark")).unwrap();
    let (dir, log) = reopen(&env);
    assert_eq!(log.offsets().end, offset(101));
    let read = dir.start_report().bytes_read;
    assert!(read > 0 && read < 200_000, "{read} bytes were read, though most segments are sealed");
}
