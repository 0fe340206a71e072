//! Lines of JSON, each an object as `consume --format json` prints it: what came out goes in again.

use std::io::BufRead;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use millrace_client::Header;
use millrace_types::TimestampMs;
use serde::Deserialize;

use super::{InputError, InputRecord, Lines};

/// Iterates over the objects of a reader, one on each line. Empty lines are passed over.
#[derive(Debug)]
pub(crate) struct JsonLines<R> {
    lines: Lines<R>,
}

/// The fields that say something about a record to be sent; `topic`, `partition` and `offset` say where it came from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    timestamp: Option<i64>,
    headers: Vec<HeaderObject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HeaderObject {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
}

impl<R: BufRead> JsonLines<R> {
    pub(crate) fn new(reader: R) -> JsonLines<R> {
        JsonLines { lines: Lines::new(reader, None) }
    }
}

impl<R: BufRead> Iterator for JsonLines<R> {
    type Item = Result<InputRecord, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.lines.next()? {
                Ok(record) => record.value.unwrap_or_default(),
                Err(error) => return Some(Err(error)),
            };
            if !line.iter().all(u8::is_ascii_whitespace) {
                let number = self.lines.line();
                return Some(parse(&line).map_err(|reason| InputError::NoRecord { line: number, reason }));
            }
        }
    }
}

fn parse(line: &[u8]) -> Result<InputRecord, String> {
    // An array of the fields' values would be taken for an object.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err("it is no JSON object".to_owned());
    }
    let object: Object = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let headers = object.headers.into_iter().map(|header| {
        let key = one_of("key", header.key, header.key_base64)?.ok_or("a header without a key")?;
        Ok(Header { key, value: one_of("value", header.value, header.value_base64)? })
    });
    Ok(InputRecord {
        key: one_of("key", object.key, object.key_base64)?,
        value: one_of("value", object.value, object.value_base64)?,
        timestamp: object.timestamp.map(TimestampMs).filter(|time| time.is_some()),
        headers: headers.collect::<Result<_, String>>()?,
    })
}

/// The bytes of a field that is written as text or in base64; nothing if it is absent or null.
fn one_of(name: &str, text: Option<String>, base64: Option<String>) -> Result<Option<Bytes>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("{name} and {name}_base64 are both there")),
        (Some(text), None) => Ok(Some(text.into())),
        (None, Some(encoded)) => {
            let bytes = BASE64.decode(encoded).map_err(|error| format!("{name}_base64: {error}"))?;
            Ok(Some(bytes.into()))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<InputRecord, InputError>> {
        JsonLines::new(text.as_bytes()).collect()
    }

    #[test]
    fn an_object_is_a_record_with_its_headers_in_order() {
        let text = concat!(
            r#"{"topic":"t","partition":1,"offset":2,"timestamp":3,"key":"k","value":null,"headers":"#,
            r#"[{"key":"a","value":"1"},{"key":"a","value":null},{"key_base64":"gA==","value_base64":"//4="}]}"#,
            "\n\n{}\n"
        );
        let mut records = read(text).into_iter().map(Result::unwrap);
        let first = records.next().unwrap();
        assert_eq!((first.key, first.value, first.timestamp), (Some("k".into()), None, Some(TimestampMs(3))));
        let header = |key: &'static [u8], value: Option<&'static [u8]>| Header {
            key: Bytes::from_static(key),
            value: value.map(Bytes::from_static),
        };
        let expected = [header(b"a", Some(b"1")), header(b"a", None), header(&[0x80], Some(&[0xff, 0xfe]))];
        assert_eq!(first.headers, expected);
        let empty = records.next().unwrap();
        assert_eq!((empty.key, empty.value, empty.timestamp, empty.headers.len()), (None, None, None, 0));
    }

    #[test]
    fn what_is_no_record_is_named_with_its_line() {
        for text in [
            "{}\nnonsense\n",
            "{}\n[]\n",
            "{}\n{\"key\":1}\n",
            "{}\n{\"value\":\"a\",\"value_base64\":\"\"}\n",
            "{}\n{\"key_base64\":\"!\"}\n",
            "{}\n{\"headers\":[{\"value\":\"a\"}]}\n",
        ] {
            let error = read(text).pop().unwrap().unwrap_err();
            assert!(matches!(error, InputError::NoRecord { line: 2, .. }), "{text:?}: {error}");
        }
    }
}
