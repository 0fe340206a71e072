//! What somebody appends while the janitor is at work: synced by nobody, named by no mark, and ended by a power cut.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_env::counting::{Call, CallKind};
use millrace_env::sim::{Fault, Sim, Survival, Transfers};
use millrace_log::inspect::{Depth, Inspection};
use millrace_log::{Log, LogDir};
use millrace_types::TimestampMs;

use crate::world::{batch_at, fresh, reopen, values};

/// Appends records from number `first` on, once, in the janitor, right before a call of `kind` on a path with that end.
fn append_beside(
    sim: &Sim,
    (kind, end): (CallKind, &'static str),
    log: &Arc<Log>,
    numbers: std::ops::Range<u8>,
) {
    let (log, done) = (Arc::clone(log), AtomicBool::new(false));
    let hook = move |call: &Call| {
        if call.path.to_string_lossy().ends_with(end) && !done.swap(true, Ordering::SeqCst) {
            numbers.clone().for_each(|number| drop(log.append(record(number)).unwrap()));
        }
    };
    sim.calls().on_call(kind, Box::new(hook));
}

fn record(number: u8) -> millrace_record::Batch {
    batch_at(1_000 + i64::from(number), &[&[number; 5_000]], None)
}

/// Appends records, and waits for each.
fn append_all(log: &Log, numbers: std::ops::Range<u8>) {
    for number in numbers {
        log.append(record(number)).unwrap().wait().unwrap();
    }
}

/// Records `0..acked` are acknowledged, those up to `written` were appended beside the janitor. The power goes: what is
/// left is a prefix, and nobody speaks of damage.
fn is_a_prefix_after_a_cut((sim, dir, log): (Sim, Arc<LogDir>, Arc<Log>), acked: u8, written: u8) {
    assert_eq!(log.offsets().end.get(), i64::from(written), "the records came beside the janitor");
    drop((dir, log));
    let (dir, log) = reopen(&sim.power_cut(Survival::Random));
    assert_eq!(dir.start_report().damaged, Vec::<String>::new());
    let found = values(&log);
    assert!((usize::from(acked)..=usize::from(written)).contains(&found.len()), "{} are left", found.len());
    for ((offset, value), number) in found.iter().zip(0_u8..) {
        assert_eq!((*offset, value), (i64::from(number), &vec![number; 5_000]));
    }
}

#[test]
fn the_mark_leaves_out_what_was_appended_after_the_sync_before_it() {
    for seed in 0..20 {
        let (sim, dir, log) = fresh(seed);
        append_all(&log, 0..8);
        append_beside(&sim, (CallKind::Create, ".index"), &log, 8..10);
        dir.janitor_step();
        sim.calls().remove_hook(CallKind::Create);
        is_a_prefix_after_a_cut((sim, dir, log), 8, 10);
    }
}

#[test]
fn an_index_that_outlives_the_records_it_names_moves_no_end() {
    for seed in 0..200 {
        let (sim, dir, log) = fresh(seed);
        // Fifteen fill a segment, so that the janitor has one to seal.
        append_all(&log, 0..15);
        append_beside(&sim, (CallKind::Rename, ".seal.tmp"), &log, 15..22);
        dir.janitor_step();
        sim.calls().remove_hook(CallKind::Rename);
        is_a_prefix_after_a_cut((sim, dir, log), 15, 22);
    }
}

#[test]
fn what_is_appended_beside_a_lookup_by_time_hides_nothing_from_it() {
    let (sim, _dir, log) = fresh(1);
    append_all(&log, 0..4);
    // The first of these gets an index entry, the second one lies behind the last.
    for time in [1_100, 1_101] {
        log.append(batch_at(time, &[b"small"], None)).unwrap().wait().unwrap();
    }
    append_beside(&sim, (CallKind::Read, ".log"), &log, 150..155);
    let hit = log.offset_for_time(TimestampMs(1_101)).unwrap();
    sim.calls().remove_hook(CallKind::Read);
    assert_eq!(log.offsets().end.get(), 11, "the records came beside the lookup");
    assert_eq!(hit.map(|hit| hit.offset.get()), Some(5));
}

#[test]
fn a_full_disk_leaves_no_half_index_entry_for_others_to_follow() {
    for index in [".index", ".timeindex"] {
        for seed in 0..20 {
            let (sim, dir, log) = fresh(seed);
            append_all(&log, 0..4);
            dir.janitor_step();
            append_all(&log, 4..7);
            // What was written short is gone on with, and then there is no room.
            sim.disk().set_transfers(Transfers::Short);
            sim.disk().inject(Fault::no_space(CallKind::Write).on(index).after(1));
            dir.janitor_step();
            sim.disk().heal();
            append_all(&log, 7..10);
            dir.close().unwrap();
            drop((dir, log));
            let inspection = Inspection::open(sim.env().fs, Path::new("/data")).unwrap();
            let report = inspection.verify(Depth::Records);
            let findings: Vec<_> = report.partitions.iter().flat_map(|found| found.all_findings()).collect();
            assert!(findings.is_empty(), "seed {seed}: {findings:#?}");
        }
    }
}
