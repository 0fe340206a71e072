//! Replicas of a partition by the thousand: no run of the simulated world breaks what replication promises.
//!
//! `MILLRACE_SEED=n` runs that seed alone and tells what happened.
#![expect(clippy::print_stdout, reason = "a suite reports what it has tried")]

use millrace_sim::replication::{Ended, Marks, Story, run, run_on_failing_disks, run_with_deletions};
use millrace_sim::sweep::{self, seed_wanted};

/// What happens on failing disks only.
const OF_DISKS: &[&str] = &["processes ended by a failed sync", "starts that a failed sync has ended"];
/// What happens only where records are deleted.
const OF_DELETIONS: &[&str] = &["deletions of records", "logs that began anew where their leader's starts"];
/// What is too rare there for a thousand seeds.
const OF_COMMANDS: &[&str] = &["leaders elected by command"];
/// What happens only to idempotent producers.
const OF_RETRIES: &[&str] = &[
    "appends sent again",
    "retries that found their batch",
    "appends that an old leader took for too early",
];

/// Runs seeds; what is broken is printed with its seed. All has happened but `but`.
fn sweep(first: u64, seeds: u64, run: fn(u64, Story) -> Ended, but: &[&[&str]]) {
    let marks: Marks = sweep::sweep(first, seeds, |seed| {
        let ended = run(seed, Story::Untold);
        (ended.marks, ended.broken)
    });
    assert_eq!(marks.never(), but.concat(), "never happened");
}

/// One seed, told.
fn tell(seed: u64, run: fn(u64, Story) -> Ended) {
    let ended = run(seed, Story::Told);
    ended.story.iter().for_each(|line| println!("{line}"));
    println!("{}", ended.marks);
    assert_eq!(ended.broken, None, "seed {seed}");
}

#[test]
fn two_thousand_histories_of_replicas_break_no_promise() {
    match seed_wanted() {
        Some(seed) => tell(seed, run),
        None => sweep(0, 2_000, run, &[OF_DELETIONS, OF_DISKS]),
    }
}

#[test]
#[ignore = "minutes: cargo xtask soak"]
fn a_hundred_thousand_histories_of_replicas_break_no_promise() {
    sweep(1_000_000, 100_000, run, &[OF_DELETIONS, OF_DISKS]);
}

#[test]
fn a_thousand_histories_of_replicas_on_failing_disks_break_no_promise() {
    match seed_wanted() {
        Some(seed) => tell(seed, run_on_failing_disks),
        None => sweep(0, 1_000, run_on_failing_disks, &[OF_DELETIONS]),
    }
}

#[test]
#[ignore = "minutes: cargo xtask soak"]
fn fifty_thousand_histories_of_replicas_on_failing_disks_break_no_promise() {
    sweep(1_000_000, 50_000, run_on_failing_disks, &[OF_DELETIONS]);
}

#[test]
fn a_thousand_histories_of_replicas_whose_records_are_deleted_break_no_promise() {
    match seed_wanted() {
        Some(seed) => tell(seed, run_with_deletions),
        None => sweep(0, 1_000, run_with_deletions, &[OF_RETRIES, OF_COMMANDS, OF_DISKS]),
    }
}

#[test]
#[ignore = "minutes: cargo xtask soak"]
fn fifty_thousand_histories_of_replicas_whose_records_are_deleted_break_no_promise() {
    sweep(1_000_000, 50_000, run_with_deletions, &[OF_RETRIES, OF_DISKS]);
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
    keeps_to(&found, run);
}

/// As above, of what failing disks have shown.
#[test]
fn histories_on_failing_disks_that_broke_a_promise_once_do_not_any_more() {
    let found: [(&str, &[u64]); 2] = [
        (
            "the fault model took for lost what was synced, where a failed sync ended a clean stop",
            &[
                1_001_136, 1_001_504, 1_002_430, 1_002_603, 1_009_766, 1_009_900, 1_011_385, 1_014_614,
                1_014_630, 1_015_668, 1_016_511, 1_016_821, 1_022_291, 1_024_729, 1_026_022, 1_030_758,
                1_032_682, 1_032_853, 1_033_969, 1_034_335, 1_035_761, 1_038_118, 1_040_177, 1_040_283,
                1_041_707, 1_042_481, 1_046_772, 1_046_805, 1_047_505,
            ],
        ),
        (
            "the model's brokers said that nothing was lost, after a start that had renewed the running mark and failed",
            &[
                1_002_890, 1_003_244, 1_004_224, 1_005_172, 1_005_685, 1_006_499, 1_009_231, 1_009_619,
                1_013_832, 1_014_284, 1_015_356, 1_017_957, 1_017_973, 1_019_111, 1_021_590, 1_022_955,
                1_023_333, 1_025_848, 1_026_045, 1_027_095, 1_027_673, 1_033_517, 1_034_179, 1_034_863,
                1_036_162, 1_036_178, 1_037_770, 1_040_711, 1_041_421, 1_041_674, 1_041_779, 1_044_262,
                1_044_800, 1_045_155, 1_045_729, 1_045_979, 1_049_004, 1_049_483,
            ],
        ),
    ];
    keeps_to(&found, run_on_failing_disks);
}

fn keeps_to(found: &[(&str, &[u64])], run: fn(u64, Story) -> Ended) {
    for (what, seeds) in found {
        for seed in *seeds {
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
