//! Every record reads back; every cut and every stranger is an error that names itself.

use millrace_types::{BrokerEpoch, IncarnationId, PartitionIndex, TopicPartition};

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
        MetadataRecord::BrokerStarted(started()),
        MetadataRecord::BrokerFenced(BrokerRun { node: NodeId(0), epoch: BrokerEpoch::NONE }),
        MetadataRecord::BrokerUnfenced(BrokerRun { node: NodeId(5), epoch: BrokerEpoch(12) }),
        MetadataRecord::BrokerDraining(BrokerRun { node: NodeId(5), epoch: BrokerEpoch(12) }),
        MetadataRecord::PartitionChanged(changed()),
        MetadataRecord::PartitionChanged(PartitionChanged { state: led_by_nobody(), ..changed() }),
        MetadataRecord::BrokerRemoved { node: NodeId(5) },
        MetadataRecord::TopicResumed(TopicResumed {
            id: TopicId([7; 16]),
            name: TopicName::new("orders.v1").unwrap(),
            replication_factor: 3,
            partitions: vec![changed().state, led_by_nobody()],
            configs: [("retention.ms".to_owned(), "60000".to_owned())].into(),
            always_synced: true,
        }),
        MetadataRecord::BrokerResumed(BrokerResumed {
            node: NodeId(5),
            epoch: BrokerEpoch(12),
            incarnation: Some(IncarnationId([2; 16])),
            directory: DirectoryId([1; 16]),
            grpc: "127.0.0.1:7070".to_owned(),
            kafka: String::new(),
            internal: "127.0.0.1:7071".to_owned(),
            standing: Standing::Fenced,
            standing_since: 70,
        }),
        MetadataRecord::ImageResumed(ImageResumed {
            version: 77,
            feature_level: 3,
            next_producer_id: ProducerId(2000),
            broker_epoch: 12,
        }),
    ]
}

fn started() -> BrokerStarted {
    let at =
        |topic, number| TopicPartition { topic: TopicId([topic; 16]), partition: PartitionIndex(number) };
    BrokerStarted {
        node: NodeId(5),
        epoch: BrokerEpoch(12),
        incarnation: IncarnationId([2; 16]),
        directory: DirectoryId([1; 16]),
        grpc: "127.0.0.1:7070".to_owned(),
        kafka: "127.0.0.1:9092".to_owned(),
        internal: "127.0.0.1:7071".to_owned(),
        losses: Losses::Unsynced,
        damaged: vec![at(7, 0), at(7, 3), at(8, 1)],
    }
}

fn nodes(numbers: &[i32]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

fn changed() -> PartitionChanged {
    PartitionChanged {
        at: TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(3) },
        state: PartitionState {
            replicas: nodes(&[4, 0, 1, 2]),
            isr: nodes(&[0]),
            elr: nodes(&[2]),
            last_known_elr: nodes(&[1]),
            leader: Some(NodeId(0)),
            leader_epoch: LeaderEpoch(9),
            partition_epoch: 30,
            adding: nodes(&[4]),
            removing: nodes(&[2]),
            lossy: Some(LossyElection { leader_epoch: LeaderEpoch(8), given_up: nodes(&[1, 6]) }),
        },
    }
}

fn led_by_nobody() -> PartitionState {
    PartitionState {
        isr: Vec::new(),
        elr: nodes(&[2, 0]),
        leader: None,
        adding: Vec::new(),
        removing: Vec::new(),
        lossy: None,
        ..changed().state
    }
}

#[test]
fn a_partition_that_cannot_be_is_named() {
    let refused = |state: PartitionState| {
        let record = MetadataRecord::PartitionChanged(PartitionChanged { state, ..changed() });
        match MetadataRecord::decode(&record.encode()) {
            Err(FrameError::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    let good = changed().state;
    for (state, field) in [
        (PartitionState { replicas: Vec::new(), ..good.clone() }, "replicas"),
        (PartitionState { replicas: nodes(&[4, 0, 1, 2, 4]), ..good.clone() }, "replicas"),
        (PartitionState { replicas: nodes(&[4, 0, 1, 2, -1]), ..good.clone() }, "replicas"),
        (PartitionState { replicas: (0..200).map(NodeId).collect(), ..good.clone() }, "replicas"),
        (PartitionState { isr: nodes(&[0, 5]), ..good.clone() }, "isr"),
        (PartitionState { elr: nodes(&[0]), ..good.clone() }, "elr"),
        (PartitionState { last_known_elr: nodes(&[2]), ..good.clone() }, "last_known_elr"),
        (PartitionState { leader: Some(NodeId(1)), ..good.clone() }, "leader"),
        (PartitionState { leader: None, ..good.clone() }, "leader"),
        (PartitionState { leader_epoch: LeaderEpoch(-1), ..good.clone() }, "leader_epoch"),
        (PartitionState { adding: nodes(&[2]), ..good.clone() }, "adding"),
        (PartitionState { removing: nodes(&[9]), ..good }, "removing"),
    ] {
        assert_eq!(refused(state.clone()), field, "{state:?}");
    }
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
        "000800000805100c1a10020202020202020202020202020202022210010101010101010101010101010101012a0e3132".to_owned()
            + "372e302e302e313a37303730320e3132372e302e302e313a393039323a0e3132372e302e302e313a3730373140014a16"
            + "0a1007070707070707070707070707070707120200034a150a1008080808080808080808080808080808120101",
        "0009000010ffffffffffffffffff01".to_owned(),
        "000a00000805100c".to_owned(),
        "000b00000805100c".to_owned(),
        "000c00000a100707070707070707070707070707070710031a230a04040001021201001a010222010128003009381e42".to_owned()
            + "01044a01025206080812020106",
        "000c00000a100707070707070707070707070707070710031a110a04040001021a0202002201013009381e".to_owned(),
        "000d00000805".to_owned(),
        "000e00000a100707070707070707070707070707070712096f72646572732e7631180322230a04040001021201001a01".to_owned()
            + "0222010128003009381e4201044a0102520608081202010622110a04040001021a0202002201013009381e2a150a0c72"
            + "6574656e74696f6e2e6d73120536303030303001",
        "000f00000805100c1a10020202020202020202020202020202022210010101010101010101010101010101012a0e3132".to_owned()
            + "372e302e302e313a373037303a0e3132372e302e302e313a3730373140024846",
        "00100000084d100318d00f200c".to_owned(),
    ];
    let records = every_kind();
    assert_eq!(records.len(), 5 + fixtures.len());
    for (record, fixture) in records[5..].iter().zip(&fixtures) {
        let hex: String = record.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, *fixture);
    }
}
