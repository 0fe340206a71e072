//! Fetching and finding offsets.

use millrace_types::{LeaderEpoch, TimestampMs};

use super::*;
use crate::OffsetPoint;

async fn fetch_one(world: &World, fetch: PartitionFetch) -> Result<crate::Fetched, ApiError> {
    let request = fetch_request(vec![fetch], Duration::ZERO);
    world.broker.fetch(&ctx(), request).await.unwrap().partitions.remove(0)
}

#[tokio::test]
async fn a_fetch_answers_what_is_there_and_where_to_go_on() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    for value in ["1", "2", "3"] {
        world.produce("a", &[value]).await.unwrap();
    }
    let fetched = fetch_one(&world, from("a", 0, 1)).await.unwrap();
    assert_eq!((fetched.next_offset.get(), fetched.high_watermark.get(), fetched.log_start.get()), (3, 3, 0));
    assert_eq!(decoded(fetched.extents), ["2", "3"]);
    let at_the_end = fetch_one(&world, from("a", 0, 3)).await.unwrap();
    assert_eq!((at_the_end.extents.len(), at_the_end.next_offset.get()), (0, 3));
    assert_eq!(code(fetch_one(&world, from("a", 0, 4)).await), Some(ErrorCode::OffsetOutOfRange));
    let bounded = PartitionFetch { end_offset: Some(Offset::from_count(2)), ..from("a", 0, 0) };
    let bounded = fetch_one(&world, bounded).await.unwrap();
    assert_eq!(
        (decoded(bounded.extents), bounded.next_offset.get()),
        (vec!["1".to_owned(), "2".to_owned()], 2)
    );
}

#[tokio::test]
async fn what_a_door_sends_from_a_file_is_what_it_would_have_sent_and_takes_no_memory() {
    let world = World::new(1).await;
    let configs = [("segment.bytes".to_owned(), "65536".to_owned())].into();
    world.broker.create_topic(&ctx(), CreateTopicRequest { configs, ..new_topic("a", 1) }).await.unwrap();
    for value in ["1", "2", "3"] {
        world.produce("a", &[&value.repeat(300_000)]).await.unwrap();
    }
    // Live readers share the tail cache.
    let request = || fetch_request(vec![from("a", 0, 0)], Duration::ZERO);
    let mut cached = world.broker.fetch_located(&ctx(), request()).await.unwrap();
    let cached = cached.partitions.remove(0).unwrap();
    assert!(cached.extents.iter().all(|extent| matches!(extent, Extent::Memory(_))));
    let world = world.restart().await;
    let mut loaded = world.broker.fetch(&ctx(), request()).await.unwrap();
    let mut located = world.broker.fetch_located(&ctx(), request()).await.unwrap();
    let held = |permit: Option<crate::Permit>| permit.map(|permit| permit.bytes());
    assert!(held(loaded.permit) >= Some(300_000) && held(located.permit) == Some(0));
    let (loaded, located) = (loaded.partitions.remove(0).unwrap(), located.partitions.remove(0).unwrap());
    assert_eq!(located.next_offset, loaded.next_offset);
    let Extent::File(range) = located.extents.first().unwrap() else { panic!("{located:?}") };
    let mut sent = vec![0; range.len()];
    range.file().read_exact_at(&mut sent, range.bytes().start).unwrap();
    assert!(sent == loaded.extents.concat());
}

#[tokio::test]
async fn the_first_batch_comes_whatever_the_budget_and_the_others_keep_to_it() {
    let world = World::new(1).await;
    world.create("a", 2).await;
    let value = "x".repeat(1000);
    let parts = (0..2).flat_map(|partition| std::iter::repeat_with(move || partition).take(3));
    for partition in parts {
        world.send(produce_request(vec![plain("a", partition, &[&value], None)])).await;
    }
    let sizes = async |bytes_max| {
        let partitions = vec![from("a", 0, 0), from("a", 1, 0)];
        let request = FetchRequest { bytes_max, ..fetch_request(partitions, Duration::ZERO) };
        let answer = world.broker.fetch(&ctx(), request).await.unwrap();
        let offsets = answer.partitions.iter().map(|part| part.as_ref().unwrap().next_offset.get());
        offsets.collect::<Vec<_>>()
    };
    assert_eq!(sizes(1).await, [1, 0]);
    assert_eq!(sizes(2_500).await, [2, 0]);
    assert_eq!(sizes(4_500).await, [3, 1]);
    assert_eq!(sizes(1 << 20).await, [3, 3]);
}

#[tokio::test]
async fn a_waiting_fetch_makes_no_call_until_it_is_woken() {
    let world = World::new(1).await;
    world.create("a", 2).await;
    let request = fetch_request(vec![from("a", 0, 0), from("a", 1, 0)], Duration::from_secs(30));
    let broker = Arc::clone(&world.broker);
    let waiting = tokio::spawn(async move { broker.fetch(&ctx(), request).await });
    world.sim.clock().wait_for_sleepers(2).await;
    world.sim.calls().reset();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!((world.sim.calls().total(), waiting.is_finished()), (0, false));
    world.send(produce_request(vec![plain("a", 1, &["woken"], None)])).await;
    let mut answer = waiting.await.unwrap().unwrap();
    assert_eq!(decoded(answer.partitions.remove(1).unwrap().extents), ["woken"]);
}

#[tokio::test]
async fn a_fetch_waits_for_its_minimum_and_no_longer_than_it_may() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let request = FetchRequest {
        bytes_min: 1 << 20,
        ..fetch_request(vec![from("a", 0, 0)], Duration::from_millis(500))
    };
    let broker = Arc::clone(&world.broker);
    let waiting = tokio::spawn(async move { broker.fetch(&ctx(), request).await });
    world.sim.clock().wait_for_sleepers(2).await;
    world.produce("a", &["too little"]).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    world.sim.clock().wait_for_sleepers(2).await;
    world.sim.clock().advance(Duration::from_millis(500));
    let mut answer = waiting.await.unwrap().unwrap();
    assert_eq!(decoded(answer.partitions.remove(0).unwrap().extents), ["too little"]);
}

#[tokio::test]
async fn an_error_or_a_reached_end_answers_at_once() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let wait = Duration::from_secs(30);
    let unknown = fetch_request(vec![from("a", 0, 0), from("nope", 0, 0)], wait);
    let answer = world.broker.fetch(&ctx(), unknown).await.unwrap();
    assert_eq!(code(answer.partitions.into_iter().nth(1).unwrap()), Some(ErrorCode::UnknownTopicOrPartition));
    let reached = PartitionFetch { end_offset: Some(Offset::ZERO), ..from("a", 0, 0) };
    let answer = world.broker.fetch(&ctx(), fetch_request(vec![reached], wait)).await.unwrap();
    assert!(answer.partitions.first().unwrap().as_ref().unwrap().extents.is_empty());
    let none = world.broker.fetch(&ctx(), fetch_request(Vec::new(), wait)).await.unwrap();
    assert!(none.partitions.is_empty());
}

#[tokio::test]
async fn a_deleted_topic_wakes_its_readers() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let request = fetch_request(vec![from("a", 0, 0)], Duration::from_secs(30));
    let broker = Arc::clone(&world.broker);
    let waiting = tokio::spawn(async move { broker.fetch(&ctx(), request).await });
    world.sim.clock().wait_for_sleepers(2).await;
    world.broker.delete_topic(&ctx(), by_name("a")).await.unwrap();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(code(answer.partitions.into_iter().next().unwrap()), Some(ErrorCode::UnknownTopicOrPartition));
}

#[tokio::test]
async fn a_reader_ahead_of_the_log_is_told_that_it_was_truncated() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    world.produce("a", &["1"]).await.unwrap();
    let ahead = PartitionFetch { last_read_epoch: Some(LeaderEpoch(99)), ..from("a", 0, 1) };
    assert_eq!(code(fetch_one(&world, ahead).await), Some(ErrorCode::LogTruncated));
    let epoch = world.broker.describe_topic(&ctx(), by_name("a")).await.unwrap().partitions[0].leader_epoch;
    let beyond = PartitionFetch { last_read_epoch: Some(epoch), ..from("a", 0, 5) };
    assert_eq!(code(fetch_one(&world, beyond).await), Some(ErrorCode::LogTruncated));
    let right = PartitionFetch { last_read_epoch: Some(epoch), ..from("a", 0, 1) };
    assert!(fetch_one(&world, right).await.is_ok());
}

#[tokio::test]
async fn offsets_are_found_by_position_and_by_time() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    world.create("empty", 1).await;
    for time in [100, 300, 200] {
        let records = vec![NewRecord { timestamp: Some(TimestampMs(time)), ..record("x") }];
        let data = ProduceData::Records { records, sequence: None, compression: Compression::None };
        world.send(produce_request(vec![PartitionProduce { data, ..plain("a", 0, &[], None) }])).await;
    }
    let query = |topic: &str, point| OffsetQuery {
        topic: by_name(topic),
        partition: PartitionIndex(0),
        point,
        leader_epoch: None,
    };
    let queries = vec![
        query("a", OffsetPoint::Earliest),
        query("a", OffsetPoint::Latest),
        query("a", OffsetPoint::Time(TimestampMs(150))),
        query("a", OffsetPoint::Time(TimestampMs(301))),
        query("a", OffsetPoint::LargestTimestamp),
        query("empty", OffsetPoint::LargestTimestamp),
        query("empty", OffsetPoint::Latest),
        query("nope", OffsetPoint::Latest),
    ];
    let answers = world.broker.list_offsets(&ctx(), queries).await.unwrap();
    let found: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().ok().map(|a| (a.offset.map(Offset::get), a.timestamp.map(|t| t.0))))
        .collect();
    let expected = [
        Some((Some(0), None)),
        Some((Some(3), None)),
        Some((Some(1), Some(300))),
        Some((None, None)),
        Some((Some(1), Some(300))),
        Some((None, None)),
        Some((Some(0), None)),
        None,
    ];
    assert_eq!(found, expected);
}
