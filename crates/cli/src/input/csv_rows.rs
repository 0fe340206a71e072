//! The rows of a CSV with a header row (RFC 4180).

use std::io::Read;

use bytes::Bytes;
use csv::{ByteRecord, QuoteStyle, ReaderBuilder, WriterBuilder};
use millrace_types::TimestampMs;

use super::{InputError, InputRecord};
use crate::position::parse_time;

/// Which columns mean something.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct CsvColumns {
    /// The column that holds the key.
    pub(crate) key: Option<String>,
    /// The column that holds the time.
    pub(crate) time: Option<String>,
}

/// Iterates over the rows. A record's value is the row as CSV, quoted where it must be, without its line end.
#[derive(Debug)]
pub(crate) struct CsvRows<R> {
    reader: csv::Reader<R>,
    key_column: Option<usize>,
    time_column: Option<usize>,
    row: ByteRecord,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header row and finds the columns in it.
    ///
    /// # Errors
    /// [`InputError::NoColumn`], or the header row cannot be read.
    pub(crate) fn new(reader: R, columns: &CsvColumns) -> Result<CsvRows<R>, InputError> {
        let mut reader = ReaderBuilder::new().from_reader(reader);
        let header = reader.byte_headers()?.clone();
        if header.is_empty() && *columns != CsvColumns::default() {
            return Err(InputError::NoHeader);
        }
        let find = |name: &Option<String>| match name {
            None => Ok(None),
            Some(name) => match header.iter().position(|column| column == name.as_bytes()) {
                Some(index) => Ok(Some(index)),
                None => Err(InputError::NoColumn { name: name.clone(), columns: join(&header) }),
            },
        };
        let (key_column, time_column) = (find(&columns.key)?, find(&columns.time)?);
        Ok(CsvRows { reader, key_column, time_column, row: ByteRecord::new() })
    }

    fn read_row(&mut self) -> Result<Option<InputRecord>, InputError> {
        if !self.reader.read_byte_record(&mut self.row)? {
            return Ok(None);
        }
        let line = self.row.position().map_or(0, csv::Position::line);
        let key = self.key_column.and_then(|index| self.row.get(index)).map(Bytes::copy_from_slice);
        let timestamp = match self.time_column.and_then(|index| self.row.get(index)) {
            None => None,
            Some(text) => Some(row_time(text).ok_or_else(|| InputError::NoTime {
                line,
                text: String::from_utf8_lossy(text).into_owned(),
            })?),
        };
        let value = Some(to_line(&self.row)?);
        Ok(Some(InputRecord { key, value, timestamp, headers: Vec::new() }))
    }
}

impl<R: Read> Iterator for CsvRows<R> {
    type Item = Result<InputRecord, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read_row().transpose()
    }
}

fn row_time(text: &[u8]) -> Option<TimestampMs> {
    let text = std::str::from_utf8(text).ok()?;
    match text.parse::<i64>() {
        Ok(millis) => Some(TimestampMs(millis)).filter(|time| time.is_some()),
        Err(_) => parse_time(text),
    }
}

fn to_line(row: &ByteRecord) -> Result<Bytes, InputError> {
    let mut writer = WriterBuilder::new().quote_style(QuoteStyle::Necessary).from_writer(Vec::new());
    writer.write_byte_record(row)?;
    let mut line = writer.into_inner().map_err(|e| csv::Error::from(e.into_error()))?;
    // The writer ends each row with one newline; a row's own last blank stays.
    line.pop();
    Ok(line.into())
}

fn join(header: &ByteRecord) -> String {
    header.iter().map(|column| String::from_utf8_lossy(column)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, key: Option<&str>, time: Option<&str>) -> Result<Vec<InputRecord>, InputError> {
        let columns = CsvColumns { key: key.map(str::to_owned), time: time.map(str::to_owned) };
        CsvRows::new(text.as_bytes(), &columns)?.collect()
    }

    #[test]
    fn a_row_keeps_its_text_and_gives_key_and_time() {
        let text = "at,plane,note\n2013-01-01T10:00:00Z,N1,\"a, \"\"b\"\"\"\n1359633600000,N2, \n";
        let rows = rows(text, Some("plane"), Some("at")).unwrap();
        assert_eq!(rows[0].key, Some("N1".into()));
        assert_eq!(rows[0].timestamp, Some(TimestampMs(1_357_034_400_000)));
        assert_eq!(rows[0].value, Some("2013-01-01T10:00:00Z,N1,\"a, \"\"b\"\"\"".into()));
        assert_eq!(rows[1].timestamp, Some(TimestampMs(1_359_633_600_000)));
        assert_eq!(rows[1].value, Some("1359633600000,N2, ".into()));
    }

    #[test]
    fn a_row_over_several_lines_is_one_record() {
        let rows = rows("a,b\n1,\"x\ny\"\n2,z\n", None, None).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].value, Some("1,\"x\ny\"".into()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = rows("a,b\n1,2\n", Some("c"), None).unwrap_err().to_string();
        assert_eq!(error, "the header row has no column \"c\"; its columns are: a, b");
        assert!(matches!(rows("", Some("c"), None), Err(InputError::NoHeader)));
        assert_eq!(rows("", None, None).unwrap(), []);
        let error = rows("a,b\n1,soon\n", None, Some("b")).unwrap_err().to_string();
        assert_eq!(error, "line 2: \"soon\" is no time (RFC 3339, or milliseconds since 1970)");
        assert!(matches!(rows("a,b\n1\n", None, None), Err(InputError::Csv(_))));
    }
}
