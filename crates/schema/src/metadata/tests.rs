//! Every record reads back; every cut and every stranger is an error that names itself.

use super::*;

fn placed(replicas: &[i32], isr: &[i32]) -> PartitionPlaced {
    let nodes = |numbers: &[i32]| numbers.iter().map(|n| NodeId(*n)).collect::<Vec<_>>();
    PartitionPlaced {
        replicas: nodes(replicas),
        isr: nodes(isr),
        leader: replicas.first().map(|n| NodeId(*n)),
        leader_epoch: LeaderEpoch(3),
        partition_epoch: 4,
    }
}

fn every_kind() -> Vec<MetadataRecord> {
    vec![
        MetadataRecord::TopicCreated(TopicCreated {
            id: TopicId([7; 16]),
            name: TopicName::new("orders.v1").unwrap(),
            replication_factor: 3,
            partitions: vec![placed(&[0, 1, 2], &[0, 1, 2]), placed(&[2, 1, 0], &[2])],
            configs: [("segment.bytes".to_owned(), "1048576".to_owned())].into(),
        }),
        MetadataRecord::TopicDeleted { id: TopicId([9; 16]) },
        MetadataRecord::BrokerRegistered(BrokerRegistered {
            node: NodeId(5),
            directory: DirectoryId([1; 16]),
            grpc: "127.0.0.1:7070".to_owned(),
        }),
        MetadataRecord::FeatureLevelRaised { level: 1 },
        MetadataRecord::ProducerIdsTaken(ProducerIdsTaken {
            node: NodeId(5),
            first: ProducerId(2000),
            count: 1000,
        }),
        MetadataRecord::TopicConfigured(TopicConfigured {
            id: TopicId([7; 16]),
            configs: [("retention.ms".to_owned(), "60000".to_owned())].into(),
        }),
        MetadataRecord::PartitionsAdded(PartitionsAdded {
            id: TopicId([7; 16]),
            first: 2,
            partitions: vec![placed(&[1, 2, 0], &[1, 2, 0]), placed(&[2, 0, 1], &[0])],
        }),
    ]
}

#[test]
fn every_record_reads_back_what_was_written() {
    for record in every_kind() {
        assert_eq!(MetadataRecord::decode(&record.encode()), Ok(record));
    }
}

#[test]
fn no_cut_of_a_record_panics_or_reads_as_the_whole() {
    for record in every_kind() {
        let bytes = record.encode();
        for len in 0..bytes.len() {
            assert_ne!(MetadataRecord::decode(&bytes[..len]).ok(), Some(record.clone()), "cut at {len}");
        }
    }
}

#[test]
fn no_flipped_byte_panics() {
    for record in every_kind() {
        let bytes = record.encode();
        for position in 0..bytes.len() {
            for value in [0x00, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[position] = value;
                let _any_answer = MetadataRecord::decode(&damaged);
            }
        }
    }
}

#[test]
fn a_kind_of_a_newer_build_is_named() {
    let bytes = encode_frame(999, 2, &wire::FeatureLevelRaised { level: 1 });
    assert_eq!(MetadataRecord::decode(&bytes), Err(FrameError::UnknownKind { kind: 999, version: 2 }));
}

#[test]
fn a_version_of_a_newer_build_is_named() {
    let bytes = encode_frame(FEATURE_LEVEL_RAISED, 1, &wire::FeatureLevelRaised { level: 1 });
    let expected = FrameError::UnknownVersion { kind: FEATURE_LEVEL_RAISED, version: 1, newest: 0 };
    assert_eq!(MetadataRecord::decode(&bytes), Err(expected));
}

#[test]
fn a_field_that_breaks_its_rule_is_named() {
    let short = encode_frame(TOPIC_DELETED, 0, &wire::TopicDeleted { id: vec![1, 2].into() });
    let negative =
        encode_frame(PRODUCER_IDS_TAKEN, 0, &wire::ProducerIdsTaken { node: 0, first: i64::MAX, count: 2 });
    for (bytes, expected) in [(short, "id"), (negative, "first")] {
        match MetadataRecord::decode(&bytes) {
            Err(FrameError::Invalid { field, .. }) => assert_eq!(field, expected),
            other => panic!("{other:?}"),
        }
    }
}

/// The bytes of every kind as they were first written: whoever changes what they mean cannot read them any more.
#[test]
fn what_was_written_once_is_read_for_ever() {
    let fixtures = [
        "000600000a10070707070707070707070707070707071215" .to_owned()
            + "0a0c726574656e74696f6e2e6d7312053630303030",
        "000700000a100707070707070707070707070707070710021a0b0a030102001801200328041a0e0a03020001120100180220032804"
            .to_owned(),
    ];
    let records = every_kind();
    for (record, fixture) in records[5..].iter().zip(&fixtures) {
        let hex: String = record.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, *fixture);
    }
}
