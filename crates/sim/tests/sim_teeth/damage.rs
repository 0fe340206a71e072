//! Where a log ends, what is damage, and what a full disk leaves of an index.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Survival, Transfers};
use millrace_log::inspect::{Depth, Inspection};
use millrace_log::names::{SegmentFile, partition_dir, segment_file};
use millrace_log::{Log, ReadError};

use crate::Outcome;
use crate::world::{DATA, World, batch, id, offset};

fn path(file: SegmentFile) -> PathBuf {
    Path::new(DATA).join(partition_dir(id())).join(segment_file(offset(0), file))
}

/// A bit rots below the synced mark, and the process dies.
pub(crate) fn below_the_mark(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    let (count, bytes) = (2 + world.draw(10), 100 + world.draw(2_000));
    world.append(count, bytes)?;
    world.dir.janitor_step();
    world.append(world.draw(3), bytes)?;
    let log = path(SegmentFile::Log);
    let size = world.sim.disk().medium(&log).unwrap().len();
    // All batches are of one size; the last marked ones may lie in blocks that are not rotten.
    let batch_bytes = size / world.written.len();
    let position = world.sim.rng().below((count * batch_bytes) as u64);
    world.sim.disk().flip_bit(&log, position, u8::try_from(world.sim.rng().below(8)).unwrap()).unwrap();
    let rotten = usize::try_from(position).unwrap() / batch_bytes;
    let world = world.kill()?;
    if world.end() < world.acked {
        return Err(format!("it ends at {}, {} were acknowledged", world.end(), world.acked));
    }
    for number in 0..world.acked {
        match world.read(number) {
            Ok(value) if value == world.written[number] => {}
            Err(ReadError::Corrupt(_)) if number == rotten => {}
            other => {
                let other = other.map(|value| value.len());
                return Err(format!("{rotten} is rotten, and {number} of {} is {other:?}", world.acked));
            }
        }
    }
    Ok(())
}

/// Runs `work` once, in the janitor, right before a call of `kind` on a path that ends with `end`.
fn beside(world: &World, kind: CallKind, end: &'static str, work: impl Fn() + Send + Sync + 'static) {
    let done = AtomicBool::new(false);
    let hook = move |call: &millrace_env::counting::Call| {
        if call.path.to_string_lossy().ends_with(end) && !done.swap(true, Ordering::SeqCst) {
            work();
        }
    };
    world.sim.calls().on_call(kind, Box::new(hook));
}

fn append_all(log: &Log, first: usize, values: &[Vec<u8>]) {
    for (number, value) in (first..).zip(values) {
        drop(log.append(batch(number, value, None)).unwrap());
    }
}

/// Somebody appends after the janitor's sync and before its mark. The power goes.
pub(crate) fn beside_the_janitor(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    world.append(10, 1_000 + world.draw(1_000))?;
    let (log, count) = (Arc::clone(&world.log), world.draw(3));
    let values: Vec<Vec<u8>> = (0..count).map(|_| vec![9; world.draw(3_000)]).collect();
    let first = world.written.len();
    world.written.extend(values.iter().cloned());
    beside(&world, CallKind::Create, ".index", move || append_all(&log, first, &values));
    world.dir.janitor_step();
    world.sim.calls().remove_hook(CallKind::Create);
    if world.end() != world.written.len() {
        return Err("the janitor wrote no index".to_owned());
    }
    world.cut(Survival::Random)?.is_whole()
}

/// Somebody appends while the janitor seals an older segment, so that the index is written before the records that it
/// names are synced. The power goes and takes some of the records, and not the index.
pub(crate) fn index_ahead_of_the_log(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    let bytes = 5_000 + world.draw(5_000);
    world.append(75_000 / bytes, bytes)?;
    let (log, count) = (Arc::clone(&world.log), 3 + world.draw(5));
    let values: Vec<Vec<u8>> = (0..count).map(|_| vec![9; 2_000 + world.draw(4_000)]).collect();
    let first = world.written.len();
    world.written.extend(values.iter().cloned());
    beside(&world, CallKind::Rename, ".seal.tmp", move || append_all(&log, first, &values));
    world.dir.janitor_step();
    world.sim.calls().remove_hook(CallKind::Rename);
    if world.end() != world.written.len() {
        return Err("the janitor sealed nothing".to_owned());
    }
    world.cut(Survival::Random)?.is_whole()
}

/// The disk is full in the middle of an index entry; later there is room again.
pub(crate) fn index_on_a_full_disk(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    world.append(4, 5_000)?;
    world.dir.janitor_step();
    world.append(3, 5_000)?;
    // What is short is written again from there on, and finds no room.
    world.sim.disk().set_transfers(Transfers::Short);
    let index = if seed.is_multiple_of(2) { ".index" } else { ".timeindex" };
    world.sim.disk().inject(Fault::no_space(CallKind::Write).on(index).after(1));
    world.dir.janitor_step();
    world.sim.disk().heal();
    world.append(2, 5_000)?;
    world.dir.close().map_err(|e| e.to_string())?;
    world.sim.disk().kill();
    let inspection = Inspection::open(world.sim.env().fs, Path::new(DATA)).map_err(|e| e.to_string())?;
    let report = inspection.verify(Depth::Records);
    let findings: Vec<_> = report.partitions.iter().flat_map(|found| found.all_findings()).collect();
    if !findings.is_empty() {
        return Err(format!("{findings:?}"));
    }
    drop(inspection);
    world.kill()?.is_whole()
}
