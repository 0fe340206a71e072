//! What every decoder must pass: cut the bytes at every place, flip every bit.

use std::fmt::Debug;

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
