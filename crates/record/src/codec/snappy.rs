//! Snappy blocks in the framing of the xerial library, which Kafka's Java client writes, or one bare block.
//!
//! ```text
//!   82 'S' 'N' 'A' 'P' 'P' 'Y' 00 | i32 version = 1 | i32 compatible = 1    16 bytes
//!   i32 length | snappy block                                              for each 32 KiB of input
//! ```
//!
//! Big endian. Streams may be concatenated: another header may stand where a length is due. librdkafka and others write
//! one bare block, without any framing, and so it is told apart by the missing magic.

use std::io;

use crate::{Compression, DecompressError};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_BYTES: usize = 16;
/// The input bytes of a block, as the Java library has it.
const BLOCK_BYTES: usize = 32 * 1024;
/// No block grows more than this many times: its best element, of three bytes, stands for 64.
const GROWTH_MAX: usize = 32;

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    let mut encoder = snap::raw::Encoder::new();
    let mut block = vec![0; snap::raw::max_compress_len(BLOCK_BYTES.min(input.len()))];
    for chunk in input.chunks(BLOCK_BYTES) {
        let length = encoder.compress(chunk, &mut block)?;
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(block.get(..length).unwrap_or_default());
    }
    Ok(())
}

fn corrupt(problem: impl ToString) -> DecompressError {
    super::corrupt(Compression::Snappy, problem)
}

pub(super) fn decompress(input: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecompressError> {
    let mut output = Vec::new();
    if !input.starts_with(&MAGIC) {
        append_block(input, &mut output, bytes_max)?;
        return Ok(output);
    }
    let mut rest = input;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            let header = rest.split_at_checked(HEADER_BYTES);
            (_, rest) = header.ok_or_else(|| corrupt("the stream is cut off in its header"))?;
            continue;
        }
        let (length, behind) =
            rest.split_first_chunk().ok_or_else(|| corrupt("the stream is cut off in a length"))?;
        let length = u32::from_be_bytes(*length);
        let block = behind.split_at_checked(length as usize);
        let (block, behind) =
            block.ok_or_else(|| corrupt(format!("a block of {length} bytes is cut off")))?;
        append_block(block, &mut output, bytes_max)?;
        rest = behind;
    }
    Ok(output)
}

fn append_block(block: &[u8], output: &mut Vec<u8>, bytes_max: usize) -> Result<(), DecompressError> {
    // The block says how long it will be. It is believed only as far as its own bytes can carry.
    let length = snap::raw::decompress_len(block).map_err(corrupt)?;
    if length > block.len().saturating_mul(GROWTH_MAX) {
        return Err(corrupt(format!("a block of {} bytes claims to hold {length}", block.len())));
    }
    let start = output.len();
    if length > bytes_max - start {
        return Err(DecompressError::TooLarge { codec: Compression::Snappy, max: bytes_max });
    }
    if output.capacity() - start < length {
        output.reserve_exact(length.max(start).min(bytes_max - start));
    }
    output.resize(start + length, 0);
    let room = output.get_mut(start..).unwrap_or_default();
    snap::raw::Decoder::new().decompress(block, room).map_err(corrupt)?;
    Ok(())
}
