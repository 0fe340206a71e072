//! Promises about what goes: by key, by age, by size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_env::counting::CallKind;
use millrace_env::sim::Survival;
use millrace_log::{CompactionConfig, Log, LogConfig, ReadRequest};
use millrace_record::{Batch, BatchBuilder, BatchOptions, NO_HEADERS};
use millrace_types::{CleanupPolicy, TimestampMs};

use crate::Outcome;
use crate::world::{World, config};

/// Older than this, records of an aged log go.
const AGE: Duration = Duration::from_secs(3_600);
/// How many records are appended in one go.
const RECORDS: usize = 25;
/// Most calls that a cleaning step makes.
const CALLS_MAX: u64 = 120;

fn aged() -> LogConfig {
    LogConfig { retention_ms: Some(3_600_000), segment_ms: 1_000_000_000, ..config() }
}

fn compacted() -> LogConfig {
    let compaction = CompactionConfig { dirty_parts_min: 0, ..CompactionConfig::default() };
    LogConfig { cleanup: CleanupPolicy::Compact, compaction, ..config() }
}

/// Where the last record of a key lies, and whether it is a tombstone.
type Last = BTreeMap<u64, (usize, bool)>;

/// Appends two segments of records of few keys, other ones in each round; small ones have no value.
fn append_keys(world: &mut World, round: u64, last: &mut Last) -> Outcome {
    for _ in 0..RECORDS {
        let key = 2 * round + world.sim.rng().below(5);
        let bytes = world.draw(9_000);
        let is_tombstone = bytes < 3_000;
        let value = vec![7; bytes];
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let value = (!is_tombstone).then_some(&value[..]);
        builder.append(TimestampMs(1_000), Some(&key.to_be_bytes()), value, NO_HEADERS).unwrap();
        let ticket = world.log.append(builder.build().unwrap()).map_err(|e| e.to_string())?;
        let appended = ticket.wait().map_err(|e| e.to_string())?;
        let at = usize::try_from(appended.base_offset.get()).unwrap();
        last.insert(key, (at, is_tombstone));
    }
    Ok(())
}

/// The last offset of each key that is there.
fn found(log: &Log) -> Result<Last, String> {
    let (mut from, end) = (log.offsets().log_start, log.offsets().end);
    let mut found = Last::new();
    while from < end {
        let request = ReadRequest { from, until: None, bytes_max: 1 };
        let answer = log.read(&request).map_err(|e| e.to_string())?.load().map_err(|e| e.to_string())?;
        for extent in &answer.extents {
            let batch = Batch::parse_stored(extent).map_err(|e| e.to_string())?;
            let records = batch.records().map_err(|e| e.to_string())?;
            for record in records.views() {
                let record = record.map_err(|e| e.to_string())?;
                let key = u64::from_be_bytes(record.key.unwrap().try_into().unwrap());
                let at = usize::try_from(records.offset_of(&record).get()).unwrap();
                found.insert(key, (at, record.value.is_none()));
            }
        }
        from = answer.range.end;
    }
    Ok(found)
}

fn is_whole(world: &World, last: &Last) -> Outcome {
    let damaged = world.report().damaged;
    if !damaged.is_empty() {
        return Err(format!("damage is reported where there is none: {damaged:?}"));
    }
    let found = found(&world.log)?;
    if found == *last { Ok(()) } else { Err(format!("{found:?} is there, {last:?} is due")) }
}

/// One step of the janitor, in which the power goes before some call, if it makes so many.
fn cut_in_a_step(world: World) -> Result<World, String> {
    let (at, calls) = (world.sim.rng().below(CALLS_MAX), Arc::new(AtomicU64::new(0)));
    for kind in CallKind::ALL {
        let (disk, calls) = (world.sim.disk().clone(), Arc::clone(&calls));
        let hook = move |_: &_| {
            if calls.fetch_add(1, Ordering::SeqCst) == at {
                disk.power_cut(Survival::Random);
            }
        };
        world.sim.calls().on_call(kind, Box::new(hook));
    }
    world.dir.janitor_step();
    CallKind::ALL.into_iter().for_each(|kind| world.sim.calls().remove_hook(kind));
    world.cut(Survival::Random)
}

/// Keyed records are compacted, and compacted again, and the power goes meanwhile.
pub(crate) fn compacted_keys(seed: u64) -> Outcome {
    let mut world = World::with(seed, compacted());
    let mut last = Last::new();
    append_keys(&mut world, 0, &mut last)?;
    world.dir.janitor_step();
    append_keys(&mut world, 1, &mut last)?;
    let world = cut_in_a_step(world)?;
    is_whole(&world, &last)?;
    world.dir.janitor_step();
    is_whole(&world, &last)
}

/// Tombstones are compacted twice, in less than the time for which they are kept.
pub(crate) fn tombstones(seed: u64) -> Outcome {
    let mut world = World::with(seed, compacted());
    let mut last = Last::new();
    for round in 0..3 {
        append_keys(&mut world, round, &mut last)?;
        world.sim.clock().advance(Duration::from_secs(world.sim.rng().below(3_600)));
        world.dir.janitor_step();
        is_whole(&world, &last)?;
    }
    Ok(())
}

/// Records with the times of another age, loaded some minutes ago.
pub(crate) fn history(seed: u64) -> Outcome {
    let mut world = World::with(seed, aged());
    world.dir.janitor_step();
    let count = 5 + world.draw(10);
    world.append(count, 20_000)?;
    for _ in 0..3 {
        world.sim.clock().advance(Duration::from_secs(world.sim.rng().below(1_000)));
        world.dir.janitor_step();
    }
    world.is_whole()
}

/// The first segments are old enough to go, and the power goes on the way.
pub(crate) fn shortened(seed: u64) -> Outcome {
    let mut world = World::with(seed, aged());
    world.append(6 + world.draw(6), 30_000)?;
    world.dir.janitor_step();
    world.sim.clock().advance(AGE);
    world.append(3, 30_000)?;
    world.sim.clock().advance(Duration::from_secs(1));
    let world = cut_in_a_step(world)?;
    let start = usize::try_from(world.log.offsets().log_start.get()).unwrap();
    let first_young = world.written.len() - 3;
    if start > first_young {
        return Err(format!("it starts at {start}, {first_young} is young"));
    }
    world.is_whole_from(start)
}
