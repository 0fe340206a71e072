//! Tables for people, one JSON object per line for programs.

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
}

/// Prints `rows`; the keys of the first row are the columns.
///
/// # Errors
/// Standard output's.
pub(crate) fn print(rows: &[Map<String, Value>], format: ListFormat) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        ListFormat::Json => {
            for row in rows {
                serde_json::to_writer(&mut out, row)?;
                out.write_all(b"\n")?;
            }
        }
        ListFormat::Table => {
            let Some(first) = rows.first() else { return Ok(()) };
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header(first.keys().map(|key| key.replace('_', " ").to_uppercase()));
            for row in rows {
                table.add_row(row.values().map(cell));
            }
            writeln!(out, "{}", table.trim_fmt())?;
        }
    }
    out.flush()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
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
