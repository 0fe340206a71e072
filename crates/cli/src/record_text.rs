//! How a record looks when it is printed.

use std::borrow::Cow;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::args::RecordFormat;
use crate::table::csv_writer;

/// A record as the printer needs it.
#[derive(Debug)]
pub(crate) struct Printed<'a> {
    /// The topic's name.
    pub(crate) topic: &'a str,
    /// The partition.
    pub(crate) partition: u32,
    /// The offset.
    pub(crate) offset: i64,
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp: i64,
    /// The key, if any.
    pub(crate) key: Option<&'a [u8]>,
    /// The value, if any.
    pub(crate) value: Option<&'a [u8]>,
    /// Headers, in order.
    pub(crate) headers: Vec<(&'a [u8], Option<&'a Bytes>)>,
}

/// The columns of a record in CSV. What is not UTF-8 is written in base64, which the column `_form` beside it says: `text`,
/// `base64`, or nothing for a key or value that is not there. Headers are JSON as in [`RecordFormat::Json`].
pub(crate) const CSV_COLUMNS: [&str; 9] =
    ["topic", "partition", "offset", "timestamp", "key", "key_form", "value", "value_form", "headers"];

/// Writes what comes in front of the first record.
///
/// # Errors
/// The writer's.
pub(crate) fn write_head(out: &mut impl Write, format: RecordFormat) -> io::Result<()> {
    match format {
        RecordFormat::Csv => write_fields(out, CSV_COLUMNS.map(Cow::Borrowed)),
        RecordFormat::Value | RecordFormat::Json | RecordFormat::Raw => Ok(()),
    }
}

/// Writes one record.
///
/// # Errors
/// The writer's.
pub(crate) fn write(out: &mut impl Write, record: &Printed<'_>, format: RecordFormat) -> io::Result<()> {
    match format {
        RecordFormat::Raw => out.write_all(record.value.unwrap_or_default()),
        RecordFormat::Value => {
            out.write_all(record.value.unwrap_or_default())?;
            out.write_all(b"\n")
        }
        RecordFormat::Json => {
            serde_json::to_writer(&mut *out, &to_json(record))?;
            out.write_all(b"\n")
        }
        RecordFormat::Csv => write_fields(out, csv_fields(record)),
    }
}

fn write_fields(out: &mut impl Write, fields: [Cow<'_, str>; 9]) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record(fields.iter().map(|field| field.as_bytes()))?;
    csv.flush()
}

fn csv_fields<'a>(record: &Printed<'a>) -> [Cow<'a, str>; 9] {
    let [key, key_form] = csv_bytes(record.key);
    let [value, value_form] = csv_bytes(record.value);
    [
        record.topic.into(),
        record.partition.to_string().into(),
        record.offset.to_string().into(),
        record.timestamp.to_string().into(),
        key,
        key_form,
        value,
        value_form,
        headers(record).to_string().into(),
    ]
}

fn csv_bytes(bytes: Option<&[u8]>) -> [Cow<'_, str>; 2] {
    match bytes.map(std::str::from_utf8) {
        None => ["".into(), "".into()],
        Some(Ok(text)) => [text.into(), "text".into()],
        Some(Err(_)) => [BASE64.encode(bytes.unwrap_or_default()).into(), "base64".into()],
    }
}

/// `{topic, partition, offset, timestamp, key, value, headers}`. What is not UTF-8 goes to `key_base64` and `value_base64`.
fn to_json(record: &Printed<'_>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("topic".to_owned(), json!(record.topic));
    object.insert("partition".to_owned(), json!(record.partition));
    object.insert("offset".to_owned(), json!(record.offset));
    object.insert("timestamp".to_owned(), json!(record.timestamp));
    insert_bytes(&mut object, "key", record.key);
    insert_bytes(&mut object, "value", record.value);
    object.insert("headers".to_owned(), headers(record));
    object
}

fn headers(record: &Printed<'_>) -> Value {
    let headers = record.headers.iter().map(|(key, value)| {
        let mut header = Map::new();
        insert_bytes(&mut header, "key", Some(key));
        insert_bytes(&mut header, "value", value.map(|value| &value[..]));
        Value::Object(header)
    });
    Value::Array(headers.collect())
}

fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), json!(text)),
        Some(Err(_)) => {
            let encoded = BASE64.encode(bytes.unwrap_or_default());
            object.insert(format!("{name}_base64"), json!(encoded))
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(record: &Printed<'_>, format: RecordFormat) -> String {
        let mut out = Vec::new();
        write(&mut out, record, format).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn record<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Printed<'a> {
        Printed { topic: "t", partition: 1, offset: 2, timestamp: 3, key, value, headers: Vec::new() }
    }

    #[test]
    fn a_json_record_has_the_glossarys_keys() {
        let text = print(&record(Some(b"k"), Some(b"v")), RecordFormat::Json);
        let expected =
            r#"{"topic":"t","partition":1,"offset":2,"timestamp":3,"key":"k","value":"v","headers":[]}"#;
        assert_eq!(text, format!("{expected}\n"));
    }

    #[test]
    fn bytes_that_are_no_text_go_to_base64_and_nothing_to_null() {
        let text = print(&record(None, Some(&[0xff, 0xfe])), RecordFormat::Json);
        assert!(text.contains(r#""key":null,"value_base64":"//4=""#), "{text}");
        let text = print(&record(Some(&[0x80]), None), RecordFormat::Json);
        assert!(text.contains(r#""key_base64":"gA==","value":null"#), "{text}");
    }

    #[test]
    fn csv_has_one_row_for_each_record_whatever_is_in_it() {
        let mut out = Vec::new();
        write_head(&mut out, RecordFormat::Csv).unwrap();
        write(&mut out, &record(Some(b"k,1"), Some(b"a \"b\"\r\nc")), RecordFormat::Csv).unwrap();
        write(&mut out, &record(Some(b""), None), RecordFormat::Csv).unwrap();
        write(&mut out, &record(None, Some(&[0xff, 0xfe])), RecordFormat::Csv).unwrap();
        let rows: Vec<Vec<String>> = csv::Reader::from_reader(&out[..])
            .records()
            .map(|row| row.unwrap().iter().map(str::to_owned).collect())
            .collect();
        assert_eq!(rows[0][4..8], ["k,1", "text", "a \"b\"\r\nc", "text"]);
        assert_eq!(rows[1][4..8], ["", "text", "", ""]);
        assert_eq!(rows[2][4..8], ["", "", "//4=", "base64"]);
        assert!(out.ends_with(b"[]\r\n"));
    }

    #[test]
    fn value_ends_each_record_and_raw_does_not() {
        assert_eq!(print(&record(None, Some(b"v")), RecordFormat::Value), "v\n");
        assert_eq!(print(&record(None, Some(b"v")), RecordFormat::Raw), "v");
        assert_eq!(print(&record(None, None), RecordFormat::Value), "\n");
    }
}
