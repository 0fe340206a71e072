//! A disk without room, at every single call that may ask for some, in a history that does everything that a full disk
//! allows. In the same process it goes on as soon as there is room.

use std::io;
use std::sync::Arc;

use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim, Survival};
use millrace_log::{AppendError, DirError, Log, LogDir, StorageLevel};

use crate::world::{
    append, batch_at, fresh, meta, offset, open_dir, partition, reopen, small, stamp, values,
};

/// The calls that a file system may refuse for want of room.
const KINDS: [CallKind; 6] = [
    CallKind::Write,
    CallKind::Allocate,
    CallKind::Create,
    CallKind::CreateDir,
    CallKind::Rename,
    CallKind::SetLen,
];
const MIB: u64 = 1024 * 1024;

/// How long the disk is full.
#[derive(Clone, Copy, Debug)]
enum Full {
    /// For one call.
    Once,
    /// Until somebody makes room.
    UntilHealed,
}

/// A log, and what it must hold.
struct History {
    log: Arc<Log>,
    dir: Arc<LogDir>,
    acked: Vec<(i64, Vec<u8>)>,
    log_start: i64,
    next: u32,
    sequence: i32,
    refusals: usize,
}

/// A disk without room is the only thing that may be wrong.
fn expect_full(result: Result<(), DirError>) -> bool {
    match result {
        Ok(()) => true,
        Err(DirError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => false,
        Err(other) => panic!("{other}"),
    }
}

impl History {
    /// Appends values that are never repeated: a refused one must not be found later.
    fn append(&mut self, count: usize) {
        for _ in 0..count {
            let value = format!("{:0>3000}", self.next).into_bytes();
            self.next += 1;
            let batch = batch_at(1, &[&value], stamp(5, self.sequence));
            match self.log.append(batch).unwrap().wait() {
                Ok(appended) => {
                    assert!(!appended.duplicate);
                    self.acked.push((appended.base_offset.get(), value));
                    self.sequence += 1;
                }
                Err(AppendError::StorageFull) => self.refusals += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }

    fn trim(&mut self, to: u64) {
        let to = offset(to.min(self.acked.len() as u64));
        if expect_full(self.log.trim_to(to)) {
            self.log_start = self.log_start.max(to.get());
        }
    }

    /// Whether partition 1 is gone, or was never there whole.
    fn delete(&self) -> bool {
        match self.dir.delete(partition(1)) {
            Err(DirError::Conflict(_)) => true,
            other => expect_full(other),
        }
    }

    fn create_and_delete(&self) {
        // What an earlier one has left: a deletion that found no room is repeated, as the broker does.
        if !self.delete() {
            return;
        }
        match self.dir.create(meta(1), small()) {
            Ok(other) => match append(&other, b"short-lived") {
                Ok(_) | Err(AppendError::StorageFull) => {}
                Err(error) => panic!("{error}"),
            },
            Err(error) => {
                expect_full(Err(error));
            }
        }
        self.delete();
    }

    fn live(&mut self) {
        self.append(30);
        self.dir.janitor_step();
        self.append(20);
        self.trim(25);
        self.create_and_delete();
        self.dir.janitor_step();
        self.append(20);
    }

    fn check(&self, log: &Log) {
        let expected: Vec<_> = self.acked.iter().filter(|(at, _)| *at >= self.log_start).cloned().collect();
        let found = values(log);
        let differ = found.iter().zip(&expected).position(|(one, other)| one != other);
        assert_eq!((differ, found.len()), (None, expected.len()));
        assert_eq!(log.offsets().log_start.get(), self.log_start);
    }
}

/// One history with ENOSPC at the `n`th call of `kind`. Answers whether there was such a call.
fn strike(kind: CallKind, n: u64, full: Full) -> bool {
    let (sim, dir, log) = fresh(n);
    let mut history =
        History { log, dir, acked: Vec::new(), log_start: 0, next: 0, sequence: 0, refusals: 0 };
    let fault = Fault::no_space(kind).after(n);
    let calls = sim.calls().count(kind);
    sim.disk().inject(match full {
        Full::Once => fault,
        Full::UntilHealed => fault.for_ever(),
    });
    history.live();
    let struck = sim.calls().count(kind) - calls > n;
    history.check(&history.log);
    sim.disk().heal();
    let refusals = history.refusals;
    history.append(30);
    assert_eq!(history.refusals, refusals, "there is room again");
    history.trim(40);
    history.create_and_delete();
    history.dir.janitor_step();
    history.dir.janitor_step();
    history.check(&history.log);
    let stop_is_clean = n.is_multiple_of(2);
    if stop_is_clean {
        history.dir.close().unwrap();
    }
    let env = if n.is_multiple_of(3) { sim.power_cut(Survival::Random) } else { sim.kill() };
    let (dir, log) = reopen(&env);
    history.check(&log);
    let report = dir.start_report();
    assert_eq!((report.clean, report.damaged), (stop_is_clean, Vec::new()));
    assert_eq!(append(&log, b"on").unwrap().base_offset.get(), history.acked.len().cast_signed() as i64);
    struck
}

fn strike_everywhere(kind: CallKind, full: Full) -> u64 {
    let mut n = 0;
    loop {
        let outcome = std::panic::catch_unwind(|| strike(kind, n, full));
        match outcome {
            Ok(true) => n += 1,
            Ok(false) => return n,
            Err(panic) => {
                eprintln!("no room at call {n} of {kind:?}, {full:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

#[test]
fn wherever_the_room_ends_once_nothing_acknowledged_is_lost_and_nothing_refused_appears() {
    let struck: u64 = KINDS.into_iter().map(|kind| strike_everywhere(kind, Full::Once)).sum();
    assert!(struck > 120, "{struck} calls");
}

#[test]
fn wherever_the_room_ends_the_log_goes_on_in_the_same_process_once_there_is_some() {
    let struck: u64 = KINDS.into_iter().map(|kind| strike_everywhere(kind, Full::UntilHealed)).sum();
    assert!(struck > 100, "{struck} calls");
}

#[test]
fn a_clean_stop_without_room_leaves_an_unclean_directory_and_loses_nothing() {
    for kind in KINDS {
        for n in 0.. {
            let (sim, dir, log) = fresh(n);
            let acked: Vec<_> = (0..40).map(|_| append(&log, &[7; 3000]).unwrap()).collect();
            let before = sim.calls().count(kind);
            sim.disk().inject(Fault::no_space(kind).after(n));
            let closed = expect_full(dir.close());
            let struck = sim.calls().count(kind) - before > n;
            assert!(closed || struck);
            sim.disk().heal();
            drop((dir, log));
            let (dir, log) = reopen(&sim.kill());
            assert_eq!((dir.start_report().clean, dir.start_report().damaged), (closed, Vec::new()));
            assert_eq!(values(&log).len(), acked.len());
            if !struck {
                break;
            }
        }
    }
}

/// A disk of which so much is free, and nothing in use but an empty log.
fn small_disk(seed: u64, bytes: u64) -> (Sim, Arc<LogDir>, Arc<Log>) {
    let sim = Sim::new(seed);
    sim.disk().set_space_left(bytes);
    let dir = open_dir(&sim.env());
    let log = dir.create(meta(0), small()).unwrap();
    (sim, dir, log)
}

#[test]
fn a_fast_producer_is_refused_before_it_reaches_the_reserve_without_any_second_passing() {
    let (sim, dir, log) = small_disk(1, 64 * MIB);
    let value = vec![9; 60_000];
    let mut acked = 0;
    while append(&log, &value).is_ok() {
        acked += 1;
    }
    let room = dir.storage();
    assert_eq!((room.level, append(&log, &value)), (StorageLevel::Full, Err(AppendError::StorageFull)));
    assert!(room.available >= room.reserve() - 100_000, "{room:?}");
    assert_eq!(sim.calls().tally(CallKind::Write).failed, 0, "refused before anything was written");
    // Reads, trims and what the janitor writes go on.
    assert_eq!(values(&log).len(), acked);
    dir.janitor_step();
    log.trim_to(offset(acked as u64 - 10)).unwrap();
    dir.janitor_step();
    assert_eq!(dir.storage().level, StorageLevel::Ample);
    assert_eq!(append(&log, &value).unwrap().base_offset, offset(acked as u64));
}

#[test]
fn a_retry_of_what_is_stored_is_answered_also_when_the_disk_is_full() {
    let (_sim, dir, log) = small_disk(2, 64 * MIB);
    let first = log.append(batch_at(1, &[b"a"], stamp(5, 0))).unwrap().wait().unwrap();
    while append(&log, &[9; 60_000]).is_ok() {}
    let more = log.append(batch_at(1, &[b"b"], stamp(5, 1))).unwrap().wait();
    assert_eq!((dir.storage().level, more), (StorageLevel::Full, Err(AppendError::StorageFull)));
    let retry = log.append(batch_at(1, &[b"a"], stamp(5, 0))).unwrap().wait().unwrap();
    assert_eq!((retry.base_offset, retry.duplicate), (first.base_offset, true));
}

#[test]
fn a_gap_that_a_full_disk_has_made_is_called_so_while_it_is_full() {
    let (_sim, dir, log) = small_disk(2, 64 * MIB);
    let append_at = |sequence| log.append(batch_at(1, &[b"a"], stamp(5, sequence))).unwrap().wait();
    append_at(0).unwrap();
    let mut filled = 1;
    while append(&log, &[9; 60_000]).is_ok() {
        filled += 1;
    }
    assert_eq!((dir.storage().level, append_at(1)), (StorageLevel::Full, Err(AppendError::StorageFull)));
    assert_eq!(
        append_at(2),
        Err(AppendError::StorageFull),
        "the one before it was refused for the same reason"
    );
    log.trim_to(offset(filled - 10)).unwrap();
    dir.janitor_step();
    assert_eq!(append_at(2), Err(AppendError::OutOfOrderSequence { expected: 1, found: 2 }));
    assert!(append_at(1).is_ok() && append_at(2).is_ok());
}

#[test]
fn nothing_is_made_ahead_of_need_on_a_disk_that_is_nearly_full() {
    let (sim, dir, log) = small_disk(3, 64 * MIB);
    while dir.storage().level < StorageLevel::Scarce {
        append(&log, &[9; 30_000]).unwrap();
        dir.janitor_step();
    }
    let (before, segments) = (sim.calls().count(CallKind::Allocate), sim.calls().count(CallKind::Rename));
    for _ in 0..6 {
        append(&log, &[9; 30_000]).unwrap();
    }
    dir.janitor_step();
    assert!(sim.calls().count(CallKind::Rename) > segments, "it rolls all the same");
    assert_eq!(sim.calls().count(CallKind::Allocate), before);
}
