//! What the fuzz targets share: batches whose outside is right, so that the inside is reached.

use millrace_record::{CRC_START, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, crc32c};

/// The bytes with length, magic and checksum put right; short ones come back as they are.
pub fn mend_batch(bytes: &[u8]) -> Vec<u8> {
    let mut batch = bytes.to_vec();
    if batch.len() >= HEADER_BYTES {
        let length = (batch.len() - LENGTH_PREFIX_BYTES) as u32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = MAGIC;
        let crc = crc32c(&batch[CRC_START..]);
        batch[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
    }
    batch
}

/// A well-formed header that claims `count` records, compressed by the codec with this number, in front of `payload`.
pub fn batch_of(codec: u8, count: u32, payload: &[u8]) -> Vec<u8> {
    let mut batch = vec![0; HEADER_BYTES];
    batch[22] = codec;
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    // No producer: id, epoch and sequence are -1.
    batch[43..57].fill(0xff);
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    batch.extend_from_slice(payload);
    mend_batch(&batch)
}
