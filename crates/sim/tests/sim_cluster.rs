//! Whole clusters: no run of the simulated world breaks what a cluster promises.
//!
//! `MILLRACE_SEED=n` runs that seed alone and tells what happened.

#![expect(clippy::print_stdout, reason = "a suite reports what it has tried")]

use millrace_sim::cluster::{Faults, Marks, Story, run};
use millrace_sim::sweep::{self, seed_wanted};

/// What need not happen in a hundred runs.
const RARE: [&str; 1] = ["requests of another leader epoch"];

/// Runs seeds; what is broken is printed with its seed.
fn sweep(first: u64, seeds: u64, faults: Faults) -> Marks {
    sweep::sweep(first, seeds, |seed| {
        let ended = run(seed, faults, Story::Untold);
        (ended.marks, ended.broken)
    })
}

/// Runs the seed of `MILLRACE_SEED` alone, if there is one.
fn is_alone(faults: Faults) -> bool {
    let Some(seed) = seed_wanted() else { return false };
    let ended = run(seed, faults, Story::Told);
    ended.story.iter().for_each(|line| println!("{line}"));
    println!("{}", ended.marks);
    assert_eq!(ended.broken, None, "seed {seed}");
    true
}

#[test]
fn clusters_without_faults_serve_everybody() {
    if !is_alone(Faults::None) {
        sweep(0, 6, Faults::None);
    }
}

#[test]
fn clusters_whose_brokers_are_killed_lose_nothing() {
    if !is_alone(Faults::Kills) {
        sweep(0, 20, Faults::Kills);
    }
}

#[test]
fn a_hundred_histories_of_clusters_break_no_promise() {
    if is_alone(Faults::All) {
        return;
    }
    let marks = sweep(0, 100, Faults::All);
    let mut never = marks.never();
    never.retain(|what| !RARE.contains(what));
    assert!(never.is_empty(), "never happened: {never:?}");
}

/// Of brokers that were replaced and had not heard of it: one took a batch for too early (47, 1000454, 1000810, 1000896, 1001507,
/// 1001961), one said that an offset is outside of the log (1001326), one told old committed offsets (1001023, 1001566). Of one that failed
/// a batch that it had to cut away as if its disk had failed: 1001404. Of a leader to which a reader's epoch was no news: 1001313.
const BROKE_ONCE: [u64; 11] = [
    47, 1_000_454, 1_000_810, 1_000_896, 1_001_023, 1_001_313, 1_001_326, 1_001_404, 1_001_507, 1_001_566,
    1_001_961,
];

#[test]
fn histories_that_broke_a_promise_once_do_not_any_more() {
    for seed in BROKE_ONCE {
        assert_eq!(run(seed, Faults::All, Story::Untold).broken, None, "seed {seed}");
    }
}

#[test]
fn the_same_seed_tells_the_same_story_of_a_cluster() {
    for seed in 0..20 {
        let told = run(seed, Faults::All, Story::Told);
        let again = run(seed, Faults::All, Story::Told);
        let parts = told.story.iter().zip(&again.story).find(|(one, other)| one != other);
        assert_eq!(parts, None, "seed {seed}");
        assert_eq!(told, again, "seed {seed}");
    }
}

#[test]
#[ignore = "minutes: cargo xtask soak"]
fn two_thousand_whole_clusters() {
    let marks = sweep(1_000_000, 2_000, Faults::All);
    assert!(marks.never().is_empty(), "never happened: {:?}", marks.never());
}
