//! The last offset of each key, by a hash of it: bounded memory, whatever the keys.
//!
//! Two keys of one hash would lose a record, so the hash has 128 bits and begins with a secret that is drawn for each pass: nobody
//! can make keys that meet in it.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hasher};

use millrace_env::{Rng, RngExt};
use millrace_types::Offset;

/// Takes the first eight bytes of what is a hash already.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

/// Keys and their last offsets. Looked up, never iterated.
pub(super) struct KeyMap {
    secret: [u64; 4],
    offsets: HashMap<[u8; 16], Offset, BuildHasherDefault<FirstBytes>>,
    keys_max: usize,
}

/// The map holds as many keys as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Full;

impl KeyMap {
    pub(super) fn new(rng: &dyn Rng, keys_max: usize) -> KeyMap {
        let secret = [rng.next_u64(), rng.next_u64(), rng.next_u64(), rng.next_u64()];
        KeyMap { secret, offsets: HashMap::default(), keys_max }
    }

    fn hash(&self, key: &[u8]) -> [u8; 16] {
        let half = |secret: &[u64]| {
            let mut hasher = DefaultHasher::new();
            secret.iter().for_each(|word| hasher.write_u64(*word));
            hasher.write(key);
            hasher.finish().to_le_bytes()
        };
        let (one, other) = self.secret.split_at(2);
        let mut hash = [0; 16];
        for (to, from) in hash.iter_mut().zip(half(one).into_iter().chain(half(other))) {
            *to = from;
        }
        hash
    }

    /// Takes note of a record behind all before it.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> Result<(), Full> {
        let hash = self.hash(key);
        if self.offsets.len() >= self.keys_max && !self.offsets.contains_key(&hash) {
            return Err(Full);
        }
        self.offsets.insert(hash, offset);
        Ok(())
    }

    /// Whether no record of that key lies behind this one, as far as the map knows.
    pub(super) fn is_last(&self, key: &[u8], offset: Offset) -> bool {
        self.offsets.get(&self.hash(key)).is_none_or(|last| *last <= offset)
    }
}

impl std::fmt::Debug for KeyMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyMap").field("keys", &self.offsets.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_of_a_key_is_known_and_a_full_map_takes_no_new_one() {
        let env = millrace_env::sim::Sim::new(1).env();
        let mut map = KeyMap::new(&*env.rng, 2);
        for (offset, key) in ["a", "b", "a", ""].into_iter().enumerate() {
            let put = map.put(key.as_bytes(), Offset::from_count(offset as u64));
            assert_eq!(put.is_err(), key.is_empty(), "{key}");
        }
        let is_last = |key: &str, offset| map.is_last(key.as_bytes(), Offset::from_count(offset));
        assert!(!is_last("a", 0) && is_last("a", 2) && is_last("b", 1) && is_last("", 0));
    }
}
