//! A follower whose disk is full or fails, what it may leave unsynced, and reads of what is truncated under their hands.

use std::path::PathBuf;

use bytes::Bytes;
use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Survival};
use millrace_log::names::partition_dir;
use millrace_log::{AppendError, Isolation, LogConfig, ReadError, ReadRequest, ReplicaAppendError};
use millrace_types::limits::UNSYNCED_BYTES_MAX;
use millrace_types::{LeaderEpoch, Offset};

use crate::replicating::{all_bytes, reopened, replica, replicated, written};
use crate::world::{batch, batch_at, offset, partition, split, stamp};

/// Batches of one record each, one behind the other from `from` on.
fn sent(from: u64, epochs: &[i32], size: usize) -> Bytes {
    let mut bytes = Vec::new();
    for (at, epoch) in (from..).zip(epochs) {
        let sequence = i32::try_from(at).unwrap();
        let made = batch_at(1, &[&vec![b'v'; size]], stamp(4, sequence));
        bytes.extend_from_slice(made.placed_at(offset(at), LeaderEpoch(*epoch)).bytes());
    }
    bytes.into()
}

#[test]
fn a_full_disk_refuses_what_does_not_fit_and_nothing_of_it_is_known() {
    let (sim, dir, log) = replica(1);
    log.append_replica(&sent(0, &[1, 1], 100)).unwrap().wait().unwrap();
    for on in ["leader.epochs", ".log"] {
        sim.disk().inject(Fault::no_space(CallKind::Write).on(on));
        let error = log.append_replica(&sent(2, &[1, 3, 4], 100)).unwrap_err();
        let is_due = match on {
            ".log" => error == ReplicaAppendError::Append(AppendError::StorageFull),
            _ => matches!(error, ReplicaAppendError::Epochs(_)),
        };
        assert!(is_due, "{error:?}");
        assert_eq!((log.offsets().end, log.last_epoch()), (offset(2), Some(LeaderEpoch(1))));
        assert_eq!(log.producers(9)[0].last_sequence, 1);
        for epoch in [1, 3, 4] {
            assert!(log.end_of_epoch(LeaderEpoch(epoch)).is_none_or(|(_, end)| end <= offset(2)));
        }
    }
    // Another leader sends other batches for the same place, of an epoch that was never heard of here.
    log.append_replica(&sent(2, &[1, 2, 5], 200)).unwrap().wait().unwrap();
    assert_eq!(log.end_of_epoch(LeaderEpoch(2)), Some((LeaderEpoch(2), offset(4))));
    assert_eq!(log.end_of_epoch(LeaderEpoch(4)), Some((LeaderEpoch(2), offset(4))));
    let before = all_bytes(&log);
    drop((dir, log));
    let (dir, log) = reopened(&sim, Survival::Nothing);
    assert_eq!(dir.start_report().damaged, Vec::<String>::new());
    assert!(all_bytes(&log) == before);
    assert_eq!(log.end_of_epoch(LeaderEpoch(1)), Some((LeaderEpoch(1), offset(3))));
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_appended_or_held_any_more() {
    for (kind, on) in
        [(CallKind::Write, ".log"), (CallKind::SyncData, ".log"), (CallKind::Rename, "leader.epochs")]
    {
        let (sim, dir, log) = replica(2);
        log.append_replica(&sent(0, &[1], 100)).unwrap().wait().unwrap();
        sim.disk().inject(Fault::io(kind).on(on));
        let outcome = log.append_replica(&sent(1, &[2], 100));
        let failed = match outcome {
            Ok(ticket) => matches!(ticket.wait(), Err(AppendError::StorageFailed(_))),
            Err(
                ReplicaAppendError::Append(AppendError::StorageFailed(_)) | ReplicaAppendError::Epochs(_),
            ) => true,
            Err(error) => panic!("{error}"),
        };
        assert!(failed, "{kind:?}");
        assert_eq!(log.offsets().held, offset(1));
        let next = sent(log.offsets().end.get().cast_unsigned(), &[2], 100);
        let refused = log.append_replica(&next).unwrap_err();
        assert!(matches!(refused, ReplicaAppendError::Append(AppendError::StorageFailed(_))), "{refused:?}");
        drop((dir, log));
        let (dir, log) = reopened(&sim, Survival::Nothing);
        assert_eq!(dir.start_report().damaged, Vec::<String>::new());
        assert_eq!((log.offsets().end, log.last_epoch()), (offset(1), Some(LeaderEpoch(1))));
    }
}

#[test]
fn no_more_than_the_bound_is_ever_unsynced() {
    let (_sim, dir, log) = replica(3);
    log.configure(LogConfig { segment_bytes: 1 << 30, ..replicated() }).unwrap();
    let unsynced = || log.size_bytes() - log.offsets().synced_end.get().cast_unsigned() * (1 << 20);
    let mut at = 0;
    let mut most = 0;
    while at < 40 {
        let epochs = vec![1; 5];
        let _waits_for_nobody = log.append_replica(&sent(at, &epochs, 1 << 20)).unwrap();
        at += 5;
        most = most.max(unsynced());
    }
    assert!(most > UNSYNCED_BYTES_MAX / 2 && most <= UNSYNCED_BYTES_MAX + (1 << 20), "{most}");
    // One answer may be larger than the bound.
    let ticket = log.append_replica(&sent(at, &[1; 30], 1 << 20)).unwrap();
    assert!(unsynced() <= UNSYNCED_BYTES_MAX + (1 << 20));
    assert_eq!(ticket.wait().unwrap().last_offset, offset(at + 29));
    assert_eq!(log.offsets().held, offset(at + 30));
    dir.close().unwrap();
}

#[test]
fn what_is_truncated_while_a_replica_reads_it_is_no_damage() {
    let (sim, _dir, log) = replica(4);
    log.append_replica(&sent(0, &[1; 40], 4_000)).unwrap().wait().unwrap();
    for (from, end) in [(35, 30), (35, 36), (20, 30), (3, 2), (1, 12)] {
        log.append_replica(&sent(log.offsets().end.get().cast_unsigned(), &[1; 5], 4_000)).unwrap();
        let request = ReadRequest { from: offset(from), until: None, bytes_max: 100_000 };
        let end = offset(end).min(log.offsets().end);
        let Ok(plan) = log.read_as(Isolation::Held, &request) else { continue };
        log.truncate_to(end).unwrap();
        match plan.load() {
            Ok(answer) => assert!(answer.range.end <= end || answer.range.start == answer.range.end),
            Err(error) => {
                assert!(matches!(error, ReadError::OutOfRange { .. }) && offset(from) > end, "{error}")
            }
        }
        let located = plan.locate();
        assert!(located.is_ok() || offset(from) > end);
        assert_eq!(log.damaged(), []);
    }
    let _machine = sim;
}

#[test]
fn a_weaker_mode_holds_what_is_written_and_the_high_watermark_is_given_all_the_same() {
    for mode in ["os", "interval=3600000,16777216"] {
        let (_sim, _dir, log) = replica(5);
        log.configure(LogConfig { sync_mode: mode.parse().unwrap(), ..replicated() }).unwrap();
        let ticket = log.append_replica(&sent(0, &[1, 1], 100)).unwrap();
        let offsets = log.offsets();
        assert_eq!(
            (offsets.high_watermark, offsets.held, offsets.synced_end, offsets.end),
            (Offset::ZERO, offset(2), Offset::ZERO, offset(2)),
            "{mode}"
        );
        ticket.wait().unwrap();
        assert_eq!(log.raise_high_watermark(offset(1)), offset(1));
        log.configure(replicated()).unwrap();
        let offsets = log.offsets();
        assert_eq!((offsets.high_watermark, offsets.synced_end), (offset(1), offset(2)));
    }
}

#[test]
fn a_log_that_was_alone_goes_on_as_a_leader_when_it_is_replicated() {
    let (sim, dir, log) = crate::world::fresh(6);
    crate::world::append(&log, b"alone").unwrap();
    log.configure(replicated()).unwrap();
    assert_eq!(log.append(batch(&[b"with others"])).unwrap().wait().unwrap().base_offset, offset(1));
    assert_eq!((log.offsets().high_watermark, log.offsets().held), (offset(1), offset(2)));
    let bytes = written(&log, Offset::ZERO, 10_000);
    let (_sim, _dir, follower) = replica(7);
    follower.append_replica(&bytes).unwrap();
    assert_eq!(split(&bytes).len(), 2);
    log.configure(crate::world::small()).unwrap();
    assert_eq!(log.offsets().high_watermark, offset(2), "it is alone again");
    drop((dir, log));
    let (_dir, log) = reopened(&sim, Survival::Nothing);
    assert_eq!(log.offsets().high_watermark, Offset::ZERO);
    assert_eq!(log.append(batch(&[b"no"])).unwrap().wait(), Err(AppendError::NotLeading));
    assert_eq!(log.begin_epoch(LeaderEpoch(1)).unwrap(), offset(2));
}

#[test]
fn indexes_that_an_unclean_start_does_not_believe_do_not_come_back() {
    let (sim, dir, log) = replica(8);
    log.append_replica(&sent(0, &[1; 10], 2_000)).unwrap().wait().unwrap();
    dir.janitor_step();
    // Where an epoch begins, the directory is synced: the names of the indexes are on the medium now.
    log.append_replica(&sent(10, &[2], 100)).unwrap().wait().unwrap();
    drop((dir, log));
    let indexes = || {
        let home = PathBuf::from("/data").join(partition_dir(partition(0)));
        let entries = sim.env().fs.read_dir(&home).unwrap();
        entries.into_iter().filter(|entry| entry.name.contains("index")).count()
    };
    sim.power_cut(Survival::Nothing);
    assert_eq!(indexes(), 2);
    drop(reopened(&sim, Survival::Nothing));
    sim.power_cut(Survival::Nothing);
    assert_eq!(indexes(), 0);
}
