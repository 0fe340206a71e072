//! Nodes of the metadata quorum in a simulated world: openraft and the files as they are, a network that delays, loses,
//! repeats and cuts, processes that die, and disks that lose what was not synced.
//!
//! ```text
//!   clients ──► propose, read ──► node ──(wire: late, lost, twice, one way)──► node
//!      └─ ledger                   └─ disk: a power cut at any sync
//! ```
//! Time is the world's: it goes on when nobody has anything to do. What must hold is in `invariants`, one file each, apart
//! from the code under test. In which order tasks run is partly openraft's choice, which it draws itself: a seed makes the same
//! faults again, not always the same run.

mod invariants;
mod life;
mod marks;
mod mortal;
mod wire;
mod world;

pub use marks::Marks;
pub(crate) use wire::answer_by_bytes;

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// What has happened.
    pub marks: Marks,
    /// What is broken.
    pub broken: Option<String>,
}

/// Runs the world of a seed with three nodes: faults, then peace, in which everything must come to an end.
#[must_use]
pub fn run(seed: u64) -> Ended {
    world::run(seed, 3)
}

/// As [`run`], with seven, of which now these five vote and now those. Some mistakes need several voters ahead of what is committed.
#[must_use]
pub fn run_of_seven(seed: u64) -> Ended {
    world::run(seed, 7)
}

/// One node founds a quorum, two learn and become voters, one of them loses its disk and is replaced by what it is then,
/// and another dies.
///
/// # Errors
/// What should have been otherwise.
pub fn grow_and_replace(seed: u64) -> Result<(), String> {
    world::grow_and_replace(seed)
}
