//! Three nodes of the metadata quorum: no run of the simulated world breaks what the quorum promises.
//!
//! `MILLRACE_SEED=n` runs that seed alone.

use millrace_sim::quorum::{Marks, grow_and_replace, run};
use millrace_sim::sweep::{self, seed_wanted};

/// Seeds of a run in CI.
const SEEDS: u64 = 100;

/// Runs seeds; what is broken is printed with its seed.
fn sweep(first: u64, seeds: u64) -> Marks {
    sweep::sweep(first, seeds, |seed| {
        let ended = run(seed);
        (ended.marks, ended.broken)
    })
}

#[test]
fn a_hundred_histories_of_the_quorum_break_no_promise() {
    if let Some(seed) = seed_wanted() {
        let ended = run(seed);
        println!("{}", ended.marks);
        assert_eq!(ended.broken, None, "seed {seed}");
        return;
    }
    let marks = sweep(0, SEEDS);
    assert!(marks.never().is_empty(), "never happened: {:?}", marks.never());
}

/// 890, 1233, 1256: a leader that had started again answered reads by its snapshot. 1545: what a snapshot was to make up for
/// was purged before the snapshot was on the disk.
#[test]
fn histories_that_broke_a_promise_once_do_not_any_more() {
    for seed in [890, 1233, 1256, 1545] {
        assert_eq!(run(seed).broken, None, "seed {seed}");
    }
}

#[test]
fn a_quorum_grows_and_a_node_that_lost_its_disk_comes_back_as_another_voter() {
    for seed in 0..20 {
        assert_eq!(grow_and_replace(seed), Ok(()), "seed {seed}");
    }
}

#[test]
#[ignore = "soak: as long as MILLRACE_SOAK_MINUTES says, other seeds each time"]
fn histories_of_the_quorum_for_as_long_as_it_is_told() {
    let minutes = std::env::var("MILLRACE_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let clock = &*millrace_env::real::env().clock;
    let end = clock.monotonic().after(std::time::Duration::from_secs(60 * minutes));
    // The first round is always the same; where the others begin is drawn.
    let mut first = 0;
    let mut marks = Marks::default();
    while clock.monotonic() < end {
        marks.add(&sweep(first, 2_000));
        first = millrace_env::RngExt::next_u64(&*millrace_env::real::env().rng) >> 1;
    }
    println!("{marks}");
}
