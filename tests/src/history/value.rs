//! The bytes of a record of a history: they follow from its number.

/// Sizes are spread over so many bytes.
const SPREAD: u64 = 400;

/// The value of the record of that number: the number in hexadecimal, again and again, so that any byte that is another is noticed.
///
/// `tests/kafka-clients/python/history.py` has the same function.
#[must_use]
pub fn payload(value: u64) -> Vec<u8> {
    let word = format!("{value:016x}");
    let length = 16 + (value.wrapping_mul(7_919) % SPREAD);
    word.bytes().cycle().take(usize::try_from(length).unwrap_or(0)).collect()
}

/// The number of the record whose value that is; `None` if it is nobody's.
#[must_use]
pub fn value_of(bytes: &[u8]) -> Option<u64> {
    let word = std::str::from_utf8(bytes.get(..16)?).ok()?;
    let value = u64::from_str_radix(word, 16).ok()?;
    (payload(value) == bytes).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_its_record_and_any_other_byte_is_noticed() {
        for value in [0, 1, 7 << 32 | 55, u64::MAX] {
            let bytes = payload(value);
            assert_eq!(value_of(&bytes), Some(value));
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 1;
                assert_eq!(value_of(&other), None, "byte {at}");
                assert_eq!(value_of(&bytes[..at]), None, "cut at {at}");
            }
        }
    }
}
