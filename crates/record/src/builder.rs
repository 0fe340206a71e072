//! Building a batch from records.

use bytes::Bytes;
use millrace_types::TimestampMs;
use millrace_types::limits::{
    BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX, BATCH_DECOMPRESSED_BYTES_MAX, RECORD_HEADERS_MAX,
};

use crate::batch::{seal, seal_in_place};
use crate::codec::compress;
use crate::header::{Attributes, HEADER_BYTES};
use crate::varint::{varint_size, write_varint, write_varlong};
use crate::{Batch, BatchHeader, BatchKind, Compression, ProducerStamp, Record};

/// A record without headers, for [`BatchBuilder::append`].
pub const NO_HEADERS: [(&[u8], Option<&[u8]>); 0] = [];

/// How a batch is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchOptions {
    /// How the records are compressed when the batch is built.
    pub compression: Compression,
    /// What the batch is part of.
    pub kind: BatchKind,
    /// The size, uncompressed, from which [`BatchBuilder::is_full`] says so.
    pub bytes_target: usize,
    /// The most bytes of the built batch.
    pub bytes_max: usize,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions {
            compression: Compression::None,
            kind: BatchKind::Plain,
            bytes_target: BATCH_BYTES_DEFAULT,
            bytes_max: BATCH_BYTES_MAX,
        }
    }
}

/// Why a record was not taken into a batch. The batch stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The batch would grow over its limit. An empty batch that answers this will never take the record.
    #[error("with this record the batch has {bytes} bytes, {max} are allowed")]
    TooLarge {
        /// The bytes the batch would have, uncompressed.
        bytes: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// The timestamp is below -1, which stands for "none", or too far from the batch's first one.
    #[error("the timestamp {0} is not allowed")]
    Timestamp(i64),
    /// The record has more headers than allowed.
    #[error("the record has {count} headers, {max} are allowed")]
    Headers {
        /// The headers of the record.
        count: usize,
        /// The most that is allowed.
        max: usize,
    },
}

/// Why a batch could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no record in it.
    #[error("the batch has no records")]
    Empty,
    /// The batch is larger than allowed after compression.
    #[error("the batch has {bytes} bytes, {max} are allowed")]
    TooLarge {
        /// The bytes of the batch.
        bytes: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// A record that the product itself makes was not taken.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The compressor failed.
    #[error("the records could not be compressed with {codec}: {source}")]
    Compress {
        /// The compression.
        codec: Compression,
        /// What the compressor says.
        source: std::io::Error,
    },
}

/// Collects records into one buffer; appending a record allocates nothing of its own.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    /// Room for the header, then the records as they stand in an uncompressed batch.
    buffer: Vec<u8>,
    record_count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer: Option<ProducerStamp>,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder {
            options,
            buffer: vec![0; HEADER_BYTES],
            record_count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            producer: None,
        }
    }

    /// Says which idempotent producer the batch is of; may be called any time before it is built.
    pub fn set_producer(&mut self, producer: ProducerStamp) {
        self.producer = Some(producer);
    }

    /// Takes a record; returns its offset within the batch, from 0.
    ///
    /// Headers are pairs of name and value; the iterator is walked twice.
    ///
    /// # Errors
    /// [`AppendError`] if the record does not fit or is not allowed; the batch stays as it was.
    pub fn append<'h, H>(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<u32, AppendError>
    where
        H: IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
        H::IntoIter: ExactSizeIterator + Clone,
    {
        let headers = headers.into_iter();
        let header_count = headers.len();
        if header_count > RECORD_HEADERS_MAX {
            return Err(AppendError::Headers { count: header_count, max: RECORD_HEADERS_MAX });
        }
        let base = if self.is_empty() { timestamp.0 } else { self.base_timestamp };
        let delta = timestamp.0.checked_sub(base).filter(|_| timestamp.0 >= -1);
        let delta = delta.ok_or(AppendError::Timestamp(timestamp.0))?;

        let body = 1
            + varint_size(delta)
            + varint_size(i64::from(self.record_count))
            + nullable_size(key)
            + nullable_size(value)
            + length_size(header_count)
            + headers.clone().map(|(key, value)| sized(key.len()) + nullable_size(value)).sum::<usize>();
        let bytes = self.buffer.len() + sized(body);
        let max = self.size_max();
        // Whatever fits has lengths that fit their fields, because the limit does.
        let (Ok(body), true) = (i32::try_from(body), bytes <= max) else {
            return Err(AppendError::TooLarge { bytes, max });
        };

        let out = &mut self.buffer;
        write_varint(out, body);
        out.push(0);
        write_varlong(out, delta);
        write_varint(out, self.record_count);
        write_nullable(out, key);
        write_nullable(out, value);
        write_length(out, header_count);
        for (key, value) in headers {
            write_nullable(out, Some(key));
            write_nullable(out, value);
        }

        let offset_delta = self.record_count.cast_unsigned();
        self.base_timestamp = base;
        self.max_timestamp = if self.is_empty() { timestamp.0 } else { self.max_timestamp.max(timestamp.0) };
        self.record_count += 1;
        Ok(offset_delta)
    }

    /// Takes a record that was read elsewhere, without its offset.
    ///
    /// # Errors
    /// As [`BatchBuilder::append`].
    pub fn append_record(&mut self, record: &Record) -> Result<u32, AppendError> {
        self.append(
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            record.headers.iter().map(|header| (header.key.as_ref(), header.value.as_deref())),
        )
    }

    /// The most bytes the batch may have before compression.
    fn size_max(&self) -> usize {
        match self.options.compression {
            Compression::None => self.options.bytes_max.min(BATCH_BYTES_MAX),
            _ => HEADER_BYTES + BATCH_DECOMPRESSED_BYTES_MAX,
        }
    }

    /// The bytes of the batch, header included and uncompressed: exact without compression, mostly too many with it.
    #[must_use]
    pub fn estimated_size(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the batch has reached its target size and should be built.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= self.options.bytes_target
    }

    /// Whether a record with so many bytes of key, value and headers keeps the batch within its target size.
    #[must_use]
    pub fn has_room_for(&self, record_bytes: usize) -> bool {
        self.buffer.len().saturating_add(record_bytes).saturating_add(RECORD_OVERHEAD_BYTES)
            <= self.options.bytes_target
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// How many records there are.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count.cast_unsigned()
    }

    /// The largest timestamp so far, -1 if there is none.
    #[must_use]
    pub fn max_timestamp(&self) -> TimestampMs {
        TimestampMs(self.max_timestamp)
    }

    /// The batch, with base offset 0 and no leader epoch: compressed, checksummed, ready to be sent or appended.
    ///
    /// # Errors
    /// [`BuildError`] if there is no record, the compressor fails, or the result is larger than allowed.
    pub fn build(mut self) -> Result<Batch, BuildError> {
        if self.is_empty() {
            return Err(BuildError::Empty);
        }
        let codec = self.options.compression;
        let mut header = self.header();
        let batch = if codec == Compression::None {
            seal_in_place(&mut header, &mut self.buffer);
            Batch::trusted(header, Bytes::from(self.buffer))
        } else {
            let payload = self.buffer.get(HEADER_BYTES..).unwrap_or_default();
            let mut compressed = Ok(());
            let batch = seal(header, |out| compressed = compress(codec, payload, out));
            compressed.map_err(|source| BuildError::Compress { codec, source })?;
            batch
        };
        let max = self.options.bytes_max.min(BATCH_BYTES_MAX);
        if batch.size() > max {
            return Err(BuildError::TooLarge { bytes: batch.size(), max });
        }
        Ok(batch)
    }

    fn header(&self) -> BatchHeader {
        BatchHeader {
            base_offset: 0,
            batch_length: 0,
            partition_leader_epoch: -1,
            crc: 0,
            attributes: Attributes::new(self.options.compression, self.options.kind),
            last_offset_delta: self.record_count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer.map_or(-1, |producer| producer.id.0),
            producer_epoch: self.producer.map_or(-1, |producer| producer.epoch.0),
            base_sequence: self.producer.map_or(-1, |producer| producer.base_sequence),
            record_count: self.record_count,
        }
    }
}

/// The most bytes of a record beside its key, value and headers: length, attributes, two deltas, three counts.
const RECORD_OVERHEAD_BYTES: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;

/// The bytes of a length field. Longer than the field's type can say is longer than any batch, so refused later.
fn length_size(length: usize) -> usize {
    varint_size(i64::try_from(length).unwrap_or(i64::MAX))
}

/// The bytes of a length field and what it counts.
fn sized(length: usize) -> usize {
    length_size(length).saturating_add(length)
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| sized(bytes.len()))
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    write_varint(out, i32::try_from(length).unwrap_or(i32::MAX));
}

fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => write_varint(out, -1),
        Some(bytes) => {
            write_length(out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
