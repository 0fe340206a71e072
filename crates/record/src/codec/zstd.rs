//! RFC 8878, one frame or several in a row.
//!
//! Each attempt decompresses in one go into the output itself, so the frame's window, which it may declare far larger
//! than its content, needs no memory of its own.

use std::io;

use zstd::zstd_safe;

use crate::{Compression, DecompressError};

/// How much more room is given to a payload that does not say its size, each time that it turns out too little.
const RETRY_GROWTH: usize = 4;
/// The first guess at the content of a frame that does not say its size, as a multiple of the frame.
const RATIO_GUESS: usize = 8;

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.reserve(zstd::compress_bound(input.len()));
    let mut behind = io::Cursor::new(out);
    behind.set_position(start as u64);
    let mut compressor = zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
    compressor.compress_to_buffer(input, &mut behind)?;
    Ok(())
}

pub(super) fn decompress(input: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecompressError> {
    let too_large = DecompressError::TooLarge { codec: Compression::Zstd, max: bytes_max };
    if input.is_empty() {
        return Err(super::corrupt(Compression::Zstd, "there is no zstd frame"));
    }
    let mut capacity = match zstd::bulk::Decompressor::upper_bound(input) {
        Some(size) if size > bytes_max => return Err(too_large),
        Some(size) => size,
        None => input.len().saturating_mul(RATIO_GUESS).max(super::GROWTH_MIN).min(bytes_max),
    };
    let mut context = zstd_safe::DCtx::create();
    loop {
        let mut output = Vec::with_capacity(capacity);
        let Err(code) = context.decompress(&mut output, input) else {
            return Ok(output);
        };
        let problem = zstd_safe::get_error_name(code);
        if problem != TOO_SMALL {
            return Err(super::corrupt(Compression::Zstd, problem));
        }
        if capacity >= bytes_max {
            return Err(too_large);
        }
        // A frame may claim that it holds nothing, and hold something: nothing times four is nothing.
        capacity = capacity.saturating_mul(RETRY_GROWTH).max(super::GROWTH_MIN).min(bytes_max);
    }
}

/// What zstd says when the output does not fit. The name is part of its stable API; the number behind it is not.
const TOO_SMALL: &str = "Destination buffer is too small";
