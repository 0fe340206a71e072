//! RFC 1952, one member or several in a row, as Java's `GZIPInputStream` reads them.

use std::io::{self, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::read_capped;
use crate::{Compression, DecompressError};

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(input)?;
    encoder.finish().map(drop)
}

pub(super) fn decompress(input: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecompressError> {
    if input.is_empty() {
        return Err(super::corrupt(Compression::Gzip, "there is no gzip member"));
    }
    read_capped(Compression::Gzip, MultiGzDecoder::new(input), bytes_max)
}
