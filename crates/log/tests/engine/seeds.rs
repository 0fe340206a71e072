//! Random histories by their seeds: `MODEL_SEED=n` runs that one alone, `MODEL_SEEDS=n` runs so many.

use std::panic::{RefUnwindSafe, catch_unwind};

/// Runs `history` over the first seeds, `count` of them unless the environment says otherwise. A failing seed prints itself.
pub(crate) fn each_seed(count: u64, history: impl Fn(u64) + RefUnwindSafe) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MODEL_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        let outcome = catch_unwind(|| history(seed));
        assert!(outcome.is_ok(), "seed {seed} failed; run it alone with MODEL_SEED={seed}");
    }
}
