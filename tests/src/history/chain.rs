//! A partition in eight bytes: each record's place and value, one after the other.

const BEGIN: u64 = 0x6d69_6c6c_7261_6365;
const OFFSET_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const VALUE_FACTOR: u64 = 0xbf58_476d_1ce4_e5b9;

/// The hash of all records so far, in their order. Who reads a partition whole needs to remember nothing else of it.
///
/// `tests/kafka-clients/python/history.py` has the same chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain(u64);

impl Default for Chain {
    fn default() -> Chain {
        Chain(BEGIN)
    }
}

impl Chain {
    /// One record more.
    pub fn add(&mut self, offset: i64, value: Option<u64>) {
        let mut state = (self.0.rotate_left(23) ^ offset.cast_unsigned()).wrapping_mul(OFFSET_FACTOR);
        state = (state ^ value.unwrap_or(u64::MAX)).wrapping_mul(VALUE_FACTOR);
        self.0 = state ^ (state >> 29);
    }

    /// The hash.
    #[must_use]
    pub fn hash(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[(i64, u64)]) -> u64 {
        let mut chain = Chain::default();
        records.iter().for_each(|(offset, value)| chain.add(*offset, Some(*value)));
        chain.hash()
    }

    #[test]
    fn places_values_and_their_order_count() {
        let whole = of(&[(0, 7), (1, 8), (2, 9)]);
        let others = [
            of(&[(0, 7), (1, 8)]),
            of(&[(1, 8), (0, 7), (2, 9)]),
            of(&[(0, 8), (1, 7), (2, 9)]),
            of(&[(0, 7), (1, 8), (3, 9)]),
            of(&[]),
        ];
        assert!(others.iter().all(|other| *other != whole));
        // The script in Python computes the same (tests/kafka-clients/python/history.py, when run by itself).
        assert_eq!(format!("{whole:016x}"), WHOLE);
    }

    const WHOLE: &str = "c9984bfb628b720f";
}
