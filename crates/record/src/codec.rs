//! Compressing and decompressing the payload of a batch.

use std::io;

use bytes::Bytes;

use crate::{Compression, DecompressError};

pub(crate) fn compress(codec: Compression, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    match codec {
        Compression::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "this build has no codec for it")),
    }
}

pub(crate) fn decompress(
    codec: Compression,
    input: Bytes,
    _bytes_max: usize,
) -> Result<Bytes, DecompressError> {
    match codec {
        Compression::None => Ok(input),
        _ => Err(DecompressError::Corrupt { codec, problem: "this build has no codec for it".to_owned() }),
    }
}
