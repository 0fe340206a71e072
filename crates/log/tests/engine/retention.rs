//! Retention at work: what goes, when, and what of it a crash leaves.

use std::time::Duration;

use millrace_env::sim::{Sim, Survival};
use millrace_log::{Log, LogConfig, LogDir};
use millrace_types::{CleanupPolicy, SyncMode};

use crate::world::{append, batch_at, fresh, meta, offset, open_dir, partition, small, stamp, values};

const HOUR: Duration = Duration::from_secs(3600);
const HOUR_MS: u64 = 3_600_000;

fn keep(hours: u64) -> LogConfig {
    LogConfig { retention_ms: Some(hours * HOUR_MS), ..small() }
}

/// A record of a third of a segment.
fn large(number: u8) -> Vec<u8> {
    vec![number; 20_000]
}

/// Appends segments of three records each, an hour apart.
fn fill(sim: &Sim, log: &Log, hours: u8) {
    for hour in 0..hours {
        for _ in 0..3 {
            append(log, &large(hour)).unwrap();
        }
        sim.clock().advance(HOUR);
    }
}

fn steps(sim: &Sim, dir: &LogDir, count: usize) {
    for _ in 0..count {
        sim.clock().advance(Duration::from_secs(1));
        dir.janitor_step();
    }
}

#[test]
fn segments_go_when_their_last_append_is_too_old() {
    let (sim, dir, log) = fresh(1);
    log.configure(keep(3)).unwrap();
    dir.janitor_step();
    fill(&sim, &log, 6);
    steps(&sim, &dir, 3);
    // Appended to 6, 5, 4, 3, 2 and 1 hours ago, and some seconds.
    assert_eq!(log.offsets().log_start, offset(12));
    assert_eq!(values(&log).len(), 6);
    assert_eq!(values(&log)[0], (12, large(4)));
    sim.clock().advance(HOUR);
    steps(&sim, &dir, 1);
    assert_eq!(log.offsets().log_start, offset(15));
}

#[test]
fn history_that_is_loaded_with_its_own_times_is_kept() {
    let (sim, dir, log) = fresh(2);
    log.configure(keep(24)).unwrap();
    dir.janitor_step();
    // The year 1970 and the year 2100.
    for timestamp in [1_000, 4_102_444_800_000] {
        for number in 0..9 {
            log.append(batch_at(timestamp, &[&large(number)], None)).unwrap().wait().unwrap();
        }
    }
    steps(&sim, &dir, 3);
    assert_eq!(values(&log).len(), 18);
    for _ in 0..23 {
        sim.clock().advance(HOUR);
        steps(&sim, &dir, 1);
    }
    assert_eq!(values(&log).len(), 18, "23 hours after it was loaded");
    for _ in 0..2 {
        sim.clock().advance(HOUR);
        steps(&sim, &dir, 2);
    }
    assert_eq!(values(&log).len(), 0, "25 hours after it was loaded, whatever its times say");
    assert_eq!(log.offsets().log_start, offset(18));
    assert_eq!(append(&log, b"next").unwrap().base_offset, offset(18));
}

#[test]
fn the_oldest_go_while_enough_is_left() {
    let (sim, dir, log) = fresh(3);
    fill(&sim, &log, 6);
    steps(&sim, &dir, 1);
    let size = log.size_bytes();
    log.configure(LogConfig { retention_bytes: Some(size / 2), ..small() }).unwrap();
    steps(&sim, &dir, 1);
    assert!(log.size_bytes() >= size / 2, "{} of {size}", log.size_bytes());
    assert_eq!(log.offsets().log_start, offset(9));
    steps(&sim, &dir, 5);
    assert_eq!(log.offsets().log_start, offset(9));
}

#[test]
fn a_topic_that_is_only_compacted_loses_nothing_by_age_or_size() {
    let (sim, dir, log) = fresh(4);
    let config = LogConfig { retention_bytes: Some(0), cleanup: CleanupPolicy::Compact, ..keep(1) };
    log.configure(config).unwrap();
    fill(&sim, &log, 6);
    steps(&sim, &dir, 3);
    assert_eq!(log.offsets().log_start, offset(0));
}

#[test]
fn a_segment_that_nobody_appends_to_is_rolled_so_that_it_can_go() {
    let (sim, dir, log) = fresh(5);
    log.configure(keep(1)).unwrap();
    dir.janitor_step();
    append(&log, b"alone").unwrap();
    sim.clock().advance(HOUR);
    steps(&sim, &dir, 2);
    assert_eq!(log.offsets().log_start, offset(1));
    assert_eq!(log.size_bytes(), 0);
    assert_eq!(append(&log, b"next").unwrap().base_offset, offset(1));
}

#[test]
fn a_clock_that_is_set_ahead_takes_nothing() {
    let (sim, dir, log) = fresh(6);
    log.configure(keep(24)).unwrap();
    dir.janitor_step();
    fill(&sim, &log, 3);
    steps(&sim, &dir, 2);
    let ten_years = 10 * 365 * 86_400_000;
    sim.clock().set_wall(millrace_types::TimestampMs(sim.env().clock.wall().0 + ten_years));
    steps(&sim, &dir, 10);
    assert_eq!(values(&log).len(), 9);
    // From then on it goes evenly, and so does retention.
    for _ in 0..25 {
        sim.clock().advance(HOUR);
        steps(&sim, &dir, 2);
    }
    assert_eq!(values(&log).len(), 0);
}

#[test]
fn producers_outlive_the_segments_that_say_of_them() {
    let (sim, dir, log) = fresh(7);
    log.configure(keep(1)).unwrap();
    dir.janitor_step();
    let send = |log: &Log, sequence| {
        let sent = log.append(batch_at(1_000, &[&large(1)], stamp(5, sequence)));
        sent.and_then(millrace_log::Ticket::wait)
    };
    send(&log, 0).unwrap();
    fill(&sim, &log, 3);
    steps(&sim, &dir, 2);
    assert!(log.offsets().log_start > offset(0));
    drop((log, dir));
    let env = sim.power_cut(Survival::Nothing);
    let dir = open_dir(&env);
    let log = dir.open_log(partition(0), keep(1)).unwrap();
    let again = send(&log, 0).unwrap();
    assert_eq!((again.base_offset, again.duplicate), (offset(0), true));
    assert_eq!(send(&log, 1).unwrap().base_offset, log.offsets().end.saturating_sub(1));
}

#[test]
fn what_retention_has_let_go_does_not_come_back_and_nothing_else_goes() {
    for seed in 0..40 {
        let (sim, dir, log) = fresh(seed);
        let mode: SyncMode = ["always", "os"][usize::try_from(seed % 2).unwrap()].parse().unwrap();
        log.configure(LogConfig { sync_mode: mode, ..keep(2) }).unwrap();
        dir.janitor_step();
        fill(&sim, &log, 5);
        steps(&sim, &dir, 1);
        let start = log.offsets().log_start;
        assert!(start > offset(0));
        let kept = values(&log);
        drop((log, dir));
        let env = sim.power_cut(if seed % 4 < 2 { Survival::Random } else { Survival::Nothing });
        let dir = open_dir(&env);
        let log = dir.open_log(partition(0), keep(2)).unwrap();
        assert_eq!(dir.start_report().damaged, Vec::<String>::new(), "seed {seed}");
        assert_eq!(log.offsets().log_start, start, "seed {seed}");
        assert_eq!(values(&log), kept, "seed {seed}: all of it was synced before the segments went");
    }
}

#[test]
fn many_logs_have_their_turn_step_by_step() {
    let sim = Sim::new(8);
    let dir = open_dir(&sim.env());
    let logs: Vec<_> = (0..64).map(|index| dir.create(meta(index), keep(1)).unwrap()).collect();
    dir.janitor_step();
    for log in &logs {
        append(log, &large(1)).unwrap();
    }
    sim.clock().advance(HOUR);
    let shortened = || logs.iter().filter(|log| log.offsets().log_start > offset(0)).count();
    steps(&sim, &dir, 1);
    let first = shortened();
    assert!(first > 0 && first < 64, "{first} in one step");
    steps(&sim, &dir, 3);
    assert_eq!(shortened(), 64);
}
