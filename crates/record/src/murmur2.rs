//! Which partition a key belongs to: Kafka's hash, so that producers of both kinds agree.

use millrace_types::PartitionIndex;

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;

fn mix(k: u32) -> u32 {
    let k = k.wrapping_mul(M);
    (k ^ (k >> 24)).wrapping_mul(M)
}

/// MurmurHash2, 32 bit, with the seed of Kafka's `Utils.murmur2`.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    // Kafka hashes the length as a 32-bit number; a key is never longer than that.
    let len = u32::try_from(data.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    let (words, rest) = data.as_chunks::<4>();
    let mut h = SEED ^ len;
    for word in words {
        h = h.wrapping_mul(M) ^ mix(u32::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * index);
        }
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of a key: `toPositive(murmur2(key)) % partitions`, as Kafka's default partitioner computes it.
///
/// `partitions` is at least 1; 0 is taken as 1.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: u32) -> PartitionIndex {
    PartitionIndex((murmur2(key) & 0x7fff_ffff) % partitions.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's `UtilsTest.testMurmur2`.
    #[test]
    fn kafkas_vectors() {
        for (text, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), hash.cast_unsigned(), "{text}");
        }
    }

    #[test]
    fn partitions_lie_in_range() {
        assert_eq!(
            partition_for_key(b"21", 3),
            PartitionIndex((-973_932_308_i32 & i32::MAX).cast_unsigned() % 3)
        );
        assert_eq!(partition_for_key(b"", 1), PartitionIndex(0));
        assert_eq!(partition_for_key(b"k", 0), PartitionIndex(0));
    }
}
