//! Zigzag variable-length integers, as protobuf's `sint32` and `sint64` and Kafka's records write them.
//!
//! Seven bits a byte, the lowest first; a set high bit says that another byte follows. A 32-bit number takes one to
//! five bytes, a 64-bit number one to ten. A longer form, or bits that do not fit the type, are refused. A form that is
//! merely longer than needed (`0x80 0x00` for 0) is read, as Kafka's own readers do.

/// The most bytes of a 32-bit number.
pub const VARINT_BYTES_MAX: usize = 5;
/// The most bytes of a 64-bit number.
pub const VARLONG_BYTES_MAX: usize = 10;

/// Why bytes are no varint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VarintError {
    /// The bytes end within the number.
    #[error("the bytes end within a varint")]
    Truncated,
    /// The number has more bytes or more bits than its type.
    #[error("a varint is longer than its type allows")]
    Overlong,
}

/// Reads the forms of one to three bytes, which almost every number in a record has, without a loop.
#[inline]
fn read_short(bytes: &[u8]) -> Option<(u32, usize)> {
    let low = |byte: u8| u32::from(byte & 0x7f);
    match *bytes {
        [a, ..] if a < 0x80 => Some((u32::from(a), 1)),
        [a, b, ..] if b < 0x80 => Some((low(a) | u32::from(b) << 7, 2)),
        [a, b, c, ..] if c < 0x80 => Some((low(a) | low(b) << 7 | u32::from(c) << 14, 3)),
        _ => None,
    }
}

#[cold]
fn read_long(bytes: &[u8], bits: u32, bytes_max: usize) -> Result<(u64, usize), VarintError> {
    let mut value = 0_u64;
    let mut shift = 0_u32;
    for (index, byte) in bytes.iter().take(bytes_max).enumerate() {
        let part = u64::from(byte & 0x7f);
        let room = bits - shift;
        if room < 7 && part >> room != 0 {
            return Err(VarintError::Overlong);
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Ok((value, index + 1));
        }
        shift += 7;
    }
    Err(if bytes.len() < bytes_max { VarintError::Truncated } else { VarintError::Overlong })
}

/// Reads a 32-bit number from the front of `bytes`; returns it and the bytes it took.
///
/// # Errors
/// [`VarintError`] if the bytes end early or the form is too long.
#[inline]
pub fn read_varint(bytes: &[u8]) -> Result<(i32, usize), VarintError> {
    let (value, taken) = match read_short(bytes) {
        Some(short) => short,
        None => {
            let (value, taken) = read_long(bytes, 32, VARINT_BYTES_MAX)?;
            (u32::try_from(value).map_err(|_| VarintError::Overlong)?, taken)
        }
    };
    Ok(((value >> 1).cast_signed() ^ -(value & 1).cast_signed(), taken))
}

/// Reads a 64-bit number from the front of `bytes`; returns it and the bytes it took.
///
/// # Errors
/// [`VarintError`] if the bytes end early or the form is too long.
#[inline]
pub fn read_varlong(bytes: &[u8]) -> Result<(i64, usize), VarintError> {
    let (value, taken) = match read_short(bytes) {
        Some((value, taken)) => (u64::from(value), taken),
        None => read_long(bytes, 64, VARLONG_BYTES_MAX)?,
    };
    Ok(((value >> 1).cast_signed() ^ -(value & 1).cast_signed(), taken))
}

/// Appends a 32-bit number.
#[inline]
pub fn write_varint(out: &mut Vec<u8>, value: i32) {
    write_unsigned(out, u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()));
}

/// Appends a 64-bit number.
#[inline]
pub fn write_varlong(out: &mut Vec<u8>, value: i64) {
    write_unsigned(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn write_unsigned(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// The bytes that a number takes, whether written as 32 or as 64 bits.
#[inline]
#[must_use]
pub fn varint_size(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    // One byte for each seven significant bits, and one for zero.
    let bits = 64 - (zigzag | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_forms() {
        for (value, bytes) in [
            (0_i32, &[0x00_u8][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (8191, &[0xfe, 0x7f]),
            (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut out = Vec::new();
            write_varint(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(read_varint(bytes), Ok((value, bytes.len())));
            assert_eq!(varint_size(i64::from(value)), bytes.len());
        }
        let mut out = Vec::new();
        write_varlong(&mut out, i64::MIN);
        assert_eq!(out, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    #[test]
    fn overlong_forms_are_refused() {
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(VarintError::Overlong));
        assert_eq!(read_varint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(VarintError::Overlong));
        assert_eq!(read_varlong(&[0x80; 11]), Err(VarintError::Overlong));
        let mut ten = [0x80; 10];
        ten[9] = 0x02;
        assert_eq!(read_varlong(&ten), Err(VarintError::Overlong));
        assert_eq!(read_varint(&[0x80, 0x00]), Ok((0, 2)), "longer than needed is read");
    }

    proptest! {
        #[test]
        fn round_trip_and_every_cut(value: i64, small: i32) {
            let mut out = Vec::new();
            write_varlong(&mut out, value);
            prop_assert_eq!(varint_size(value), out.len());
            prop_assert_eq!(read_varlong(&out), Ok((value, out.len())));
            for cut in 0..out.len() {
                prop_assert_eq!(read_varlong(&out[..cut]), Err(VarintError::Truncated));
            }
            out.clear();
            write_varint(&mut out, small);
            prop_assert_eq!(read_varint(&out), Ok((small, out.len())));
            for cut in 0..out.len() {
                prop_assert_eq!(read_varint(&out[..cut]), Err(VarintError::Truncated));
            }
        }
    }
}
