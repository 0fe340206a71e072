//! Promises of replication, in the simulated world of a seed.

use millrace_sim::replication::{Story, run};
use millrace_types::teeth::{Bug, plant};

use crate::{Outcome, SEEDS_MAX};

/// A mark that is believed although the machine was without power: a replica that has lost records says that it has all of them.
#[test]
fn a_running_mark_that_is_trusted_is_seen_by_replicas() {
    let _planted = plant(Bug::RunningMarkTrusted);
    let caught = (0..SEEDS_MAX).find_map(|seed| partition(seed).err().map(|what| (seed + 1, what)));
    let (seeds, what) = caught.expect("no replica lost anything");
    println!("RunningMarkTrusted: caught among replicas after {seeds} seed(s): {what}");
}

/// Replicas of one partition.
pub(crate) fn partition(seed: u64) -> Outcome {
    run(seed, Story::Untold).broken.map_or(Ok(()), Err)
}
