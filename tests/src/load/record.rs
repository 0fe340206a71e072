//! A record whose value says who sent it, and all of whose bytes follow from that.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::Seed;

const HEADER_BYTES: usize = 16;
/// Sizes are spread between these, in bytes beside the header.
const FILL_BYTES: (u64, u64) = (40, 2_000);

/// Who sent it, where to, and the how-manieth it was of that sender there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId {
    /// The producer's number.
    pub producer: u32,
    /// The partition it was sent to.
    pub partition: u32,
    /// Counts the records of one producer in one partition, from 0.
    pub sequence: u64,
}

impl RecordId {
    /// The value.
    #[must_use]
    pub fn value(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + 2_048);
        bytes.put_u32(self.producer);
        bytes.put_u32(self.partition);
        bytes.put_u64(self.sequence);
        let mut fill = self.fill();
        let length = usize::try_from(fill.between(FILL_BYTES.0, FILL_BYTES.1)).unwrap_or(0);
        while bytes.len() < HEADER_BYTES + length {
            // Half of it compresses, as real data does.
            bytes.put_u64(fill.draw() & 0x0f0f_0f0f_0f0f_0f0f);
        }
        bytes.truncate(HEADER_BYTES + length);
        bytes.freeze()
    }

    fn fill(self) -> Seed {
        let place = (u64::from(self.producer) << 32) | u64::from(self.partition);
        Seed::new(place.rotate_left(17) ^ self.sequence.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    /// Whose value that is; `None` if any byte of it is another.
    #[must_use]
    pub fn of_value(value: &[u8]) -> Option<RecordId> {
        let number = |range: std::ops::Range<usize>| {
            let bytes = value.get(range)?.iter();
            Some(bytes.fold(0_u64, |number, byte| (number << 8) | u64::from(*byte)))
        };
        let id = RecordId {
            producer: u32::try_from(number(0..4)?).ok()?,
            partition: u32::try_from(number(4..8)?).ok()?,
            sequence: number(8..16)?,
        };
        (id.value() == value).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_its_record_and_any_other_byte_is_noticed() {
        let id = RecordId { producer: 1, partition: 15, sequence: 77 };
        let value = id.value();
        assert_eq!(RecordId::of_value(&value), Some(id));
        for at in 0..value.len() {
            let mut other = value.to_vec();
            other[at] ^= 1;
            assert_eq!(RecordId::of_value(&other), None, "byte {at}");
            assert_eq!(RecordId::of_value(&value[..at]), None, "cut at {at}");
        }
    }
}
