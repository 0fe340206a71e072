//! What can be wrong with a batch, and with the records in it.

use millrace_types::ErrorCode;

use crate::varint::VarintError;

/// Why bytes are no batch that may be appended, or none that was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch is cut off: {need} bytes are needed, {have} are there")]
    Truncated {
        /// The bytes that are there.
        have: usize,
        /// The bytes of the header or, once that is there, of the batch.
        need: usize,
    },
    /// The length field is negative, or too small for a header.
    #[error("the batch says that its length is {found}")]
    Length {
        /// The length field.
        found: i32,
    },
    /// The message format is not version 2.
    #[error("the batch has message format {found}, only 2 is known")]
    Magic {
        /// The magic byte.
        found: u8,
    },
    /// More bytes follow where one batch was expected.
    #[error("{extra} bytes follow the batch where one batch was expected")]
    Trailing {
        /// The bytes behind the batch.
        extra: usize,
    },
    /// The batch is larger than allowed.
    #[error("the batch has {bytes} bytes, {max} are allowed")]
    TooLarge {
        /// The bytes of the batch.
        bytes: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// The checksum does not match.
    #[error("the batch fails its checksum: {stored:#010x} is written, {computed:#010x} computed")]
    Crc {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// Record count and last offset delta do not fit each other, or the bytes.
    #[error(
        "the batch counts {record_count} records with a last offset delta of {last_offset_delta} in {payload} bytes"
    )]
    Count {
        /// The record count.
        record_count: i32,
        /// The last offset delta.
        last_offset_delta: i32,
        /// The bytes behind the header.
        payload: usize,
    },
    /// The base offset is negative, or the last offset would pass the largest one.
    #[error("the batch starts at offset {base_offset} with a last offset delta of {last_offset_delta}")]
    Offset {
        /// The base offset.
        base_offset: i64,
        /// The last offset delta.
        last_offset_delta: i32,
    },
    /// The compression does not exist.
    #[error("the batch names compression {id}, there are 0 to 4")]
    Compression {
        /// The number in the attributes.
        id: u8,
    },
    /// A timestamp is below -1, or the largest is below the first.
    #[error("the batch has base timestamp {base} and max timestamp {max}")]
    Timestamp {
        /// The base timestamp.
        base: i64,
        /// The max timestamp.
        max: i64,
    },
    /// A producer id without a legal epoch or sequence.
    #[error("the batch has producer id {id} with epoch {epoch} and base sequence {base_sequence}")]
    Producer {
        /// The producer id.
        id: i64,
        /// The producer epoch.
        epoch: i16,
        /// The base sequence.
        base_sequence: i32,
    },
    /// Attribute bits that no producer may set.
    #[error("the batch sets attribute bits {bits:#x}, which are not a producer's to set")]
    Attributes {
        /// The bits in question.
        bits: u16,
    },
    /// What is refused until it is built.
    #[error("{what} batches are not supported")]
    Unsupported {
        /// What the batch is.
        what: &'static str,
    },
    /// The records of an uncompressed batch are malformed.
    #[error("the batch holds malformed records: {0}")]
    Records(#[from] RecordError),
}

impl BatchError {
    /// The error that a door answers when it was sent such a batch.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            BatchError::TooLarge { .. } => ErrorCode::BatchTooLarge,
            BatchError::Compression { .. } => ErrorCode::UnsupportedCompression,
            BatchError::Unsupported { .. } | BatchError::Magic { found: 0 | 1 } => ErrorCode::Unsupported,
            BatchError::Timestamp { .. } | BatchError::Attributes { .. } | BatchError::Producer { .. } => {
                ErrorCode::InvalidRequest
            }
            BatchError::Truncated { .. }
            | BatchError::Length { .. }
            | BatchError::Magic { .. }
            | BatchError::Trailing { .. }
            | BatchError::Crc { .. }
            | BatchError::Count { .. }
            | BatchError::Offset { .. }
            | BatchError::Records(_) => ErrorCode::CorruptBatch,
        }
    }
}

/// Why the records of a batch cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The payload cannot be decompressed.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// The batch counts more records than its payload has room for.
    #[error("{count} records cannot lie in {bytes} bytes")]
    Count {
        /// The record count of the header.
        count: i32,
        /// The bytes of the payload, decompressed.
        bytes: usize,
    },
    /// A length or delta is no varint.
    #[error("record {index}: {source}")]
    Varint {
        /// Which record of the batch, from 0.
        index: u32,
        /// What is wrong with it.
        source: VarintError,
    },
    /// A length points behind the end, or is negative where it may not be.
    #[error("record {index}: {field} has length {length}, {left} bytes are left")]
    Length {
        /// Which record of the batch, from 0.
        index: u32,
        /// Which length.
        field: &'static str,
        /// The length found.
        length: i32,
        /// The bytes left.
        left: usize,
    },
    /// A record is longer than its fields.
    #[error("record {index}: {extra} bytes follow its last field")]
    Trailing {
        /// Which record of the batch, from 0.
        index: u32,
        /// The bytes too many.
        extra: usize,
    },
    /// The offset does not rise from record to record, or passes the last offset delta.
    #[error("record {index}: offset delta {found} where at least {least} and at most {most} is due")]
    OffsetDelta {
        /// Which record of the batch, from 0.
        index: u32,
        /// The delta found.
        found: i32,
        /// The smallest that is allowed here.
        least: i64,
        /// The batch's last offset delta.
        most: i32,
    },
    /// Base timestamp and delta pass the range of a timestamp.
    #[error("record {index}: timestamp delta {delta} leaves the range of a timestamp")]
    Timestamp {
        /// Which record of the batch, from 0.
        index: u32,
        /// The delta found.
        delta: i64,
    },
    /// A record with more headers than allowed.
    #[error("record {index}: {count} headers, {max} are allowed")]
    Headers {
        /// Which record of the batch, from 0.
        index: u32,
        /// The headers it counts.
        count: i32,
        /// The most that is allowed.
        max: usize,
    },
    /// Bytes follow the last record.
    #[error("{extra} bytes follow the last record")]
    Leftover {
        /// The bytes too many.
        extra: usize,
    },
}

/// Why a payload cannot be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// The compression does not exist.
    #[error("compression {id} does not exist")]
    Unknown {
        /// The number in the attributes.
        id: u8,
    },
    /// The payload is larger than the cap once decompressed.
    #[error("the {codec} payload has more than {max} bytes once decompressed")]
    TooLarge {
        /// The compression.
        codec: crate::Compression,
        /// The cap, in bytes.
        max: usize,
    },
    /// The payload is cut off, or is not of its format.
    #[error("the {codec} payload is damaged: {problem}")]
    Corrupt {
        /// The compression.
        codec: crate::Compression,
        /// What the decoder says.
        problem: String,
    },
}
