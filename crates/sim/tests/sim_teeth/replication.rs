//! Promises of replication, in the simulated world of a seed.

use millrace_sim::replication::{Story, run, run_on_failing_disks};
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

/// A failed sync that is repeated and believed then, or a start that believes the cache behind it: a replica counts as held what
/// is not on its disk.
#[test]
fn a_failed_sync_that_is_not_believed_to_have_failed_is_seen_by_replicas() {
    for bug in [Bug::RetryFailedSync, Bug::RecoverThroughCache] {
        let _planted = plant(bug);
        let caught = (0..SEEDS_MAX).find_map(|seed| failing_disks(seed).err().map(|what| (seed + 1, what)));
        let (seeds, what) = caught.expect("no replica lost anything");
        println!("{bug:?}: caught among replicas after {seeds} seed(s): {what}");
    }
}

/// Replicas of one partition.
pub(crate) fn partition(seed: u64) -> Outcome {
    run(seed, Story::Untold).broken.map_or(Ok(()), Err)
}

/// As above, and syncs fail.
pub(crate) fn failing_disks(seed: u64) -> Outcome {
    run_on_failing_disks(seed, Story::Untold).broken.map_or(Ok(()), Err)
}
