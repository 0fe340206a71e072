//! On the real file system, with many threads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_env::{EntryKind, real};
use millrace_log::{AppendError, Log, LogConfig, LogDir, LogDirOptions, ReadRequest, TimestampType};
use millrace_types::NodeId;

use crate::world::{append, batch, batch_at, batches, meta, offset, partition, small, split, stamp, values};

fn open(path: &std::path::Path, tail_cache_bytes: usize) -> Arc<LogDir> {
    let options = LogDirOptions { path: path.to_owned(), node: NodeId(1), tail_cache_bytes, handles: None };
    LogDir::open(&real::env(), options).unwrap().dir
}

/// Every acknowledged record is read once, at its offset, while it is written, rolled, sealed and trimmed.
#[test]
fn many_writers_and_readers_agree_on_every_record() {
    let home = tempfile::tempdir().unwrap();
    let dir = open(home.path(), 200_000);
    let log = dir.create(meta(0), small()).unwrap();
    let done = AtomicBool::new(false);
    let acked = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8_u32)
            .map(|writer| {
                scope.spawn({
                    let log = &log;
                    move || write(log, writer)
                })
            })
            .collect();
        let reader = scope.spawn(|| follow(&log, &done));
        let janitor = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                dir.janitor_step();
                std::thread::yield_now();
            }
        });
        let ended: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::SeqCst);
        let seen = reader.join().unwrap();
        janitor.join().unwrap();
        let acked: BTreeSet<_> = ended.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), acked);
        acked
    });
    assert_eq!(acked.len(), 8 * 60);
    dir.close().unwrap();
    drop((dir, log));
    let dir = open(home.path(), 0);
    let log = dir.open_log(partition(0), small()).unwrap();
    assert_eq!(values(&log).into_iter().collect::<BTreeSet<_>>(), acked);
}

fn write(log: &Log, writer: u32) -> Vec<(i64, Vec<u8>)> {
    let mut acked = Vec::new();
    let mut flying = Vec::new();
    for number in 0..60_u32 {
        let size = [20, 3000, 20_000][(number % 3) as usize];
        let mut value = vec![u8::try_from(writer).unwrap(); size];
        value[..4].copy_from_slice(&number.to_be_bytes());
        let stamp = stamp(writer.into(), i32::try_from(number).unwrap());
        flying.push((log.append(batch_at(1, &[&value], stamp)).unwrap(), value));
        if flying.len() == 4 {
            for (ticket, value) in flying.drain(..) {
                acked.push((ticket.wait().unwrap().base_offset.get(), value));
            }
        }
    }
    acked
}

/// Reads what comes until `done`, and then the rest.
fn follow(log: &Log, done: &AtomicBool) -> Vec<(i64, Vec<u8>)> {
    let mut seen = Vec::new();
    let mut from = offset(0);
    loop {
        let last_round = done.load(Ordering::SeqCst);
        let plan = log.read(&ReadRequest { from, until: None, bytes_max: 50_000 }).unwrap();
        let answer = plan.load().unwrap();
        if let Some(resident) = plan.load_resident() {
            assert_eq!(resident.unwrap().extents, answer.extents);
        }
        for batch in answer.extents.iter().flat_map(split) {
            assert_eq!(batch.base_offset(), from);
            from = batch.next_offset();
            let records = batch.records().unwrap();
            for record in records.views() {
                let record = record.unwrap();
                seen.push((records.offset_of(&record).get(), record.value.unwrap().to_vec()));
            }
        }
        assert_eq!(answer.range.end, from);
        if answer.extents.is_empty() && last_round {
            return seen;
        }
        std::thread::yield_now();
    }
}

#[test]
fn many_partitions_come_and_go_beside_the_janitor() {
    let home = tempfile::tempdir().unwrap();
    let dir = open(home.path(), 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4_u32)
            .map(|worker| {
                scope.spawn({
                    let dir = &dir;
                    move || {
                        for round in 0..10 {
                            let log = dir.create(meta(worker), small()).unwrap();
                            for _ in 0..10 {
                                append(&log, &[7; 20_000]).unwrap();
                            }
                            if round % 2 == 0 {
                                log.truncate_to(offset(3)).unwrap();
                            } else {
                                log.trim_to(offset(8)).unwrap();
                            }
                            dir.delete(partition(worker)).unwrap();
                            assert_eq!(append(&log, b"late"), Err(AppendError::Closed));
                        }
                    }
                })
            })
            .collect();
        let janitor = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                dir.janitor_step();
            }
        });
        let ended: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::SeqCst);
        ended.into_iter().for_each(|worker| worker.unwrap());
        janitor.join().unwrap();
    });
    dir.janitor_step();
    dir.close().unwrap();
    let entries = real::env().fs.read_dir(home.path()).unwrap();
    let left = entries.iter().filter(|entry| entry.kind == EntryKind::Dir).count();
    assert_eq!(left, 0, "the directories of deleted logs are unlinked");
}

#[test]
fn a_log_that_sets_the_time_writes_batches_that_check() {
    let home = tempfile::tempdir().unwrap();
    let dir = open(home.path(), 100_000);
    let config = LogConfig { timestamp_type: TimestampType::LogAppend, ..LogConfig::default() };
    let log = dir.create(meta(0), config).unwrap();
    let appended = log.append(batch_at(5, &[b"a", b"b"], stamp(1, 0))).unwrap().wait().unwrap();
    let time = appended.log_append_time.unwrap();
    assert!(time.0 > 1_000_000);
    let retry = log.append(batch_at(5, &[b"a", b"b"], stamp(1, 0))).unwrap().wait().unwrap();
    assert_eq!((retry.log_append_time, retry.duplicate), (Some(time), true));
    let stored = batches(&log);
    assert_eq!(stored[0].max_timestamp(), time);
    assert!(stored[0].header().attributes.is_log_append_time());
    let hit = log.offset_for_time(time).unwrap().unwrap();
    assert_eq!((hit.offset, hit.timestamp), (offset(0), time));
}

#[test]
fn the_time_near_an_offset_is_that_of_its_batch_wherever_it_lies() {
    let home = tempfile::tempdir().unwrap();
    let dir = open(home.path(), 0);
    let log = dir.create(meta(0), small()).unwrap();
    assert_eq!(log.time_near(offset(0)).unwrap(), None, "there is nothing");
    for time in 0..100 {
        log.append(batch_at(1000 + time, &[b"a", b"b"], None)).unwrap().wait().unwrap();
    }
    dir.janitor_step();
    let near = |number: u64| log.time_near(offset(number)).unwrap().map(|time| time.0);
    for number in 0..200 {
        assert_eq!(near(number), Some(1000 + number.cast_signed() / 2), "{number}");
    }
    assert_eq!((near(200), near(1000)), (None, None));
    log.trim_to(offset(51)).unwrap();
    assert_eq!(near(3), Some(1025), "what is gone is read no more");
}

#[test]
fn live_readers_are_served_from_memory_and_share_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = open(home.path(), 1_000_000);
    let log = dir.create(meta(0), LogConfig::default()).unwrap();
    let large = vec![9; 100_000];
    log.append(batch(&[&large])).unwrap().wait().unwrap();
    append(&log, b"small").unwrap();
    let read = || log.read(&ReadRequest { from: offset(0), until: None, bytes_max: 200_000 }).unwrap();
    assert!(read().is_resident());
    assert_eq!(read().size_bytes() as u64, log.size_bytes());
    let (one, other) = (read().load().unwrap(), read().load().unwrap());
    assert_eq!(one.range.end, offset(2));
    assert_eq!(one.extents[0].as_ptr(), other.extents[0].as_ptr(), "two readers share the bytes");
    for _ in 0..20 {
        log.append(batch(&[&large])).unwrap().wait().unwrap();
    }
    let old = read();
    assert!(!old.is_resident(), "the cache is bounded");
    let loaded = old.load().unwrap();
    assert_eq!(loaded.range.start, offset(0));
    // What was just read is in the page cache; a file system that cannot tell says nothing.
    if let Some(resident) = old.load_resident() {
        assert_eq!(resident.unwrap().extents, loaded.extents);
    }
}
