//! Every record reads back; every cut and every stranger is an error that names itself.

use super::*;
use crate::{OffsetsKey, decode_offsets_key};

fn group() -> GroupId {
    GroupId::new("g1").unwrap()
}

fn of(part: GroupPart) -> GroupsKey {
    GroupsKey::Of { group: group(), part }
}

fn partition(topic: u8, partition: u32) -> TopicPartition {
    TopicPartition { topic: TopicId([topic; 16]), partition: PartitionIndex(partition) }
}

fn every_record() -> Vec<(GroupsKey, GroupsValue)> {
    let member = || "m1".to_owned();
    let text = |text: &str| Some(text.to_owned());
    let profile = StoredMember {
        instance: text("i"),
        rack: text("r"),
        client_id: "c".to_owned(),
        client_host: "h".to_owned(),
        names: ["a", "b"].map(|name| TopicName::new(name).unwrap()).into(),
        pattern: text("x.*"),
        assignor: text("range"),
        rebalance_timeout_ms: 300_000,
    };
    let current = StoredCurrent {
        epoch: 3,
        previous_epoch: 2,
        assigned: [partition(1, 0), partition(1, 300), partition(2, 5)].into(),
        revoking: [partition(3, 1)].into(),
        revision: 9,
        departed: true,
    };
    let classic = StoredClassic {
        generation: 4,
        protocol_type: "consumer".to_owned(),
        protocol: text("range"),
        leader: text("m1"),
        members: vec![StoredClassicMember {
            member: member(),
            instance: text("i"),
            client_id: "c".to_owned(),
            client_host: "h".to_owned(),
            session_timeout_ms: 10,
            rebalance_timeout_ms: 20,
            protocols: vec![("range".to_owned(), Bytes::from_static(b"\x01\x02"))],
            assignment: Bytes::from_static(b"\x03"),
        }],
        synced: true,
        emptied_at: Some(TimestampMs(5)),
    };
    let meta = StoredMeta {
        epoch: 7,
        assignor: "sticky".to_owned(),
        digest: 0x0102_0304_0506_0708,
        emptied_at: Some(TimestampMs(6)),
    };
    vec![
        (of(GroupPart::Meta), GroupsValue::Meta(meta)),
        (of(GroupPart::Member(member())), GroupsValue::Member(profile)),
        (of(GroupPart::Target(member())), GroupsValue::Target([partition(1, 0), partition(1, 1)].into())),
        (of(GroupPart::Current(member())), GroupsValue::Current(current)),
        (of(GroupPart::Classic), GroupsValue::Classic(classic)),
        (GroupsKey::MembersDropped, GroupsValue::MembersDropped { epoch_floor: 77 }),
    ]
}

#[test]
fn every_record_reads_back_what_was_written() {
    for (key, value) in every_record() {
        assert_eq!(decode_groups_key(&key.encode()), Ok(Some(key)));
        assert_eq!(GroupsValue::decode(&value.encode()), Ok(value));
    }
}

#[test]
fn no_cut_of_a_record_panics_or_reads_as_the_whole() {
    for (key, value) in every_record() {
        let bytes = key.encode();
        for len in 0..bytes.len() {
            assert_ne!(decode_groups_key(&bytes[..len]), Ok(Some(key.clone())), "key cut at {len}");
        }
        let bytes = value.encode();
        for len in 0..bytes.len() {
            assert_ne!(GroupsValue::decode(&bytes[..len]).ok(), Some(value.clone()), "value cut at {len}");
        }
    }
}

#[test]
fn no_flipped_byte_panics() {
    for (key, value) in every_record() {
        for bytes in [key.encode(), value.encode()] {
            for position in 0..bytes.len() {
                for byte in [0x00, 0x7f, 0x80, 0xff] {
                    let mut damaged = bytes.clone();
                    damaged[position] = byte;
                    let _any_answer = (decode_groups_key(&damaged), GroupsValue::decode(&damaged));
                }
            }
        }
    }
}

#[test]
fn our_keys_and_kafkas_are_told_apart() {
    for (key, _) in every_record() {
        let other = decode_offsets_key(&key.encode());
        assert!(matches!(other, Ok(OffsetsKey::Other { kind }) if kind > 0x4d00), "{other:?}");
    }
    for kafkas in [[0, 0, 0, 1], [0, 1, 0, 1], [0, 2, 0, 1], [0, 15, 0, 1]] {
        assert_eq!(decode_groups_key(&kafkas), Ok(None));
    }
}

#[test]
fn a_kind_of_a_newer_build_is_named() {
    let bytes = encode_frame(0x4dff, 0, &wire::MembersDropped { epoch_floor: 1 });
    let expected = FrameError::UnknownKind { kind: 0x4dff, version: 0 };
    assert_eq!(decode_groups_key(&bytes), Err(expected.clone()));
    assert_eq!(GroupsValue::decode(&bytes), Err(expected));
}

#[test]
fn a_field_that_breaks_its_rule_is_named() {
    let field = |bytes: Vec<u8>| match GroupsValue::decode(&bytes) {
        Err(FrameError::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(encode_frame(META, 0, &wire::GroupMeta { epoch: -1, ..Default::default() })), "epoch");
    let topic = wire::PartitionsOfTopic { topic: vec![1, 2].into(), partitions: vec![0] };
    assert_eq!(field(encode_frame(TARGET, 0, &wire::GroupTarget { topics: vec![topic] })), "topics");
    let topic = wire::PartitionsOfTopic { topic: vec![1; 16].into(), partitions: vec![u32::MAX] };
    let current = wire::GroupCurrent { assigned: vec![topic], ..Default::default() };
    assert_eq!(field(encode_frame(CURRENT, 0, &current)), "assigned");
    let member = wire::GroupMemberProfile { names: vec!["no/topic".to_owned()], ..Default::default() };
    assert_eq!(field(encode_frame(MEMBER, 0, &member)), "names");
}

/// The bytes as they were first written: whoever changes what they mean cannot read them any more.
#[test]
fn what_was_written_once_is_read_for_ever() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let written: Vec<(String, String)> =
        every_record().into_iter().map(|(key, value)| (hex(key.encode()), hex(value.encode()))).collect();
    let fixture: Vec<(String, String)> = include_str!("../../fixtures/groups.v1.txt")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(written, fixture);
}
