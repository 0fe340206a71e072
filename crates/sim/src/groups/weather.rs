//! What goes wrong in a run, and how often: drawn from the seed.

use millrace_env::sim::SimRng;

use super::coordinator::Links;

#[derive(Clone, Debug)]
pub(crate) struct Weather {
    pub(crate) links: Links,
    pub(crate) consumers: usize,
    /// How many of them are static.
    pub(crate) fixed: usize,
    /// Whether the first two have one lasting name.
    pub(crate) namesakes: bool,
    /// Of 1,000 messages, how many are lost, come late, come twice.
    pub(crate) lost: u64,
    pub(crate) late: u64,
    pub(crate) twice: u64,
    /// How late, in milliseconds.
    pub(crate) late_ms: u64,
    /// How long the disk takes.
    pub(crate) disk_ms: u64,
    /// Of 1,000 persists, how many fail.
    pub(crate) failing: u64,
    /// How long it is between two faults; none if it is fair.
    pub(crate) fault_every_ms: Option<u64>,
    pub(crate) rebalance_timeout_ms: u64,
    /// How long it lasts.
    pub(crate) lasts_ms: u64,
}

impl Weather {
    pub(crate) fn draw(rng: &SimRng) -> Weather {
        let consumers = 2 + rng.index(4);
        let fair = rng.chance(1, 6);
        Weather {
            links: if rng.chance(3, 4) { Links::Streams } else { Links::Loose },
            consumers,
            fixed: rng.index(3).min(consumers),
            namesakes: rng.chance(1, 2),
            lost: if fair { 0 } else { rng.one_of([0, 20, 100]) },
            late: if fair { 0 } else { rng.one_of([0, 50, 150]) },
            twice: if fair { 0 } else { rng.one_of([0, 50]) },
            late_ms: rng.one_of([1_000, 6_000, 15_000]),
            disk_ms: rng.one_of([1, 10, 200, 1_500]),
            failing: if fair { 0 } else { rng.one_of([0, 2, 10]) },
            fault_every_ms: (!fair).then(|| rng.one_of([800, 2_000, 5_000])),
            rebalance_timeout_ms: rng.one_of([6_000, 12_000]),
            lasts_ms: if fair { 30_000 } else { 45_000 },
        }
    }

    /// All is well.
    pub(crate) fn clear(&mut self) {
        (self.lost, self.late, self.twice, self.failing) = (0, 0, 0, 0);
        (self.fault_every_ms, self.disk_ms) = (None, 1);
    }
}
