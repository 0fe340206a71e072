//! Tables for people, one JSON object per line or CSV for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde_json::{Map, Value};

/// How a tool prints what it found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum ListFormat {
    /// Aligned columns.
    #[default]
    Table,
    /// One JSON object per line.
    Json,
    /// CSV with a header row (RFC 4180).
    Csv,
}

/// How a tool prints lines of several shapes, which no table with one header can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum DumpFormat {
    /// `key: value` for people, as Kafka's own tool prints them.
    #[default]
    Table,
    /// One JSON object per line.
    Json,
}

/// Prints `rows`: as JSON whole, else these columns of them, and of no rows a CSV is its header.
///
/// # Errors
/// Standard output's.
pub(crate) fn print(columns: &[&str], rows: &[Map<String, Value>], format: ListFormat) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        ListFormat::Json => {
            for row in rows {
                serde_json::to_writer(&mut out, row)?;
                out.write_all(b"\n")?;
            }
        }
        ListFormat::Csv => write_csv(&mut out, columns, rows)?,
        ListFormat::Table if rows.is_empty() => {}
        ListFormat::Table => {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header(columns.iter().map(|column| column.replace('_', " ").to_uppercase()));
            for row in rows {
                table.add_row(in_order(columns, row).map(cell));
            }
            writeln!(out, "{}", table.trim_fmt())?;
        }
    }
    out.flush()
}

/// The values of a row in the order of the columns.
fn in_order<'a>(columns: &[&str], row: &'a Map<String, Value>) -> impl Iterator<Item = &'a Value> {
    columns.iter().map(|column| row.get(*column).unwrap_or(&Value::Null))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn write_csv(out: &mut impl Write, columns: &[&str], rows: &[Map<String, Value>]) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record(columns)?;
    for row in rows {
        csv.write_record(in_order(columns, row).map(field))?;
    }
    csv.flush()
}

/// A field of a CSV: nothing for null, and lists with blanks between.
fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(field).collect::<Vec<_>>().join(" "),
        other => cell(other),
    }
}

/// Writes CSV as RFC 4180 has it.
pub(crate) fn csv_writer<W: Write>(out: W) -> csv::Writer<W> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out)
}

/// A number and what is counted, in the plural where it has to be.
pub(crate) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Builds a row, keeping the order of the columns.
macro_rules! row {
    ($($key:literal: $value:expr),* $(,)?) => {{
        let mut row = serde_json::Map::new();
        $(row.insert($key.to_owned(), serde_json::json!($value));)*
        row
    }};
}
pub(crate) use row;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_what_needs_it_and_ends_lines_as_the_rfc_says() {
        let rows = [
            row! { "name": "a", "isr": [1, 2], "note": Value::Null },
            row! { "name": "b,\"c\"\nd", "isr": Vec::<u32>::new(), "note": 1.5 },
        ];
        let mut out = Vec::new();
        write_csv(&mut out, &["name", "isr", "note"], &rows).unwrap();
        let expected = "name,isr,note\r\na,1 2,\r\n\"b,\"\"c\"\"\nd\",,1.5\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_csv_of_nothing_is_its_header() {
        let mut out = Vec::new();
        write_csv(&mut out, &["topic", "id"], &[]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "topic,id\r\n");
    }
}
