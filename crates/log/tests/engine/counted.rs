//! What costs how many calls: counted through the file system.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use millrace_env::counting::CallKind;
use millrace_env::sim::Sim;
use millrace_log::{LogConfig, ReadRequest};
use millrace_types::TimestampMs;

use crate::world::{append, batch, batch_at, fresh, meta, offset, open_dir, partition, reopen};

#[test]
fn requests_that_queue_behind_a_write_become_one_write() {
    let (sim, _dir, log) = fresh(1);
    let hold = sim.calls().hold(CallKind::Write);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| append(&log, b"first").unwrap());
        hold.wait_for(1);
        // The writer is busy, so none of these writes for itself.
        let tickets: Vec<_> = (0..64).map(|_| log.append(batch(&[&[1; 30_000]])).unwrap()).collect();
        assert_eq!(sim.calls().tally(CallKind::Write).in_flight, 1);
        let before = sim.calls().count(CallKind::Write);
        hold.release();
        first.join().unwrap();
        for ticket in tickets {
            ticket.wait().unwrap();
        }
        // 64 batches of 30 KB pass the smallest segment size every other batch: rolls cut the group.
        let rolls = 64 / 2;
        assert!(sim.calls().count(CallKind::Write) - before <= rolls + 1);
    });
}

#[test]
fn sixty_four_queued_requests_are_one_write_and_one_sync() {
    let (sim, dir, _small) = fresh(2);
    let log = dir.create(meta(1), LogConfig::default()).unwrap();
    append(&log, b"warm").unwrap();
    let hold = sim.calls().hold(CallKind::Write);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| append(&log, b"first").unwrap());
        hold.wait_for(1);
        let sizes = [10, 15_000, 16_500, 200_000];
        let tickets: Vec<_> =
            (0..64).map(|n| log.append(batch(&[&vec![1; sizes[n % 4]]])).unwrap()).collect();
        let before = sim.calls().count(CallKind::Write);
        let syncs = sim.calls().count(CallKind::SyncData);
        hold.release();
        for (number, ticket) in tickets.into_iter().enumerate() {
            assert_eq!(ticket.wait().unwrap().base_offset, offset(2 + number as u64));
        }
        first.join().unwrap();
        assert_eq!(sim.calls().count(CallKind::Write) - before, 1);
        assert!(sim.calls().count(CallKind::SyncData) - syncs <= 2, "the first's, and one for all others");
    });
}

#[test]
fn sixteen_dirty_files_are_synced_side_by_side() {
    let sim = Sim::new(3);
    let dir = open_dir(&sim.env());
    let logs: Vec<_> = (0..16).map(|index| dir.create(meta(index), LogConfig::default()).unwrap()).collect();
    let hold = sim.calls().hold(CallKind::SyncData);
    let tickets: Vec<_> = logs.iter().map(|log| log.append(batch(&[b"x"])).unwrap()).collect();
    tickets.iter().for_each(millrace_log::Ticket::sync_in_background);
    hold.wait_for(16);
    hold.release();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    assert_eq!(sim.calls().in_flight_max(CallKind::SyncData), 16);
}

#[test]
fn a_look_up_reads_an_index_and_an_interval_at_most() {
    let (sim, dir, log) = fresh(4);
    let interval = LogConfig::default().index_interval_bytes;
    for number in 0..1500 {
        log.append(batch_at(10 * number, &[&[7; 100]], None)).unwrap();
    }
    dir.janitor_step();
    dir.close().unwrap();
    drop((dir, log));
    let (_dir, log) = reopen(&sim.env());
    let one_batch = 61 + 120;
    for round in 0..2 {
        for number in (0..1500).step_by(131) {
            sim.calls().reset();
            let request = ReadRequest { from: offset(number), until: None, bytes_max: 1 };
            let answer = log.read(&request).unwrap().load().unwrap();
            assert_eq!(answer.range.start, offset(number));
            // Besides the look-up there is the answer, and in the first round the check of its block and its index.
            let answered: usize = answer.extents.iter().map(bytes::Bytes::len).sum();
            let block = if round == 0 { 64 * 1024 } else { 0 };
            let read = sim.calls().bytes(CallKind::Read);
            assert!(read <= 2 * interval + answered as u64 + block, "{read} bytes for offset {number}");
            sim.calls().reset();
            let hit =
                log.offset_for_time(TimestampMs(i64::try_from(number).unwrap() * 10 - 5)).unwrap().unwrap();
            assert_eq!(hit.offset, offset(number));
            let read = sim.calls().bytes(CallKind::Read);
            // Two entries are held against their batches, and every batch that is passed is checked.
            assert!(read <= 6 * interval + one_batch, "{read} bytes for the time of {number}");
            assert!(sim.calls().count(CallKind::Populate) <= 2, "at most one index of each kind");
        }
    }
}

#[test]
fn sealed_records_are_slices_of_one_map() {
    let (sim, dir, log) = fresh(7);
    for _ in 0..8 {
        append(&log, &[7; 30_000]).unwrap();
    }
    dir.janitor_step();
    dir.close().unwrap();
    drop((dir, log));
    let (_dir, log) = reopen(&sim.env());
    let request = ReadRequest { from: offset(0), until: None, bytes_max: 1 };
    let read = || log.read(&request).unwrap().load().unwrap().extents;
    sim.calls().reset();
    let first = read();
    assert!(sim.calls().count(CallKind::Map) >= 1);
    sim.calls().reset();
    let again = read();
    assert_eq!(sim.calls().count(CallKind::Map), 0);
    assert_eq!(first[0].as_ptr(), again[0].as_ptr(), "the same memory");
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_waiting_reader_makes_no_call_until_it_is_woken() {
    let (sim, _dir, log) = fresh(5);
    let (near, far) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let (near_waker, far_waker) = (Waker::from(Arc::clone(&near)), Waker::from(Arc::clone(&far)));
    let mut near_wait = pin!(log.wait_above(offset(0)));
    let mut far_wait = pin!(log.wait_above(offset(5)));
    sim.calls().reset();
    assert_eq!(near_wait.as_mut().poll(&mut Context::from_waker(&near_waker)), Poll::Pending);
    assert_eq!(far_wait.as_mut().poll(&mut Context::from_waker(&far_waker)), Poll::Pending);
    assert_eq!(sim.calls().total(), 0);
    append(&log, b"one").unwrap();
    assert_eq!((near.0.load(Ordering::SeqCst), far.0.load(Ordering::SeqCst)), (1, 0));
    assert_eq!(near_wait.as_mut().poll(&mut Context::from_waker(&near_waker)), Poll::Ready(()));
    assert_eq!(far_wait.as_mut().poll(&mut Context::from_waker(&far_waker)), Poll::Pending);
}

#[test]
fn a_clean_start_reads_nothing_of_the_records() {
    let (sim, dir, log) = fresh(6);
    for _ in 0..200 {
        append(&log, &[1; 2000]).unwrap();
    }
    dir.janitor_step();
    dir.close().unwrap();
    drop((dir, log));
    sim.calls().reset();
    let (dir, log) = reopen(&sim.env());
    let logged = sim.calls().log();
    let of_logs = logged
        .iter()
        .filter(|c| c.call.kind == CallKind::Read && c.call.path.extension().is_some_and(|e| e == "log"));
    let bytes: u64 = of_logs.filter_map(|call| call.moved).sum();
    assert!(bytes <= 3 * LogConfig::default().index_interval_bytes, "{bytes} bytes of records were read");
    assert_eq!(dir.start_report().bytes_read, 0);
    assert_eq!(log.offsets().end, offset(200));
    assert_eq!(log.meta().id, partition(0));
}
