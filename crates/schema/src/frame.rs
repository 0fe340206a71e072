//! The frame of every internal metadata record: what it is, in which version, and its protobuf message.
//!
//! ```text
//!   0        2          4
//!   | kind   | version  | protobuf message, to the end of the record |
//!   | u16 BE | u16 BE   |                                            |
//! ```
//!
//! Kinds are never reused. A version changes when the meaning of a message changes in a way that a reader must know;
//! a field that an older reader may ignore needs no new version. Versions count from 0.

use prost::Message;

/// The bytes in front of the message.
pub const FRAME_HEADER_BYTES: usize = 4;

/// A record cut into its parts; the message is not decoded yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Which record it is.
    pub kind: u16,
    /// The version of that kind.
    pub version: u16,
    /// The protobuf message.
    pub body: &'a [u8],
}

/// Why the bytes of an internal record were not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than kind and version take.
    #[error("an internal record of {len} bytes has no room for its kind and version")]
    Truncated {
        /// The bytes that are there.
        len: usize,
    },
    /// This build does not know the kind: it was written by a newer one, or it is no such record.
    #[error("internal record kind {kind} (version {version}) is not known to this build")]
    UnknownKind {
        /// The kind found.
        kind: u16,
        /// The version found.
        version: u16,
    },
    /// This build knows the kind, but only older versions of it.
    #[error("internal record kind {kind} has version {version}, this build reads up to {newest}")]
    UnknownVersion {
        /// The kind found.
        kind: u16,
        /// The version found.
        version: u16,
        /// The newest version this build reads.
        newest: u16,
    },
    /// The message is no protobuf of the kind's type.
    #[error("internal record kind {kind} version {version} does not decode: {source}")]
    Malformed {
        /// The kind found.
        kind: u16,
        /// The version found.
        version: u16,
        /// What protobuf says.
        source: prost::DecodeError,
    },
    /// The message decodes, but a field breaks its own rule (an id of the wrong length, a name that is none).
    #[error("internal record kind {kind} version {version}: field {field}: {problem}")]
    Invalid {
        /// The kind found.
        kind: u16,
        /// The version found.
        version: u16,
        /// The field, as the `.proto` file names it.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// Writes a record: kind, version, message.
#[must_use]
pub fn encode_frame(kind: u16, version: u16, message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + message.encoded_len());
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    // A vector grows as needed, so this form of encoding has no error.
    message.encode_raw(&mut bytes);
    bytes
}

/// Cuts a record into kind, version and message.
///
/// # Errors
/// [`FrameError::Truncated`] if there are fewer than four bytes.
pub fn decode_frame(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let truncated = FrameError::Truncated { len: bytes.len() };
    let (kind, rest) = bytes.split_first_chunk().ok_or(truncated.clone())?;
    let (version, body) = rest.split_first_chunk().ok_or(truncated)?;
    Ok(Frame { kind: u16::from_be_bytes(*kind), version: u16::from_be_bytes(*version), body })
}

impl Frame<'_> {
    /// Decodes the message, if this build reads the version (`newest` and everything before it).
    ///
    /// # Errors
    /// [`FrameError::UnknownVersion`] or [`FrameError::Malformed`].
    pub fn message<M: Message + Default>(&self, newest: u16) -> Result<M, FrameError> {
        let (kind, version) = (self.kind, self.version);
        if version > newest {
            return Err(FrameError::UnknownVersion { kind, version, newest });
        }
        M::decode(self.body).map_err(|source| FrameError::Malformed { kind, version, source })
    }

    /// The error for a kind that the caller's table does not list.
    #[must_use]
    pub fn unknown_kind(&self) -> FrameError {
        FrameError::UnknownKind { kind: self.kind, version: self.version }
    }

    /// The error for a field that breaks its rule.
    #[must_use]
    pub fn invalid(&self, field: &'static str, problem: impl ToString) -> FrameError {
        FrameError::Invalid { kind: self.kind, version: self.version, field, problem: problem.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_what_was_written() {
        let bytes = encode_frame(7, 2, &"hello".to_owned());
        assert_eq!(bytes, [&[0, 7, 0, 2, 10, 5][..], b"hello"].concat());
        let frame = decode_frame(&bytes).unwrap();
        assert_eq!((frame.kind, frame.version), (7, 2));
        assert_eq!(frame.message::<String>(2).unwrap(), "hello");
    }

    #[test]
    fn a_newer_version_is_named() {
        let bytes = encode_frame(7, 2, &"hello".to_owned());
        let error = decode_frame(&bytes).unwrap().message::<String>(1).unwrap_err();
        assert_eq!(error, FrameError::UnknownVersion { kind: 7, version: 2, newest: 1 });
    }

    #[test]
    fn every_cut_is_an_error_or_a_shorter_message() {
        let bytes = encode_frame(7, 0, &"hello".to_owned());
        for len in 0..FRAME_HEADER_BYTES {
            assert_eq!(decode_frame(&bytes[..len]), Err(FrameError::Truncated { len }));
        }
        for len in FRAME_HEADER_BYTES + 1..bytes.len() {
            let frame = decode_frame(&bytes[..len]).unwrap();
            assert!(matches!(frame.message::<String>(0), Err(FrameError::Malformed { .. })), "{len}");
        }
    }
}
