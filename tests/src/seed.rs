//! Random choices that can be had again: every suite that draws says from which seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// The variable that repeats a run.
const SEED: &str = "MILLRACE_SEED";

/// A small generator (SplitMix64): the same seed, the same choices.
#[derive(Debug, Clone)]
pub struct Seed {
    state: u64,
}

impl Seed {
    /// The seed of `MILLRACE_SEED`, or one of the moment. Prints it.
    ///
    /// # Panics
    /// When `MILLRACE_SEED` is no number.
    #[must_use]
    pub fn announced(suite: &str) -> Seed {
        let given = std::env::var(SEED).ok().map(|text| text.parse().expect("MILLRACE_SEED is a number"));
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::from(now.subsec_nanos()) ^ now.as_secs().rotate_left(32)
        });
        crate::say(&format!("{suite}: seed {seed} (again with {SEED}={seed})"));
        Seed::new(seed)
    }

    /// That seed.
    #[must_use]
    pub fn new(seed: u64) -> Seed {
        Seed { state: seed }
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `low..high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high - low)
    }

    /// A generator of its own for another task.
    #[must_use]
    pub fn fork(&mut self) -> Seed {
        Seed::new(self.draw())
    }
}
