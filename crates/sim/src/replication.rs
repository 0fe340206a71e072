//! Replicas of a partition in a simulated world: brokers, each with a disk of its own and the real log on it, the values that decide
//! about replication, a controller, clients, and everything that goes wrong between them.
//!
//! The same seed makes the same run. What must hold is in `invariants`, one file each, apart from the code under test.

mod clients;
mod deletions;
mod disks;
mod faults;
mod helm;
mod invariants;
mod marks;
mod more;
mod node;
mod plots;
mod rest;
mod store;
mod truth;
mod weather;
mod wire;
mod world;

pub use marks::Marks;

use more::More;
use world::World;

pub use crate::sweep::Story;

/// How a run ended.
pub type Ended = crate::sweep::Ended<Marks>;

/// Runs the world of a seed: faults first, then none, and everything must come to rest.
#[must_use]
pub fn run(seed: u64, story: Story) -> Ended {
    run_with(seed, story, More::Nothing)
}

/// As [`run`], and syncs fail.
#[must_use]
pub fn run_on_failing_disks(seed: u64, story: Story) -> Ended {
    run_with(seed, story, More::FailingDisks)
}

/// As [`run`], and records are deleted from the front. No producer is idempotent: what a replica remembers of one goes with the
/// records that it never had.
#[must_use]
pub fn run_with_deletions(seed: u64, story: Story) -> Ended {
    run_with(seed, story, More::Deletions)
}

fn run_with(seed: u64, story: Story, more: More) -> Ended {
    let mut world = match World::new(seed, more) {
        Ok(world) => world,
        Err(broken) => {
            return Ended { marks: Marks::default(), story: Vec::new(), broken: Some(broken), hash: 0 };
        }
    };
    world.story = (story == Story::Told).then(Vec::new);
    let end = world.weather.lasts_ms;
    let verdict = world.run_until(end).and_then(|()| world.come_to_rest());
    Ended {
        marks: world.marks,
        hash: world.hash(),
        story: world.story.take().unwrap_or_default(),
        broken: verdict.err(),
    }
}
