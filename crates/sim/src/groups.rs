//! Consumer groups in a simulated world: members that join, leave, die, pause and commit late, a network that delays, loses,
//! repeats and reorders, topics that come, grow and go, a coordinator that stops and starts, and a disk that fails.
//!
//! The same seed makes the same run. What must hold is in `invariants`, one file each, apart from the code under test.

mod consumer;
mod coordinator;
mod faults;
mod generations;
mod invariants;
mod lease;
mod line;
mod living;
mod marks;
mod pure;
mod real;
mod rest;
mod weather;
mod wire;
mod world;

use std::sync::Arc;

use millrace_env::sim::SimRng;
use millrace_types::GroupId;

pub use marks::Marks;

use coordinator::Links;
use generations::GenerationWorld;
use pure::Pure;
use real::Real;
use weather::Weather;
use world::World;

pub use crate::sweep::Story;

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// What has happened.
    pub marks: Marks,
    /// All that has happened, if it was asked for.
    pub story: Vec<String>,
    /// What is broken.
    pub broken: Option<String>,
}

/// Runs the pure core, an outbox and a log in the world of a seed.
#[must_use]
pub fn run_core(seed: u64, story: Story) -> Ended {
    let rng = Arc::new(SimRng::new(seed));
    let weather = Weather::draw(&rng);
    let name = match GroupId::new("group") {
        Ok(name) => name,
        Err(error) => {
            return Ended { marks: Marks::default(), story: Vec::new(), broken: Some(error.to_string()) };
        }
    };
    let coordinator = Pure::new(weather.links, name, world::patterns(), Arc::clone(&rng));
    play(World::new(rng, weather, Box::new(coordinator)), story)
}

/// Runs the real broker on the simulated machine in the world of a seed.
#[must_use]
pub fn run_broker(seed: u64, story: Story) -> Ended {
    let rng = Arc::new(SimRng::new(seed));
    let mut weather = Weather::draw(&rng);
    weather.links = Links::Streams;
    let world = GroupId::new("group").map_err(|error| error.to_string()).and_then(|name| {
        let coordinator = Real::new(seed, name, Arc::clone(&rng))?;
        World::new(rng, weather, Box::new(coordinator))
    });
    play(world, story)
}

/// Runs the pure core of groups whose members assign each other, an outbox and a log in the world of a seed.
#[must_use]
pub fn run_generations(seed: u64, story: Story) -> Ended {
    let mut world = match GenerationWorld::new(seed) {
        Ok(world) => world,
        Err(broken) => return Ended { marks: Marks::default(), story: Vec::new(), broken: Some(broken) },
    };
    world.story = (story == Story::Told).then(Vec::new);
    let verdict = world.run();
    Ended { marks: world.marks, story: world.story.take().unwrap_or_default(), broken: verdict.err() }
}

fn play(world: Result<World, String>, story: Story) -> Ended {
    let mut world = match world {
        Ok(world) => world,
        Err(broken) => return Ended { marks: Marks::default(), story: Vec::new(), broken: Some(broken) },
    };
    world.story = (story == Story::Told).then(Vec::new);
    let end = world.weather.lasts_ms;
    let verdict = world.run_until(end).and_then(|()| world.come_to_rest());
    Ended { marks: world.marks, story: world.story.take().unwrap_or_default(), broken: verdict.err() }
}
