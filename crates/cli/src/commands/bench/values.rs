//! What the records hold: random letters, and for readers the time at which they were due.

use bytes::{BufMut, Bytes, BytesMut};
use millrace_env::{RngExt as _, real};

/// Bytes of letters that values are cut out of.
const POOL_BYTES: usize = 1024 * 1024;
/// Values of one pool begin this far apart: a prime, so that they seldom repeat.
const STRIDE: usize = 7919;
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The mark of a run and a time, in front of a value.
pub(super) const STAMP_BYTES: usize = 16;

/// Makes values.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pool: Bytes,
    size: usize,
    /// The run's mark, where values carry the time at which they are due.
    pub(super) stamp: Option<u64>,
    at: usize,
}

impl Values {
    /// Values of `size` bytes; `seed` says where the first one begins.
    pub(super) fn new(size: usize) -> Values {
        let mut pool = vec![0; POOL_BYTES.max(2 * size)];
        real::env().rng.fill(&mut pool);
        for byte in &mut pool {
            *byte = LETTERS[usize::from(*byte % 64)];
        }
        Values { pool: pool.into(), size, stamp: None, at: 0 }
    }

    /// The same letters for another producer, who begins elsewhere.
    pub(super) fn of_producer(&self, producer: u64) -> Values {
        let at = usize::try_from(producer).unwrap_or(0).wrapping_mul(104_729);
        Values { at, ..self.clone() }
    }

    /// The bytes of a value.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The value of a record that is due then.
    pub(super) fn next(&mut self, due: u64) -> Bytes {
        let room = self.pool.len() - self.size;
        self.at = (self.at + STRIDE) % (room + 1);
        let letters = self.pool.slice(self.at..self.at + self.size);
        let Some(stamp) = self.stamp else { return letters };
        let mut value = BytesMut::with_capacity(self.size);
        value.put_u64(stamp);
        value.put_u64(due);
        value.put_slice(letters.get(STAMP_BYTES..).unwrap_or_default());
        value.freeze()
    }
}

/// A mark that no other run has.
pub(super) fn new_stamp() -> u64 {
    real::env().rng.next_u64()
}

/// The time at which a record was due, if it is one of this run.
pub(super) fn due_of(value: &[u8], stamp: u64) -> Option<u64> {
    let (mark, rest) = value.split_first_chunk::<8>()?;
    let (due, _) = rest.split_first_chunk::<8>()?;
    (u64::from_be_bytes(*mark) == stamp).then_some(u64::from_be_bytes(*due))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_and_a_foreign_one_does_not() {
        let mut values = Values::new(100);
        values.stamp = Some(7);
        let value = values.next(123_456);
        assert_eq!(value.len(), 100);
        assert_eq!(due_of(&value, 7), Some(123_456));
        assert_eq!(due_of(&value, 8), None);
        assert_eq!(due_of(&value[..15], 7), None);
    }

    #[test]
    fn values_have_their_size_and_differ() {
        for size in [1, 10, POOL_BYTES, 3 * POOL_BYTES] {
            let mut values = Values::new(size);
            assert_eq!((values.next(0).len(), values.next(0).len()), (size, size));
        }
        let mut values = Values::new(100);
        assert_ne!(values.next(0), values.next(0));
        assert_ne!(values.of_producer(1).next(0), values.of_producer(2).next(0));
    }
}
