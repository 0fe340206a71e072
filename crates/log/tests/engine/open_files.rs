//! Many segments and few handles: everything is readable, nothing is closed too early, nothing is read from another file.

use std::path::PathBuf;
use std::sync::Arc;

use millrace_env::HandlesMax;
use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim};
use millrace_log::{AppendError, HandleLimits, Log, LogDir, LogDirOptions, ReadError, ReadRequest};
use millrace_types::TimestampMs;

use crate::world::{append, meta, offset, options, partition, small, values};

/// A directory that may hold so many files and maps open.
pub(crate) fn tight(files: usize, maps: usize) -> LogDirOptions {
    LogDirOptions { handles: Some(HandleLimits { files, maps }), ..options(0) }
}

/// Asks for the batch there.
pub(crate) fn read_at(from: u64) -> ReadRequest {
    ReadRequest { from: offset(from), until: None, bytes_max: 1 }
}

/// A log with some sealed segments and an active one, behind one file and one map.
fn shelf_behind_one_handle(seed: u64) -> (Sim, Arc<LogDir>, Arc<Log>) {
    let sim = Sim::new(seed);
    let dir = LogDir::open(&sim.env(), tight(1, 1)).unwrap().dir;
    let log = dir.create(meta(0), small()).unwrap();
    for number in 0..12_u8 {
        append(&log, &vec![number; 20_000]).unwrap();
    }
    dir.janitor_step();
    (sim, dir, log)
}

#[test]
fn a_read_that_was_planned_before_a_reset_does_not_answer_from_the_new_file_of_that_name() {
    let (_sim, _dir, log) = shelf_behind_one_handle(1);
    let first = log.read(&read_at(0)).unwrap();
    let last = log.read(&read_at(11)).unwrap();
    log.reset_to(offset(0)).unwrap();
    append(&log, b"another log's first record").unwrap();
    // The plan is made anew, and its answer is the log's as it is now; what is not there any more is out of range.
    let answer = first.load().unwrap();
    assert!(answer.extents.is_empty() || answer.range.start == offset(0));
    assert!(answer.extents.iter().all(|extent| extent.len() < 200), "not the old segment's bytes");
    assert!(matches!(last.load(), Err(ReadError::OutOfRange { .. })));
}

#[test]
fn a_read_that_was_planned_before_a_trim_is_out_of_range_after_it() {
    let (_sim, _dir, log) = shelf_behind_one_handle(2);
    let plan = log.read(&read_at(1)).unwrap();
    log.trim_to(offset(9)).unwrap();
    assert!(matches!(plan.load(), Err(ReadError::OutOfRange { .. })));
    assert_eq!(values(&log).len(), 3);
}

#[test]
fn a_read_that_was_planned_before_a_truncation_answers_from_the_copy() {
    let (_sim, _dir, log) = shelf_behind_one_handle(3);
    let kept = log.read(&read_at(3)).unwrap();
    let cut = log.read(&read_at(5)).unwrap();
    // Inside of a sealed segment: its first bytes are copied and take its place.
    log.truncate_to(offset(4)).unwrap();
    let answer = kept.load().unwrap();
    assert_eq!((answer.range.start, answer.range.end), (offset(3), offset(4)));
    assert!(matches!(cut.load(), Err(ReadError::OutOfRange { .. })));
}

#[test]
fn an_answer_keeps_its_bytes_whatever_becomes_of_their_map() {
    let (sim, _dir, log) = shelf_behind_one_handle(4);
    let answers: Vec<_> = (0..8).map(|from| log.read(&read_at(from)).unwrap().load().unwrap()).collect();
    log.trim_to(offset(11)).unwrap();
    for (number, answer) in (0..).zip(&answers) {
        let batches = crate::world::split(&answer.extents[0]);
        let records = batches[0].records().unwrap();
        assert_eq!(records.views().next().unwrap().unwrap().value.unwrap()[0], number);
    }
    assert!(sim.disk().live_maps().now > 1);
    drop(answers);
    assert!(sim.disk().live_maps().now <= 1);
}

#[test]
fn an_append_without_an_open_file_is_refused_and_the_next_one_is_taken() {
    let sim = Sim::new(5);
    let dir = LogDir::open(&sim.env(), tight(1, 8)).unwrap().dir;
    let logs: Vec<_> = (0..6).map(|index| dir.create(meta(index), small()).unwrap()).collect();
    for log in &logs {
        append(log, b"first").unwrap();
    }
    // Idle files of other logs are closed for it.
    sim.disk().set_handles_max(HandlesMax { files: 2, maps: 100 });
    for log in &logs {
        append(log, b"second").unwrap();
    }
    sim.disk().set_handles_max(HandlesMax { files: 3, maps: 100 });
    for log in &logs {
        append(log, b"third").unwrap();
        assert_eq!(values(log).len(), 3);
    }
    // Nothing is idle: two files wait for their sync, and the marks take the third handle.
    let hold = sim.calls().hold(CallKind::SyncData);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = logs[..2].iter().map(|log| scope.spawn(|| append(log, b"fourth"))).collect();
        hold.wait_for(2);
        assert_eq!(append(&logs[2], b"refused"), Err(AppendError::OutOfFiles));
        let request = read_at(0);
        assert_eq!(logs[2].read(&request).unwrap().load().unwrap_err(), ReadError::OutOfFiles);
        hold.release();
        for append in waiting {
            append.join().unwrap().unwrap();
        }
    });
    assert_eq!(append(&logs[2], b"fourth").unwrap().base_offset, offset(3));
    dir.close().unwrap();
    drop((dir, logs));
    sim.disk().set_handles_max(HandlesMax { files: 100, maps: 100 });
    let dir = LogDir::open(&sim.env(), tight(8, 8)).unwrap().dir;
    assert!(dir.start_report().clean);
    for index in 0..6 {
        let log = dir.open_log(partition(index), small()).unwrap();
        assert_eq!(values(&log).len(), if index < 3 { 4 } else { 3 });
    }
}

#[test]
fn the_janitor_without_open_files_comes_back_later() {
    let (sim, dir, log) = shelf_behind_one_handle(6);
    for number in 12..24_u8 {
        append(&log, &vec![number; 20_000]).unwrap();
    }
    sim.disk().inject(Fault::too_many_files(CallKind::Create).for_ever());
    sim.disk().inject(Fault::too_many_files(CallKind::Open).for_ever());
    dir.janitor_step();
    sim.disk().heal();
    dir.janitor_step();
    append(&log, b"still taken").unwrap();
    assert_eq!(values(&log).len(), 25);
    dir.close().unwrap();
}

#[test]
fn a_machine_without_maps_reads_into_memory() {
    let (sim, _dir, log) = shelf_behind_one_handle(7);
    sim.disk().set_handles_max(HandlesMax { files: 100, maps: 0 });
    assert_eq!(values(&log).len(), 12);
    assert_eq!(log.offset_for_time(TimestampMs(1)).unwrap().unwrap().offset, offset(0));
}

#[test]
fn a_clean_start_opens_no_sealed_segment() {
    let (sim, dir, log) = shelf_behind_one_handle(8);
    dir.close().unwrap();
    drop((dir, log));
    sim.calls().reset();
    let dir = LogDir::open(&sim.env(), tight(8, 8)).unwrap().dir;
    let log = dir.open_log(partition(0), small()).unwrap();
    let opened = sim.calls().log();
    let opened = opened
        .iter()
        .filter(|c| c.call.kind == CallKind::Open && c.call.path.extension().is_some_and(|e| e == "log"));
    assert_eq!(opened.count(), 1, "the active one");
    assert_eq!(values(&log).len(), 12);
}

/// The open files and maps of this process that lie in a directory, as the kernel counts them.
#[expect(clippy::disallowed_methods, reason = "asks the kernel about this process")]
fn held_in(home: &std::path::Path) -> (usize, usize) {
    let home = home.to_str().unwrap();
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    let is_ours = |path: &PathBuf| path.to_str().is_some_and(|path| path.starts_with(home));
    let files = targets.filter(is_ours).count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    (files, maps.lines().filter(|line| line.contains(home)).count())
}

/// On the real file system: makes partitions, half of them with a sealed segment, and reads them all after a start.
fn many_partitions(partitions: u32, limits: HandleLimits) {
    let home = tempfile::tempdir().unwrap();
    let open = || {
        let path = home.path().to_owned();
        let options = LogDirOptions { path, handles: Some(limits), ..options(0) };
        LogDir::open(&millrace_env::real::env(), options).unwrap().dir
    };
    let dir = open();
    for index in 0..partitions {
        let log = dir.create(meta(index), small()).unwrap();
        let records = if index % 2 == 0 { 1 } else { 4 };
        for number in 0..records {
            append(&log, &[number; 20_000]).unwrap();
        }
    }
    dir.janitor_step();
    dir.close().unwrap();
    drop(dir);
    assert_eq!(held_in(home.path()), (0, 0));
    for clean in [true, false] {
        let dir = open();
        assert_eq!(dir.start_report().clean, clean);
        let logs: Vec<_> =
            (0..partitions).map(|index| dir.open_log(partition(index), small()).unwrap()).collect();
        // The synced marks and the lock of the directory are open besides.
        let (files, maps) = held_in(home.path());
        assert!(files <= limits.files + 2 && maps == 0, "{files} files, {maps} maps when idle");
        for (index, log) in logs.iter().enumerate() {
            assert_eq!(values(log).len(), if index % 2 == 0 { 1 } else { 4 });
        }
        let (files, maps) = held_in(home.path());
        assert!(files <= limits.files + 2 && maps <= limits.maps, "{files} files, {maps} maps once read");
        assert!(maps > 0, "sealed segments are mapped");
    }
}

#[test]
fn more_partitions_than_files_are_idle_and_readable() {
    many_partitions(150, HandleLimits { files: 40, maps: 24 });
}

/// `cargo test --release -p millrace-log --test engine -- --ignored ten_thousand`
#[test]
#[ignore = "a soak: minutes of syncs"]
fn ten_thousand_partitions_are_idle_and_readable_behind_the_share_of_twenty_thousand_files() {
    many_partitions(10_000, HandleLimits::within(HandlesMax { files: 20_000, maps: 65_530 }));
}
