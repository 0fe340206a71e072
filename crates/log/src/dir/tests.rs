//! Closing a directory while not everything in it is in order.

use super::*;
use crate::fixture::{batch, fresh, meta, open_dir, partition, small};
use crate::names;
use crate::{ReadError, ReadRequest};
use millrace_env::OpenMode;
use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim, Survival};
use millrace_types::Offset;

fn is_clean(env: &Env) -> bool {
    let dir = open_dir(env);
    dir.start_report().clean
}

#[test]
fn a_log_that_was_not_recovered_keeps_the_next_start_unclean() {
    let (sim, dir, log) = fresh(1);
    dir.create(meta(1), small()).unwrap();
    log.append(batch(&[b"a"], None)).unwrap().wait().unwrap();
    drop((log, dir));
    let env = sim.power_cut(Survival::Nothing);

    let dir = open_dir(&env);
    dir.open_log(partition(0), small()).unwrap();
    dir.close().unwrap();
    drop(dir);
    let dir = open_dir(&env);
    assert!(!dir.start_report().clean, "partition 1 was never recovered");
    dir.open_log(partition(0), small()).unwrap();
    dir.delete(partition(1)).unwrap();
    dir.close().unwrap();
    drop(dir);
    assert!(is_clean(&env), "what is left was recovered");
}

#[test]
fn logs_that_nobody_opened_after_a_clean_start_are_still_clean() {
    let (sim, dir, _log) = fresh(2);
    dir.close().unwrap();
    drop(dir);
    let dir = open_dir(&sim.env());
    dir.close().unwrap();
    drop(dir);
    assert!(is_clean(&sim.env()));
}

#[test]
fn closing_waits_for_a_write_under_way_and_syncs_it() {
    let sim = Sim::new(3);
    let dir = open_dir(&sim.env());
    let log = dir.create(meta(0), small()).unwrap();
    let hold = sim.calls().hold(CallKind::Write);
    std::thread::scope(|scope| {
        let appended = scope.spawn(|| log.append(batch(&[b"a"], None)).map(drop));
        hold.wait_for(1);
        let closed = scope.spawn(|| dir.close());
        // The batch is out of the queue and in no file. Closing cannot be done before it is.
        assert!(!closed.is_finished());
        hold.release();
        appended.join().unwrap().unwrap();
        closed.join().unwrap().unwrap();
    });
    drop((log, dir));
    let env = sim.power_cut(Survival::Nothing);
    let dir = open_dir(&env);
    assert!(dir.start_report().clean);
    assert_eq!(dir.open_log(partition(0), small()).unwrap().offsets().end.get(), 1);
}

#[test]
fn a_log_that_is_lost_is_not_made_anew_as_an_empty_one() {
    let (sim, dir, log) = fresh(4);
    log.append(batch(&[b"a"], None)).unwrap().wait().unwrap();
    dir.janitor_step();
    drop((log, dir));
    let env = sim.kill();
    let path = Path::new("/data").join(names::partition_dir(partition(0)));
    env.fs.rename(&path, Path::new("/elsewhere")).unwrap();
    let dir = open_dir(&env);
    assert!(matches!(dir.create(meta(0), small()), Err(DirError::Damaged { .. })));
    dir.create(meta(1), small()).unwrap();
}

/// A log with a mark in the file, and the directory that it is in.
fn marked(seed: u64) -> (Sim, Arc<LogDir>) {
    let (sim, dir, log) = fresh(seed);
    log.append(batch(&[b"a"], None)).unwrap().wait().unwrap();
    dir.janitor_step();
    (sim, dir)
}

#[test]
fn a_log_that_was_deleted_before_a_crash_is_made_anew() {
    for ended in [Survival::Nothing, Survival::Everything] {
        let (sim, dir) = marked(7);
        dir.delete(partition(0)).unwrap();
        drop(dir);
        let env = sim.power_cut(ended);
        let dir = open_dir(&env);
        let log = dir.create(meta(0), small()).unwrap();
        assert_eq!(log.offsets().end.get(), 0);
    }
}

#[test]
fn a_deletion_speaks_for_no_log_that_is_made_after_it() {
    for starts_between in [false, true] {
        let (sim, mut dir) = marked(8);
        dir.delete(partition(0)).unwrap();
        if starts_between {
            drop(dir);
            dir = open_dir(&sim.kill());
        }
        let log = dir.create(meta(0), small()).unwrap();
        log.append(batch(&[b"b"], None)).unwrap().wait().unwrap();
        // The marks come into the file, and what was deleted is not unlinked by that.
        dir.shared.marks.write_and_sync(&dir.shared, [&log].into_iter()).unwrap();
        drop((log, dir));
        let env = sim.power_cut(Survival::Nothing);
        let path = Path::new("/data").join(names::partition_dir(partition(0)));
        env.fs.rename(&path, Path::new("/elsewhere")).unwrap();
        let dir = open_dir(&env);
        assert!(matches!(dir.create(meta(0), small()), Err(DirError::Damaged { .. })), "{starts_between}");
    }
}

#[test]
fn what_tells_of_a_deletion_stays_until_the_marks_are_written() {
    let (sim, dir) = marked(9);
    dir.delete(partition(0)).unwrap();
    sim.disk().inject(Fault::no_space(CallKind::Write).on("synced.marks"));
    dir.janitor_step();
    drop(dir);
    let dir = open_dir(&sim.kill());
    dir.create(meta(0), small()).unwrap();
}

#[test]
fn a_deletion_of_what_is_not_there_and_setting_aside_outlive_a_crash() {
    for is_set_aside in [false, true] {
        let (sim, dir) = marked(10);
        drop(dir);
        let env = sim.kill();
        let dir = open_dir(&env);
        if is_set_aside {
            assert!(dir.set_aside(partition(0)).unwrap().is_some());
        } else {
            let path = Path::new("/data").join(names::partition_dir(partition(0)));
            env.fs.rename(&path, Path::new("/elsewhere")).unwrap();
            ["/", "/data"].iter().for_each(|dir| env.fs.sync_dir(Path::new(dir)).unwrap());
            assert!(matches!(dir.delete(partition(0)), Err(DirError::Conflict(_))));
        }
        drop(dir);
        let dir = open_dir(&sim.power_cut(Survival::Nothing));
        dir.create(meta(0), small()).unwrap();
    }
}

#[test]
fn a_deletion_that_failed_leaves_the_mark() {
    let (sim, dir) = marked(11);
    sim.disk().inject(Fault::io(CallKind::Rename));
    assert!(matches!(dir.delete(partition(0)), Err(DirError::Io { .. })));
    assert!(dir.shared.marks.written(partition(0)).is_some(), "damage below it would be cut off");
}

#[test]
fn damage_before_a_sealed_segment_is_no_torn_tail_even_without_marks() {
    let (sim, dir, log) = fresh(5);
    let large = vec![7; 40_000];
    for _ in 0..3 {
        log.append(batch(&[&large], None)).unwrap().wait().unwrap();
    }
    dir.janitor_step();
    drop((log, dir));
    let env = sim.kill();
    let path = Path::new("/data").join(names::partition_dir(partition(0)));
    let file = |base, file| path.join(names::segment_file(Offset::from_count(base), file));
    env.fs.unlink(&file(0, names::SegmentFile::Seal)).unwrap();
    env.fs.unlink(Path::new("/data/synced.marks")).unwrap();
    let first = env.fs.open(&file(0, names::SegmentFile::Log), OpenMode::ReadWrite).unwrap();
    first.write_all_at(&[1; 4], 30_000).unwrap();
    first.sync_data().unwrap();

    let dir = open_dir(&env);
    let log = dir.open_log(partition(0), small()).unwrap();
    let report = dir.start_report();
    assert_eq!((report.cut.len(), log.offsets().end.get()), (0, 3), "{report:?}");
    let read = |from| {
        let request = ReadRequest { from: Offset::from_count(from), until: None, bytes_max: 1 };
        log.read(&request).and_then(|plan| plan.load()).map(|answer| answer.range.end.get())
    };
    assert!(matches!(read(0), Err(ReadError::Corrupt(_))));
    assert_eq!((read(1), read(2)), (Ok(2), Ok(3)));
}

#[test]
fn a_power_cut_does_not_take_the_directories_above_the_first_data() {
    let sim = Sim::new(6);
    let path = Path::new("/srv/millrace/data");
    let open = |env: &Env| {
        let options =
            LogDirOptions { path: path.to_owned(), node: NodeId(1), tail_cache_bytes: 0, handles: None };
        LogDir::open(env, options).unwrap().dir
    };
    let dir = open(&sim.env());
    let log = dir.create(meta(0), small()).unwrap();
    log.append(batch(&[b"a"], None)).unwrap().wait().unwrap();
    drop((log, dir));
    let env = sim.power_cut(Survival::Nothing);
    let dir = open(&env);
    assert_eq!(dir.open_log(partition(0), small()).unwrap().offsets().end.get(), 1);
}
