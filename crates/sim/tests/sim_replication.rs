//! Replicas of a partition by the thousand: no run of the simulated world breaks what replication promises.
//!
//! `MILLRACE_SEED=n` runs that seed alone and tells what happened.
#![expect(clippy::print_stdout, reason = "a suite reports what it has tried")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use millrace_sim::replication::{Marks, Story, run};

fn seed_wanted() -> Option<u64> {
    std::env::var("MILLRACE_SEED").ok().and_then(|text| text.parse().ok())
}

/// Runs seeds on as many threads as there are processors; what is broken is printed with its seed.
fn sweep(first: u64, seeds: u64) -> Marks {
    let next = AtomicU64::new(first);
    let found: Mutex<(Marks, Vec<(u64, String)>)> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let ended = run(seed, Story::Untold);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.0.add(&ended.marks);
                    found.1.extend(ended.broken.map(|what| (seed, what)));
                }
            });
        }
    });
    let (marks, mut broken) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    broken.sort();
    println!("{seeds} seeds: {marks}");
    for (seed, what) in broken.iter().take(10) {
        println!("MILLRACE_SEED={seed}: {what}");
    }
    assert!(broken.is_empty(), "{} of {seeds} seeds break a promise", broken.len());
    marks
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

#[test]
fn the_same_seed_tells_the_same_story_of_replicas() {
    for seed in 0..40 {
        let told = run(seed, Story::Told);
        assert!(told.story.len() > 100, "seed {seed} tells {} lines", told.story.len());
        assert_eq!(told, run(seed, Story::Told), "seed {seed}");
    }
}
