//! A whole cluster in a simulated world: three brokers as they are, each on a disk of its own, clients, the network between all of
//! them, and everything that goes wrong.
//!
//! ```text
//!   producers, readers, admin ──(network)──► broker ──(network)──► broker
//!      └─ truth: what they were told           └─ disk: a power cut at any moment
//! ```
//! The fault model: processes are killed, paused and stopped; the power goes, of one machine or of all, between two pieces of work or
//! in the middle of one, and takes any of what was not synced; one disk is lost for good where two more hold what was acknowledged;
//! disks are slow; wall clocks jump; messages are late, lost, repeated (requests that decide are not: they come over a connection),
//! overtake each other; connections break; any direction of any link is cut, those to clients too. What was synced stays.
//! Time is the world's: it goes on when nobody has anything to do, and tasks run one after another.
//!
//! Clients call the broker as its doors do. Doors and sockets are not in this world: the suites of real processes have them.
//!
//! The same seed makes the same run: what clients were told and what was done to the world is compared. openraft polls the two halves
//! of one wait (for the end of a pause after a peer was not reached, and for work) in an order that tokio draws; where both end
//! at once, two runs may part.

mod clients;
mod faults;
mod line;
mod machine;
mod marks;
mod process;
mod rest;
mod truth;
mod weather;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use marks::Marks;
use millrace_env::sim::SimRng;
pub use weather::Faults;
use weather::Plan;
use world::World;

pub use crate::sweep::Story;

/// How a run ended. Its story is what clients were told and what was done to the world.
pub type Ended = crate::sweep::Ended<Marks>;

/// Runs the world of a seed: faults first, then none, and everything must come to rest.
#[must_use]
pub fn run(seed: u64, faults: Faults, story: Story) -> Ended {
    let plan = Plan::draw(&SimRng::new(seed ^ 0x9147), faults);
    let mut world = World::new(seed, plan, story == Story::Told);
    world.tell(|| format!("{:?}", world.plan));
    let outcome = catch_unwind(AssertUnwindSafe(|| world.play()));
    let broken = outcome.unwrap_or_else(|_| Err("something has panicked: see above".to_owned())).err();
    let marks = world.switch.marks();
    let mut state = world.shared.state.lock();
    let story = state.truth.story.take().unwrap_or_default();
    Ended { marks, broken, story, hash: state.truth.hash() }
}
