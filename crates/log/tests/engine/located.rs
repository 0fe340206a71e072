//! Ranges of files are what a read would have loaded, and stay it whatever becomes of the log.

use std::path::Path;
use std::sync::Arc;

use millrace_env::sim::Survival;
use millrace_env::{Env, OpenMode, real};
use millrace_log::{Extent, Log, LogConfig, LogDir, LogDirOptions, ReadAnswer, ReadError, ReadRequest};
use millrace_types::limits::FILE_RANGE_BYTES_MIN;

use crate::world::{append, batch, fresh, meta, offset, options, partition, reopen};

const ALL: usize = 64 << 20;

/// What is sent for an answer.
fn sent(answer: &ReadAnswer<Extent>) -> Vec<u8> {
    let mut all = Vec::new();
    for extent in &answer.extents {
        match extent {
            Extent::Memory(bytes) => all.extend_from_slice(bytes),
            Extent::File(range) => {
                let mut bytes = vec![0; range.len()];
                range.file().read_exact_at(&mut bytes, range.bytes().start).unwrap();
                all.extend_from_slice(&bytes);
            }
        }
    }
    all
}

fn is_in_file(answer: &ReadAnswer<Extent>) -> bool {
    answer.extents.iter().any(|extent| matches!(extent, Extent::File(_)))
}

fn locate(log: &Log, from: u64, bytes_max: usize) -> Result<ReadAnswer<Extent>, ReadError> {
    log.read(&ReadRequest { from: offset(from), until: None, bytes_max }).unwrap().locate()
}

/// Segments of a size that holds several ranges.
fn roomy() -> LogConfig {
    LogConfig { segment_bytes: 1 << 20, ..LogConfig::default() }
}

fn open(env: &Env, path: &Path) -> Arc<LogDir> {
    LogDir::open(env, LogDirOptions { path: path.to_owned(), ..options(0) }).unwrap().dir
}

/// Every place and every budget of a log answers the same bytes both ways. Tells how many answers lay in a file.
fn compare(log: &Log) -> usize {
    let end = log.offsets().end.get().cast_unsigned();
    let mut in_file = 0;
    for from in 0..end {
        let until = [None, Some(offset((from + 1 + from * 7 % 40).min(end)))][usize::from(from % 3 == 0)];
        for bytes_max in [1, FILE_RANGE_BYTES_MIN, 2 * FILE_RANGE_BYTES_MIN + 77, ALL] {
            let plan = log.read(&ReadRequest { from: offset(from), until, bytes_max }).unwrap();
            let (loaded, located) = (plan.load().unwrap(), plan.locate().unwrap());
            assert_eq!(located.range, loaded.range, "from {from} with {bytes_max}");
            assert!(sent(&located) == loaded.extents.concat(), "from {from} with {bytes_max}");
            if let Some(resident) = plan.locate_resident() {
                assert!(sent(&resident.unwrap()) == loaded.extents.concat());
            }
            in_file += usize::from(is_in_file(&located));
        }
    }
    in_file
}

fn fill(log: &Log) {
    for number in 0..100_u64 {
        let size = [40, 3000, 30_000, 200_000, 5000][usize::try_from(number * number % 11 % 5).unwrap()];
        let value = vec![u8::try_from(number).unwrap(); size];
        let more: Vec<&[u8]> = vec![&value; usize::try_from(1 + number % 3).unwrap()];
        log.append(batch(&more)).unwrap().wait().unwrap();
    }
}

#[test]
fn a_range_of_a_file_is_what_a_read_loads() {
    let home = tempfile::tempdir().unwrap();
    let sim = millrace_env::sim::Sim::new(11).env();
    for (env, path) in [(real::env(), home.path()), (sim, Path::new("/data"))] {
        let dir = open(&env, path);
        let log = dir.create(meta(0), roomy()).unwrap();
        fill(&log);
        let unsealed = compare(&log);
        dir.janitor_step();
        let sealed = compare(&log);
        assert!(unsealed > 100 && sealed > 100, "{unsealed} and {sealed} answers lay in a file");
        dir.close().unwrap();
        drop((log, dir));
        // Now the active segment is of an earlier process: it is read, and checked, and sealed ones are checked first.
        let dir = open(&env, path);
        let log = dir.open_log(partition(0), roomy()).unwrap();
        let reopened = compare(&log);
        assert!(reopened > 50 && reopened < sealed, "{reopened} of {sealed}");
        let last = log.offsets().end.saturating_sub(1);
        let last = log.read(&ReadRequest { from: last, until: None, bytes_max: ALL }).unwrap();
        assert!(!is_in_file(&last.locate().unwrap()));
    }
}

#[test]
fn what_is_in_memory_is_located_without_blocking() {
    let home = tempfile::tempdir().unwrap();
    let dir = open(&real::env(), home.path());
    let log = dir.create(meta(0), roomy()).unwrap();
    for _ in 0..40 {
        append(&log, &[7; 60_000]).unwrap();
    }
    dir.janitor_step();
    for from in [0, 30, 39] {
        let plan = log.read(&ReadRequest { from: offset(from), until: None, bytes_max: 500_000 }).unwrap();
        let located = plan.locate().unwrap();
        // A file system that cannot tell says nothing.
        if let Some(resident) = plan.locate_resident() {
            assert_eq!(sent(&resident.unwrap()), sent(&located));
        }
    }
}

#[test]
fn a_range_outlives_truncation_trim_reset_and_deletion() {
    for change in 0..5 {
        let (_sim, dir, log) = fresh(5);
        for number in 0..20 {
            append(&log, &[number; 300_000]).unwrap();
        }
        dir.janitor_step();
        let held: Vec<_> = [0, 10, 19].map(|from| locate(&log, from, ALL).unwrap()).into();
        assert!(held.iter().all(is_in_file));
        let before: Vec<_> = held.iter().map(sent).collect();
        match change {
            0 => log.truncate_to(offset(19)).unwrap(),
            1 => log.truncate_to(offset(0)).unwrap(),
            2 => log.trim_to(offset(20)).unwrap(),
            3 => log.reset_to(offset(0)).unwrap(),
            _ => dir.delete(partition(0)).unwrap(),
        }
        for number in 0..if change < 4 { 30 } else { 0 } {
            append(&log, &[100 + number; 290_000]).unwrap();
        }
        dir.janitor_step();
        let after: Vec<_> = held.iter().map(sent).collect();
        assert!(before == after, "change {change}");
    }
}

#[test]
fn nothing_above_the_high_watermark_is_in_a_range() {
    let (_sim, _dir, log) = fresh(6);
    for _ in 0..2 {
        append(&log, &[1; 20_000]).unwrap();
    }
    log.configure(roomy()).unwrap();
    for _ in 0..10 {
        append(&log, &[1; 20_000]).unwrap();
    }
    let unsynced: Vec<_> = (0..4).map(|_| log.append(batch(&[&[2; 20_000]])).unwrap()).collect();
    let located = locate(&log, 2, ALL).unwrap();
    assert_eq!((located.range.end, is_in_file(&located)), (offset(12), true));
    for ticket in unsynced {
        ticket.wait().unwrap();
    }
    let located = locate(&log, 2, ALL).unwrap();
    assert_eq!((located.range.end, is_in_file(&located)), (offset(16), true));
}

#[test]
fn damage_is_answered_as_a_read_answers_it_and_never_as_a_range() {
    let (sim, dir, log) = fresh(7);
    for number in 0..4 {
        append(&log, &[number; 300_000]).unwrap();
    }
    dir.close().unwrap();
    drop((dir, log));
    let env = sim.env();
    let path = format!("/data/{}/00000000000000000001.log", partition(0));
    let file = env.fs.open(Path::new(&path), OpenMode::ReadWrite).unwrap();
    file.write_all_at(&[0xff], 150_000).unwrap();
    file.sync_data().unwrap();
    let (_dir, log) = reopen(&env);
    for _ in 0..2 {
        assert!(is_in_file(&locate(&log, 0, ALL).unwrap()));
        assert!(matches!(locate(&log, 1, ALL), Err(ReadError::Corrupt(_))));
        assert!(is_in_file(&locate(&log, 2, ALL).unwrap()));
    }
}

#[test]
fn a_file_that_was_shortened_is_not_answered_as_a_range() {
    let (sim, dir, log) = fresh(8);
    for number in 0..3 {
        append(&log, &[number; 300_000]).unwrap();
    }
    dir.janitor_step();
    assert!(is_in_file(&locate(&log, 0, ALL).unwrap()));
    let path = format!("/data/{}/00000000000000000000.log", partition(0));
    let file = sim.env().fs.open(Path::new(&path), OpenMode::ReadWrite).unwrap();
    file.set_len(100_000).unwrap();
    assert!(matches!(locate(&log, 0, ALL), Err(ReadError::Corrupt(_))));
    assert!(is_in_file(&locate(&log, 1, ALL).unwrap()));
    drop((dir, log));
    let (_dir, log) = reopen(&sim.power_cut(Survival::Nothing));
    assert!(log.offsets().end == offset(3) && values_from(&log, 1) == 2);
}

fn values_from(log: &Log, from: u64) -> usize {
    let read = log.read(&ReadRequest { from: offset(from), until: None, bytes_max: ALL }).unwrap();
    let first = read.load().unwrap();
    let rest = log.read(&ReadRequest { from: first.range.end, until: None, bytes_max: ALL }).unwrap();
    first.extents.len() + rest.load().unwrap().extents.len()
}
