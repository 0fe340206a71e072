//! Batches that Kafka's own clients wrote are read, and written alike byte for byte.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "fixtures are files of the repository, not of a broker")]

use bytes::Bytes;
use millrace_record::{
    Batch, BatchBuilder, BatchOptions, Checks, Compression, ControlRecord, ControlType, Header, Origin,
    ProducerStamp, Record, TransactionEnd, transaction_marker,
};
use millrace_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs, limits};

const CHECKS: Checks = Checks { bytes_max: limits::BATCH_BYTES_MAX, origin: Origin::Client };
const PRODUCER: ProducerStamp =
    ProducerStamp { id: ProducerId(4242), epoch: ProducerEpoch(3), base_sequence: 17 };

fn fixture(writer: &str, name: &str) -> Bytes {
    let path = format!("{}/fixtures/kafka-{writer}-{name}.batch", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")).into()
}

/// The records that fixtures/README.md describes.
fn expected() -> Vec<Record> {
    (0..100_i64)
        .map(|i| Record {
            offset: Offset::new(i).unwrap(),
            timestamp: TimestampMs(1_700_000_000_000 + 1000 * i - 500 * (i % 3)),
            key: (i % 10 != 0).then(|| format!("key-{}", i % 7).into()),
            value: (i % 25 != 24).then(|| {
                let times = usize::try_from(i % 13).unwrap();
                format!("value {i} ").repeat(times).into()
            }),
            headers: if i % 5 == 0 {
                let key = Bytes::from("trace");
                vec![
                    Header { key: key.clone(), value: Some(i.to_string().into()) },
                    Header { key, value: None },
                ]
            } else {
                Vec::new()
            },
        })
        .collect()
}

fn records(batch: &Batch) -> Vec<Record> {
    batch.records().unwrap().into_iter().collect::<Result<_, _>>().unwrap()
}

fn built(compression: Compression) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    builder.set_producer(PRODUCER);
    for record in expected() {
        builder.append_record(&record).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn what_kafkas_clients_write_is_read_in_every_codec() {
    for writer in ["java", "python"] {
        for compression in Compression::ALL {
            let batch = Batch::check(fixture(writer, compression.name()), &CHECKS).unwrap();
            assert_eq!(batch.compression(), Some(compression), "{writer}");
            assert_eq!(batch.producer(), Some(PRODUCER), "{writer} {compression}");
            assert_eq!(batch.max_timestamp(), TimestampMs(1_700_000_099_000), "{writer} {compression}");
            assert_eq!(records(&batch), expected(), "{writer} {compression}");
        }
    }
}

#[test]
fn an_uncompressed_batch_is_written_alike_byte_for_byte() {
    let ours = built(Compression::None);
    assert_eq!(ours.bytes(), &fixture("java", "none"));
    // kafka-python writes 0 for the leader epoch, which is the broker's to write.
    assert_eq!(ours.placed_at(Offset::ZERO, LeaderEpoch(0)).bytes(), &fixture("python", "none"));
}

#[test]
fn a_compressed_batch_differs_in_nothing_but_its_payload() {
    for compression in Compression::ALL {
        let (ours, theirs) = (built(compression), Batch::parse_stored(&fixture("java", compression.name())));
        let theirs = theirs.unwrap();
        let mut header = *ours.header();
        header.batch_length = theirs.header().batch_length;
        header.crc = theirs.header().crc;
        assert_eq!(&header, theirs.header(), "{compression}");
        assert_eq!(records(&ours), records(&theirs), "{compression}");
    }
}

#[test]
fn every_cut_of_a_compressed_payload_is_found() {
    for writer in ["java", "python"] {
        for compression in Compression::ALL {
            let whole = Batch::parse_stored(&fixture(writer, compression.name())).unwrap();
            let payload = whole.payload();
            for len in 0..payload.len() {
                let cut = with_payload(&whole, &payload[..len]);
                assert!(cut.verify_records(1 << 20).is_err(), "{writer} {compression} cut at {len}");
            }
        }
    }
}

/// The batch with other bytes behind its header, its length and checksum set right.
fn with_payload(batch: &Batch, payload: &[u8]) -> Batch {
    let mut header = *batch.header();
    header.batch_length = u32::try_from(49 + payload.len()).unwrap();
    let covered = [&header.encode()[21..], payload].concat();
    header.crc = millrace_record::crc32c(&covered);
    let bytes = [&header.encode()[..], payload].concat();
    Batch::parse_stored(&bytes.into()).unwrap()
}

#[test]
fn transaction_markers_are_kafkas_bytes() {
    for (name, offset, end, control_type) in [
        ("commit", 41, TransactionEnd::Commit, ControlType::Commit),
        ("abort", 42, TransactionEnd::Abort, ControlType::Abort),
    ] {
        let theirs = Batch::parse_stored(&fixture("java", name)).unwrap();
        assert!(theirs.is_control() && theirs.is_transactional());
        let record = &records(&theirs)[0];
        let control = ControlRecord::decode(record.key.as_deref(), record.value.as_deref());
        assert_eq!(control, Ok(ControlRecord { control_type, coordinator_epoch: Some(6) }));
        let producer = (ProducerId(4242), ProducerEpoch(3));
        let ours = transaction_marker(end, producer, 6, TimestampMs(1_700_000_000_000)).unwrap();
        let placed = ours.placed_at(Offset::new(offset).unwrap(), LeaderEpoch(9));
        assert_eq!(placed, theirs);
        let internal = Checks { origin: Origin::Internal, ..CHECKS };
        assert!(Batch::check(placed.into_bytes(), &internal).is_ok());
    }
}
