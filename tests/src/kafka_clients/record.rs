//! Records as they are exchanged with the programs.

use bytes::Bytes;
use millrace_client::ConsumedRecord;
use serde_json::{Value, json};

/// A header: its name, and its value if it has one.
pub(super) type NamedValue = (String, Option<Bytes>);

/// A record that a client is to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i64,
    /// The codec of its batch.
    pub codec: &'static str,
    /// How many must have it before it counts: `all`, `1` or `0`. Only with `all` is the producer idempotent.
    pub acks: &'static str,
    /// Its time, in milliseconds.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<NamedValue>,
}

/// Where a record came to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub partition: i64,
    /// The offset.
    pub offset: i64,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanged {
    /// Its offset.
    pub offset: i64,
    /// Its time, in milliseconds.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<NamedValue>,
}

impl Sent {
    /// As it must be read at that offset.
    #[must_use]
    pub fn at(&self, offset: i64) -> Exchanged {
        let Sent { timestamp, key, value, headers, .. } = self.clone();
        Exchanged { offset, timestamp, key, value, headers }
    }

    pub(super) fn line(&self) -> Value {
        let headers: Vec<Value> =
            self.headers.iter().map(|(name, value)| json!([name, hex(value.as_ref())])).collect();
        json!({
            "topic": self.topic,
            "codec": self.codec,
            "acks": self.acks,
            "partition": self.partition,
            "timestamp": self.timestamp,
            "key": hex(self.key.as_ref()),
            "value": hex(self.value.as_ref()),
            "headers": headers,
        })
    }
}

impl Place {
    pub(super) fn of_line(line: &Value) -> Place {
        let number = |name: &str| line[name].as_i64().expect("a number");
        Place { partition: number("partition"), offset: number("offset") }
    }
}

impl Exchanged {
    pub(super) fn of_line(line: &Value) -> Exchanged {
        let number = |name: &str| line[name].as_i64().expect("a number");
        let headers = line["headers"].as_array().expect("a list").iter();
        let header = |header: &Value| (header[0].as_str().expect("a name").to_owned(), octets(&header[1]));
        Exchanged {
            offset: number("offset"),
            timestamp: number("timestamp"),
            key: octets(&line["key"]),
            value: octets(&line["value"]),
            headers: headers.map(header).collect(),
        }
    }
}

impl From<ConsumedRecord> for Exchanged {
    fn from(record: ConsumedRecord) -> Exchanged {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let headers = record.headers.into_iter().map(|header| (text(&header.key), header.value));
        Exchanged {
            offset: record.offset.get(),
            timestamp: record.timestamp.0,
            key: record.key,
            value: record.value,
            headers: headers.collect(),
        }
    }
}

fn hex(bytes: Option<&Bytes>) -> Value {
    bytes.map_or(Value::Null, |bytes| {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
    })
}

pub(super) fn octets(text: &Value) -> Option<Bytes> {
    let text = text.as_str()?;
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_their_text_and_null_stays_null() {
        for bytes in [None, Some(Bytes::new()), Some(Bytes::from_static(&[0, 7, 255]))] {
            assert_eq!(octets(&hex(bytes.as_ref())), bytes);
        }
    }
}
