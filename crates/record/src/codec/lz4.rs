//! The LZ4 frame format, with linked or independent blocks, with or without checksums.
//!
//! ```text
//!   u32 magic | u8 flags | u8 block size | (u64 content size) | (u32 dictionary) | u8 header checksum
//!   u32 length, its highest bit set if stored | block | (u32 block checksum)                     for each block
//!   u32 end mark = 0 | (u32 content checksum)
//! ```
//!
//! All little endian. Kafka's Java client writes independent blocks of 64 KiB, librdkafka what its caller chose.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::read_capped;
use crate::{Compression, DecompressError};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const FLAG_BLOCK_CHECKSUM: u8 = 0x10;
const FLAG_CONTENT_SIZE: u8 = 0x08;
const FLAG_CONTENT_CHECKSUM: u8 = 0x04;
const FLAG_DICTIONARY: u8 = 0x01;
const STORED: u32 = 0x8000_0000;

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // Kafka's own reader takes independent blocks only.
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input)?;
    encoder.finish().map(drop).map_err(io::Error::other)
}

fn corrupt(problem: impl ToString) -> DecompressError {
    super::corrupt(Compression::Lz4, problem)
}

pub(super) fn decompress(input: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecompressError> {
    check_whole(input)?;
    read_capped(Compression::Lz4, ToTheEnd(FrameDecoder::new(input)), bytes_max)
}

/// The decoder says "end" behind every frame, and at a block without content too; the end is where the input ends.
struct ToTheEnd<'a>(FrameDecoder<&'a [u8]>);

impl Read for ToTheEnd<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        // Each turn of the decoder takes bytes of the input or fails, so this comes to its end.
        loop {
            let read = self.0.read(room)?;
            if read > 0 || self.0.get_ref().is_empty() {
                return Ok(read);
            }
        }
    }
}

/// Steps over frames and blocks: the decoder takes a stream that ends between two blocks for a whole one.
fn check_whole(input: &[u8]) -> Result<(), DecompressError> {
    let mut rest = input;
    let mut take = |count: usize| {
        let (taken, behind) = rest.split_at_checked(count).ok_or_else(|| corrupt("the frame is cut off"))?;
        rest = behind;
        Ok::<_, DecompressError>((taken, rest.is_empty()))
    };
    loop {
        let (magic, _) = take(4)?;
        if magic != MAGIC {
            return Err(corrupt("there is no LZ4 frame"));
        }
        let (flags, _) = take(1)?;
        let flag = |bit: u8| usize::from(flags.first().is_some_and(|flags| flags & bit != 0));
        if flag(FLAG_DICTIONARY) == 1 {
            return Err(corrupt("the frame needs a dictionary"));
        }
        take(1 + 8 * flag(FLAG_CONTENT_SIZE) + 1)?;
        loop {
            let (length, _) = take(4)?;
            let length = length.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
            if length == 0 {
                break;
            }
            take((length & !STORED) as usize)?;
            take(4 * flag(FLAG_BLOCK_CHECKSUM))?;
        }
        let (_, at_end) = take(4 * flag(FLAG_CONTENT_CHECKSUM))?;
        if at_end {
            return Ok(());
        }
    }
}
