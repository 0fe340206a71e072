//! What an unclean start costs: as much as was not synced, whatever lies under seals.

use std::sync::Arc;
use std::time::Duration;

use millrace_env::counting::CallKind;
use millrace_env::sim::{Sim, Survival};
use millrace_log::{Log, LogConfig, LogDir};
use millrace_types::limits::{SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MIN, UNSYNCED_BYTES_MAX};

use crate::world::{batch_at, meta, open_dir, options, partition, stamp};

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
