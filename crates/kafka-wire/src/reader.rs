//! Reads the protocol's primitive types off a frame. The input is hostile: every length is held against what is left.

use bytes::{Buf, Bytes};
use millrace_types::limits::{KAFKA_ELEMENT_TEXT_BYTES, KAFKA_TEXT_BYTES_MAX, MESSAGE_ELEMENTS_MAX};

use crate::{Lengths, Problem, Uuid, WireError};

/// The most bytes of a 32-bit number in seven-bit groups.
const VARINT_BYTES_MAX: u32 = 5;

/// What is left of a message.
#[derive(Debug)]
pub struct Reader {
    left: Bytes,
    /// The field that is being read, for errors.
    field: &'static str,
    /// Elements that the message may still have: each is small on the wire and larger in memory.
    elements_left: usize,
    elements_max: usize,
}

impl Reader {
    /// At the start of `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Reader {
        Reader::bounded(bytes, MESSAGE_ELEMENTS_MAX)
    }

    /// At the start of `bytes`, of which at most `elements_max` elements are read: those of arrays, tagged fields that are not
    /// known, and one for each [`KAFKA_ELEMENT_TEXT_BYTES`] of text.
    #[must_use]
    pub fn bounded(bytes: Bytes, elements_max: usize) -> Reader {
        Reader { left: bytes, field: "message", elements_left: elements_max, elements_max }
    }

    /// Elements read so far.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.elements_max - self.elements_left
    }

    /// Names the field that is read next, for errors.
    pub(crate) fn field(&mut self, name: &'static str) -> &mut Reader {
        self.field = name;
        self
    }

    /// Bytes that were not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.left.len()
    }

    /// Ends the message.
    ///
    /// # Errors
    /// [`Problem::Trailing`] if bytes are left.
    pub fn finish(&self) -> Result<(), WireError> {
        if self.left.is_empty() { Ok(()) } else { Err(Problem::Trailing(self.left.len()).of("message")) }
    }

    pub(crate) fn fail<T>(&self, problem: Problem) -> Result<T, WireError> {
        Err(problem.of(self.field))
    }

    pub(crate) fn take(&mut self, wanted: usize) -> Result<Bytes, WireError> {
        if wanted > self.left.len() {
            return self.fail(Problem::Short { wanted, left: self.left.len() });
        }
        Ok(self.left.split_to(wanted))
    }

    /// A reader of a part of the message, under the same bounds.
    pub(crate) fn within(&self, part: Bytes) -> Reader {
        Reader { left: part, ..*self }
    }

    /// Goes on with the bounds that a part has left.
    pub(crate) fn go_on_after(&mut self, part: &Reader) {
        self.elements_left = part.elements_left;
    }

    pub(crate) fn count_elements(&mut self, count: usize) -> Result<(), WireError> {
        match self.elements_left.checked_sub(count) {
            Some(left) => self.elements_left = left,
            None => return self.fail(Problem::OverBound { max: self.elements_max }),
        }
        Ok(())
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut bytes = [0; N];
        if self.left.len() < N {
            return self.fail(Problem::Short { wanted: N, left: self.left.len() });
        }
        self.left.copy_to_slice(&mut bytes);
        Ok(bytes)
    }

    /// INT8.
    pub(crate) fn int8(&mut self) -> Result<i8, WireError> {
        self.fixed().map(i8::from_be_bytes)
    }

    /// INT16.
    pub(crate) fn int16(&mut self) -> Result<i16, WireError> {
        self.fixed().map(i16::from_be_bytes)
    }

    /// INT32.
    pub(crate) fn int32(&mut self) -> Result<i32, WireError> {
        self.fixed().map(i32::from_be_bytes)
    }

    /// INT64.
    pub(crate) fn int64(&mut self) -> Result<i64, WireError> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// BOOLEAN: anything but zero is true.
    pub(crate) fn boolean(&mut self) -> Result<bool, WireError> {
        self.fixed::<1>().map(|byte| byte != [0])
    }

    /// UUID.
    pub(crate) fn uuid(&mut self) -> Result<Uuid, WireError> {
        self.fixed()
    }

    /// UNSIGNED_VARINT.
    pub(crate) fn unsigned_varint(&mut self) -> Result<u32, WireError> {
        let mut value = 0_u64;
        for group in 0..VARINT_BYTES_MAX {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7f) << (7 * group);
            if byte & 0x80 == 0 {
                return u32::try_from(value).or_else(|_| self.fail(Problem::Varint));
            }
        }
        self.fail(Problem::Varint)
    }

    /// A length: one more than it is in seven-bit groups in flexible versions, else of the width that `plain` reads.
    fn length(
        &mut self,
        lengths: Lengths,
        plain: fn(&mut Reader) -> Result<i64, WireError>,
    ) -> Result<Option<usize>, WireError> {
        let length =
            if lengths == Lengths::Compact { i64::from(self.unsigned_varint()?) - 1 } else { plain(self)? };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => self.fail(Problem::NegativeLength(length)),
        }
    }

    /// NULLABLE_STRING, or its compact form.
    pub(crate) fn nullable_string(&mut self, lengths: Lengths) -> Result<Option<String>, WireError> {
        let Some(length) = self.length(lengths, |reader| reader.int16().map(i64::from))? else {
            return Ok(None);
        };
        if length > KAFKA_TEXT_BYTES_MAX {
            return self.fail(Problem::LongText(length));
        }
        self.count_elements(length / KAFKA_ELEMENT_TEXT_BYTES)?;
        let bytes = self.take(length)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => self.fail(Problem::NotUtf8),
        }
    }

    /// NULLABLE_BYTES, RECORDS, or their compact forms: a slice of the message.
    pub(crate) fn nullable_bytes(&mut self, lengths: Lengths) -> Result<Option<Bytes>, WireError> {
        match self.length(lengths, |reader| reader.int32().map(i64::from))? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    /// A nullable ARRAY, or its compact form. An element takes at least `bytes_min` bytes (one, if it may be empty).
    pub(crate) fn nullable_array<T>(
        &mut self,
        lengths: Lengths,
        bytes_min: usize,
        mut element: impl FnMut(&mut Reader) -> Result<T, WireError>,
    ) -> Result<Option<Vec<T>>, WireError> {
        let Some(count) = self.length(lengths, |reader| reader.int32().map(i64::from))? else {
            return Ok(None);
        };
        let max = self.left.len() / bytes_min.max(1);
        if count > max {
            return self.fail(Problem::TooManyElements { count, max });
        }
        self.count_elements(count)?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// A value where `version` allows no null.
    pub(crate) fn present<T>(&self, value: Option<T>, version: i16) -> Result<T, WireError> {
        value.map_or_else(|| self.fail(Problem::Null(version)), Ok)
    }
}
