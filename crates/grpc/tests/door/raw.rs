//! HTTP/2 by hand, so that it can be wrong.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::World;

/// What every client begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Type and flags of a HEADERS frame that ends its stream: the server has answered.
pub(crate) const ENDED: &[u8] = &[HEADERS, END_HEADERS | END_STREAM];

const END_STREAM: u8 = 1;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A call of a method of ours, as far as its body.
pub(crate) fn call(method: &str) -> Vec<u8> {
    call_with(method, None, None)
}

/// The same, with a setting (identifier, value) and a header more.
pub(crate) fn call_with(method: &str, setting: Option<(u16, u32)>, header: Option<(&str, &str)>) -> Vec<u8> {
    let path = format!("/millrace.v1.Millrace/{method}");
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", &path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in headers.into_iter().chain(header) {
        // HPACK: a literal that is not indexed, name and value as they are (RFC 7541, 6.2.2).
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    let mut payload = Vec::new();
    if let Some((identifier, value)) = setting {
        payload.extend(identifier.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &payload), frame(HEADERS, END_HEADERS, 1, &block)].concat()
}

/// Bytes of the body.
pub(crate) fn body(bytes: &[u8], end: End) -> Vec<u8> {
    frame(DATA, if end == End::Here { END_STREAM } else { 0 }, 1, bytes)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Here,
    Later,
}

/// gRPC's prefix.
pub(crate) fn prefix(length: u32) -> Vec<u8> {
    [&[0][..], &length.to_be_bytes()].concat()
}

impl World {
    /// Sends bytes and closes the connection.
    pub(crate) async fn send_and_drop(&self, bytes: &[u8]) {
        let mut stream = self.dial().await;
        // A server that has closed already has seen enough.
        let _sent = stream.write_all(bytes).await;
        let _sent = stream.flush().await;
    }

    /// Sends bytes and reads whatever comes until the server closes or `found` is in it.
    pub(crate) async fn send_and_find(&self, bytes: &[u8], found: &[u8]) {
        let mut stream = self.dial().await;
        let _sent = stream.write_all(bytes).await;
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        while !seen.windows(found.len()).any(|window| window == found) {
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            assert!(count > 0, "the connection ended without {:?}: {:?}", text(found), text(&seen));
            seen.extend(&buffer[..count]);
        }
    }

    /// Sends bytes and waits until the server closes the connection.
    pub(crate) async fn send_until_closed(&self, bytes: &[u8]) {
        let mut stream = self.dial().await;
        let _sent = stream.write_all(bytes).await;
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
