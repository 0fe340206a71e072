//! Appending and reading back.

use std::time::Duration;

use millrace_log::{AppendError, ReadError, ReadRequest};

use millrace_types::{ProducerId, TimestampMs};

use crate::world::{append, batch_at, fresh, offset, reopen, stamp, values};

#[test]
fn what_is_appended_reads_back_across_rolls_and_a_restart() {
    let (sim, dir, log) = fresh(1);
    let mut expected = Vec::new();
    for number in 0..300_u64 {
        let value = vec![u8::try_from(number % 251).unwrap(); 1000];
        let appended = append(&log, &value).unwrap();
        assert_eq!(appended.base_offset, offset(number));
        expected.push((appended.base_offset.get(), value));
    }
    assert_eq!(values(&log), expected);
    dir.janitor_step();
    assert_eq!(values(&log), expected);
    dir.close().unwrap();
    assert_eq!(append(&log, b"late"), Err(AppendError::Closed));
    drop((dir, log));
    let (dir, log) = reopen(&sim.env());
    assert!(dir.start_report().clean);
    assert_eq!(dir.start_report().bytes_read, 0);
    assert_eq!(log.offsets().end, offset(300));
    assert_eq!(values(&log), expected);
    assert_eq!(append(&log, b"next").unwrap().base_offset, offset(300));
}

#[test]
fn a_retry_gets_its_first_offset_also_after_a_restart_and_a_roll() {
    let (sim, dir, log) = fresh(2);
    let big = vec![3; 40_000];
    for sequence in 0..6 {
        let ticket = log.append(batch_at(1, &[&big], stamp(9, sequence))).unwrap();
        assert!(!ticket.wait().unwrap().duplicate);
    }
    let retry = |log: &millrace_log::Log, sequence| {
        log.append(batch_at(1, &[&big], stamp(9, sequence))).unwrap().wait()
    };
    assert_eq!(retry(&log, 2).unwrap().base_offset, offset(2));
    assert!(retry(&log, 2).unwrap().duplicate);
    assert_eq!(retry(&log, 0), Err(AppendError::DuplicateSequence { found: 0 }));
    assert_eq!(retry(&log, 8), Err(AppendError::OutOfOrderSequence { expected: 6, found: 8 }));
    dir.close().unwrap();
    drop((dir, log));
    let (dir, log) = reopen(&sim.env());
    assert_eq!(retry(&log, 5).unwrap().base_offset, offset(5));
    drop((dir, log));
    let (_dir, log) = reopen(&sim.kill());
    let again = retry(&log, 5).unwrap();
    assert_eq!((again.base_offset, again.duplicate), (offset(5), true));
    assert_eq!(retry(&log, 6).unwrap().base_offset, offset(6));
}

#[test]
fn an_idle_producer_is_forgotten_unless_the_clock_was_set() {
    let (sim, dir, log) = fresh(4);
    let send = |sequence| log.append(batch_at(1, &[b"x"], stamp(9, sequence))).unwrap().wait();
    send(0).unwrap();
    dir.janitor_step();
    // A clock that is set two days ahead says nothing about who is idle.
    sim.clock().set_wall(TimestampMs(sim.env().clock.wall().0 + 2 * 86_400_000));
    sim.clock().advance(Duration::from_secs(700));
    dir.janitor_step();
    assert!(send(0).unwrap().duplicate);
    send(1).unwrap();
    sim.clock().advance(Duration::from_secs(2 * 86_400));
    dir.janitor_step();
    assert_eq!(send(2), Err(AppendError::UnknownProducer { id: ProducerId(9) }));
}

#[test]
fn a_read_stays_within_its_bounds() {
    let (_sim, _dir, log) = fresh(3);
    for _ in 0..10 {
        append(&log, &[5; 1000]).unwrap();
    }
    let read = |from, until: Option<u64>, bytes_max| {
        let request = ReadRequest { from: offset(from), until: until.map(offset), bytes_max };
        log.read(&request).map(|plan| plan.load().unwrap().range)
    };
    let range = read(0, None, 1).unwrap();
    assert_eq!((range.start, range.end), (offset(0), offset(1)), "the first batch whatever the budget");
    assert_eq!(read(3, Some(5), 100_000).unwrap().end, offset(5));
    assert_eq!(read(4, None, 2500).unwrap().end, offset(6));
    assert!(read(10, None, 100).unwrap().is_empty());
    assert!(matches!(read(11, None, 100), Err(ReadError::OutOfRange { .. })));
}
