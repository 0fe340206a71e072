//! What must outlive a power cut, because it was acknowledged.

use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Survival};

use crate::Outcome;
use crate::world::World;

/// Acknowledged records, and some that were not, lose the power.
pub(crate) fn acknowledged_records(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    world.append(world.draw(20), world.draw(2_000))?;
    for _ in 0..world.draw(3) - 1 {
        drop(world.write(world.draw(3_000))?);
    }
    world.cut(Survival::Random)?.is_whole()
}

/// A partition loses the power right after it was made.
pub(crate) fn new_partition(seed: u64) -> Outcome {
    World::new(seed).cut(Survival::Random)?.is_whole()
}

/// So many records that the active segment is another one.
pub(crate) fn rolled_records(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    let bytes = 5_000 + world.draw(20_000);
    world.append(70_000 / bytes + world.draw(4), bytes)?;
    world.cut(Survival::Random)?.is_whole()
}

/// The log start moves, within a segment or to another one.
pub(crate) fn trim(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    world.append(10, world.draw(20_000))?;
    let start = world.draw(9);
    world.log.trim_to(crate::world::offset(start)).map_err(|e| e.to_string())?;
    world.cut(Survival::Random)?.is_whole_from(start)
}

/// Everything that replaces a small file: a trim, a truncation, a leader epoch.
pub(crate) fn small_files(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    world.append(10, world.draw(20_000))?;
    let start = world.draw(4);
    world.log.trim_to(crate::world::offset(start)).map_err(|e| e.to_string())?;
    let end = 4 + world.draw(5);
    world.log.truncate_to(crate::world::offset(end)).map_err(|e| e.to_string())?;
    world.written.truncate(end);
    world.acked = end;
    world.dir.janitor_step();
    let world = world.cut(Survival::Random)?;
    world.is_whole_from(start)
}

/// A sync fails, and the disk goes on as if nothing had happened.
pub(crate) fn acknowledged_after_a_failed_sync(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    world.append(world.draw(5), world.draw(2_000))?;
    world.sim.disk().inject(Fault::io(CallKind::SyncData).on(".log"));
    for _ in 0..3 {
        let answer = world.write(10).and_then(|ticket| ticket.wait().map_err(|e| e.to_string()));
        if answer.is_ok() {
            return Err("a record was acknowledged after a failed sync".to_owned());
        }
    }
    world.cut(Survival::Random)?.is_whole()
}

/// Any of the last five batches is sent again, by a client that got no answer; also to the next process.
pub(crate) fn retries(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    let count = 5 + world.draw(20);
    for sequence in 0..count {
        world.send(7, i32::try_from(sequence).unwrap(), 500)?;
    }
    for round in 0..2 {
        let back = world.draw(5);
        let sequence = count - back;
        let answer = world.send(7, i32::try_from(sequence).unwrap(), 500)?;
        let found = (answer.base_offset, answer.duplicate);
        if found != (crate::world::offset(sequence), true) {
            return Err(format!("the retry of {sequence}, {back} back, got {found:?} in round {round}"));
        }
        world = world.cut(Survival::Random)?;
    }
    Ok(())
}
