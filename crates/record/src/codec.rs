//! Compressing and decompressing the payload of a batch.
//!
//! A payload may have been compressed by anyone. The output grows only as real bytes come out, never past the cap that
//! the caller gives; the room that a decompressor works in beside it is bounded too (the most is LZ4's two blocks and a
//! window, about 8 MiB). A payload that is cut off is an error, in every codec.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::io::{self, Read};

use bytes::Bytes;

use crate::{Compression, DecompressError};

/// The bytes by which an output grows at first.
const GROWTH_MIN: usize = 16 * 1024;

/// Appends `input`, compressed, to `out`.
pub(crate) fn compress(codec: Compression, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    match codec {
        Compression::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => gzip::compress(input, out),
        Compression::Snappy => snappy::compress(input, out),
        Compression::Lz4 => lz4::compress(input, out),
        Compression::Zstd => zstd::compress(input, out),
    }
}

/// Decompresses `input` into at most `bytes_max` bytes.
///
/// # Errors
/// [`DecompressError`] if it is more than that, damaged, or cut off.
pub(crate) fn decompress(
    codec: Compression,
    input: Bytes,
    bytes_max: usize,
) -> Result<Bytes, DecompressError> {
    let output = match codec {
        Compression::None if input.len() > bytes_max => {
            Err(DecompressError::TooLarge { codec, max: bytes_max })
        }
        Compression::None => return Ok(input),
        Compression::Gzip => gzip::decompress(&input, bytes_max),
        Compression::Snappy => snappy::decompress(&input, bytes_max),
        Compression::Lz4 => lz4::decompress(&input, bytes_max),
        Compression::Zstd => zstd::decompress(&input, bytes_max),
    }?;
    Ok(shrunk(output).into())
}

/// Gives back room that is mostly unused, since records may keep the output alive for long.
fn shrunk(mut output: Vec<u8>) -> Vec<u8> {
    if output.capacity() > 2 * output.len() {
        output.shrink_to_fit();
    }
    output
}

fn corrupt(codec: Compression, problem: impl ToString) -> DecompressError {
    DecompressError::Corrupt { codec, problem: problem.to_string() }
}

/// Reads a decompressing reader to its end, or to one byte past the cap.
fn read_capped(
    codec: Compression,
    mut reader: impl Read,
    bytes_max: usize,
) -> Result<Vec<u8>, DecompressError> {
    let mut output = Vec::new();
    let mut filled = 0;
    loop {
        if filled == output.len() {
            // At the cap, one more byte decides whether the payload is too large or just ends here.
            let growth = output.len().max(GROWTH_MIN).min(bytes_max - filled).max(1);
            output.reserve_exact(growth);
            output.resize(filled + growth, 0);
        }
        let room = output.get_mut(filled..).unwrap_or_default();
        match reader.read(room) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(corrupt(codec, error)),
        }
        if filled > bytes_max {
            return Err(DecompressError::TooLarge { codec, max: bytes_max });
        }
    }
    output.truncate(filled);
    Ok(output)
}

#[cfg(test)]
mod tests;
