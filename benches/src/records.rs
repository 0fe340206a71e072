//! Batches to append and send.

use anyhow::Result;
use millrace_record::{Batch, BatchBuilder, BatchOptions, HEADER_BYTES, NO_HEADERS};
use millrace_types::TimestampMs;

/// The bytes of a record beside its value, at most, when it has no key.
const AROUND_VALUE_BYTES: usize = 16;

/// A value of so many bytes that no compressor could make much smaller.
#[must_use]
pub fn value(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        // xorshift64: the same bytes in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(next).collect()
}

/// An uncompressed batch of `count` records of `value_bytes` each.
///
/// # Errors
/// More than a batch may hold.
pub fn batch(count: usize, value_bytes: usize) -> Result<Batch> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for index in 0..count {
        let value = value(value_bytes, index as u64 + 1);
        builder.append(TimestampMs(1_700_000_000_000), None, Some(&value), NO_HEADERS)?;
    }
    Ok(builder.build()?)
}

/// An uncompressed batch of records of 1 KiB that is just below `bytes`; a single record where `bytes` is small.
///
/// # Errors
/// More than a batch may hold.
pub fn batch_of_size(bytes: usize) -> Result<Batch> {
    let room = bytes - HEADER_BYTES;
    let count = (room / (1024 + AROUND_VALUE_BYTES)).max(1);
    batch(count, (room / count).saturating_sub(AROUND_VALUE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_close_to_the_size_asked_for() {
        for bytes in [1024, 16 * 1024, 64 * 1024, 1024 * 1024] {
            let batch = batch_of_size(bytes).unwrap();
            assert!(batch.size() <= bytes && batch.size() * 100 > bytes * 98, "{} of {bytes}", batch.size());
        }
    }
}
