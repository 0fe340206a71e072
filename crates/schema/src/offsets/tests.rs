//! Committed offsets against bytes derived by hand from Kafka's schemas.

use super::*;

fn key() -> OffsetCommitKey {
    OffsetCommitKey {
        group: GroupId::new("g1").unwrap(),
        topic: TopicName::new("abc").unwrap(),
        partition: PartitionIndex(258),
    }
}

const KEY: &[u8] = &[0, 1, 0, 2, b'g', b'1', 0, 3, b'a', b'b', b'c', 0, 0, 1, 2];

fn value() -> OffsetCommitValue {
    OffsetCommitValue {
        offset: Offset::new(0x0102).unwrap(),
        leader_epoch: LeaderEpoch(7),
        metadata: "hi".to_owned(),
        committed_at: TimestampMs(0x0304),
        expires_at: None,
        topic_id: TopicId([0xaa; 16]),
    }
}

fn value_without_id() -> OffsetCommitValue {
    OffsetCommitValue { topic_id: TopicId::ZERO, ..value() }
}

const OFFSET: &[u8] = &[0, 0, 0, 0, 0, 0, 1, 2];
const EPOCH: &[u8] = &[0, 0, 0, 7];
const METADATA: &[u8] = &[0, 2, b'h', b'i'];
const COMPACT_METADATA: &[u8] = &[3, b'h', b'i'];
const TIME: &[u8] = &[0, 0, 0, 0, 0, 0, 3, 4];

fn golden(version: u8) -> Vec<u8> {
    let version_bytes = [0, version];
    let parts: &[&[u8]] = match version {
        0 | 2 => &[OFFSET, METADATA, TIME],
        1 => &[OFFSET, METADATA, TIME, &[0, 0, 0, 0, 0, 0, 0, 9]],
        3 => &[OFFSET, EPOCH, METADATA, TIME],
        _ => &[OFFSET, EPOCH, COMPACT_METADATA, TIME, &[1, 0, 16], &[0xaa; 16]],
    };
    [&version_bytes[..], &parts.concat()].concat()
}

#[test]
fn keys_are_kafkas_bytes() {
    assert_eq!(key().encode(), KEY);
    assert_eq!(decode_offsets_key(KEY), Ok(OffsetsKey::Commit(key())));
    let mut legacy = KEY.to_vec();
    legacy[1] = 0;
    assert_eq!(decode_offsets_key(&legacy), Ok(OffsetsKey::Commit(key())), "kind 0 is read as well");
}

#[test]
fn keys_of_groups_are_told_apart_and_not_refused() {
    assert_eq!(decode_offsets_key(&[0, 2, 0, 2, b'g', b'1']), Ok(OffsetsKey::Other { kind: 2 }));
    assert_eq!(decode_offsets_key(&[0xff, 0xff]), Ok(OffsetsKey::Other { kind: -1 }));
}

#[test]
fn every_version_of_the_value_is_read_and_the_newest_written() {
    assert_eq!(value().encode(), golden(4));
    assert_eq!(OffsetCommitValue::decode(&golden(4)), Ok(value()));
    assert_eq!(OffsetCommitValue::decode(&golden(3)), Ok(value_without_id()));
    let without_epoch = OffsetCommitValue { leader_epoch: LeaderEpoch::NONE, ..value_without_id() };
    for version in [0, 2] {
        assert_eq!(OffsetCommitValue::decode(&golden(version)), Ok(without_epoch.clone()));
    }
    let expiring = OffsetCommitValue { expires_at: Some(TimestampMs(9)), ..without_epoch };
    assert_eq!(OffsetCommitValue::decode(&golden(1)), Ok(expiring));
    let mut newer = golden(4);
    newer[1] = 5;
    assert_eq!(OffsetCommitValue::decode(&newer), Err(OffsetsError::Version { version: 5 }));
}

#[test]
fn a_value_without_topic_id_has_no_tagged_field() {
    let bytes = value_without_id().encode();
    assert_eq!(bytes.last(), Some(&0));
    assert_eq!(OffsetCommitValue::decode(&bytes), Ok(value_without_id()));
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let bytes =
        [&[0, 4][..], OFFSET, EPOCH, COMPACT_METADATA, TIME, &[2, 0, 16], &[0xaa; 16], &[9, 1, 5]].concat();
    assert_eq!(OffsetCommitValue::decode(&bytes), Ok(value()));
}

#[test]
fn long_metadata_takes_a_longer_length() {
    let value = OffsetCommitValue { metadata: "x".repeat(4096), ..value() };
    assert_eq!(OffsetCommitValue::decode(&value.encode()), Ok(value));
}

#[test]
fn every_cut_and_every_extra_byte_is_an_error() {
    for len in 0..KEY.len() {
        assert!(decode_offsets_key(&KEY[..len]).is_err(), "key cut at {len}");
    }
    assert_eq!(
        decode_offsets_key(&[KEY, &[0]].concat()),
        Err(OffsetsError::Trailing { what: "the key of a committed offset", extra: 1 })
    );
    for version in 0..=4 {
        let bytes = golden(version);
        for len in 0..bytes.len() {
            assert!(OffsetCommitValue::decode(&bytes[..len]).is_err(), "version {version} cut at {len}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(OffsetCommitValue::decode(&longer).is_err(), "version {version}");
    }
}

#[test]
fn no_byte_makes_the_decoder_panic() {
    for version in 0..=4 {
        let golden = golden(version);
        for index in 0..golden.len() {
            for byte in 0..=255 {
                let mut bytes = golden.clone();
                bytes[index] = byte;
                let _ = OffsetCommitValue::decode(&bytes);
            }
        }
    }
    for index in 0..KEY.len() {
        for byte in 0..=255 {
            let mut bytes = KEY.to_vec();
            bytes[index] = byte;
            let _ = decode_offsets_key(&bytes);
        }
    }
}
