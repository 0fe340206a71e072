//! The scrub: what nobody reads is read back from the medium, and what is found is one notion of damage.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::counting::CallKind;
use millrace_env::sim::Sim;
use millrace_log::names::{SegmentFile, partition_dir, segment_file};
use millrace_log::{Log, LogConfig, LogDir, ReadError, ReadRequest};
use millrace_types::limits::{SCRUB_STEP_BYTES_MAX, SCRUB_WITHIN_MS};

use crate::world::{append, batch, fresh, meta, offset, open_dir, partition, reopen, small};

fn path(index: u32, base: u64, file: SegmentFile) -> PathBuf {
    PathBuf::from("/data").join(partition_dir(partition(index))).join(segment_file(offset(base), file))
}

/// A log of several small sealed segments.
fn sealed_log(seed: u64) -> (Sim, Arc<LogDir>, Arc<Log>) {
    let (sim, dir, log) = fresh(seed);
    for _ in 0..120 {
        append(&log, &[1; 2000]).unwrap();
    }
    dir.janitor_step();
    (sim, dir, log)
}

/// Steps the janitor for so many simulated hours.
fn hours(sim: &Sim, dir: &LogDir, hours: u64) {
    for _ in 0..hours * 6 {
        sim.clock().advance(Duration::from_secs(600));
        dir.janitor_step();
    }
}

fn read_at(log: &Log, from: u64) -> Result<(), ReadError> {
    log.read(&ReadRequest { from: offset(from), until: None, bytes_max: 1 }).unwrap().load().map(|_| ())
}

#[test]
fn rot_that_nobody_reads_is_found_within_seven_days_and_answered_as_corrupt() {
    let (sim, dir, log) = sealed_log(1);
    hours(&sim, &dir, 30);
    assert_eq!((dir.damaged_ranges(), dir.scrub_report().damage_found), (0, 0));
    assert!(dir.scrub_report().pass_ended.is_some());
    sim.disk().flip_bit(&path(0, 0, SegmentFile::Log), 30_000, 3).unwrap();
    // The cache still holds the good byte, and a read of it says nothing of the medium.
    read_at(&log, 0).unwrap();
    hours(&sim, &dir, SCRUB_WITHIN_MS / 3_600_000 - 30);
    assert_eq!((dir.damaged_ranges(), dir.scrub_report().damage_found), (1, 1));
    let found = log.damaged().remove(0);
    assert_eq!(found.path, path(0, 0, SegmentFile::Log));
    assert!(found.bytes.contains(&30_000) && found.offsets.start <= offset(14), "{found}");
    let Err(ReadError::Corrupt(range)) = read_at(&log, 14) else { panic!("rot is served") };
    // Whoever skips the range reads on.
    read_at(&log, u64::try_from(range.end.get()).unwrap()).unwrap();
    append(&log, b"and on").unwrap();
}

#[test]
fn rot_under_a_map_that_is_in_use_is_found_on_the_medium() {
    let (sim, dir, log) = sealed_log(2);
    // A slice of the map: its pages cannot be dropped from the cache.
    let held = log.read(&ReadRequest { from: offset(0), until: None, bytes_max: 1 }).unwrap().load().unwrap();
    sim.disk().flip_bit(&path(0, 0, SegmentFile::Log), 100, 0).unwrap();
    hours(&sim, &dir, 1);
    assert_eq!(dir.damaged_ranges(), 1);
    assert!(matches!(read_at(&log, 0), Err(ReadError::Corrupt(_))));
    drop(held);
}

#[test]
fn rotten_and_missing_files_beside_the_log_are_reported_and_change_no_answer() {
    for (file, gone) in [
        (SegmentFile::OffsetIndex, false),
        (SegmentFile::TimeIndex, false),
        (SegmentFile::Seal, false),
        (SegmentFile::Seal, true),
        (SegmentFile::OffsetIndex, true),
    ] {
        let (sim, dir, log) = sealed_log(3);
        let path = path(0, 0, file);
        if gone {
            sim.env().fs.unlink(&path).unwrap();
        } else {
            sim.disk().flip_bit(&path, 9, 1).unwrap();
        }
        hours(&sim, &dir, 1);
        let damaged = log.damaged();
        assert_eq!(damaged.iter().map(|range| &range.path).collect::<Vec<_>>(), [&path]);
        assert_eq!(damaged[0].offsets.start, damaged[0].offsets.end);
        for from in 0..120 {
            read_at(&log, from).unwrap();
        }
    }
}

/// A log with three times as many sealed bytes as one step may read.
fn large_log(seed: u64) -> (Sim, Arc<LogDir>, Arc<Log>) {
    let (sim, dir, _small) = fresh(seed);
    let config = LogConfig { segment_bytes: 4 << 20, ..LogConfig::default() };
    let log = dir.create(meta(1), config).unwrap();
    for _ in 0..60 {
        log.append(batch(&[&vec![7; 1_000_000]])).unwrap().wait().unwrap();
    }
    dir.janitor_step();
    (sim, dir, log)
}

#[test]
fn no_step_reads_more_than_its_bound() {
    let (sim, dir, _log) = large_log(4);
    let mut steps = 0;
    while !dir.scrub_report().pass_ended.is_some() {
        let before = (sim.calls().tally(CallKind::Read).bytes, dir.scrub_report().bytes_read);
        // Long enough for the pace to allow all of it at once.
        sim.clock().advance(Duration::from_secs(3600));
        dir.janitor_step();
        let read = sim.calls().tally(CallKind::Read).bytes - before.0;
        assert!(read <= SCRUB_STEP_BYTES_MAX, "{read} bytes in one step");
        assert!(dir.scrub_report().bytes_read - before.1 <= SCRUB_STEP_BYTES_MAX);
        steps += 1;
        assert!(steps < 20);
    }
    assert!(steps >= 3, "{steps} steps");
    assert!(dir.scrub_report().bytes_read >= 56_000_000);
    // The next pass is not due before its time.
    let bytes = dir.scrub_report().bytes_read;
    hours(&sim, &dir, 48);
    assert_eq!(dir.scrub_report().bytes_read, bytes);
}

#[test]
fn a_pass_goes_on_where_the_process_before_left_off() {
    let (sim, dir, log) = large_log(5);
    for _ in 0..3 {
        sim.clock().advance(Duration::from_secs(100));
        dir.janitor_step();
    }
    let first = dir.scrub_report().bytes_read;
    assert!(first > 8 << 20, "{first}");
    drop((dir, log));
    let env = sim.kill();
    let dir = open_dir(&env);
    dir.open_log(partition(0), small()).unwrap();
    dir.open_log(partition(1), LogConfig { segment_bytes: 4 << 20, ..LogConfig::default() }).unwrap();
    for _ in 0..60 {
        sim.clock().advance(Duration::from_secs(60));
        dir.janitor_step();
    }
    let report = dir.scrub_report();
    assert!(report.pass_ended.is_some());
    let total = first + report.bytes_read;
    assert!((56_000_000..66_000_000).contains(&total), "{first} and {} bytes", report.bytes_read);
}

#[test]
fn damage_that_the_start_finds_is_listed_as_what_the_scrub_finds() {
    let (sim, dir, log) = fresh(6);
    for _ in 0..10 {
        append(&log, &[1; 500]).unwrap();
    }
    dir.janitor_step();
    drop((dir, log));
    sim.disk().flip_bit(&path(0, 0, SegmentFile::Log), 5000, 0).unwrap();
    let (dir, log) = reopen(&sim.power_cut(millrace_env::sim::Survival::Nothing));
    let found: Vec<_> = (0..10).filter(|from| read_at(&log, *from).is_err()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((dir.damaged_ranges(), log.damaged()[0].offsets.start), (1, offset(found[0])));
}
