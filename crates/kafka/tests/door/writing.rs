//! Produce: what is stored, what is refused, in which order it is answered.

use std::sync::Arc;

use millrace_env::Env;
use millrace_env::counting::{CallKind, Calls, Counting};
use millrace_kafka::KafkaError;
use millrace_kafka_wire::{InitProducerIdRequest, Message, ProduceRequest};
use millrace_record::{Compression, ProducerStamp};
use millrace_types::{ProducerEpoch, ProducerId};

use crate::world::{World, batch, build, fetch, frame, produce, settings, values};

#[tokio::test(flavor = "multi_thread")]
async fn every_version_and_codec_is_stored_as_it_came() {
    let world = World::new().await;
    let mut client = world.client().await;
    let id = client.topic("a").await.topic_id;
    let mut offset = 0;
    for version in ProduceRequest::VERSIONS {
        for codec in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            let sent = build(&[b"one", b"two"], codec, None);
            let mut request = produce("a", sent.clone());
            if version >= 13 {
                request.topic_data[0].name = String::new();
                request.topic_data[0].topic_id = id;
            }
            let answered = client.call(version, &request).await.responses.remove(0);
            let answered = &answered.partition_responses[0];
            if codec == Compression::Zstd && version < 7 {
                assert_eq!(answered.error_code, KafkaError::UnsupportedCompressionType.code());
                continue;
            }
            assert_eq!((answered.error_code, answered.base_offset), (0, offset), "version {version}");
            assert_eq!(answered.log_start_offset, if version >= 5 { 0 } else { -1 });
            let fetched = client.fetch("a", offset).await;
            let stored = fetched.records.as_ref().unwrap();
            // The broker fills in the base offset and the leader epoch; everything else is the client's.
            assert_eq!(stored[16..], sent[16..], "version {version}, {codec:?}");
            assert_eq!(values(&fetched), [&b"one"[..], b"two"]);
            offset += 2;
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_is_refused_for_its_own_reason() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("a").await;
    let good = batch(&[b"x"]);
    let (mut flipped, mut old) = (good.to_vec(), good.to_vec());
    *flipped.last_mut().unwrap() ^= 1;
    old[16] = 1;
    let two = [good.clone(), good.clone()].concat();
    let cases = [
        (flipped, KafkaError::CorruptMessage),
        (old, KafkaError::UnsupportedForMessageFormat),
        (two, KafkaError::InvalidRecord),
        (Vec::new(), KafkaError::InvalidRecord),
        (good[..good.len() - 1].to_vec(), KafkaError::CorruptMessage),
        (batch(&[&vec![0; 2 << 20]]).to_vec(), KafkaError::MessageTooLarge),
    ];
    for (records, expected) in cases {
        let refused = client.produce("a", records.into()).await;
        assert_eq!(refused.error_code, expected.code(), "{expected:?}: {:?}", refused.error_message);
        assert_eq!(refused.base_offset, -1);
        assert!(refused.error_message.is_some());
    }
    let unknown = client.produce("nothing", good.clone()).await;
    assert_eq!(unknown.error_code, KafkaError::UnknownTopicOrPartition.code());
    let internal = client.produce("__consumer_offsets", good.clone()).await;
    assert_ne!(internal.error_code, 0);
    let by_id = client.call(13, &produce("", good.clone())).await.responses.remove(0);
    assert_eq!(by_id.partition_responses[0].error_code, KafkaError::UnknownTopicId.code());
    let acks = ProduceRequest { acks: 2, ..produce("a", good) };
    let refused = client.call(9, &acks).await.responses.remove(0).partition_responses.remove(0);
    assert_eq!(refused.error_code, KafkaError::InvalidRequiredAcks.code());
    assert_eq!(client.fetch("a", 0).await.high_watermark, 0, "nothing was stored");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_are_appended_and_answered_in_their_order() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("a").await;
    // More than may be under way, behind each other, a read among them.
    let mut sent = Vec::new();
    for number in 0..200_i32 {
        let value = number.to_be_bytes();
        sent.extend_from_slice(&frame(number, 9, &produce("a", batch(&[&value]))));
    }
    sent.extend_from_slice(&frame(200, 12, &fetch("a", 0)));
    client.send(&sent).await;
    for number in 0..200_i32 {
        let (correlation, answered) = client.answer::<ProduceRequest>(9).await;
        let answered = &answered.responses[0].partition_responses[0];
        assert_eq!((correlation, answered.base_offset), (number, i64::from(number)));
    }
    let (_, mut read) = client.answer::<millrace_kafka_wire::FetchRequest>(12).await;
    let read = values(&read.responses.remove(0).partitions.remove(0));
    let expected: Vec<_> = (0..200_i32).map(|number| number.to_be_bytes().to_vec()).collect();
    assert_eq!(read, expected, "a read sees what was produced before it");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_retry_is_answered_with_its_first_offset() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("a").await;
    for version in InitProducerIdRequest::VERSIONS {
        let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
        let identity = client.call(version, &request).await;
        assert_eq!((identity.error_code, identity.producer_epoch), (0, 0));
        let stamped = |base_sequence| {
            let id = ProducerId(identity.producer_id);
            let stamp = ProducerStamp { id, epoch: ProducerEpoch(0), base_sequence };
            build(&[b"x"], Compression::None, Some(stamp))
        };
        let first = client.produce("a", stamped(0)).await;
        let again = client.produce("a", stamped(0)).await;
        assert_eq!((again.error_code, again.base_offset), (0, first.base_offset));
        let gap = client.produce("a", stamped(2)).await;
        assert_eq!(gap.error_code, KafkaError::OutOfOrderSequenceNumber.code());
    }
    let transactional = InitProducerIdRequest {
        transactional_id: Some("t".to_owned()),
        transaction_timeout_ms: 1000,
        ..Default::default()
    };
    let refused = client.call(4, &transactional).await;
    assert_eq!((refused.error_code, refused.producer_id), (KafkaError::UnsupportedVersion.code(), -1));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_produce_that_wants_no_answer_gets_none_and_the_end_of_the_connection_if_it_fails() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("a").await;
    let silent = |name: &str| ProduceRequest { acks: 0, ..produce(name, batch(&[b"x"])) };
    client.ask(9, &silent("a")).await;
    // The next answer is that of the next request.
    let next = client.produce("a", batch(&[b"y"])).await;
    assert_eq!((next.error_code, next.base_offset), (0, 1));
    client.ask(9, &silent("nothing")).await;
    client.closed().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn produces_of_one_connection_to_several_partitions_are_synced_side_by_side() {
    const TOPICS: [&str; 4] = ["a", "b", "c", "d"];
    let (real, calls) = (millrace_env::real::env(), Calls::new());
    let fs = Arc::new(Counting::new(Arc::clone(&real.fs), Arc::clone(&calls)));
    let world = World::on(Env { fs, ..real }, settings()).await;
    let mut client = world.client().await;
    for topic in TOPICS {
        client.topic(topic).await;
        assert_eq!(client.produce(topic, batch(&[b"before"])).await.error_code, 0);
    }
    let hold = calls.hold(CallKind::SyncData);
    let numbered = (1..).zip(TOPICS);
    let frames: Vec<_> =
        numbered.map(|(number, topic)| frame(number, 9, &produce(topic, batch(&[b"x"])))).collect();
    client.send(&frames.concat()).await;
    // One by one, no more than two would ever be held: that of the first request, and one of the janitor.
    while hold.held() < TOPICS.len() {
        tokio::task::yield_now().await;
    }
    hold.release();
    for number in 1..=4 {
        let (correlation, answer) = client.answer::<ProduceRequest>(9).await;
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!((correlation, answer.error_code, answer.base_offset), (number, 0, 1));
    }
    world.stop().await;
}
