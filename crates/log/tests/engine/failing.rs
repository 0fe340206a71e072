//! Failed syncs, full disks, and what the next process makes of them.

use std::sync::mpsc;

use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim};
use millrace_log::{AppendError, DirError, LogConfig};

use crate::world::{
    append, batch, batch_at, fresh, meta, offset, open_dir, partition, reopen, small, stamp, values,
};

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_the_next_process_asks_the_medium() {
    let (sim, dir, log) = fresh(1);
    let other = dir.create(meta(1), small()).unwrap();
    append(&log, b"safe").unwrap();
    let (sender, receiver) = mpsc::channel();
    dir.on_fatal(Box::new(move |fatal| sender.send(fatal.reason).unwrap()));
    sim.disk().inject(Fault::io(CallKind::SyncData).on(".log"));
    let written = log.append(batch(&[b"lost"])).unwrap();
    let pending = other.append(batch(&[b"not synced"])).unwrap();
    assert!(matches!(written.wait(), Err(AppendError::StorageFailed(_))));
    assert!(receiver.try_recv().unwrap().contains("sync"));
    // The disk works again, and lies: nothing may count any more.
    assert!(matches!(pending.wait(), Err(AppendError::StorageFailed(_))));
    assert!(matches!(append(&log, b"more"), Err(AppendError::StorageFailed(_))));
    assert!(matches!(append(&other, b"more"), Err(AppendError::StorageFailed(_))));
    assert_eq!(log.offsets().high_watermark, offset(1));
    assert!(matches!(log.truncate_to(offset(0)), Err(DirError::Failed(_))));
    assert!(dir.close().is_err());
    drop((dir, log, other));
    // The cache still shows the lost batch, and its pages count as clean.
    let (dir, log) = reopen(&sim.kill());
    let report = dir.start_report();
    assert!(
        !report.clean && report.cache_may_be_lost,
        "what was written and is gone was not lost by a power cut"
    );
    assert_eq!(log.offsets().end, offset(1), "the lost batch is in the cache and not on the medium");
    assert_eq!(values(&log), [(0, b"safe".to_vec())]);
}

#[test]
fn a_failed_write_ends_the_directory() {
    let (sim, _dir, log) = fresh(2);
    sim.disk().inject(Fault::io(CallKind::Write).on(".log"));
    assert!(matches!(append(&log, b"x"), Err(AppendError::StorageFailed(_))));
    assert!(matches!(append(&log, b"y"), Err(AppendError::StorageFailed(_))));
}

#[test]
fn a_full_disk_refuses_and_leaves_nothing_half_done() {
    for calls in 0..3 {
        let (sim, dir, log) = fresh(3);
        log.append(batch_at(1, &[b"zero"], stamp(5, 0))).unwrap().wait().unwrap();
        sim.disk().inject(Fault::no_space(CallKind::Write).on(".log").after(calls).times(3));
        let mut sequence = 1;
        let mut refused = 0;
        while refused < 3 {
            match log.append(batch_at(1, &[&[4; 3000]], stamp(5, sequence))).unwrap().wait() {
                Ok(_) => sequence += 1,
                Err(AppendError::StorageFull) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        // The very same batch is welcome once there is room: the producer state did not take note of it.
        let appended = log.append(batch_at(1, &[&[4; 3000]], stamp(5, sequence))).unwrap().wait().unwrap();
        assert_eq!((appended.base_offset.get(), appended.duplicate), (i64::from(sequence), false));
        let expected = values(&log);
        assert_eq!(expected.len(), usize::try_from(sequence).unwrap() + 1);
        drop((dir, log));
        let (dir, log) = reopen(&sim.kill());
        assert_eq!(values(&log), expected);
        assert_eq!(dir.start_report().cut, Vec::<String>::new());
    }
}

#[test]
fn a_disk_that_fills_up_keeps_what_was_acknowledged() {
    let (sim, dir, log) = fresh(4);
    sim.disk().set_space_left(400_000);
    let mut acked = 0_u64;
    let error = loop {
        match append(&log, &[9; 20_000]) {
            Ok(appended) => acked = u64::try_from(appended.last_offset.get()).unwrap() + 1,
            Err(error) => break error,
        }
        dir.janitor_step();
    };
    assert_eq!(error, AppendError::StorageFull);
    assert!(acked > 5);
    assert_eq!(values(&log).len() as u64, acked);
    sim.disk().set_space_left(100_000_000);
    assert_eq!(append(&log, b"room again").unwrap().base_offset, offset(acked));
    drop((dir, log));
    let (_dir, log) = reopen(&sim.kill());
    assert_eq!(values(&log).len() as u64, acked + 1);
}

#[test]
fn a_directory_is_served_by_one_process_of_its_node() {
    let sim = Sim::new(5);
    let dir = open_dir(&sim.env());
    let again = millrace_log::LogDir::open(&sim.env(), crate::world::options(0));
    assert!(matches!(again, Err(DirError::Locked(_))));
    let cluster = dir.cluster_id();
    dir.close().unwrap();
    drop(dir);
    let mut options = crate::world::options(0);
    options.node = millrace_types::NodeId(2);
    assert!(matches!(millrace_log::LogDir::open(&sim.env(), options), Err(DirError::Conflict(_))));
    assert_eq!(open_dir(&sim.env()).cluster_id(), cluster);
}

#[test]
fn a_deleted_log_is_gone_and_its_partition_may_come_back() {
    let (sim, dir, log) = fresh(6);
    append(&log, b"old").unwrap();
    let waiting = log.append(batch(&[b"never acknowledged"])).unwrap();
    dir.delete(partition(0)).unwrap();
    assert_eq!(waiting.wait(), Err(AppendError::Closed));
    assert_eq!(append(&log, b"late"), Err(AppendError::Closed));
    assert!(matches!(dir.open_log(partition(0), LogConfig::default()), Err(DirError::Conflict(_))));
    dir.janitor_step();
    let log = dir.create(meta(0), small()).unwrap();
    assert_eq!(append(&log, b"new").unwrap().base_offset, offset(0));
    drop((dir, log));
    let (_dir, log) = reopen(&sim.kill());
    assert_eq!(values(&log), [(0, b"new".to_vec())]);
}
