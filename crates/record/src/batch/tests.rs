//! The view over a batch: what it accepts, what it refuses, and that the payload is never copied to place it.

use bytes::Bytes;
use millrace_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};

use super::*;
use crate::header::Attributes;
use crate::{BatchBuilder, BatchKind, BatchOptions, DecompressError, NO_HEADERS};

const CLIENT: Checks = Checks { bytes_max: BATCH_BYTES_MAX, origin: Origin::Client };
const INTERNAL: Checks = Checks { bytes_max: BATCH_BYTES_MAX, origin: Origin::Internal };

fn sample() -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let headers: [(&[u8], Option<&[u8]>); 3] = [(b"h", Some(b"1")), (b"h", None), (b"", Some(b""))];
    builder.append(TimestampMs(1000), Some(b"key"), Some(b"value"), headers).unwrap();
    builder.append(TimestampMs(990), None, None, NO_HEADERS).unwrap();
    builder.append(TimestampMs(2000), Some(b""), Some(b""), NO_HEADERS).unwrap();
    builder.build().unwrap()
}

/// The sample with its header changed and the checksum set right again.
fn altered(change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let batch = sample();
    let mut header = *batch.header();
    change(&mut header);
    let mut bytes = batch.bytes().to_vec();
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    header.crc = crc32c(&bytes[CRC_START..]);
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    bytes.into()
}

#[test]
fn a_built_batch_passes_and_reads_back() {
    let batch = Batch::check(sample().into_bytes(), &CLIENT).unwrap();
    assert_eq!(batch, sample());
    assert_eq!((batch.record_count(), batch.offset_count()), (3, 3));
    assert_eq!(batch.max_timestamp(), TimestampMs(2000));
    assert_eq!(batch.header().base_timestamp, 1000);
    assert_eq!(batch.producer(), None);
    let records: Vec<_> = batch.records().unwrap().into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(records.len(), 3);
    assert_eq!(records[0].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(records[0].headers.len(), 3, "headers of the same name are all kept");
    assert_eq!(records[0].headers[1].value, None);
    assert_eq!(records[1].timestamp, TimestampMs(990));
    assert_eq!((records[1].key.as_deref(), records[1].value.as_deref()), (None, None));
    assert_eq!((records[2].key.as_deref(), records[2].value.as_deref()), (Some(&b""[..]), Some(&b""[..])));
    assert_eq!(records[2].offset, Offset::from_count(2));
    assert_eq!(batch.header().encode(), batch.bytes()[..HEADER_BYTES]);
}

#[test]
fn records_share_the_memory_of_the_batch() {
    let batch = sample();
    let record = batch.records().unwrap().into_iter().next().unwrap().unwrap();
    let within = batch.bytes().as_ptr_range();
    assert!(within.contains(&record.value.unwrap().as_ptr()));
}

#[test]
fn every_cut_is_an_error_that_says_what_is_needed() {
    let bytes = sample().into_bytes();
    for len in 0..bytes.len() {
        let need = if len < HEADER_BYTES { HEADER_BYTES } else { bytes.len() };
        let expected = BatchError::Truncated { have: len, need };
        assert_eq!(Batch::check(bytes.slice(..len), &CLIENT), Err(expected.clone()), "{len}");
        assert_eq!(Batch::parse_stored(&bytes.slice(..len)), Err(expected), "{len}");
    }
}

#[test]
fn every_flipped_bit_outside_of_offset_and_epoch_is_found() {
    let bytes = sample().into_bytes();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.to_vec();
            flipped[index] ^= 1 << bit;
            let checked = Batch::check(flipped.into(), &CLIENT);
            let placed_later = (0..8).contains(&index) || (12..16).contains(&index);
            assert_eq!(checked.is_ok(), placed_later, "byte {index} bit {bit}: {checked:?}");
        }
    }
}

#[test]
fn bytes_behind_the_batch_are_refused_on_append_and_left_alone_in_a_log() {
    let mut bytes = sample().into_bytes().to_vec();
    bytes.extend_from_slice(b"xy");
    let bytes = Bytes::from(bytes);
    assert_eq!(Batch::check(bytes.clone(), &CLIENT), Err(BatchError::Trailing { extra: 2 }));
    assert_eq!(Batch::parse_stored(&bytes), Ok(sample()));
}

#[test]
fn zeros_are_no_batch() {
    let zeros = Bytes::from(vec![0; 4096]);
    assert_eq!(Batch::parse_stored(&zeros), Err(BatchError::Length { found: 0 }));
}

#[test]
fn a_length_beyond_every_limit_is_refused_before_its_bytes_are_read() {
    let mut header = *sample().header();
    header.batch_length = u32::try_from(BATCH_BYTES_MAX).unwrap();
    let error = BatchHeader::parse(&header.encode()).unwrap_err();
    assert_eq!(error, BatchError::TooLarge { bytes: BATCH_BYTES_MAX + 12, max: BATCH_BYTES_MAX });
    let small = Checks { bytes_max: 99, origin: Origin::Client };
    let bytes = sample().size();
    assert_eq!(Batch::check(sample().into_bytes(), &small), Err(BatchError::TooLarge { bytes, max: 99 }));
}

#[test]
fn a_count_that_does_not_fit_is_refused() {
    for (count, delta) in [(0, -1), (0, 2), (2, 2), (3, 3), (-1, -2), (i32::MAX, i32::MAX - 1), (4, 3)] {
        let bytes = altered(|header| {
            header.record_count = count;
            header.last_offset_delta = delta;
        });
        assert!(Batch::check(bytes, &CLIENT).is_err(), "{count} {delta}");
    }
    let bytes = altered(|header| {
        header.attributes = Attributes::new(Compression::Zstd, BatchKind::Plain);
        header.record_count = i32::MAX;
        header.last_offset_delta = i32::MAX - 1;
    });
    assert!(matches!(Batch::check(bytes, &CLIENT), Err(BatchError::Count { .. })), "compressed ones too");
}

#[test]
fn a_log_may_hold_fewer_records_than_offsets() {
    let bytes = altered(|header| header.last_offset_delta = 9);
    let batch = Batch::parse_stored(&bytes).unwrap();
    assert_eq!((batch.record_count(), batch.offset_count()), (3, 10));
    assert_eq!(batch.next_offset(), Offset::from_count(10));
    assert!(batch.verify_records(1000).is_ok());
    let more = altered(|header| header.record_count = 4);
    assert!(matches!(Batch::parse_stored(&more), Err(BatchError::Count { .. })));
    let negative = altered(|header| header.base_offset = -1);
    assert!(matches!(Batch::parse_stored(&negative), Err(BatchError::Offset { .. })));
    let last = altered(|header| header.base_offset = i64::MAX - 2);
    assert!(matches!(Batch::parse_stored(&last), Err(BatchError::Offset { .. })));
}

#[test]
fn an_empty_batch_left_by_compaction_is_read() {
    let mut header = *sample().header();
    header.record_count = 0;
    let empty = seal(header, |_| ());
    let batch = Batch::parse_stored(empty.bytes()).unwrap();
    assert_eq!(batch.next_offset(), Offset::from_count(3));
    assert_eq!(batch.records().unwrap().into_iter().count(), 0);
}

#[test]
fn clients_may_not_set_what_is_not_theirs() {
    for (kind, what) in [
        (BatchKind::Control, "control"),
        (BatchKind::ControlAlone, "control"),
        (BatchKind::Transactional, "transactional"),
    ] {
        let bytes = altered(|header| header.attributes = Attributes::new(Compression::None, kind));
        assert_eq!(Batch::check(bytes.clone(), &CLIENT), Err(BatchError::Unsupported { what }));
        assert!(Batch::check(bytes, &INTERNAL).is_ok());
    }
    for bits in [0x08, 0x40, 0x80, 0x8000] {
        let bytes = altered(|header| header.attributes = Attributes(bits));
        assert_eq!(Batch::check(bytes, &CLIENT), Err(BatchError::Attributes { bits }));
    }
    for id in 5..8 {
        let bytes = altered(|header| header.attributes = Attributes(u16::from(id)));
        assert_eq!(Batch::check(bytes.clone(), &CLIENT), Err(BatchError::Compression { id }));
        let stored = Batch::parse_stored(&bytes).unwrap();
        assert_eq!(stored.verify_records(1000), Err(DecompressError::Unknown { id }.into()));
    }
}

#[test]
fn timestamps_and_producers_have_bounds() {
    for (base, max) in [(-2, 5), (5, -2), (6, 5), (i64::MIN, i64::MAX)] {
        let bytes = altered(|header| (header.base_timestamp, header.max_timestamp) = (base, max));
        assert_eq!(Batch::check(bytes, &CLIENT), Err(BatchError::Timestamp { base, max }));
    }
    let far = altered(|header| (header.base_timestamp, header.max_timestamp) = (i64::MAX, i64::MAX));
    let error = RecordError::Timestamp { index: 2, delta: 1000 };
    assert_eq!(Batch::check(far, &CLIENT), Err(error.into()));
    for (id, epoch, base_sequence) in [(-2, -1, -1), (7, -1, 0), (7, 0, -1)] {
        let bytes = altered(|header| {
            (header.producer_id, header.producer_epoch, header.base_sequence) = (id, epoch, base_sequence);
        });
        let expected = BatchError::Producer { id, epoch, base_sequence };
        assert_eq!(Batch::check(bytes, &CLIENT), Err(expected));
    }
    let bytes = altered(|header| {
        (header.producer_id, header.producer_epoch, header.base_sequence) = (7, 1, i32::MAX);
    });
    let producer = Batch::check(bytes, &CLIENT).unwrap().producer().unwrap();
    let expected = ProducerStamp { id: ProducerId(7), epoch: ProducerEpoch(1), base_sequence: i32::MAX };
    assert_eq!(producer, expected);
    assert_eq!((producer.sequence_after(0), producer.sequence_after(1)), (i32::MAX, 0), "the sequence wraps");
}

#[test]
fn placing_a_batch_keeps_its_checksum_and_its_payload() {
    let batch = sample();
    let (offset, epoch) = (Offset::from_count(77), LeaderEpoch(5));
    let placed = [&batch.head_with(offset, epoch)[..], &batch.tail()].concat();
    let read = Batch::parse_stored(&placed.into()).unwrap();
    assert_eq!((read.base_offset(), read.leader_epoch()), (offset, epoch));
    assert_eq!(read.last_offset(), Offset::from_count(79));
    assert_eq!(read.payload(), batch.payload());
    assert_eq!(read, batch.placed_at(offset, epoch));
    assert_eq!(batch.tail().as_ptr(), batch.bytes()[HEAD_BYTES..].as_ptr(), "no copy");
    let offsets: Vec<_> =
        read.records().unwrap().into_iter().map(|record| record.unwrap().offset.get()).collect();
    assert_eq!(offsets, [77, 78, 79]);
}

#[test]
fn the_logs_own_time_replaces_every_timestamp() {
    let batch = sample().with_log_append_time(TimestampMs(123));
    let read = Batch::check(batch.bytes().clone(), &INTERNAL).unwrap();
    assert_eq!(read, batch);
    assert_eq!(read.max_timestamp(), TimestampMs(123));
    assert!(read.records().unwrap().into_iter().all(|record| record.unwrap().timestamp == TimestampMs(123)));
}

#[test]
fn a_run_of_batches_is_cut_until_its_first_error() {
    let first = sample().placed_at(Offset::ZERO, LeaderEpoch(0));
    let second = sample().placed_at(Offset::from_count(3), LeaderEpoch(0));
    let run = Bytes::from([&first.bytes()[..], second.bytes()].concat());
    let batches: Vec<_> = split_batches(run.clone()).collect::<Result<_, _>>().unwrap();
    assert_eq!(batches, [first.clone(), second.clone()]);
    for len in 0..run.len() {
        let mut batches = split_batches(run.slice(..len));
        let whole = len / first.size();
        for _ in 0..whole {
            assert!(batches.next().unwrap().is_ok());
        }
        if len % first.size() != 0 {
            assert!(matches!(batches.next(), Some(Err(BatchError::Truncated { .. }))), "{len}");
            assert_eq!(batches.position(), whole * first.size());
        }
        assert!(batches.next().is_none());
    }
    let backwards = Bytes::from([&second.bytes()[..], first.bytes()].concat());
    assert!(matches!(split_batches(backwards).last(), Some(Err(BatchError::Offset { .. }))));
}

#[test]
fn malformed_records_are_refused_on_append() {
    let payload = sample().payload();
    let sealed = |payload: &[u8]| seal(*sample().header(), |out| out.extend_from_slice(payload)).into_bytes();
    assert!(Batch::check(sealed(&payload), &CLIENT).is_ok());
    for len in 0..payload.len() {
        assert!(Batch::check(sealed(&payload[..len]), &CLIENT).is_err(), "cut at {len}");
    }
    let leftover = sealed(&[&payload[..], b"x"].concat());
    assert_eq!(Batch::check(leftover, &CLIENT), Err(RecordError::Leftover { extra: 1 }.into()));
    let mut bad_delta = payload.to_vec();
    assert_eq!(bad_delta[3], 0, "the offset delta of the first record");
    bad_delta[3] = 2;
    let error = Batch::check(sealed(&bad_delta), &CLIENT).unwrap_err();
    assert_eq!(error, RecordError::OffsetDelta { index: 1, found: 1, least: 2, most: 2 }.into());
}

#[test]
fn no_byte_of_a_payload_can_make_the_decoder_panic() {
    let payload = sample().payload();
    for index in 0..payload.len() {
        for byte in 0..=255 {
            let mut bytes = payload.to_vec();
            bytes[index] = byte;
            let batch = seal(*sample().header(), |out| out.extend_from_slice(&bytes));
            let read = batch.records().unwrap().into_iter().take_while(Result::is_ok).count();
            assert!(read <= 3);
        }
    }
}
