//! Fetch and ListOffsets.

use bytes::Bytes;
use millrace_kafka::KafkaError;
use millrace_kafka_wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millrace_kafka_wire::list_offsets_response::ListOffsetsPartitionResponse;
use millrace_kafka_wire::{FetchRequest, ListOffsetsRequest, Message};

use crate::world::{Client, World, batch, fetch, produce, values};
use tokio::io::AsyncReadExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn every_version_reads_what_was_written() {
    let world = World::new().await;
    let mut client = world.client().await;
    let id = client.topic("a").await.topic_id;
    client.produce("a", batch(&[b"one"])).await;
    client.produce("a", batch(&[&vec![7; 100_000]])).await;
    for version in FetchRequest::VERSIONS {
        let mut request = fetch("a", 0);
        if version >= 13 {
            request.topics[0].topic = String::new();
            request.topics[0].topic_id = id;
        }
        for isolation_level in [0, 1] {
            request.isolation_level = isolation_level;
            let answered = client.call(version, &request).await;
            assert_eq!((answered.error_code, answered.session_id), (0, 0));
            let partition = &answered.responses[0].partitions[0];
            assert_eq!((partition.error_code, partition.high_watermark), (0, 2), "version {version}");
            assert_eq!(partition.last_stable_offset, 2);
            assert_eq!(partition.aborted_transactions.is_some(), isolation_level == 1);
            let read = values(partition);
            assert_eq!(read, [Bytes::from_static(b"one"), vec![7; 100_000].into()]);
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_batch_comes_whole_however_few_bytes_are_asked_for() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("a").await;
    client.produce("a", batch(&[&vec![7; 100_000]])).await;
    client.produce("a", batch(&[b"next"])).await;
    for (max_bytes, partition_max_bytes) in [(1, 1), (0, 0), (1 << 24, 1), (1, 1 << 24)] {
        let mut request = FetchRequest { max_bytes, ..fetch("a", 0) };
        request.topics[0].partitions[0].partition_max_bytes = partition_max_bytes;
        let answered = client.call(12, &request).await;
        assert_eq!(values(&answered.responses[0].partitions[0]), [vec![7; 100_000]]);
    }
    world.stop().await;
}

/// More than the tail cache of the world holds: 64 MiB.
const LARGE_RECORDS: u32 = 90;

fn large_value(number: u32) -> Vec<u8> {
    (0..225_000_u32).flat_map(|word| (word ^ number.wrapping_mul(0x9e37_79b9)).to_be_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_reads_come_from_their_files_byte_for_byte() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("a").await;
    for number in 0..LARGE_RECORDS {
        let produced = client.produce("a", batch(&[&large_value(number)])).await;
        assert_eq!((produced.error_code, produced.base_offset), (0, i64::from(number)));
    }
    let mut request = fetch("a", 0);
    request.topics[0].partitions[0].partition_max_bytes = 8 << 20;
    // The last produce was answered a moment before it gives its memory back.
    while world.broker.memory().in_use() > 0 {
        tokio::task::yield_now().await;
    }
    // An answer on its way, of which nobody reads more than its length, holds no memory for what lies in a file.
    let mut slow = world.client().await;
    slow.ask(12, &request).await;
    assert!(slow.stream.read_u32().await.unwrap() > 7 << 20);
    assert!(world.broker.memory().in_use() < 1 << 20, "{} bytes", world.broker.memory().in_use());
    drop(slow);
    let mut next = 0;
    while next < LARGE_RECORDS {
        request.topics[0].partitions[0].fetch_offset = next.into();
        client.ask(12, &request).await;
        let (_, answered) = client.answer::<FetchRequest>(12).await;
        let read = values(&answered.responses[0].partitions[0]);
        assert!(!read.is_empty());
        for value in read {
            assert!(value == large_value(next), "record {next}");
            next += 1;
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_waits_for_records_and_no_longer() {
    let world = World::new().await;
    let (mut reader, mut writer) = (world.client().await, world.client().await);
    writer.topic("a").await;
    let waiting = FetchRequest { max_wait_ms: 60_000, ..fetch("a", 0) };
    reader.ask(12, &waiting).await;
    // The fetch has its memory, and so it is on its way.
    while world.broker.memory().in_use() == 0 {
        tokio::task::yield_now().await;
    }
    writer.produce("a", batch(&[b"x"])).await;
    let (_, answered) = reader.answer::<FetchRequest>(12).await;
    assert_eq!(values(&answered.responses[0].partitions[0]), [&b"x"[..]]);
    let short = FetchRequest { max_wait_ms: 1, ..fetch("a", 1) };
    let answered = reader.call(12, &short).await;
    assert_eq!(answered.responses[0].partitions[0].records, Some(Bytes::new()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_is_given_up_when_its_client_goes() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("a").await;
    client.ask(12, &FetchRequest { max_wait_ms: 60_000, ..fetch("a", 0) }).await;
    while world.broker.memory().in_use() == 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_of_a_fetch_is_refused_for_its_own_reason() {
    let world = World::new().await;
    let mut client = world.client().await;
    let epoch = client.topic("a").await.partitions[0].leader_epoch;
    client.produce("a", batch(&[b"x"])).await;
    for offset in [-1, 2, i64::MAX] {
        let refused = client.fetch("a", offset).await;
        assert_eq!(refused.error_code, KafkaError::OffsetOutOfRange.code(), "{offset}");
    }
    let unknown = client.fetch("nothing", 0).await;
    assert_eq!(unknown.error_code, KafkaError::UnknownTopicOrPartition.code());
    let by_id = client.call(13, &fetch("", 0)).await.responses.remove(0).partitions.remove(0);
    assert_eq!(by_id.error_code, KafkaError::UnknownTopicId.code());
    let session = client.call(12, &FetchRequest { session_id: 5, session_epoch: 1, ..fetch("a", 0) }).await;
    assert_eq!(session.error_code, KafkaError::FetchSessionIdNotFound.code());
    for (believed, error) in [
        (epoch + 1, KafkaError::UnknownLeaderEpoch.code()),
        (epoch - 1, if epoch > 0 { KafkaError::FencedLeaderEpoch.code() } else { 0 }),
        (epoch, 0),
    ] {
        let mut request = fetch("a", 0);
        request.topics[0].partitions[0].current_leader_epoch = believed;
        let answered = client.call(12, &request).await;
        assert_eq!(answered.responses[0].partitions[0].error_code, error, "{believed} for {epoch}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_ahead_of_the_log_is_told_how_far_to_go_back() {
    let world = World::new().await;
    let mut client = world.client().await;
    let epoch = client.topic("a").await.partitions[0].leader_epoch;
    client.produce("a", batch(&[b"x"])).await;
    let mut request = fetch("a", 5);
    request.topics[0].partitions[0].last_fetched_epoch = epoch;
    let answered = client.call(12, &request).await.responses.remove(0).partitions.remove(0);
    assert_eq!(answered.error_code, 0);
    let diverging = &answered.diverging_epoch;
    assert_eq!((diverging.epoch, diverging.end_offset), (epoch, 1));
    world.stop().await;
}

async fn list(client: &mut Client, version: i16, timestamp: i64) -> ListOffsetsPartitionResponse {
    let partition = ListOffsetsPartition { partition_index: 0, timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: "a".to_owned(), partitions: vec![partition], ..Default::default() };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    client.call(version, &request).await.topics.remove(0).partitions.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_found_by_position_and_by_time() {
    let world = World::new().await;
    let mut client = world.client().await;
    let epoch = client.topic("a").await.partitions[0].leader_epoch;
    client.call(9, &produce("a", batch(&[b"x", b"y"]))).await;
    let time = 1_700_000_000_000;
    let unsupported = KafkaError::UnsupportedVersion.code();
    for version in ListOffsetsRequest::VERSIONS {
        let cases = [
            (-1, (0, 2, -1)),
            (-2, (0, 0, -1)),
            (-3, if version >= 7 { (0, 0, time) } else { (unsupported, -1, -1) }),
            (-4, if version >= 8 { (0, 0, -1) } else { (unsupported, -1, -1) }),
            (-5, if version >= 9 { (0, -1, -1) } else { (unsupported, -1, -1) }),
            (-6, (unsupported, -1, -1)),
            (time, (0, 0, time)),
            (time + 1, (0, -1, -1)),
        ];
        for (asked, expected) in cases {
            let found = list(&mut client, version, asked).await;
            let got = (found.error_code, found.offset, found.timestamp);
            assert_eq!(got, expected, "version {version} at {asked}");
        }
        let latest = list(&mut client, version, -1).await;
        assert_eq!(latest.leader_epoch, if version >= 4 { epoch } else { -1 });
        let earliest = list(&mut client, version, -2).await;
        assert_eq!(earliest.leader_epoch, if version >= 4 { epoch } else { -1 });
    }
    world.stop().await;
}
