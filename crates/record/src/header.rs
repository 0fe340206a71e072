//! The first 61 bytes of a record batch.
//!
//! ```text
//!   offset  bytes  field
//!        0      8  base offset              } written by the log when it appends:
//!        8      4  batch length             } not covered by the checksum
//!       12      4  partition leader epoch   }   (the length is the producer's)
//!       16      1  magic = 2                }
//!       17      4  CRC-32C of everything from byte 21 to the end of the batch
//!       21      2  attributes ------------------------------------ from here on under the checksum
//!       23      4  last offset delta             bits 0-2  compression
//!       27      8  base timestamp (ms)           bit  3    timestamp type: 0 create time, 1 log append time
//!       35      8  max timestamp (ms)            bit  4    transactional
//!       43      8  producer id                   bit  5    control batch
//!       51      2  producer epoch                bit  6    base timestamp is a delete horizon (KIP-534)
//!       53      4  base sequence                 others    reserved
//!       57      4  record count
//!       61      -  records, compressed as one run of bytes
//! ```
//!
//! All numbers are big endian. The batch length counts the bytes behind itself, so a batch takes 12 bytes more.
//! Source: Kafka's `DefaultRecordBatch`, message format v2 (KIP-98).

use bytes::Buf;
use millrace_types::limits::BATCH_BYTES_MAX;

use crate::{BatchError, Compression};

/// The bytes of a batch header.
pub const HEADER_BYTES: usize = 61;
/// The bytes in front of those that the batch length counts.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// The bytes up to and including the leader epoch: what the log writes anew when it appends a batch.
pub const HEAD_BYTES: usize = 16;
/// The first byte under the checksum.
pub const CRC_START: usize = 21;
/// The only message format there is here.
pub const MAGIC: u8 = 2;

/// The attribute bits of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Attributes(pub u16);

impl Attributes {
    const COMPRESSION: u16 = 0x07;
    pub(crate) const LOG_APPEND_TIME: u16 = 0x08;
    pub(crate) const TRANSACTIONAL: u16 = 0x10;
    pub(crate) const CONTROL: u16 = 0x20;
    pub(crate) const DELETE_HORIZON: u16 = 0x40;

    /// The number of the compression, 0 to 7; 5 to 7 name none.
    #[must_use]
    pub const fn compression_id(self) -> u8 {
        let [_, low] = (self.0 & Self::COMPRESSION).to_be_bytes();
        low
    }

    /// The compression, or `None` if the number names none.
    #[must_use]
    pub const fn compression(self) -> Option<Compression> {
        Compression::from_id(self.compression_id())
    }

    /// Whether the timestamps of the records are the time of the append (the max timestamp) and not the producer's.
    #[must_use]
    pub const fn is_log_append_time(self) -> bool {
        self.0 & Self::LOG_APPEND_TIME != 0
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds a control record (a transaction's end), which consumers never see.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time from which compaction may drop the batch's tombstones (KIP-534).
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The bits that only the log itself may set, or that mean nothing yet.
    #[must_use]
    pub const fn beyond_producers(self) -> u16 {
        self.0 & !(Self::COMPRESSION | Self::TRANSACTIONAL | Self::CONTROL)
    }

    /// Attributes of a new batch.
    #[must_use]
    pub fn new(compression: Compression, kind: BatchKind) -> Attributes {
        let kind = match kind {
            BatchKind::Plain => 0,
            BatchKind::Transactional => Self::TRANSACTIONAL,
            BatchKind::Control => Self::TRANSACTIONAL | Self::CONTROL,
            BatchKind::ControlAlone => Self::CONTROL,
        };
        Attributes(u16::from(compression.id()) | kind)
    }

    pub(crate) const fn with_log_append_time(self) -> Attributes {
        Attributes(self.0 | Self::LOG_APPEND_TIME)
    }
}

/// What a batch is part of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum BatchKind {
    /// Records outside of any transaction.
    #[default]
    Plain,
    /// Records of a transaction.
    Transactional,
    /// The marker that ends a transaction: both the transactional and the control bit.
    Control,
    /// A control batch outside of transactions (KIP-595's leader change, snapshot header and the like).
    ControlAlone,
}

/// The fields of a batch header as they stand in its bytes, checked for length and magic only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BatchHeader {
    /// The offset of the first record. Meaningless in a batch that a producer sends.
    pub base_offset: i64,
    /// The bytes of the batch behind this field.
    pub batch_length: u32,
    /// The epoch of the leader that appended the batch. Meaningless in a batch that a producer sends.
    pub partition_leader_epoch: i32,
    /// The stored checksum.
    pub crc: u32,
    /// Compression, timestamp type and the rest.
    pub attributes: Attributes,
    /// The offset of the last record, less the base offset.
    pub last_offset_delta: i32,
    /// The timestamp that the records' deltas count from, in milliseconds.
    pub base_timestamp: i64,
    /// The largest timestamp of the records, in milliseconds; -1 if none has one.
    pub max_timestamp: i64,
    /// The idempotent producer, or -1.
    pub producer_id: i64,
    /// The producer's epoch, or -1.
    pub producer_epoch: i16,
    /// The sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// How many records there are; fewer than last offset delta + 1 only after compaction.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`, which may hold less or more than the batch.
    ///
    /// Nothing but the magic and the bounds of the length are checked, so that a reader that walks a file can step from
    /// header to header. The order of the checks makes a run of zero bytes a [`BatchError::Length`].
    ///
    /// # Errors
    /// [`BatchError::Truncated`], [`BatchError::Length`], [`BatchError::TooLarge`] or [`BatchError::Magic`].
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some((mut head, _)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(BatchError::Truncated { have: bytes.len(), need: HEADER_BYTES });
        };
        let base_offset = head.get_i64();
        let length = head.get_i32();
        let partition_leader_epoch = head.get_i32();
        let magic = head.get_u8();
        let batch_length = u32::try_from(length)
            .ok()
            .filter(|length| *length as usize >= HEADER_BYTES - LENGTH_PREFIX_BYTES);
        let Some(batch_length) = batch_length else {
            return Err(BatchError::Length { found: length });
        };
        if magic != MAGIC {
            return Err(BatchError::Magic { found: magic });
        }
        let header = BatchHeader {
            base_offset,
            batch_length,
            partition_leader_epoch,
            crc: head.get_u32(),
            attributes: Attributes(head.get_u16()),
            last_offset_delta: head.get_i32(),
            base_timestamp: head.get_i64(),
            max_timestamp: head.get_i64(),
            producer_id: head.get_i64(),
            producer_epoch: head.get_i16(),
            base_sequence: head.get_i32(),
            record_count: head.get_i32(),
        };
        if header.size() > BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge { bytes: header.size(), max: BATCH_BYTES_MAX });
        }
        Ok(header)
    }

    /// The bytes of the whole batch: 12 more than its length field says.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.batch_length as usize + LENGTH_PREFIX_BYTES
    }

    /// The offset of the last record, or `None` if the header's numbers are no offsets.
    #[must_use]
    pub fn last_offset(&self) -> Option<i64> {
        if self.base_offset < 0 || self.last_offset_delta < 0 {
            return None;
        }
        self.base_offset.checked_add(i64::from(self.last_offset_delta))
    }

    /// The 61 bytes of this header.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        fn put(out: &mut [u8], bytes: &[u8]) -> usize {
            for (to, from) in out.iter_mut().zip(bytes) {
                *to = *from;
            }
            bytes.len()
        }
        let mut out = [0; HEADER_BYTES];
        let mut at = 0;
        for field in [
            &self.base_offset.to_be_bytes()[..],
            &self.batch_length.to_be_bytes(),
            &self.partition_leader_epoch.to_be_bytes(),
            &[MAGIC],
            &self.crc.to_be_bytes(),
            &self.attributes.0.to_be_bytes(),
            &self.last_offset_delta.to_be_bytes(),
            &self.base_timestamp.to_be_bytes(),
            &self.max_timestamp.to_be_bytes(),
            &self.producer_id.to_be_bytes(),
            &self.producer_epoch.to_be_bytes(),
            &self.base_sequence.to_be_bytes(),
            &self.record_count.to_be_bytes(),
        ] {
            at += put(out.get_mut(at..).unwrap_or_default(), field);
        }
        out
    }
}

/// The checksum of record batches: CRC-32C (Castagnoli).
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}
