//! What a start believes, and what it may serve.

use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Survival};

use crate::Outcome;
use crate::world::{World, offset};

/// A process dies with records in the cache, the next one serves them, and then the power goes.
pub(crate) fn served_after_a_kill(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    world.append(world.draw(10), world.draw(2_000))?;
    for _ in 0..world.draw(5) {
        drop(world.write(world.draw(3_000))?);
    }
    let served = world.kill()?;
    served.is_whole()?;
    stays_served(served)
}

/// A sync fails, so that the cache holds what the medium does not and calls it clean; a new process takes over.
pub(crate) fn served_after_a_failed_sync(seed: u64) -> Outcome {
    stays_served(killed_after_a_failed_sync(seed)?)
}

/// A sync fails: the next start says that the cache may be lost, or a replica would be trusted that has lost what the cache shows.
pub(crate) fn told_of_a_failed_sync(seed: u64) -> Outcome {
    let world = killed_after_a_failed_sync(seed)?;
    if world.report().cache_may_be_lost { Ok(()) } else { Err("a failed sync goes unnoticed".to_owned()) }
}

/// A sync has failed, and another process runs: what the cache holds is whole.
fn killed_after_a_failed_sync(seed: u64) -> Result<World, String> {
    let mut world = World::new(seed);
    world.append(world.draw(10), world.draw(2_000))?;
    world.sim.disk().inject(Fault::io(CallKind::SyncData).on(".log"));
    if world.write(world.draw(3_000))?.wait().is_ok() {
        return Err("a record was acknowledged though its sync failed".to_owned());
    }
    let world = world.kill()?;
    world.is_whole()?;
    Ok(world)
}

/// What is below the high watermark now is there after a power cut.
fn stays_served(mut world: World) -> Outcome {
    world.acked = world.end();
    world.cut(Survival::Nothing)?.is_whole()
}

/// A clean stop: the next start reads no record and begins no leader epoch.
pub(crate) fn clean(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    world.append(world.draw(40), world.draw(5_000))?;
    let epoch = world.log.leader_epoch();
    let world = world.restart()?;
    world.is_whole()?;
    let (report, found) = (world.report(), world.log.leader_epoch());
    if report.clean && report.bytes_read == 0 && found == epoch {
        return Ok(());
    }
    Err(format!("{} bytes were read, the epoch went from {epoch} to {found}", report.bytes_read))
}

/// An unclean stop: the next start begins a leader epoch, and cuts what is torn.
pub(crate) fn unclean(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    world.append(world.draw(10), world.draw(2_000))?;
    for _ in 0..world.draw(5) {
        drop(world.write(world.draw(3_000))?);
    }
    let epoch = world.log.leader_epoch();
    let world = world.cut(Survival::Random)?;
    world.is_whole()?;
    let found = world.log.leader_epoch();
    if found > epoch { Ok(()) } else { Err(format!("the epoch is {found}, it was {epoch}")) }
}

/// Another mount: the cache may be gone. The same one: it is not.
pub(crate) fn remounted(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    world.append(world.draw(10), world.draw(2_000))?;
    let world = world.kill()?;
    if world.report().cache_may_be_lost {
        return Err("the same mount counts as another".to_owned());
    }
    world.sim.disk().remount();
    let world = world.start_again()?;
    world.is_whole()?;
    if world.report().cache_may_be_lost { Ok(()) } else { Err("a remount goes unnoticed".to_owned()) }
}

/// Records of a producer are truncated, others take their place, the process dies. Then the producer sends again.
pub(crate) fn truncated_producers(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    let bytes = 4_000 + world.draw(4_000);
    let count = 70_000 / bytes + world.draw(5);
    for sequence in 0..count {
        world.send(7, i32::try_from(sequence).unwrap(), bytes)?;
    }
    // The roll has taken a snapshot; now it is a file.
    world.dir.janitor_step();
    let end = world.draw(3);
    world.log.truncate_to(offset(end)).map_err(|e| e.to_string())?;
    world.written.truncate(end);
    world.acked = end;
    world.append(count + world.draw(10), 100)?;
    let mut world = world.kill()?;
    world.is_whole()?;
    let (sequence, due) = (i32::try_from(end).unwrap(), offset(world.end()));
    let answer = world.send(7, sequence, bytes)?;
    if (answer.base_offset, answer.duplicate) == (due, false) {
        return Ok(());
    }
    Err(format!("sequence {sequence} was truncated; sent again it is answered {answer:?}"))
}

/// A partition is deleted and the power goes: the next process makes it anew.
pub(crate) fn deleted_and_made_anew(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    world.append(world.draw(10), world.draw(2_000))?;
    world.dir.janitor_step();
    world.is_made_anew()
}
