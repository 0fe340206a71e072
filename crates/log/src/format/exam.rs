//! What every decoder must pass: cut the bytes at every place, flip every bit, lie under a right checksum.

use std::fmt::Debug;

use super::envelope::{DecodeError, HEADER_BYTES};

/// Every proper prefix of `bytes` is refused.
pub(crate) fn every_cut_is_refused<T: Debug, E: Debug>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, E>) {
    for end in 0..bytes.len() {
        let outcome = decode(&bytes[..end]);
        assert!(outcome.is_err(), "{end} of {} bytes were taken: {outcome:?}", bytes.len());
    }
}

/// Every single flipped bit is refused.
pub(crate) fn every_flip_is_refused<T: Debug, E: Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
) {
    let mut flipped = bytes.to_vec();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            flipped[at] ^= 1 << bit;
            let outcome = decode(&flipped);
            assert!(outcome.is_err(), "bit {bit} of byte {at} went unnoticed: {outcome:?}");
            flipped[at] ^= 1 << bit;
        }
    }
}

/// Every byte of the body changed to several others, under a checksum that is right: refused or decoded to something
/// that is written and read back as the same, never a panic.
pub(crate) fn every_changed_body_is_survived<T: Debug + PartialEq>(
    file: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    let end = file.len() - 4;
    for at in HEADER_BYTES..end {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff, file[at] ^ 0x01, file[at].wrapping_add(1)] {
            let mut changed = file[..end].to_vec();
            changed[at] = value;
            changed.extend_from_slice(&crc32fast::hash(&changed).to_be_bytes());
            if let Ok(decoded) = decode(&changed) {
                assert_eq!(decode(&encode(&decoded)), Ok(decoded), "byte {at} changed to {value}");
            }
        }
    }
}
