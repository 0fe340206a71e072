//! What `produce` reads: lines, the rows of a CSV, or JSON.

mod csv_rows;
mod json_lines;
mod lines;

use bytes::Bytes;
use millrace_client::Header;
use millrace_types::{TimestampMs, limits};

pub(crate) use csv_rows::{CsvColumns, CsvRows};
pub(crate) use json_lines::JsonLines;
pub(crate) use lines::Lines;

/// The longest line or row: what fits into the largest batch that a topic can be configured to take.
pub(crate) const ROW_BYTES_MAX: usize = limits::BATCH_BYTES_MAX - 1024;

/// One record to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InputRecord {
    /// The key, if the input has one.
    pub(crate) key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub(crate) value: Option<Bytes>,
    /// When it happened, if the input says.
    pub(crate) timestamp: Option<TimestampMs>,
    /// Headers, in order; names may repeat.
    pub(crate) headers: Vec<Header>,
}

/// Input that cannot be turned into records.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// Reading failed.
    #[error("reading line {line}: {source}")]
    Io {
        /// Where, from 1.
        line: u64,
        /// The error.
        source: std::io::Error,
    },
    /// A line is longer than any batch.
    #[error("line {line} is longer than {ROW_BYTES_MAX} bytes")]
    TooLong {
        /// Where, from 1.
        line: u64,
    },
    /// A line has no separator.
    #[error("line {line} holds no {separator:?} between key and value")]
    NoSeparator {
        /// Where, from 1.
        line: u64,
        /// What was looked for.
        separator: String,
    },
    /// A line is no JSON object that describes a record.
    #[error("line {line} is no record: {reason}")]
    NoRecord {
        /// Where, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The CSV breaks its own rules.
    #[error("{0}")]
    Csv(#[from] csv::Error),
    /// There is not even a header row.
    #[error("the input is empty; a CSV begins with a header row")]
    NoHeader,
    /// The header row has no such column.
    #[error("the header row has no column {name:?}; its columns are: {columns}")]
    NoColumn {
        /// What was asked for.
        name: String,
        /// What there is.
        columns: String,
    },
    /// The column for the time holds something else.
    #[error("line {line}: {text:?} is no time (RFC 3339, or milliseconds since 1970)")]
    NoTime {
        /// Where, from 1.
        line: u64,
        /// What was found.
        text: String,
    },
}
