//! Writes the protocol's primitive types. Large byte fields are passed on, not copied.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Lengths, Problem, Uuid, WireError};

/// Byte fields from this size on become a run of their own: a copy of less costs less than another buffer to send.
const OWN_RUN_BYTES_MIN: usize = 1024;

/// A message as it grows.
#[derive(Debug, Default)]
pub struct Writer {
    /// Runs that are complete.
    runs: Vec<Bytes>,
    /// Bytes of `runs`.
    runs_bytes: usize,
    last: BytesMut,
    /// The field that is being written, for errors.
    field: &'static str,
}

impl Writer {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Names the field that is written next, for errors.
    pub(crate) fn field(&mut self, name: &'static str) -> &mut Writer {
        self.field = name;
        self
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs_bytes + self.last.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message, in runs that follow each other.
    #[must_use]
    pub fn into_runs(mut self) -> Vec<Bytes> {
        self.end_run();
        self.runs
    }

    fn end_run(&mut self) {
        if !self.last.is_empty() {
            let run = self.last.split().freeze();
            self.push_run(run);
        }
    }

    fn push_run(&mut self, run: Bytes) {
        self.runs_bytes += run.len();
        self.runs.push(run);
    }

    pub(crate) fn append(&mut self, other: Writer) {
        for run in other.into_runs() {
            self.raw(&run);
        }
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &Bytes) {
        if bytes.len() >= OWN_RUN_BYTES_MIN {
            self.end_run();
            self.push_run(bytes.clone());
        } else {
            self.last.put_slice(bytes);
        }
    }

    /// INT8.
    pub(crate) fn int8(&mut self, value: i8) {
        self.last.put_i8(value);
    }

    /// INT16.
    pub(crate) fn int16(&mut self, value: i16) {
        self.last.put_i16(value);
    }

    /// INT32.
    pub(crate) fn int32(&mut self, value: i32) {
        self.last.put_i32(value);
    }

    /// INT64.
    pub(crate) fn int64(&mut self, value: i64) {
        self.last.put_i64(value);
    }

    /// BOOLEAN.
    pub(crate) fn boolean(&mut self, value: bool) {
        self.last.put_u8(value.into());
    }

    /// UUID.
    pub(crate) fn uuid(&mut self, value: &Uuid) {
        self.last.put_slice(value);
    }

    /// UNSIGNED_VARINT.
    pub(crate) fn unsigned_varint(&mut self, value: u32) {
        let mut left = value;
        while left > 0x7f {
            self.last.put_u8(u8::try_from(left & 0x7f).unwrap_or(0) | 0x80);
            left >>= 7;
        }
        self.last.put_u8(u8::try_from(left).unwrap_or(0));
    }

    pub(crate) fn unsigned_length(&mut self, length: usize) -> Result<(), WireError> {
        let length = u32::try_from(length).or_else(|_| self.fail(Problem::TooLong(length)))?;
        self.unsigned_varint(length);
        Ok(())
    }

    pub(crate) fn fail<T>(&self, problem: Problem) -> Result<T, WireError> {
        Err(problem.of(self.field))
    }

    /// NULLABLE_STRING, or its compact form.
    pub(crate) fn nullable_string(&mut self, value: Option<&str>, lengths: Lengths) -> Result<(), WireError> {
        let length = value.map(str::len);
        if lengths == Lengths::Compact {
            self.unsigned_length(length.map_or(0, |length| length + 1))?;
        } else {
            let length = length.map_or(Ok(-1), |length| {
                i16::try_from(length).or_else(|_| self.fail(Problem::TooLong(length)))
            })?;
            self.int16(length);
        }
        self.last.put_slice(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// NULLABLE_BYTES, RECORDS, or their compact forms.
    pub(crate) fn nullable_bytes(
        &mut self,
        value: Option<&Bytes>,
        lengths: Lengths,
    ) -> Result<(), WireError> {
        self.count(value.map(Bytes::len), lengths)?;
        if let Some(bytes) = value {
            self.raw(bytes);
        }
        Ok(())
    }

    /// A nullable ARRAY, or its compact form.
    pub(crate) fn nullable_array<T>(
        &mut self,
        elements: Option<&[T]>,
        lengths: Lengths,
        mut element: impl FnMut(&mut Writer, &T) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.count(elements.map(<[T]>::len), lengths)?;
        elements.unwrap_or_default().iter().try_for_each(|item| element(self, item))
    }

    /// The length of bytes or of an array.
    fn count(&mut self, length: Option<usize>, lengths: Lengths) -> Result<(), WireError> {
        if lengths == Lengths::Compact {
            return self.unsigned_length(length.map_or(0, |length| length + 1));
        }
        let length = length.map_or(Ok(-1), |length| {
            i32::try_from(length).or_else(|_| self.fail(Problem::TooLong(length)))
        })?;
        self.int32(length);
        Ok(())
    }

    /// A value where `version` allows no null.
    pub(crate) fn present<'a, T: ?Sized>(
        &self,
        value: Option<&'a T>,
        version: i16,
    ) -> Result<&'a T, WireError> {
        value.map_or_else(|| self.fail(Problem::Null(version)), Ok)
    }

    /// Refuses a value that `version` cannot say, unless it is the default.
    pub(crate) fn absent(&self, is_default: bool, version: i16) -> Result<(), WireError> {
        if is_default { Ok(()) } else { self.fail(Problem::Unsayable(version)) }
    }
}
