//! What goes wrong in a run, and how often: drawn from the seed.

use millrace_env::sim::SimRng;
use millrace_types::SyncMode;

#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// How many brokers there are; three of them have the partition.
    pub(crate) brokers: i32,
    pub(crate) isr_min: usize,
    pub(crate) sync_mode: SyncMode,
    pub(crate) producers: usize,
    pub(crate) consumers: usize,
    /// Of 1,000 messages, how many are lost, come late, come twice.
    pub(crate) lost: u64,
    pub(crate) late: u64,
    pub(crate) twice: u64,
    /// How late, in milliseconds.
    pub(crate) late_ms: u64,
    /// How long a sync takes at most.
    pub(crate) disk_ms: u64,
    /// How long it is between two appends of one producer.
    pub(crate) think_ms: u64,
    /// How long it is between two faults; none if it is fair.
    pub(crate) fault_every_ms: Option<u64>,
    /// How long it lasts.
    pub(crate) lasts_ms: u64,
}

impl Weather {
    pub(crate) fn draw(rng: &SimRng) -> Weather {
        let fair = rng.chance(1, 20);
        Weather {
            brokers: if rng.chance(1, 2) { 4 } else { 3 },
            isr_min: if rng.chance(1, 8) { 1 } else { 2 },
            sync_mode: if rng.chance(1, 5) { SyncMode::Os } else { SyncMode::Always },
            producers: 1 + rng.index(3),
            consumers: 1 + rng.index(2),
            lost: if fair { 0 } else { rng.one_of([0, 20, 100]) },
            late: if fair { 0 } else { rng.one_of([0, 50, 200]) },
            twice: if fair { 0 } else { rng.one_of([0, 50, 150]) },
            late_ms: rng.one_of([200, 1_000, 4_000]),
            disk_ms: rng.one_of([1, 10, 60, 300]),
            think_ms: rng.one_of([30, 120, 500]),
            fault_every_ms: (!fair).then(|| rng.one_of([250, 600, 1_500])),
            lasts_ms: rng.one_of([6_000, 12_000, 20_000]),
        }
    }

    /// All is well.
    pub(crate) fn clear(&mut self) {
        (self.lost, self.late, self.twice) = (0, 0, 0);
        (self.fault_every_ms, self.disk_ms) = (None, 1);
    }
}
