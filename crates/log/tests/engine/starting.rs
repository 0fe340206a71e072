//! What an unclean start costs: as much as was not synced, whatever lies under seals.

use std::sync::Arc;
use std::time::Duration;

use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim, Survival};
use millrace_log::{Log, LogConfig, LogDir, StagedLog};
use millrace_types::LeaderEpoch;
use millrace_types::limits::{SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MIN, UNSYNCED_BYTES_MAX};

use crate::world::{append, batch, batch_at, meta, open_dir, options, partition, stamp, values};

const SEGMENT_BYTES: u64 = 16 * SEGMENT_BYTES_MIN;
/// Of one batch, more or less.
const BATCH_BYTES: u64 = 1_000;
/// What a batch holds besides its value.
const BATCH_OVERHEAD: usize = 75;
/// What one more sealed segment may cost: its seal is read, its records and indexes are not.
const SEAL_BYTES: u64 = 512;
const SEAL_CALLS: u64 = 8;
/// Marks, metas, leader epochs, snapshots, the last index entry, whatever the size of anything.
const FIXED_BYTES: u64 = 40_000;

#[derive(Clone, Copy, Debug)]
struct Cost {
    bytes: u64,
    calls: u64,
}

/// A machine with one log that takes much or little to recover.
struct History {
    sim: Sim,
    dir: Arc<LogDir>,
    log: Arc<Log>,
    config: LogConfig,
    sequence: i32,
}

impl History {
    fn new(seed: u64, segment_bytes: u64) -> History {
        let config = LogConfig { segment_bytes, segment_ms: 3_600_000, ..LogConfig::default() };
        let sim = Sim::new(seed);
        let dir = open_dir(&sim.env());
        let log = dir.create(meta(0), config.clone()).unwrap();
        History { sim, dir, log, config, sequence: 0 }
    }

    /// Writes that much in batches of one producer, and waits until all of it is safe.
    fn write(&mut self, bytes: u64, batch_bytes: u64) {
        let value = vec![7; usize::try_from(batch_bytes).unwrap() - BATCH_OVERHEAD];
        for _ in 0..bytes / batch_bytes {
            let batch = batch_at(self.sequence.into(), &[&value], stamp(5, self.sequence));
            self.log.append(batch).unwrap().wait().unwrap();
            self.sequence += 1;
        }
    }

    /// Cuts the power and opens the log.
    fn recover(self) -> Cost {
        let History { sim, dir, log, config, .. } = self;
        let end = log.offsets().end;
        drop((dir, log));
        let env = sim.power_cut(Survival::Everything);
        sim.calls().reset();
        let opened = LogDir::open(&env, options(0)).unwrap();
        let log = opened.dir.open_log(partition(0), config).unwrap();
        assert_eq!((log.offsets().end, opened.dir.start_report().clean), (end, false));
        Cost { bytes: sim.calls().bytes(CallKind::Read), calls: sim.calls().total() }
    }
}

/// Fills `sealed` segments, then writes `tail` bytes that no mark covers.
fn cost_of(sealed: u64, tail: u64) -> Cost {
    let mut history = History::new(sealed ^ tail, SEGMENT_BYTES);
    for _ in 0..sealed {
        history.write(SEGMENT_BYTES - 10 * BATCH_BYTES, BATCH_BYTES);
        // The segment comes of age: it is rolled, sealed and marked, and an empty one is left.
        history.sim.clock().advance(Duration::from_secs(7_200));
        history.dir.janitor_step();
    }
    history.write(tail, BATCH_BYTES);
    history.recover()
}

#[test]
fn an_unclean_start_costs_what_was_not_synced_and_not_what_is_sealed() {
    let tail = 60_000;
    let (few, many, long) = (cost_of(4, tail), cost_of(40, tail), cost_of(4, 10 * tail));
    println!("4 sealed segments: {few:?}; 40: {many:?}; 4, and ten times the tail: {long:?}");
    assert!(many.bytes - few.bytes <= 36 * SEAL_BYTES, "{many:?}");
    assert!(many.calls - few.calls <= 36 * SEAL_CALLS, "{many:?}");
    // Each byte of the tail is checked, and its headers are read once more for the state of the producers.
    let is_due = |cost: Cost, tail: u64| tail <= cost.bytes && cost.bytes <= 2 * tail + FIXED_BYTES;
    assert!(is_due(few, tail) && is_due(long, 10 * tail), "{few:?}, {long:?}");
    assert!(long.calls - few.calls <= 9 * tail / LogConfig::default().index_interval_bytes, "{long:?}");
}

#[test]
fn the_beginning_of_a_long_active_segment_is_not_read_again() {
    let mut history = History::new(1, SEGMENT_BYTES_DEFAULT);
    let step = UNSYNCED_BYTES_MAX / 4;
    for _ in 0..11 {
        history.write(step, 16 * BATCH_BYTES);
        history.dir.janitor_step();
    }
    let cost = history.recover();
    println!("{} bytes in one segment: {cost:?}", 11 * step);
    // All of it is marked. What is read are headers behind the newest snapshot of the producers: a window for each batch.
    assert!(cost.bytes <= UNSYNCED_BYTES_MAX / 4, "{cost:?}");
}

/// Offsets and values.
type Records = Vec<(i64, Vec<u8>)>;

/// Logs with a record each, half of them unsynced, and a machine that is about to lose its process.
fn several(seed: u64) -> (Sim, Vec<Records>) {
    let sim = Sim::new(seed);
    let dir = open_dir(&sim.env());
    let mut written = Vec::new();
    for index in 0..LOGS {
        let log = dir.create(meta(index), LogConfig::default()).unwrap();
        append(&log, b"synced").unwrap();
        if index % 2 == 0 {
            drop(log.append(batch(&[b"not synced"])).unwrap());
        }
        let unsynced = (index % 2 == 0).then(|| (1, b"not synced".to_vec()));
        written.push([(0, b"synced".to_vec())].into_iter().chain(unsynced).collect());
    }
    (sim, written)
}

const LOGS: u32 = 5;

fn stage_all(dir: &LogDir) -> Vec<StagedLog> {
    (0..LOGS).map(|index| dir.stage_log(partition(index), LogConfig::default()).unwrap()).collect()
}

#[test]
fn many_logs_are_recovered_with_three_syncs_and_what_they_serve_outlives_a_power_cut() {
    let (sim, written) = several(11);
    let env = sim.kill();
    sim.calls().reset();
    let dir = open_dir(&env);
    let logs = dir.settle(stage_all(&dir)).unwrap();
    assert_eq!(sim.calls().count(CallKind::SyncFs), 3);
    let logged = sim.calls().log();
    let home = std::path::Path::new("/data");
    let of_logs = logged.iter().filter(|call| call.call.path.parent() != Some(home));
    let of_logs = of_logs.filter(|call| matches!(call.call.kind, CallKind::SyncData | CallKind::SyncDir));
    let of_logs: Vec<_> = of_logs.filter(|call| call.call.path != home).collect();
    assert!(of_logs.is_empty(), "{of_logs:?}");
    let found = |logs: &[Arc<Log>]| logs.iter().map(|log| values(log)).collect::<Vec<_>>();
    assert_eq!(found(&logs), written);
    assert!(logs.iter().all(|log| log.leader_epoch() == LeaderEpoch(1)));
    drop((dir, logs));
    let env = sim.power_cut(Survival::Nothing);
    let dir = open_dir(&env);
    let logs = dir.settle(stage_all(&dir)).unwrap();
    assert_eq!(found(&logs), written);
    assert!(logs.iter().all(|log| log.leader_epoch() == LeaderEpoch(2)), "the first epoch was forgotten");
}

#[test]
fn a_log_that_is_staged_and_not_settled_is_nobodys() {
    let (sim, _) = several(12);
    let dir = open_dir(&sim.kill());
    let staged = dir.stage_log(partition(0), LogConfig::default()).unwrap();
    assert!(dir.open_log(partition(0), LogConfig::default()).is_err(), "somebody is at it");
    drop(staged);
    assert_eq!(dir.open_log(partition(0), LogConfig::default()).unwrap().leader_epoch(), LeaderEpoch(1));
    // The others were not recovered, so the next start is no clean one.
    dir.close().unwrap();
    drop(dir);
    assert!(!open_dir(&sim.env()).start_report().clean);
}

#[test]
fn a_failed_sync_of_the_file_system_fails_the_start() {
    for before in 0..3 {
        let (sim, written) = several(13 + before);
        let env = sim.kill();
        sim.disk().inject(Fault::io(CallKind::SyncFs).after(before));
        match LogDir::open(&env, options(0)) {
            Err(_) => assert_eq!(before, 0),
            Ok(opened) => {
                let staged = stage_all(&opened.dir);
                assert!(opened.dir.settle(staged).is_err(), "sync {before}");
                assert!(opened.dir.open_log(partition(0), LogConfig::default()).is_err(), "it has failed");
            }
        }
        // What was unsynced then is lost, and nothing else.
        let dir = open_dir(&sim.power_cut(Survival::Nothing));
        for (log, written) in dir.settle(stage_all(&dir)).unwrap().iter().zip(&written) {
            let found = values(log);
            assert!(!found.is_empty() && written.starts_with(&found), "{found:?}");
        }
    }
}
