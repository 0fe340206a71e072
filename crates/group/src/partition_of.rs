//! Which partition of `__consumer_offsets` holds a group.

use millrace_types::limits::CONSUMER_OFFSETS_PARTITIONS;
use millrace_types::{GroupId, PartitionIndex};

/// The partition of a group, as Kafka computes it: the absolute value of Java's `String.hashCode`, modulo the count.
#[must_use]
pub fn partition_of(group: &GroupId) -> PartitionIndex {
    let hash = group
        .as_str()
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's `Utils.abs` makes the one number without an absolute value 0.
    let positive = hash.checked_abs().unwrap_or(0).unsigned_abs();
    PartitionIndex(positive % CONSUMER_OFFSETS_PARTITIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(group: &str) -> u32 {
        partition_of(&GroupId::new(group).unwrap()).0
    }

    #[test]
    fn partitions_are_those_of_java() {
        // "a".hashCode() is 97, "hello" 99162322, "polygenelubricants" Integer.MIN_VALUE, "é" 233, "😀" 1772899.
        assert_eq!(of("a"), 97 % 16);
        assert_eq!(of("hello"), 99_162_322 % 16);
        assert_eq!(of("polygenelubricants"), 0);
        assert_eq!(of("é"), 233 % 16);
        assert_eq!(of("😀"), 1_772_899 % 16);
    }
}
