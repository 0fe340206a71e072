//! Building batches: round trips, limits, and a batch that stays as it was when a record is refused.

use bytes::Bytes;
use millrace_types::Offset;
use proptest::prelude::*;

use super::*;
use crate::{Checks, Origin};

fn plain(bytes_max: usize) -> BatchOptions {
    BatchOptions { bytes_max, ..BatchOptions::default() }
}

#[test]
fn an_empty_batch_is_not_built() {
    assert!(matches!(BatchBuilder::new(BatchOptions::default()).build(), Err(BuildError::Empty)));
}

#[test]
fn the_limit_is_exact_and_a_refused_record_leaves_no_trace() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(TimestampMs(1), Some(b"key"), Some(&[7; 1000]), NO_HEADERS).unwrap();
    let size = builder.estimated_size();
    assert_eq!(builder.build().unwrap().size(), size, "the estimate is exact without compression");

    let mut builder = BatchBuilder::new(plain(size));
    builder.append(TimestampMs(1), Some(b"key"), Some(&[7; 1000]), NO_HEADERS).unwrap();
    let before = builder.clone();
    let refused = builder.append(TimestampMs(9), None, None, NO_HEADERS);
    assert_eq!(refused, Err(AppendError::TooLarge { bytes: size + 7, max: size }));
    assert_eq!(builder.estimated_size(), before.estimated_size());
    assert_eq!(builder.build().unwrap(), before.build().unwrap());

    let mut builder = BatchBuilder::new(plain(size - 1));
    let refused = builder.append(TimestampMs(1), Some(b"key"), Some(&[7; 1000]), NO_HEADERS);
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })));
}

#[test]
fn a_batch_that_does_not_compress_below_the_limit_is_refused_when_built() {
    let options = BatchOptions { compression: Compression::Zstd, ..plain(100) };
    let mut builder = BatchBuilder::new(options);
    let noise: Vec<u8> = (0..500_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    builder.append(TimestampMs(1), None, Some(&noise), NO_HEADERS).unwrap();
    assert!(matches!(builder.build(), Err(BuildError::TooLarge { max: 100, .. })));
}

#[test]
fn a_batch_is_full_from_its_target_on() {
    let mut builder = BatchBuilder::new(BatchOptions { bytes_target: 1000, ..BatchOptions::default() });
    assert!(!builder.is_full() && builder.has_room_for(900) && !builder.has_room_for(1000));
    builder.append(TimestampMs(1), None, Some(&[0; 900]), NO_HEADERS).unwrap();
    assert!(!builder.is_full() && !builder.has_room_for(10));
    builder.append(TimestampMs(1), None, Some(&[0; 100]), NO_HEADERS).unwrap();
    assert!(builder.is_full(), "the target is no limit");
}

#[test]
fn timestamps_below_none_are_refused() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    assert_eq!(builder.append(TimestampMs(-2), None, None, NO_HEADERS), Err(AppendError::Timestamp(-2)));
    assert!(builder.is_empty());
    assert_eq!(builder.append(TimestampMs(-1), None, None, NO_HEADERS), Ok(0));
    assert_eq!(builder.max_timestamp(), TimestampMs::NONE);
    assert_eq!(
        builder.append(TimestampMs(i64::MAX), None, None, NO_HEADERS),
        Err(AppendError::Timestamp(i64::MAX)),
        "its distance from -1 is no number"
    );
    assert_eq!(builder.append(TimestampMs(0), None, None, NO_HEADERS), Ok(1));
    assert_eq!(builder.max_timestamp(), TimestampMs(0));
}

#[test]
fn too_many_headers_are_refused() {
    let header: (&[u8], Option<&[u8]>) = (b"h", None);
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let headers = vec![header; RECORD_HEADERS_MAX + 1];
    assert_eq!(
        builder.append(TimestampMs(1), None, None, headers.iter().copied()),
        Err(AppendError::Headers { count: RECORD_HEADERS_MAX + 1, max: RECORD_HEADERS_MAX })
    );
    builder.append(TimestampMs(1), None, None, headers.into_iter().skip(1)).unwrap();
    assert!(builder.build().unwrap().verify_records(1 << 20).is_ok());
}

fn any_bytes() -> impl Strategy<Value = Option<Bytes>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from))
}

fn any_record() -> impl Strategy<Value = Record> {
    let header = (any_bytes(), any_bytes())
        .prop_map(|(key, value)| crate::Header { key: key.unwrap_or_default(), value });
    let time = prop_oneof![Just(-1_i64), 0..10_i64, 1_600_000_000_000..1_800_000_000_000_i64];
    (time, any_bytes(), any_bytes(), prop::collection::vec(header, 0..4)).prop_map(
        |(time, key, value, headers)| Record {
            offset: Offset::ZERO,
            timestamp: TimestampMs(time),
            key,
            value,
            headers,
        },
    )
}

proptest! {
    #[test]
    fn any_records_come_back(
        compression in prop::sample::select(&Compression::ALL[..]),
        records in prop::collection::vec(any_record(), 1..30),
        base in 0..i64::MAX / 2,
    ) {
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        for record in &records {
            builder.append_record(record).unwrap();
        }
        let largest = records.iter().map(|record| record.timestamp).max().unwrap();
        let batch = builder.build().unwrap();
        prop_assert_eq!(batch.max_timestamp(), largest);
        let checks = Checks { bytes_max: BATCH_BYTES_MAX, origin: Origin::Client };
        let checked = Batch::check(batch.into_bytes(), &checks);
        // A first timestamp of "none" is the smallest there is, so the base is never above the largest.
        let placed = checked.unwrap().placed_at(Offset::new(base).unwrap(), millrace_types::LeaderEpoch(1));
        let read: Vec<Record> = placed.records().unwrap().into_iter().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), records.len());
        for (index, (read, mut written)) in (0..).zip(read.into_iter().zip(records)) {
            written.offset = Offset::new(base + index).unwrap();
            prop_assert_eq!(read, written);
        }
    }
}
