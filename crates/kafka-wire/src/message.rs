//! What all messages have in common.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::{Problem, Reader, WireError, Writer};

/// A structure of the protocol.
pub trait Message: Sized {
    /// The versions that exist here.
    const VERSIONS: RangeInclusive<i16>;

    /// Reads the structure as `version` has it.
    ///
    /// # Errors
    /// [`WireError`], naming the field.
    fn read(reader: &mut Reader, version: i16) -> Result<Self, WireError>;

    /// Writes the structure as `version` has it.
    ///
    /// # Errors
    /// [`WireError`] if a field is set that the version cannot say.
    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), WireError>;

    /// Reads a whole message: nothing may follow it.
    ///
    /// # Errors
    /// [`WireError`], naming the field.
    fn decode(bytes: Bytes, version: i16) -> Result<Self, WireError> {
        Self::decode_from(&mut Reader::new(bytes), version)
    }

    /// Reads the whole of what `reader` has as one message, under the reader's bound.
    ///
    /// # Errors
    /// [`WireError`], naming the field; [`Problem::OverBound`] if the message has more elements than the reader may read.
    fn decode_from(reader: &mut Reader, version: i16) -> Result<Self, WireError> {
        check_version::<Self>(version)?;
        let message = Self::read(reader, version)?;
        reader.finish()?;
        Ok(message)
    }

    /// The bytes of the message, in runs: record data is not copied into them.
    ///
    /// # Errors
    /// [`WireError`] if a field is set that the version cannot say.
    fn encode(&self, version: i16) -> Result<Vec<Bytes>, WireError> {
        check_version::<Self>(version)?;
        let mut writer = Writer::new();
        self.write(&mut writer, version)?;
        Ok(writer.into_runs())
    }
}

fn check_version<M: Message>(version: i16) -> Result<(), WireError> {
    if M::VERSIONS.contains(&version) { Ok(()) } else { Err(Problem::Version(version).of("version")) }
}

/// A request or an answer of one of the protocol's operations.
pub trait ApiMessage: Message {
    /// The number of the operation.
    const API_KEY: i16;
    /// The first version with variable-length integers and tagged fields (KIP-482); `None` if there is none.
    const FLEXIBLE_FROM: Option<i16>;

    /// Whether `version` has them.
    #[must_use]
    fn is_flexible(version: i16) -> bool {
        Self::FLEXIBLE_FROM.is_some_and(|first| version >= first)
    }
}

/// A request.
pub trait ApiRequest: ApiMessage {
    /// What answers it.
    type Response: ApiMessage;

    /// The version of the header in front of the request.
    #[must_use]
    fn request_header_version(version: i16) -> i16 {
        if Self::is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the header in front of the answer. That of ApiVersions never has tagged fields: a client reads it
    /// before it knows what we speak (KIP-511).
    #[must_use]
    fn response_header_version(version: i16) -> i16 {
        const API_VERSIONS: i16 = 18;
        i16::from(Self::API_KEY != API_VERSIONS && Self::Response::is_flexible(version))
    }
}
