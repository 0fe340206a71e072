//! Appending: offsets, order, idempotence, refusals, and what a timeout says.

use millrace_env::counting::CallKind;
use millrace_record::{BatchBuilder, BatchKind, BatchOptions, NO_HEADERS};
use millrace_types::{Outcome, ProducerEpoch, TimestampMs};

use super::*;

fn encoded(topic: &str, bytes: Bytes) -> PartitionProduce {
    PartitionProduce { topic: by_name(topic), partition: PartitionIndex(0), data: ProduceData::Batch(bytes) }
}

fn batch(values: &[&str], options: BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for value in values {
        builder.append(TimestampMs(5), None, Some(value.as_bytes()), NO_HEADERS).unwrap();
    }
    builder.build().unwrap().into_bytes()
}

async fn one(world: &World, part: PartitionProduce) -> Result<Produced, ApiError> {
    world.send(produce_request(vec![part])).await.partitions.remove(0)
}

#[tokio::test]
async fn offsets_follow_the_order_of_the_request() {
    let world = World::new(1).await;
    world.create("a", 2).await;
    let parts = vec![
        plain("a", 0, &["1", "2"], None),
        plain("a", 1, &["x"], None),
        plain("a", 0, &["3"], None),
        encoded(
            "a",
            batch(&["4", "5"], BatchOptions { compression: Compression::Zstd, ..BatchOptions::default() }),
        ),
    ];
    let answer = world.send(produce_request(parts)).await;
    let offsets: Vec<_> = answer
        .partitions
        .into_iter()
        .map(|part| part.map(|part| (part.base_offset.get(), part.last_offset.get())).unwrap())
        .collect();
    assert_eq!(offsets, [(0, 1), (0, 0), (2, 2), (3, 4)]);
    assert_eq!(world.values("a", 0).await.unwrap(), ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn every_compression_can_be_asked_for() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    for compression in Compression::ALL {
        let records = vec![record(compression.name()), record(&"long ".repeat(100_000))];
        let data = ProduceData::Records { records, sequence: None, compression };
        let fits = compression != Compression::None || 500_000 < millrace_types::limits::BATCH_BYTES_DEFAULT;
        assert!(fits);
        one(&world, PartitionProduce { data, ..plain("a", 0, &[], None) }).await.unwrap();
    }
    let values = world.values("a", 0).await.unwrap();
    assert_eq!(values.first().map(String::as_str), Some("none"));
}

#[tokio::test]
async fn an_exact_retry_gets_its_first_offset_also_from_a_killed_broker() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let producer = world.broker.init_producer(&ctx()).await.unwrap();
    let at = |base_sequence| Some(SequenceStart { id: producer.id, epoch: producer.epoch, base_sequence });
    let first = one(&world, plain("a", 0, &["1", "2"], at(0))).await.unwrap();
    one(&world, plain("a", 0, &["3"], at(2))).await.unwrap();
    let again = one(&world, plain("a", 0, &["1", "2"], at(0))).await.unwrap();
    assert_eq!((again.base_offset, again.duplicate), (first.base_offset, true));
    let gap = one(&world, plain("a", 0, &["9"], at(7))).await;
    assert_eq!(code(gap), Some(ErrorCode::OutOfOrderSequence));
    for world in [world.kill().await.restart().await] {
        let again = one(&world, plain("a", 0, &["3"], at(2))).await.unwrap();
        assert_eq!((again.base_offset.get(), again.duplicate), (2, true));
        let older = SequenceStart { id: producer.id, epoch: ProducerEpoch(1), base_sequence: 0 };
        one(&world, plain("a", 0, &["4"], Some(older))).await.unwrap();
        let fenced = one(&world, plain("a", 0, &["5"], at(3))).await;
        assert_eq!(code(fenced), Some(ErrorCode::ProducerFenced));
        assert_eq!(world.values("a", 0).await.unwrap(), ["1", "2", "3", "4"]);
    }
}

#[tokio::test]
async fn bad_batches_are_refused_alone_and_definitely() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let good = batch(&["good"], BatchOptions::default());
    let mut flipped = good.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let control = batch(&["c"], BatchOptions { kind: BatchKind::Control, ..BatchOptions::default() });
    let big = "x".repeat(millrace_types::limits::BATCH_BYTES_DEFAULT);
    let negative =
        SequenceStart { id: millrace_types::ProducerId(-1), epoch: ProducerEpoch(0), base_sequence: 0 };
    let parts = vec![
        (encoded("a", flipped.into()), Some(ErrorCode::CorruptBatch)),
        (encoded("a", good.slice(..good.len() - 1)), Some(ErrorCode::CorruptBatch)),
        (encoded("a", Bytes::new()), Some(ErrorCode::CorruptBatch)),
        (encoded("a", control), Some(ErrorCode::Unsupported)),
        (plain("a", 0, &[&big], None), Some(ErrorCode::BatchTooLarge)),
        (plain("a", 0, &[], None), Some(ErrorCode::InvalidRequest)),
        (plain("a", 0, &["x"], Some(negative)), Some(ErrorCode::InvalidRequest)),
        (plain("a", 1, &["x"], None), Some(ErrorCode::UnknownTopicOrPartition)),
        (plain("b", 0, &["x"], None), Some(ErrorCode::UnknownTopicOrPartition)),
        (encoded("a", good), None),
    ];
    let (parts, expected): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let answer = world.send(produce_request(parts)).await;
    let codes: Vec<_> = answer.partitions.into_iter().map(code).collect();
    assert_eq!(codes, expected);
    assert!(codes.iter().flatten().all(|code| code.outcome() == Outcome::Definite));
    assert_eq!(world.values("a", 0).await.unwrap(), ["good"]);
}

#[tokio::test]
async fn a_compacted_topic_refuses_a_record_without_a_key() {
    let world = World::new(1).await;
    let configs = [("cleanup.policy".to_owned(), "compact".to_owned())].into();
    let request = CreateTopicRequest { configs, ..new_topic("a", 1) };
    world.broker.create_topic(&ctx(), request).await.unwrap();
    assert_eq!(code(world.produce("a", &["no key"]).await), Some(ErrorCode::InvalidRecord));
    for compression in [Compression::None, Compression::Gzip] {
        let batch = batch(&["no key"], BatchOptions { compression, ..BatchOptions::default() });
        assert_eq!(code(one(&world, encoded("a", batch)).await), Some(ErrorCode::InvalidRecord));
    }
    let keyed = NewRecord { key: Some(Bytes::from_static(b"k")), ..record("v") };
    let data = ProduceData::Records { records: vec![keyed], sequence: None, compression: Compression::None };
    one(&world, PartitionProduce { data, ..plain("a", 0, &[], None) }).await.unwrap();
    assert_eq!(world.values("a", 0).await.unwrap(), ["v"]);
}

#[tokio::test]
async fn a_produce_that_waits_for_nothing_answers_nothing_and_is_stored() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let request =
        ProduceRequest { durability: Durability::None, ..produce_request(vec![plain("a", 0, &["1"], None)]) };
    let answer = world.send(request).await;
    assert!(answer.partitions.is_empty());
    world.produce("a", &["2"]).await.unwrap();
    assert_eq!(world.values("a", 0).await.unwrap(), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_takes_too_long_is_an_indefinite_answer() {
    let world = World::new(1).await;
    world.create("a", 2).await;
    let held = world.sim.calls().hold(CallKind::SyncData);
    let request = ProduceRequest {
        timeout: Some(Duration::from_millis(50)),
        ..produce_request(vec![plain("a", 0, &["0"], None), plain("a", 1, &["1"], None)])
    };
    // Somebody else leads the syncs of both, and they hang.
    let broker = Arc::clone(&world.broker);
    let other = ProduceRequest { durability: Durability::None, ..request.clone() };
    broker.produce(&ctx(), other).await.unwrap().acknowledged().await;
    tokio::task::block_in_place(|| held.wait_for(2));
    let pending = world.broker.produce(&ctx(), request).await.unwrap();
    let waiting = tokio::spawn(pending.acknowledged());
    // The janitor sleeps, and now the produce does.
    world.sim.clock().wait_for_sleepers(2).await;
    world.sim.clock().advance(Duration::from_millis(50));
    let codes: Vec<_> = waiting.await.unwrap().partitions.into_iter().map(code).collect();
    assert_eq!(codes, [Some(ErrorCode::TimedOut), Some(ErrorCode::TimedOut)]);
    held.release();
    world.produce("a", &["2"]).await.unwrap();
    assert_eq!(world.values("a", 0).await.unwrap(), ["0", "0", "2"]);
}
