//! Many seeds of a simulated world, on all processors, and what is told of them.
#![expect(clippy::print_stdout, reason = "a suite reports what it has tried")]

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many seeds that broke something are printed.
const TOLD_MAX: usize = 100;

/// What is counted in a run.
pub trait Counts: Default + Display + Send {
    /// Adds those of another run.
    fn count_in(&mut self, other: &Self);
}

/// Whether a run is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Story {
    /// All that happens in it.
    Told,
    /// Only how it ends.
    Untold,
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended<Marks> {
    /// What was counted.
    pub marks: Marks,
    /// All that has happened, if it was asked for.
    pub story: Vec<String>,
    /// What is broken.
    pub broken: Option<String>,
    /// A number that stands for all that has happened.
    pub hash: u64,
}

/// The seed of `MILLRACE_SEED`, where somebody wants to see that one alone.
#[must_use]
pub fn seed_wanted() -> Option<u64> {
    std::env::var("MILLRACE_SEED").ok().and_then(|text| text.parse().ok())
}

/// Runs seeds on as many threads as there are processors. A run answers what it has counted and what is broken, if anything
/// is.
///
/// # Panics
/// When anything is broken; it is printed with its seed before.
pub fn sweep<C: Counts>(first: u64, seeds: u64, run: impl Fn(u64) -> (C, Option<String>) + Sync) -> C {
    let next = AtomicU64::new(first);
    let found: Mutex<(C, Vec<(u64, String)>)> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let (counts, broken) = run(seed);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.0.count_in(&counts);
                    found.1.extend(broken.map(|what| (seed, what)));
                }
            });
        }
    });
    let (counts, mut broken) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    broken.sort();
    println!("{seeds} seeds: {counts}");
    for (seed, what) in broken.iter().take(TOLD_MAX) {
        println!("MILLRACE_SEED={seed}: {what}");
    }
    assert!(broken.is_empty(), "{} of {seeds} seeds break a promise", broken.len());
    counts
}
