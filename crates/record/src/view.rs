//! One record within a decompressed payload, borrowed from it.
//!
//! ```text
//!   varint   length of the rest of the record
//!   i8       attributes, unused
//!   varlong  timestamp, less the batch's base timestamp
//!   varint   offset, less the batch's base offset
//!   varint   key length, -1 for no key        | key
//!   varint   value length, -1 for a tombstone | value
//!   varint   header count
//!            varint key length | key (UTF-8) | varint value length, -1 for none | value      per header
//! ```
//!
//! Whatever is read here may have been written by anyone: every length is checked against the bytes left.

use millrace_types::limits::RECORD_HEADERS_MAX;

use crate::RecordError;
use crate::varint::{VarintError, read_varint, read_varlong};

/// The fewest bytes that a record takes: seven fields of one byte, of which the key and the value say "none".
pub(crate) const RECORD_BYTES_MIN: usize = 7;
/// The fewest bytes that a header takes.
const HEADER_BYTES_MIN: usize = 2;

/// A record as it lies in the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordView<'a> {
    /// The timestamp, less the base timestamp of the batch.
    pub timestamp_delta: i64,
    /// The offset, less the base offset of the batch.
    pub offset_delta: i32,
    /// The key, or `None` if the record has none.
    pub key: Option<&'a [u8]>,
    /// The value, or `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    headers: HeaderViews<'a>,
}

impl<'a> RecordView<'a> {
    /// The headers, in order, keys that repeat included.
    #[must_use]
    pub fn headers(&self) -> HeaderViews<'a> {
        self.headers
    }

    /// Decodes the record number `index` at the front of `bytes`; returns it and the bytes it took.
    pub(crate) fn decode(bytes: &'a [u8], index: u32) -> Result<(RecordView<'a>, usize), RecordError> {
        let mut outer = Cursor { bytes, index };
        let length = outer.varint()?;
        let body = outer.take("the record", length)?;
        let taken = bytes.len() - outer.bytes.len();
        let mut body = Cursor { bytes: body, index };
        body.take("the attributes", 1)?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        let key = body.nullable("the key")?;
        let value = body.nullable("the value")?;
        let headers = body.headers()?;
        if !body.bytes.is_empty() {
            return Err(RecordError::Trailing { index, extra: body.bytes.len() });
        }
        Ok((RecordView { timestamp_delta, offset_delta, key, value, headers }, taken))
    }
}

/// The headers of a record, already checked: an iterator of key and value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderViews<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for HeaderViews<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let mut cursor = Cursor { bytes: self.bytes, index: 0 };
        // The bytes were walked when the record was decoded, so neither read can fail.
        let header = cursor.header().ok();
        self.bytes = cursor.bytes;
        header
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for HeaderViews<'_> {}

/// What is left to read of a record.
struct Cursor<'a> {
    bytes: &'a [u8],
    index: u32,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn advance<T>(&mut self, read: Result<(T, usize), VarintError>) -> Result<T, RecordError> {
        let (value, taken) = read.map_err(|source| RecordError::Varint { index: self.index, source })?;
        self.bytes = self.bytes.get(taken..).unwrap_or_default();
        Ok(value)
    }

    #[inline]
    fn varint(&mut self) -> Result<i32, RecordError> {
        self.advance(read_varint(self.bytes))
    }

    #[inline]
    fn varlong(&mut self) -> Result<i64, RecordError> {
        self.advance(read_varlong(self.bytes))
    }

    #[inline]
    fn take(&mut self, field: &'static str, length: i32) -> Result<&'a [u8], RecordError> {
        let split = usize::try_from(length).ok().and_then(|length| self.bytes.split_at_checked(length));
        let Some((taken, rest)) = split else {
            return Err(RecordError::Length { index: self.index, field, length, left: self.bytes.len() });
        };
        self.bytes = rest;
        Ok(taken)
    }

    #[inline]
    fn nullable(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, RecordError> {
        match self.varint()? {
            -1 => Ok(None),
            length => self.take(field, length).map(Some),
        }
    }

    fn header(&mut self) -> Result<(&'a [u8], Option<&'a [u8]>), RecordError> {
        let length = self.varint()?;
        Ok((self.take("a header's key", length)?, self.nullable("a header's value")?))
    }

    #[inline]
    fn headers(&mut self) -> Result<HeaderViews<'a>, RecordError> {
        let count = self.varint()?;
        if count == 0 {
            return Ok(HeaderViews { bytes: &[], left: 0 });
        }
        let left = usize::try_from(count).ok().filter(|count| *count <= self.bytes.len() / HEADER_BYTES_MIN);
        let Some(left) = left else {
            let (index, left) = (self.index, self.bytes.len());
            return Err(RecordError::Length { index, field: "the header list", length: count, left });
        };
        if left > RECORD_HEADERS_MAX {
            return Err(RecordError::Headers { index: self.index, count, max: RECORD_HEADERS_MAX });
        }
        let start = self.bytes;
        for _ in 0..left {
            self.header()?;
        }
        let bytes = start.get(..start.len() - self.bytes.len()).unwrap_or_default();
        Ok(HeaderViews { bytes, left })
    }
}
