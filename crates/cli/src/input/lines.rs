//! Lines, each a record, split at a separator if there is one.

use std::io::{self, BufRead, Read};

use bytes::Bytes;

use super::{InputError, InputRecord, ROW_BYTES_MAX};

/// Iterates over the lines of a reader. The last one may lack its newline; `\r\n` counts as one line end.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    separator: Option<String>,
    line: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads lines; each is split at the first `separator` into key and value.
    pub(crate) fn new(reader: R, separator: Option<String>) -> Lines<R> {
        Lines { reader, separator, line: 0 }
    }

    /// The number of the line that was read last, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    fn read_line(&mut self) -> Result<Option<Vec<u8>>, InputError> {
        self.line += 1;
        let mut bytes = Vec::new();
        let limit = ROW_BYTES_MAX as u64 + 1;
        let read = Read::take(&mut self.reader, limit).read_until(b'\n', &mut bytes);
        read.map_err(|source: io::Error| InputError::Io { line: self.line, source })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        } else if bytes.len() > ROW_BYTES_MAX {
            return Err(InputError::TooLong { line: self.line });
        }
        Ok(Some(bytes))
    }

    fn split(&self, bytes: Vec<u8>) -> Result<InputRecord, InputError> {
        let line = Bytes::from(bytes);
        let Some(separator) = &self.separator else {
            return Ok(InputRecord { key: None, value: Some(line), timestamp: None, headers: Vec::new() });
        };
        let wanted = separator.as_bytes();
        let at = line.windows(wanted.len().max(1)).position(|window| window == wanted);
        let Some(at) = at else {
            return Err(InputError::NoSeparator { line: self.line, separator: separator.clone() });
        };
        let value = line.slice(at + wanted.len()..);
        let (key, value) = (Some(line.slice(..at)), Some(value));
        Ok(InputRecord { key, value, timestamp: None, headers: Vec::new() })
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<InputRecord, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read_line() {
            Ok(None) => None,
            Ok(Some(bytes)) => Some(self.split(bytes)),
            Err(e) => Some(Err(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, separator: Option<&str>) -> Vec<Result<InputRecord, InputError>> {
        Lines::new(text.as_bytes(), separator.map(str::to_owned)).collect()
    }

    #[test]
    fn every_line_is_a_record_and_the_last_newline_is_optional() {
        for text in ["a\nb\n\nc\n", "a\nb\n\nc", "a\r\nb\r\n\r\nc"] {
            let values: Vec<_> = read(text, None).into_iter().map(|r| r.unwrap().value.unwrap()).collect();
            assert_eq!(values, ["a", "b", "", "c"], "{text:?}");
        }
        assert!(read("", None).is_empty());
    }

    #[test]
    fn a_separator_splits_at_its_first_occurrence() {
        let records = read("k::v::w\n", Some("::"));
        let record = records.into_iter().next().unwrap().unwrap();
        assert_eq!((record.key.unwrap(), record.value.unwrap()), ("k".into(), "v::w".into()));
    }

    #[test]
    fn a_line_without_the_separator_is_an_error_that_names_it() {
        let records = read("k=v\noops\n", Some("="));
        assert!(records[0].is_ok());
        let error = records[1].as_ref().unwrap_err().to_string();
        assert_eq!(error, "line 2 holds no \"=\" between key and value");
    }

    #[test]
    fn a_line_that_no_batch_can_hold_is_refused() {
        let text = "x".repeat(ROW_BYTES_MAX + 2);
        assert!(matches!(read(&text, None)[0], Err(InputError::TooLong { line: 1 })));
    }
}
