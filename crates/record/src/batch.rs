//! A checked view over the bytes of one batch.

use bytes::{Bytes, BytesMut};
use millrace_types::limits::{BATCH_BYTES_MAX, BATCH_DECOMPRESSED_BYTES_MAX};
use millrace_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};

use crate::header::{CRC_START, HEAD_BYTES, HEADER_BYTES};
use crate::view::RECORD_BYTES_MIN;
use crate::{BatchError, BatchHeader, Compression, RecordError, Records, crc32c};

/// What a batch to be appended is checked against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checks {
    /// The most bytes of the whole batch (the topic's `max.message.bytes`).
    pub bytes_max: usize,
    /// Who made the batch.
    pub origin: Origin,
}

/// Who made a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A client: transactional and control batches are refused as unsupported, and so are the attribute bits that
    /// only a log may set.
    Client,
    /// The product itself: transaction markers and every attribute are allowed.
    Internal,
}

/// The idempotent producer of a batch, and where in its sequence the batch starts (KIP-98).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence number of the first record, from 0; behind `i32::MAX` comes 0 again.
    pub base_sequence: i32,
}

impl ProducerStamp {
    /// The sequence number `records` after the first one of the batch, wrapping from `i32::MAX` to 0.
    #[must_use]
    pub fn sequence_after(&self, records: u32) -> i32 {
        let sum = i64::from(self.base_sequence) + i64::from(records);
        i32::try_from(sum & i64::from(i32::MAX)).unwrap_or(0)
    }
}

/// One whole record batch: its bytes as they came, and its header read once.
///
/// Cloning is cheap; the payload is never copied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Checks a batch that is to be appended: exactly one batch, with nothing behind it.
    ///
    /// Checked are length, size, magic, checksum, record count against last offset delta and against the payload,
    /// the compression, timestamps, producer fields and attribute bits. The records of an *uncompressed* batch are
    /// walked as well, without an allocation: some ten nanoseconds each keep a batch that no consumer can read out of
    /// the log. A compressed payload is not opened (whoever does treats it as hostile).
    ///
    /// # Errors
    /// [`BatchError`]; [`BatchError::code`] is what a door answers.
    pub fn check(bytes: Bytes, checks: &Checks) -> Result<Batch, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        let size = header.size();
        if size > checks.bytes_max {
            return Err(BatchError::TooLarge { bytes: size, max: checks.bytes_max });
        }
        if bytes.len() > size {
            return Err(BatchError::Trailing { extra: bytes.len() - size });
        }
        let batch = Batch::complete(header, bytes)?;
        batch.check_count()?;
        batch.check_attributes(checks.origin)?;
        batch.check_timestamps()?;
        batch.check_producer()?;
        if batch.compression() == Some(Compression::None) {
            batch.verify_records(BATCH_DECOMPRESSED_BYTES_MAX)?;
        }
        Ok(batch)
    }

    /// Reads the batch at the front of `bytes`, as a log stored it; bytes behind it are left alone.
    ///
    /// Checked are magic, length, checksum, that its offsets are offsets and that no more records are counted than
    /// offsets. Everything that a log may hold is accepted: fewer records than offsets (compaction), none at all,
    /// control batches, attributes of a later version. The returned batch shares the memory of `bytes`.
    ///
    /// # Errors
    /// [`BatchError`]; [`BatchError::Truncated`] says how many bytes a complete batch needs.
    pub fn parse_stored(bytes: &Bytes) -> Result<Batch, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let batch = Batch::complete(header, bytes.slice(..header.size().min(bytes.len())))?;
        if header.last_offset().is_none_or(|last| last == i64::MAX) {
            let BatchHeader { base_offset, last_offset_delta, .. } = header;
            return Err(BatchError::Offset { base_offset, last_offset_delta });
        }
        if header.record_count < 0 || i64::from(header.record_count) > i64::from(header.last_offset_delta) + 1
        {
            return Err(batch.count_error());
        }
        Ok(batch)
    }

    /// Takes the bytes of one batch whose header was read, and checks that they are all there and intact.
    fn complete(header: BatchHeader, bytes: Bytes) -> Result<Batch, BatchError> {
        let size = header.size();
        if bytes.len() < size {
            return Err(BatchError::Truncated { have: bytes.len(), need: size });
        }
        let computed = crc32c(bytes.get(CRC_START..).unwrap_or_default());
        if computed != header.crc {
            return Err(BatchError::Crc { stored: header.crc, computed });
        }
        Ok(Batch { header, bytes })
    }

    /// A batch whose bytes this crate has just written.
    pub(crate) fn trusted(header: BatchHeader, bytes: Bytes) -> Batch {
        Batch { header, bytes }
    }

    fn count_error(&self) -> BatchError {
        BatchError::Count {
            record_count: self.header.record_count,
            last_offset_delta: self.header.last_offset_delta,
            payload: self.payload_size(),
        }
    }

    fn check_count(&self) -> Result<(), BatchError> {
        let BatchHeader { record_count, last_offset_delta, attributes, .. } = self.header;
        // An uncompressed payload tells how many records can be in it; a compressed one at most what its cap holds.
        let room = match attributes.compression() {
            Some(Compression::None) => self.payload_size(),
            _ if self.payload_size() == 0 => 0,
            _ => BATCH_DECOMPRESSED_BYTES_MAX,
        };
        let fits =
            usize::try_from(record_count).is_ok_and(|count| count >= 1 && count <= room / RECORD_BYTES_MIN);
        if !fits || i64::from(record_count) != i64::from(last_offset_delta) + 1 {
            return Err(self.count_error());
        }
        Ok(())
    }

    fn check_attributes(&self, origin: Origin) -> Result<(), BatchError> {
        let attributes = self.header.attributes;
        if attributes.compression().is_none() {
            return Err(BatchError::Compression { id: attributes.compression_id() });
        }
        if origin == Origin::Internal {
            return Ok(());
        }
        if attributes.is_control() {
            return Err(BatchError::Unsupported { what: "control" });
        }
        if attributes.is_transactional() {
            return Err(BatchError::Unsupported { what: "transactional" });
        }
        match attributes.beyond_producers() {
            0 => Ok(()),
            bits => Err(BatchError::Attributes { bits }),
        }
    }

    fn check_timestamps(&self) -> Result<(), BatchError> {
        let BatchHeader { base_timestamp: base, max_timestamp: max, attributes, .. } = self.header;
        let own_base = attributes.is_log_append_time() || attributes.has_delete_horizon();
        // -1 stands for "none"; the base is the first record's timestamp, so the largest is not below it.
        if base < -1 || max < -1 || (max < base && !own_base) {
            return Err(BatchError::Timestamp { base, max });
        }
        Ok(())
    }

    fn check_producer(&self) -> Result<(), BatchError> {
        let BatchHeader { producer_id: id, producer_epoch: epoch, base_sequence, attributes, .. } =
            self.header;
        let legal = match id {
            // A control batch has an id and no sequence.
            0.. => epoch >= 0 && (base_sequence >= 0 || (attributes.is_control() && base_sequence == -1)),
            -1 => true,
            _ => false,
        };
        if legal { Ok(()) } else { Err(BatchError::Producer { id, epoch, base_sequence }) }
    }

    /// The header as it stands in the bytes.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole batch, taken out.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The bytes of the whole batch, header included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes behind the header, as they are stored.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES.min(self.bytes.len())..)
    }

    fn payload_size(&self) -> usize {
        self.bytes.len().saturating_sub(HEADER_BYTES)
    }

    /// The offset of the first record; meaningless (and never negative) until a log has placed the batch.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset::new(self.header.base_offset).unwrap_or(Offset::ZERO)
    }

    /// The offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset().saturating_add(self.last_offset_delta())
    }

    /// The offset behind the last record: where the next batch starts.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// How many offsets the batch takes: its records, and in a compacted log also those that are gone.
    #[must_use]
    pub fn offset_count(&self) -> u64 {
        self.last_offset_delta() + 1
    }

    fn last_offset_delta(&self) -> u64 {
        u64::try_from(self.header.last_offset_delta).unwrap_or(0)
    }

    /// How many records there are.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        u32::try_from(self.header.record_count).unwrap_or(0)
    }

    /// The epoch of the leader that appended the batch.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.header.partition_leader_epoch)
    }

    /// The largest timestamp of the records, as the header says.
    #[must_use]
    pub fn max_timestamp(&self) -> TimestampMs {
        TimestampMs(self.header.max_timestamp)
    }

    /// The compression, or `None` if the attributes name none that exists.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        self.header.attributes.compression()
    }

    /// Whether this is a control batch, which consumers never see.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.header.attributes.is_control()
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.header.attributes.is_transactional()
    }

    /// The idempotent producer, or `None` if the batch has none.
    #[must_use]
    pub fn producer(&self) -> Option<ProducerStamp> {
        (self.header.producer_id >= 0).then_some(ProducerStamp {
            id: ProducerId(self.header.producer_id),
            epoch: ProducerEpoch(self.header.producer_epoch),
            base_sequence: self.header.base_sequence,
        })
    }

    /// The first 16 bytes with their place in the log: base offset and leader epoch, which no checksum covers.
    ///
    /// Written in front of [`Batch::tail`] they are the placed batch, so an append never copies the payload.
    #[must_use]
    pub fn head_with(&self, base_offset: Offset, epoch: LeaderEpoch) -> [u8; HEAD_BYTES] {
        let header =
            BatchHeader { base_offset: base_offset.get(), partition_leader_epoch: epoch.0, ..self.header };
        let mut head = [0; HEAD_BYTES];
        for (to, from) in head.iter_mut().zip(header.encode()) {
            *to = from;
        }
        head
    }

    /// Everything behind the first 16 bytes, sharing the batch's memory.
    #[must_use]
    pub fn tail(&self) -> Bytes {
        self.bytes.slice(HEAD_BYTES.min(self.bytes.len())..)
    }

    /// The batch at its place in the log, as one run of bytes. This copies all of it: an append writes
    /// [`Batch::head_with`] and [`Batch::tail`] instead.
    #[must_use]
    pub fn placed_at(&self, base_offset: Offset, epoch: LeaderEpoch) -> Batch {
        let mut bytes = BytesMut::with_capacity(self.bytes.len());
        bytes.extend_from_slice(&self.head_with(base_offset, epoch));
        bytes.extend_from_slice(&self.tail());
        let header =
            BatchHeader { base_offset: base_offset.get(), partition_leader_epoch: epoch.0, ..self.header };
        Batch { header, bytes: bytes.freeze() }
    }

    /// The batch with the log's own time: attribute bit 3 set, max timestamp `now`, checksum anew.
    ///
    /// Attributes and max timestamp lie under the checksum, so this copies the batch and reads all of it once.
    #[must_use]
    pub fn with_log_append_time(&self, now: TimestampMs) -> Batch {
        let mut header = self.header;
        header.attributes = header.attributes.with_log_append_time();
        header.max_timestamp = now.0;
        let payload = self.payload();
        seal(header, |bytes| bytes.extend_from_slice(&payload))
    }

    /// The records, decompressed if need be into at most [`BATCH_DECOMPRESSED_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`RecordError`] if the payload does not decompress, or has no room for as many records as are counted.
    pub fn records(&self) -> Result<Records, RecordError> {
        self.records_capped(BATCH_DECOMPRESSED_BYTES_MAX)
    }

    /// The records, decompressed if need be into at most `bytes_max` bytes.
    ///
    /// # Errors
    /// As [`Batch::records`].
    pub fn records_capped(&self, bytes_max: usize) -> Result<Records, RecordError> {
        Records::open(&self.header, self.payload(), bytes_max)
    }

    /// Reads every record once, without keeping any: what a deep check of a log does.
    ///
    /// # Errors
    /// [`RecordError`] of the first record that is malformed.
    pub fn verify_records(&self, bytes_max: usize) -> Result<(), RecordError> {
        self.records_capped(bytes_max)?.views().try_for_each(|record| record.map(drop))
    }
}

/// Writes a header in front of what `write_payload` appends, with the length and the checksum that belong to it.
pub(crate) fn seal(mut header: BatchHeader, write_payload: impl FnOnce(&mut Vec<u8>)) -> Batch {
    let mut bytes = Vec::with_capacity(header.size());
    bytes.extend_from_slice(&[0; HEADER_BYTES]);
    write_payload(&mut bytes);
    seal_in_place(&mut header, &mut bytes);
    Batch::trusted(header, bytes.into())
}

/// Completes a batch whose payload already lies behind room for a header.
pub(crate) fn seal_in_place(header: &mut BatchHeader, bytes: &mut [u8]) {
    let length = bytes.len().saturating_sub(crate::header::LENGTH_PREFIX_BYTES);
    header.batch_length = u32::try_from(length).unwrap_or(u32::MAX);
    let write = |bytes: &mut [u8], header: &BatchHeader| {
        if let Some(room) = bytes.first_chunk_mut::<HEADER_BYTES>() {
            *room = header.encode();
        }
    };
    write(bytes, header);
    header.crc = crc32c(bytes.get(CRC_START..).unwrap_or_default());
    write(bytes, header);
}

/// Cuts a run of stored batches, as a fetch answers it and a segment holds it.
///
/// Each item is a batch that passed [`Batch::parse_stored`]. The iterator ends at the end of the bytes or behind its
/// first error; [`SplitBatches::position`] is where that batch starts. Offsets must rise: a batch that starts before the
/// end of the one in front of it is a [`BatchError::Offset`].
#[must_use]
pub fn split_batches(bytes: Bytes) -> SplitBatches {
    SplitBatches { bytes, position: 0, next_offset: 0, failed: false }
}

/// The iterator of [`split_batches`].
#[derive(Clone, Debug)]
pub struct SplitBatches {
    bytes: Bytes,
    position: usize,
    next_offset: i64,
    failed: bool,
}

impl SplitBatches {
    /// Where the next batch starts, or where the one that failed does.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl Iterator for SplitBatches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.position >= self.bytes.len() {
            return None;
        }
        let parsed = Batch::parse_stored(&self.bytes.slice(self.position..)).and_then(|batch| {
            let BatchHeader { base_offset, last_offset_delta, .. } = batch.header;
            if base_offset < self.next_offset {
                return Err(BatchError::Offset { base_offset, last_offset_delta });
            }
            Ok(batch)
        });
        match &parsed {
            Ok(batch) => {
                self.position += batch.size();
                self.next_offset = batch.next_offset().get();
            }
            Err(_) => self.failed = true,
        }
        Some(parsed)
    }
}

// Whatever may be stored has a length that fits its field.
const _: () = assert!(BATCH_BYTES_MAX <= i32::MAX as usize);

#[cfg(test)]
mod tests;
