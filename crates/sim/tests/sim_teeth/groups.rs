//! Promises of consumer groups, in the simulated world of a seed.

use millrace_sim::groups::{Story, run_broker, run_core, run_generations};

use crate::Outcome;

/// The pure core, an outbox and a log.
pub(crate) fn core(seed: u64) -> Outcome {
    run_core(seed, Story::Untold).broken.map_or(Ok(()), Err)
}

/// The pure core of groups whose members assign each other.
pub(crate) fn generations(seed: u64) -> Outcome {
    run_generations(seed, Story::Untold).broken.map_or(Ok(()), Err)
}

/// The real broker on the simulated machine.
pub(crate) fn broker(seed: u64) -> Outcome {
    run_broker(seed, Story::Untold).broken.map_or(Ok(()), Err)
}
