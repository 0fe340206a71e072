//! Reproducible randomness: xoshiro256** (Blackman and Vigna, 2018), its state filled by SplitMix64 from the seed.
//!
//! Written out here so that a seed in a bug report means the same bytes for ever, whatever a crate does in its next
//! version. Not for secrets.

use parking_lot::Mutex;

use crate::{Rng, RngExt};

/// A generator with a seed. Threads may share it; then the order of their draws decides who gets what.
#[derive(Debug)]
pub struct SimRng {
    state: Mutex<[u64; 4]>,
}

impl SimRng {
    /// A generator that always draws the same numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> SimRng {
        let mut counter = seed;
        let state = [(); 4].map(|()| split_mix(&mut counter));
        SimRng { state: Mutex::new(state) }
    }

    /// A number below `bound`; zero for bound zero. Uniform but for a bias of at most `bound` in 2^64.
    pub fn below(&self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or_default()
    }

    /// An index below `bound`, drawn as [`SimRng::below`] does.
    pub fn index(&self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.below(bound)).unwrap_or_default()
    }

    /// One of these.
    pub fn one_of<T: Copy, const N: usize>(&self, choices: [T; N]) -> T {
        const { assert!(N > 0, "there is nothing to choose from") };
        choices[self.index(N)]
    }

    /// One of these, if there are any.
    pub fn pick<'a, T>(&self, among: &'a [T]) -> Option<&'a T> {
        among.get(self.index(among.len()))
    }

    /// True in `part` of `whole` draws.
    pub fn chance(&self, part: u64, whole: u64) -> bool {
        self.below(whole) < part
    }
}

impl Rng for SimRng {
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.state.lock();
        for chunk in buffer.chunks_mut(8) {
            let bytes = next(&mut state).to_le_bytes();
            chunk.copy_from_slice(bytes.get(..chunk.len()).unwrap_or_default());
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn split_mix(counter: &mut u64) -> u64 {
    *counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *counter;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn next(state: &mut [u64; 4]) -> u64 {
    let result = state[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
    let shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = state[3].rotate_left(45);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_mix_draws_its_published_numbers() {
        let mut counter = 0;
        assert_eq!(split_mix(&mut counter), 0xe220_a839_7b1d_cdaf);
        assert_eq!(split_mix(&mut counter), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn xoshiro_draws_its_published_numbers() {
        let mut state = [1, 2, 3, 4];
        assert_eq!([(); 4].map(|()| next(&mut state)), [11520, 0, 1_509_978_240, 1_215_971_899_390_074_240]);
    }

    #[test]
    fn the_same_seed_draws_the_same_bytes_and_another_does_not() {
        let draw = |seed| SimRng::new(seed).uuid_v4();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn below_stays_below_and_reaches_both_ends() {
        let rng = SimRng::new(1);
        let draws: Vec<u64> = (0..200).map(|_| rng.below(3)).collect();
        assert!((0..3).all(|n| draws.contains(&n)) && draws.iter().all(|&n| n < 3));
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn each_of_several_is_drawn_and_none_of_none() {
        let rng = SimRng::new(1);
        let draws: Vec<u8> = (0..200).map(|_| rng.one_of([3, 5, 8])).collect();
        assert!([3, 5, 8].iter().all(|n| draws.contains(n)));
        assert!((0..200).all(|_| rng.pick(&[3, 5]).is_some_and(|n| [3, 5].contains(n))));
        assert_eq!(rng.pick::<u8>(&[]), None);
    }
}
