//! Replicas of a partition by the thousand: no run of the simulated world breaks what replication promises.
//!
//! `MILLRACE_SEED=n` runs that seed alone and tells what happened.

use millrace_sim::replication::{Marks, Story, run};
use millrace_sim::sweep::{self, seed_wanted};

/// Runs seeds; what is broken is printed with its seed.
fn sweep(first: u64, seeds: u64) -> Marks {
    sweep::sweep(first, seeds, |seed| {
        let ended = run(seed, Story::Untold);
        (ended.marks, ended.broken)
    })
}

#[test]
fn two_thousand_histories_of_replicas_break_no_promise() {
    if let Some(seed) = seed_wanted() {
        let ended = run(seed, Story::Told);
        ended.story.iter().for_each(|line| println!("{line}"));
        println!("{}", ended.marks);
        assert_eq!(ended.broken, None, "seed {seed}");
        return;
    }
    let marks = sweep(0, 2_000);
    assert!(marks.never().is_empty(), "never happened: {:?}", marks.never());
}

#[test]
#[ignore = "minutes: cargo xtask soak"]
fn a_hundred_thousand_histories_of_replicas_break_no_promise() {
    let marks = sweep(1_000_000, 100_000);
    assert!(marks.never().is_empty(), "never happened: {:?}", marks.never());
}

/// Every class of what the suite has found, by the seeds that showed it.
#[test]
fn histories_that_broke_a_promise_once_do_not_any_more() {
    let found: [(&str, &[u64]); 4] = [
        (
            "a start took a replica that was deleted before a crash for one that was lost, and made no log for it again",
            &[
                1_000_017, 1_000_288, 1_000_372, 1_000_927, 1_001_404, 1_004_557, 1_004_691, 1_005_490,
                1_006_669,
            ],
        ),
        (
            "a leader that was replaced before it heard of its election said that there is no such offset",
            &[1_004_728],
        ),
        (
            "a late answer to an earlier run of a follower was taken for one to this run",
            &[1_009_582, 1_030_446],
        ),
        (
            "the fault model lost a disk that a leader went on to count, and called that one loss made good",
            &[1_085_150],
        ),
    ];
    for (what, seeds) in found {
        for seed in seeds {
            assert_eq!(run(*seed, Story::Untold).broken, None, "seed {seed}: {what}");
        }
    }
}

#[test]
fn the_same_seed_tells_the_same_story_of_replicas() {
    for seed in 0..40 {
        let told = run(seed, Story::Told);
        assert!(told.story.len() > 100, "seed {seed} tells {} lines", told.story.len());
        assert_eq!(told, run(seed, Story::Told), "seed {seed}");
    }
}
