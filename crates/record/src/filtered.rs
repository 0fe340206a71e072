//! What compaction leaves of a batch: fewer records in the same place, or none.
//!
//! ```text
//!   before  base 10 ├─ 10 a ─┼─ 11 b ─┼─ 12 - ─┼─ 13 c ─┤ last offset delta 3, 4 records
//!   after   base 10 ├─ 10 a ─┼────────┼─ 12 - ─┼────────┤ last offset delta 3, 2 records
//! ```
//! Base offset, last offset delta, leader epoch, producer, epoch and base sequence stay: the offsets of a log never change,
//! and what is known of a producer is read from the header. Source: Kafka's `MemoryRecords.filterTo` and `DefaultRecordBatch`
//! (`writeEmptyHeader`), and KIP-534 for the delete horizon.

use millrace_types::{LeaderEpoch, Offset, ProducerId, TimestampMs};

use crate::batch::seal;
use crate::codec::compress;
use crate::header::{Attributes, HEADER_BYTES};
use crate::varint::{varint_size, write_varint, write_varlong};
use crate::{Batch, BatchHeader, BatchKind, Compression, RecordError, RecordView, Records};

/// Why a batch could not be written anew.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A record of it is malformed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The timestamp of a record is too far from the delete horizon.
    #[error("the timestamp {0} is too far from the delete horizon")]
    Timestamp(i64),
    /// The compressor failed.
    #[error("the records could not be compressed with {codec}: {source}")]
    Compress {
        /// The compression.
        codec: Compression,
        /// What the compressor says.
        source: std::io::Error,
    },
}

impl Batch {
    /// The batch with those of its `records` that `keep` keeps, compressed as it was, or [`Batch::emptied`] if it keeps none.
    ///
    /// With a `horizon` the batch says that its tombstones may go from that time on (KIP-534): attribute bit 6 is set and the
    /// base timestamp is the horizon; the records' own timestamps stay.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn filtered(
        &self,
        records: &Records,
        horizon: Option<TimestampMs>,
        mut keep: impl FnMut(&RecordView<'_>) -> bool,
    ) -> Result<Batch, FilterError> {
        let codec = self.compression().unwrap_or(Compression::None);
        let before = *self.header();
        let base_timestamp = horizon.map_or(before.base_timestamp, |horizon| horizon.0);
        let mut payload = Vec::with_capacity(records.payload().len());
        let (mut record_count, mut max_timestamp) = (0, -1);
        for view in records.views() {
            let view = view?;
            if !keep(&view) {
                continue;
            }
            // In range: `views` has checked the sum.
            let timestamp = before.base_timestamp.saturating_add(view.timestamp_delta);
            let delta = timestamp.checked_sub(base_timestamp).ok_or(FilterError::Timestamp(timestamp))?;
            write_record(&mut payload, &view, delta);
            record_count += 1;
            max_timestamp = timestamp.max(max_timestamp);
        }
        if record_count == 0 {
            return Ok(self.emptied());
        }
        if before.attributes.is_log_append_time() {
            max_timestamp = before.max_timestamp;
        }
        let attributes = match horizon {
            Some(_) => before.attributes.with_delete_horizon(),
            None => before.attributes,
        };
        let header = BatchHeader { attributes, base_timestamp, max_timestamp, record_count, ..before };
        let mut compressed = Ok(());
        let batch = seal(header, |out| compressed = compress(codec, &payload, out));
        compressed.map_err(|source| FilterError::Compress { codec, source })?;
        Ok(batch)
    }

    /// The header of the batch without a record: it keeps the place of the batch, and the sequence of its producer.
    ///
    /// It has no timestamp, where Kafka keeps the largest one of what was there: a look-up by time would find a time without
    /// a record.
    #[must_use]
    pub fn emptied(&self) -> Batch {
        let before = *self.header();
        let attributes = before.attributes.emptied();
        let none = TimestampMs::NONE.0;
        let header =
            BatchHeader { attributes, base_timestamp: none, max_timestamp: none, record_count: 0, ..before };
        seal(header, |_| {})
    }

    /// A batch without a record and without a producer, in the place of batches of which compaction has left nothing: of the
    /// next `offsets` offsets from `base` on (at least one) as many as one batch can span.
    #[must_use]
    pub fn hole(base: Offset, offsets: u64, epoch: LeaderEpoch) -> Batch {
        let none = TimestampMs::NONE.0;
        let header = BatchHeader {
            base_offset: base.get(),
            batch_length: 0,
            partition_leader_epoch: epoch.0,
            crc: 0,
            attributes: Attributes::new(Compression::None, BatchKind::Plain),
            last_offset_delta: i32::try_from(offsets.saturating_sub(1)).unwrap_or(i32::MAX),
            base_timestamp: none,
            max_timestamp: none,
            producer_id: ProducerId::NONE.0,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 0,
        };
        seal(header, |_| {})
    }
}

impl Attributes {
    /// Of a batch without records: nothing is compressed, no tombstone waits.
    fn emptied(self) -> Attributes {
        let kept = Attributes::LOG_APPEND_TIME | Attributes::TRANSACTIONAL | Attributes::CONTROL;
        Attributes(self.0 & kept)
    }

    fn with_delete_horizon(self) -> Attributes {
        Attributes(self.0 | Attributes::DELETE_HORIZON)
    }
}

/// Appends a record, with its own place in the batch and another distance from the base timestamp.
fn write_record(out: &mut Vec<u8>, view: &RecordView<'_>, timestamp_delta: i64) {
    // Whatever was read out of a batch has lengths that fit their fields.
    let length = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
    let nullable = |bytes: Option<&[u8]>| {
        bytes.map_or(1, |bytes| varint_size(i64::from(length(bytes.len()))) + bytes.len())
    };
    let headers = view.headers();
    let size = 1
        + varint_size(timestamp_delta)
        + varint_size(i64::from(view.offset_delta))
        + nullable(view.key)
        + nullable(view.value)
        + varint_size(i64::from(length(headers.len())))
        + headers.map(|(key, value)| nullable(Some(key)) + nullable(value)).sum::<usize>();
    let put = |out: &mut Vec<u8>, bytes: Option<&[u8]>| match bytes {
        None => write_varint(out, -1),
        Some(bytes) => {
            write_varint(out, length(bytes.len()));
            out.extend_from_slice(bytes);
        }
    };
    write_varint(out, length(size));
    out.push(0);
    write_varlong(out, timestamp_delta);
    write_varint(out, view.offset_delta);
    put(out, view.key);
    put(out, view.value);
    write_varint(out, length(headers.len()));
    for (key, value) in headers {
        put(out, Some(key));
        put(out, value);
    }
}

// An empty batch is a header and nothing else.
const _: () = assert!(HEADER_BYTES == 61);

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millrace_types::ProducerEpoch;

    use super::*;
    use crate::{BatchBuilder, BatchOptions, ProducerStamp, Record};

    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// Six records, every third one a tombstone, placed at offset 100.
    fn batch(compression: Compression) -> Batch {
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        builder.set_producer(ProducerStamp { id: ProducerId(9), epoch: ProducerEpoch(2), base_sequence: 40 });
        for number in 0..6_u8 {
            let value = [number; 200];
            let value = (number % 3 != 2).then_some(&value[..]);
            let headers = [(&b"h"[..], Some(&[number][..])), (&b"none"[..], None)];
            builder.append(TimestampMs(1_000 - i64::from(number)), Some(&[number]), value, headers).unwrap();
        }
        builder.build().unwrap().placed_at(Offset::from_count(100), LeaderEpoch(3))
    }

    fn records(batch: &Batch) -> Vec<Record> {
        batch.records().unwrap().into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn what_is_kept_keeps_its_place_time_and_headers_in_every_codec() {
        for codec in CODECS {
            for horizon in [None, Some(TimestampMs(1_700_000_000_000))] {
                let whole = batch(codec);
                let opened = whole.records().unwrap();
                let kept = whole.filtered(&opened, horizon, |view| view.offset_delta % 2 == 0).unwrap();
                let kept = Batch::parse_stored(kept.bytes()).unwrap();
                let expected: Vec<Record> =
                    records(&whole).into_iter().filter(|record| record.offset.get() % 2 == 0).collect();
                assert_eq!(records(&kept), expected, "{codec}");
                assert_eq!(kept.compression(), Some(codec));
                assert_eq!(
                    (kept.base_offset(), kept.last_offset()),
                    (whole.base_offset(), whole.last_offset())
                );
                assert_eq!((kept.producer(), kept.leader_epoch()), (whole.producer(), whole.leader_epoch()));
                assert_eq!(kept.max_timestamp(), TimestampMs(1_000));
                let header = kept.header();
                assert_eq!(header.attributes.has_delete_horizon(), horizon.is_some());
                assert_eq!(horizon.map_or(1_000, |at| at.0), header.base_timestamp);
            }
        }
    }

    #[test]
    fn the_largest_timestamp_is_that_of_what_is_left_or_the_logs() {
        let whole = batch(Compression::None);
        let opened = whole.records().unwrap();
        let kept = whole.filtered(&opened, None, |view| view.offset_delta == 4).unwrap();
        assert_eq!(kept.max_timestamp(), TimestampMs(996));
        let stamped = batch(Compression::Lz4).with_log_append_time(TimestampMs(5_000));
        let kept = stamped.filtered(&stamped.records().unwrap(), Some(TimestampMs(9)), |_| true).unwrap();
        assert_eq!(kept.max_timestamp(), TimestampMs(5_000));
        assert!(records(&kept).iter().all(|record| record.timestamp == TimestampMs(5_000)));
    }

    #[test]
    fn an_emptied_batch_is_its_header() {
        for codec in CODECS {
            let whole = batch(codec);
            let empty = whole.filtered(&whole.records().unwrap(), None, |_| false).unwrap();
            assert_eq!(empty, whole.emptied());
            assert_eq!(empty.size(), HEADER_BYTES);
            let parsed = Batch::parse_stored(&Bytes::copy_from_slice(empty.bytes())).unwrap();
            assert_eq!(
                (parsed.base_offset(), parsed.last_offset()),
                (whole.base_offset(), whole.last_offset())
            );
            assert_eq!((parsed.producer(), parsed.record_count()), (whole.producer(), 0));
            assert_eq!(parsed.max_timestamp(), TimestampMs::NONE);
            assert!(records(&parsed).is_empty());
        }
    }
    #[test]
    fn a_hole_is_a_header_over_as_many_offsets_as_one_can_span() {
        let (base, epoch) = (Offset::from_count(70), LeaderEpoch(4));
        let most = i32::MAX.unsigned_abs().into();
        for (offsets, spans) in [(1, 1), (30, 30), (most, most), (most + 1, most + 1), (u64::MAX, most + 1)] {
            let hole = Batch::hole(base, offsets, epoch);
            let parsed = Batch::parse_stored(&Bytes::copy_from_slice(hole.bytes())).unwrap();
            assert_eq!(parsed, hole);
            assert_eq!((parsed.base_offset(), parsed.offset_count()), (base, spans));
            assert_eq!(
                (parsed.leader_epoch(), parsed.producer(), parsed.size()),
                (epoch, None, HEADER_BYTES)
            );
            assert!(records(&parsed).is_empty());
        }
    }
}
