//! The header of a request.

#![deny(clippy::indexing_slicing)]

use bytes::Bytes;
use millrace_kafka_wire::{Message, Reader, RequestHeader, WireError};
use millrace_types::limits::KAFKA_ELEMENTS_WITH_FRAME;

use crate::handlers::Operation;

/// A request whose header was read.
#[derive(Debug)]
pub(crate) struct Request {
    /// `None`: an operation or a version that is not served.
    pub(crate) api: Option<Operation>,
    pub(crate) key: i16,
    pub(crate) version: i16,
    pub(crate) correlation: i32,
    pub(crate) client_id: Option<String>,
    /// What follows the header.
    pub(crate) body: Bytes,
}

impl Request {
    /// The operation that answers it: a version of ApiVersions that is not served is answered too.
    pub(crate) fn of(&self) -> Option<Operation> {
        let versions = Operation::ApiVersions;
        self.api.or_else(|| (self.key == versions.key()).then_some(versions))
    }

    /// Reads the header.
    ///
    /// # Errors
    /// [`WireError`]: the bytes are no request.
    pub(crate) fn read(bytes: Bytes) -> Result<Request, WireError> {
        let (key, version) = match bytes.first_chunk::<4>() {
            Some([a, b, c, d]) => (i16::from_be_bytes([*a, *b]), i16::from_be_bytes([*c, *d])),
            None => (-1, -1),
        };
        let api = Operation::of(key);
        let served = api.filter(|api| api.versions().contains(&version));
        // Of a request that is not served only the beginning is known, which is the same in every version.
        let header_version = served.map_or(1, |api| api.request_header_version(version));
        let length = bytes.len();
        let mut reader = Reader::bounded(bytes.clone(), KAFKA_ELEMENTS_WITH_FRAME);
        let header = RequestHeader::read(&mut reader, header_version);
        let header = match (header, served) {
            (Ok(header), _) => header,
            (Err(error), Some(_)) => return Err(error),
            (Err(error), None) => match bytes.get(4..8).and_then(|id| id.first_chunk::<4>()) {
                Some(id) => {
                    let correlation_id = i32::from_be_bytes(*id);
                    RequestHeader { correlation_id, client_id: None, ..RequestHeader::default() }
                }
                None => return Err(error),
            },
        };
        let body = bytes.slice(length - reader.remaining().min(length)..);
        let (correlation, client_id) = (header.correlation_id, header.client_id);
        Ok(Request { api: served, key, version, correlation, client_id, body })
    }
}
