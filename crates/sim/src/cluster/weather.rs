//! What a world is like, drawn from its seed.

use millrace_env::sim::SimRng;

use super::wire::{CALM, Weather};

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Faults {
    /// Nothing.
    None,
    /// Processes die and come back.
    Kills,
    /// All of it.
    All,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) faults: Faults,
    pub(super) partitions: u32,
    /// `min.insync.replicas` is never below.
    pub(super) minimum: u32,
    pub(super) producers: u64,
    pub(super) readers: u64,
    /// Groups that commit offsets, each by one client.
    pub(super) groups: u64,
    pub(super) administered: bool,
    pub(super) think_ms: u64,
    /// How long disks take at most.
    pub(super) disk_ms: u64,
    pub(super) weather: Weather,
    pub(super) act_every_ms: u64,
    pub(super) lasts_ms: u64,
    /// One disk may be lost.
    pub(super) may_wipe: bool,
}

impl Plan {
    pub(super) fn draw(rng: &SimRng, faults: Faults) -> Plan {
        let all = faults == Faults::All;
        let minimum = if rng.chance(1, 6) { 1 } else { 2 };
        let stormy = Weather {
            lost: rng.one_of([0, 0, 10, 50]),
            repeated: rng.one_of([0, 30, 100]),
            reset: rng.one_of([0, 0, 10, 40]),
            late_ms: rng.one_of([2, 20, 150]),
        };
        Plan {
            faults,
            partitions: 1 + u32::try_from(rng.below(3)).unwrap_or(0),
            minimum,
            producers: 1 + rng.below(3),
            readers: 1 + rng.below(2),
            groups: rng.below(3),
            administered: rng.chance(2, 3),
            think_ms: rng.one_of([60, 200, 600]),
            disk_ms: rng.one_of([0, 2, 20, 100]),
            weather: if all { stormy } else { CALM },
            act_every_ms: rng.one_of([400, 1_000, 2_500]),
            lasts_ms: rng.one_of([8_000, 15_000, 25_000]),
            // With a single replica in sync that disk may have had the only copy.
            may_wipe: minimum == 2 && rng.chance(1, 2),
        }
    }
}
