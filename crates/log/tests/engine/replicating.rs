//! A leader's log and followers': the same bytes, a high watermark that is given, reads of what is only written.

use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use millrace_env::sim::{Sim, Survival};
use millrace_log::{
    AppendError, DirError, Isolation, Log, LogConfig, LogDir, ReadRequest, ReplicaAppendError, Replication,
};
use millrace_types::{LeaderEpoch, Offset};

use crate::world::{batch, batch_at, meta, offset, open_dir, partition, small, split, stamp, values};

/// What a replica's log is told.
pub(crate) fn replicated() -> LogConfig {
    LogConfig { replication: Replication::Replicated, ..small() }
}

/// A new machine with the empty log of a replica.
pub(crate) fn replica(seed: u64) -> (Sim, Arc<LogDir>, Arc<Log>) {
    let sim = Sim::new(seed);
    let dir = open_dir(&sim.env());
    let log = dir.create(meta(0), replicated()).unwrap();
    (sim, dir, log)
}

pub(crate) fn reopened(sim: &Sim, survival: Survival) -> (Arc<LogDir>, Arc<Log>) {
    let dir = open_dir(&sim.power_cut(survival));
    let log = dir.open_log(partition(0), replicated()).unwrap();
    (dir, log)
}

/// A leader of epoch 1, with the machine that it runs on.
fn leader() -> (Sim, Arc<LogDir>, Arc<Log>) {
    let (sim, dir, log) = replica(1);
    assert_eq!(log.begin_epoch(LeaderEpoch(1)).unwrap(), Offset::ZERO);
    (sim, dir, log)
}

pub(crate) fn written(log: &Log, from: Offset, bytes_max: usize) -> Bytes {
    let request = ReadRequest { from, until: None, bytes_max };
    let answer = log.read_as(Isolation::Held, &request).unwrap().load().unwrap();
    answer.extents.concat().into()
}

/// All that is written, whether consumers may read it or not.
pub(crate) fn all_bytes(log: &Log) -> Vec<u8> {
    let mut found = Vec::new();
    let mut from = log.offsets().log_start;
    while from < log.offsets().end {
        let bytes = written(log, from, 100_000);
        from = split(&bytes).last().unwrap().next_offset();
        found.extend_from_slice(&bytes);
    }
    found
}

/// Copies what the follower lacks, so many bytes at a time.
pub(crate) fn catch_up(leader: &Log, follower: &Log, bytes_max: usize) {
    while follower.offsets().end < leader.offsets().end {
        let bytes = written(leader, follower.offsets().end, bytes_max);
        follower.append_replica(&bytes).unwrap().wait().unwrap();
    }
}

fn send(log: &Log, sequence: i32) -> Result<millrace_log::Appended, AppendError> {
    log.append(batch_at(1, &[&[9; 400], b"second"], stamp(4, sequence))).unwrap().wait()
}

#[test]
fn a_follower_holds_the_leaders_bytes_epochs_and_producers() {
    let (_one, _dir, leader) = leader();
    let (two, dir, follower) = replica(2);
    for number in 0..120 {
        send(&leader, 2 * number).unwrap();
        if number % 40 == 39 {
            let start = leader.begin_epoch(LeaderEpoch(2 + number)).unwrap();
            assert_eq!(start, leader.offsets().end);
        }
        if number % 7 == 0 {
            catch_up(&leader, &follower, 1000);
        }
    }
    catch_up(&leader, &follower, 30_000);
    assert_eq!(follower.offsets().held, leader.offsets().end);
    assert_eq!(follower.offsets().high_watermark, Offset::ZERO, "nobody has given one");
    assert!(all_bytes(&follower) == all_bytes(&leader));
    let (ours, theirs) = (leader.producers(9), follower.producers(9));
    assert_eq!(ours, theirs);
    for epoch in [0, 1, 5, 41, 80] {
        assert_eq!(follower.end_of_epoch(LeaderEpoch(epoch)), leader.end_of_epoch(LeaderEpoch(epoch)));
    }
    assert_eq!((follower.last_epoch(), leader.last_epoch()), (Some(LeaderEpoch(81)), Some(LeaderEpoch(81))));
    // Behind a crash it is what it was, without an epoch of its own.
    let before = all_bytes(&follower);
    drop((dir, follower));
    let (dir, follower) = reopened(&two, Survival::Nothing);
    assert_eq!(dir.start_report().damaged, Vec::<String>::new());
    assert!(all_bytes(&follower) == before);
    assert_eq!(follower.producers(9), ours);
    assert_eq!((follower.last_epoch(), follower.leader_epoch()), (Some(LeaderEpoch(81)), LeaderEpoch(81)));
    // And as a leader it knows a retry for what it is.
    assert!(follower.begin_epoch(LeaderEpoch(81)).is_err());
    follower.begin_epoch(LeaderEpoch(200)).unwrap();
    let again = send(&follower, 2 * 119).unwrap();
    assert_eq!((again.base_offset, again.duplicate), (offset(238), true));
    assert_eq!(send(&follower, 240).unwrap().base_offset, offset(240));
}

#[test]
fn what_is_not_the_next_whole_intact_batch_is_refused_and_changes_nothing() {
    let (_one, _dir, leader) = leader();
    let (_two, _dir, follower) = replica(2);
    for number in 0..6 {
        send(&leader, 2 * number).unwrap();
    }
    let all = written(&leader, Offset::ZERO, 100_000);
    let size = split(&all)[0].size();
    let refused = |bytes: &Bytes, end: Offset| {
        let error = follower.append_replica(bytes).unwrap_err();
        assert_eq!(follower.offsets().end, end);
        error
    };
    let start = Offset::ZERO;
    assert_eq!(refused(&Bytes::new(), start), ReplicaAppendError::Empty);
    for cut in 1..all.len() {
        if cut % size != 0 {
            let error = refused(&all.slice(..cut), start);
            assert!(
                matches!(error, ReplicaAppendError::Batch { position, .. } if position == cut / size * size)
            );
        }
    }
    let mut flipped = all.to_vec();
    flipped[size * 2 + 100] ^= 1;
    let error = refused(&flipped.into(), start);
    assert!(matches!(error, ReplicaAppendError::Batch { position, .. } if position == 2 * size), "{error:?}");
    let gap = ReplicaAppendError::NotNext { expected: start, found: offset(2) };
    assert_eq!(refused(&all.slice(size..), start), gap);
    let hole = [&all[..size], &all[2 * size..]].concat();
    let gap = ReplicaAppendError::NotNext { expected: offset(2), found: offset(4) };
    assert_eq!(refused(&hole.into(), start), gap);
    follower.append_replica(&all.slice(..size)).unwrap();
    let again = ReplicaAppendError::NotNext { expected: offset(2), found: start };
    assert_eq!(refused(&all, offset(2)), again);
    let older = split(&all)[1].placed_at(offset(2), LeaderEpoch(0)).into_bytes();
    let fell = ReplicaAppendError::EpochFell { at: offset(2), found: LeaderEpoch(0), latest: LeaderEpoch(1) };
    assert_eq!(refused(&older, offset(2)), fell);
    let newer = split(&all)[1].placed_at(offset(2), LeaderEpoch(3)).into_bytes();
    let error = refused(&[&newer, &all[2 * size..]].concat().into(), offset(2));
    assert!(matches!(error, ReplicaAppendError::EpochFell { .. }), "{error:?}");
    // A base offset is not under the checksum: one that is far off is no hole.
    let far = split(&all)[1].placed_at(offset(1 << 40), LeaderEpoch(1)).into_bytes();
    let gap = ReplicaAppendError::NotNext { expected: offset(2), found: offset(1 << 40) };
    assert_eq!(follower.append_compacted_replica(&far).unwrap_err(), gap);
    assert_eq!(refused(&far, offset(2)), gap);
    follower.append_replica(&all.slice(size..)).unwrap();
    assert!(all_bytes(&follower) == all);
}

#[test]
fn only_who_leads_takes_batches_of_clients_and_only_who_follows_takes_a_leaders() {
    let (_one, _dir, leader) = leader();
    let (_two, _dir, follower) = replica(2);
    send(&leader, 0).unwrap();
    let bytes = written(&leader, Offset::ZERO, 100_000);
    assert_eq!(leader.append_replica(&bytes).unwrap_err(), ReplicaAppendError::NotFollowing);
    assert_eq!(send(&follower, 0), Err(AppendError::NotLeading));
    assert!(
        matches!(leader.truncate_to(offset(0)), Err(DirError::Conflict(_))),
        "a leader's log is the truth"
    );
    leader.follow();
    assert_eq!(send(&leader, 2), Err(AppendError::NotLeading));
    follower.begin_epoch(LeaderEpoch(2)).unwrap();
    assert_eq!(follower.append_replica(&bytes).unwrap_err(), ReplicaAppendError::NotFollowing);
    send(&follower, 0).unwrap();
    let in_epoch = |epoch| follower.append_in(LeaderEpoch(epoch), batch(&[b"decided"])).unwrap().wait();
    in_epoch(2).unwrap();
    follower.follow();
    follower.begin_epoch(LeaderEpoch(4)).unwrap();
    assert_eq!(in_epoch(2), Err(AppendError::NotLeading), "it has led again since, and knows more");
    in_epoch(4).unwrap();
    // A log that is alone has no leader elsewhere.
    let (_sim, _dir, alone) = crate::world::fresh(3);
    assert_eq!(alone.append_replica(&bytes).unwrap_err(), ReplicaAppendError::NotFollowing);
    alone.follow();
    send(&alone, 0).unwrap();
    assert_eq!(alone.raise_high_watermark(Offset::ZERO), offset(2));
}

#[test]
fn the_high_watermark_is_given_and_is_never_beyond_what_is_held() {
    let (_sim, _dir, log) = leader();
    for number in 0..3 {
        send(&log, 2 * number).unwrap();
    }
    let unsynced = log.append(batch(&[b"written"])).unwrap();
    let offsets = log.offsets();
    assert_eq!((offsets.high_watermark, offsets.held, offsets.end), (offset(0), offset(6), offset(7)));
    assert_eq!(values(&log), []);
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll = |wait: &mut std::pin::Pin<Box<millrace_log::OffsetWait>>| {
        std::future::Future::poll(wait.as_mut(), &mut cx).is_ready()
    };
    let mut committed = Box::pin(log.wait_above(offset(1)));
    let mut held = Box::pin(log.wait_held_above(offset(6)));
    let mut end = Box::pin(log.wait_end_above(offset(7)));
    assert!(!poll(&mut committed) && !poll(&mut held) && !poll(&mut end));
    assert!(poll(&mut Box::pin(log.wait_end_above(offset(6)))));
    assert_eq!(log.raise_high_watermark(offset(2)), offset(2));
    assert!(poll(&mut committed) && !poll(&mut held));
    assert_eq!(values(&log).len(), 2);
    assert_eq!(log.raise_high_watermark(offset(1)), offset(2), "it never falls");
    assert_eq!(log.raise_high_watermark(offset(100)), offset(6), "not beyond what is held");
    assert_eq!(unsynced.wait().unwrap().base_offset, offset(6));
    assert!(poll(&mut held) && !poll(&mut end));
    assert_eq!(log.offsets().high_watermark, offset(6));
    let _written = log.append(batch(&[b"more"])).unwrap();
    assert!(poll(&mut end));
    let (from, until) = (offset(6), None);
    let above = ReadRequest { from, until, bytes_max: 100_000 };
    assert!(log.read(&above).unwrap().load().unwrap().extents.is_empty());
    assert_eq!(split(&written(&log, from, 100_000)).len(), 2);
}

#[test]
fn a_follower_truncates_down_to_the_high_watermark_and_below_it_only_if_told() {
    for told in [false, true] {
        let (_one, _dir, leader) = leader();
        let (two, dir, follower) = replica(2);
        for number in 0..8 {
            send(&leader, 2 * number).unwrap();
            leader.begin_epoch(LeaderEpoch(2 + number)).unwrap();
        }
        catch_up(&leader, &follower, 100_000);
        follower.raise_high_watermark(offset(8));
        assert!(matches!(follower.truncate_to(offset(7)), Err(DirError::Conflict(_))));
        // Offset 9 lies in a batch that begins at 8: it goes whole.
        follower.truncate_to(offset(9)).unwrap();
        let offsets = follower.offsets();
        assert_eq!((offsets.high_watermark, offsets.held, offsets.end), (offset(8), offset(8), offset(8)));
        assert_eq!(follower.last_epoch(), Some(LeaderEpoch(4)));
        assert_eq!(follower.end_of_epoch(LeaderEpoch(4)), Some((LeaderEpoch(4), offset(8))));
        assert_eq!(follower.end_of_epoch(LeaderEpoch(5)), None);
        assert_eq!(follower.producers(9)[0].last_sequence, 7);
        let kept = if told { offset(4) } else { offset(8) };
        if told {
            follower.truncate_uncleanly_to(kept).unwrap();
            let offsets = follower.offsets();
            assert_eq!((offsets.high_watermark, offsets.end), (kept, kept));
            assert_eq!(values(&follower).len(), 4);
        }
        // Batches of an epoch that the cut has taken, and of a lower one, can come again from another leader.
        let other = batch(&[b"of another leader"]).placed_at(kept, LeaderEpoch(4)).into_bytes();
        follower.append_replica(&other).unwrap().wait().unwrap();
        assert_eq!(follower.end_of_epoch(LeaderEpoch(4)), Some((LeaderEpoch(4), kept.next())));
        drop((dir, follower));
        let (dir, follower) = reopened(&two, Survival::Nothing);
        assert_eq!(dir.start_report().damaged, Vec::<String>::new());
        assert_eq!((follower.offsets().end, follower.last_epoch()), (kept.next(), Some(LeaderEpoch(4))));
    }
}

#[test]
fn a_reset_replica_begins_where_it_is_told_with_the_epochs_of_its_leader() {
    let (_one, _dir, leader) = leader();
    let (two, dir, follower) = replica(2);
    for number in 0..8 {
        send(&leader, 2 * number).unwrap();
    }
    catch_up(&leader, &follower, 100_000);
    follower.reset_to(offset(6)).unwrap();
    let offsets = follower.offsets();
    assert_eq!((offsets.log_start, offsets.high_watermark, offsets.held), (offset(6), offset(6), offset(6)));
    assert_eq!(follower.last_epoch(), None);
    catch_up(&leader, &follower, 100_000);
    assert_eq!(follower.last_epoch(), Some(LeaderEpoch(1)));
    drop((dir, follower));
    let (_dir, follower) = reopened(&two, Survival::Nothing);
    let offsets = follower.offsets();
    assert_eq!((offsets.log_start, offsets.high_watermark, offsets.end), (offset(6), offset(6), offset(16)));
    assert!(all_bytes(&follower) == written(&leader, offset(6), 100_000));
    // Of a producer whose records were trimmed it cannot know anything, and does not stop it.
    follower.begin_epoch(LeaderEpoch(2)).unwrap();
    let unknown = batch_at(1, &[b"goes on"], stamp(5, 40));
    assert_eq!(follower.append(unknown).unwrap().wait().unwrap().base_offset, offset(16));
    assert!(send(&follower, 14).unwrap().duplicate);
}

#[test]
fn a_follower_lets_go_what_its_leader_has_let_go_and_nothing_by_itself() {
    let (_one, leader_dir, leader) = leader();
    let (two, dir, follower) = replica(2);
    let config = LogConfig { retention_bytes: Some(50_000), ..replicated() };
    leader.configure(config.clone()).unwrap();
    follower.configure(config).unwrap();
    for number in 0..300 {
        send(&leader, 2 * number).unwrap();
    }
    catch_up(&leader, &follower, 100_000);
    follower.raise_high_watermark(leader.raise_high_watermark(offset(600)));
    dir.janitor_step();
    assert_eq!(follower.offsets().log_start, Offset::ZERO);
    leader_dir.janitor_step();
    let start = leader.offsets().log_start;
    assert!(start > Offset::ZERO, "the leader keeps what it should");
    follower.trim_to(start).unwrap();
    assert_eq!(follower.producers(9), leader.producers(9), "what went is known all the same");
    drop((dir, follower));
    let (_dir, follower) = reopened(&two, Survival::Nothing);
    assert_eq!((follower.offsets().log_start, follower.offsets().high_watermark), (start, start));
    assert!(all_bytes(&follower) == all_bytes(&leader));
    assert_eq!(follower.producers(9), leader.producers(9));
}
