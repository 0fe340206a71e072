//! What the client writes it reads back, whole, whatever the codec and the range.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_client::{
    Client, Compression, ConsumedRecord, Durability, ErrorCode, Header, NewTopic, Offset, OffsetAt,
    OffsetQuery, Outcome, PartitionIndex, Position, ProduceError, ProducerRecord, ReadError, ReaderBuilder,
    TimestampMs, Until,
};
use millrace_tests::embedded::Embedded;

async fn read_all(reader: ReaderBuilder) -> Vec<ConsumedRecord> {
    let mut reader = reader.start().await.unwrap();
    let mut records = Vec::new();
    while let Some(record) = reader.next().await {
        records.push(record.unwrap());
    }
    for progress in reader.progress() {
        assert!(progress.is_at_end && !progress.has_failed, "{progress:?}");
    }
    records
}

/// `count` records of value 0, 1, 2, ..., one second apart, in partition 0.
async fn fill(client: &Client, topic: &str, count: i64) {
    let producer = client.producer().batch_bytes(512).build().unwrap();
    for n in 0..count {
        let record = ProducerRecord::new(topic, n.to_string())
            .partition(PartitionIndex(0))
            .timestamp(TimestampMs(1_000_000 + 1_000 * n));
        drop(producer.send(record).await.unwrap());
    }
    producer.close().await.unwrap();
}

fn numbers(records: &[ConsumedRecord]) -> Vec<i64> {
    let number = |record: &ConsumedRecord| {
        std::str::from_utf8(record.value.as_ref().unwrap()).unwrap().parse().unwrap()
    };
    records.iter().map(number).collect()
}

#[tokio::test]
async fn every_codec_brings_back_every_field_of_every_record() {
    let broker = Embedded::start().await;
    broker.topic("codecs", 3).await;
    let client = broker.client(&[]).await;
    for compression in Compression::ALL {
        let producer = client.producer().compression(compression).batch_bytes(4 * 1024).build().unwrap();
        let (mut sent, mut deliveries) = (Vec::new(), Vec::new());
        for n in 0..500 {
            let mut record = ProducerRecord::new("codecs", vec![b'v'; n])
                .header("codec", compression.name())
                .timestamp(TimestampMs(n as i64));
            record.headers.push(Header { key: "empty".into(), value: None });
            record.key = (n % 3 > 0).then(|| Bytes::from(format!("key {n}")));
            record.value = record.value.filter(|_| n % 7 > 0);
            deliveries.push(producer.send(record.clone()).await.unwrap());
            sent.push(record);
        }
        producer.flush().await.unwrap();
        let mut expected = BTreeMap::new();
        for (record, delivery) in sent.into_iter().zip(deliveries) {
            let stored = delivery.await.unwrap();
            assert_eq!(stored.timestamp, record.timestamp.unwrap());
            expected.insert((stored.partition, stored.offset.unwrap()), record);
        }
        assert_eq!(expected.len(), 500);
        let read = read_all(client.reader().topic("codecs").until(Until::EndAtStart)).await;
        let mut matched = 0;
        for record in read {
            let Some(sent) = expected.remove(&(record.partition, record.offset)) else { continue };
            assert_eq!((record.key, record.value), (sent.key, sent.value), "{compression}");
            assert_eq!((record.headers, record.timestamp), (sent.headers, sent.timestamp.unwrap()));
            matched += 1;
        }
        assert_eq!((matched, expected.len()), (500, 0), "{compression}");
    }
}

#[tokio::test]
async fn a_range_of_offsets_is_half_open() {
    let broker = Embedded::start().await;
    broker.topic("range", 1).await;
    let client = broker.client(&[]).await;
    fill(&client, "range", 200).await;
    let offset = |n| Offset::from_count(n);
    let range = |from, to| {
        client.reader().topic("range").from(Position::Offset(offset(from))).until(Until::Offset(offset(to)))
    };
    assert_eq!(numbers(&read_all(range(17, 103)).await), (17..103).collect::<Vec<_>>());
    assert_eq!(numbers(&read_all(range(199, 200)).await), [199]);
    assert!(read_all(range(50, 50)).await.is_empty());
}

#[tokio::test]
async fn times_become_offsets_and_the_second_is_not_read() {
    let broker = Embedded::start().await;
    broker.topic("times", 1).await;
    let client = broker.client(&[]).await;
    fill(&client, "times", 100).await;
    let time = |seconds: i64| TimestampMs(1_000_000 + 1_000 * seconds);
    let range = |from, until| client.reader().topic("times").from(from).until(until);
    let read = read_all(range(Position::Time(time(30)), Until::Time(time(40)))).await;
    assert_eq!(numbers(&read), (30..40).collect::<Vec<_>>());
    let between =
        read_all(range(Position::Time(TimestampMs(time(30).0 + 1)), Until::Time(time(1_000)))).await;
    assert_eq!(numbers(&between), (31..100).collect::<Vec<_>>());
    assert!(read_all(range(Position::Time(time(1_000)), Until::EndAtStart)).await.is_empty());
}

#[tokio::test]
async fn the_end_stays_where_it_was_while_records_keep_coming() {
    let broker = Embedded::start().await;
    broker.topic("growing", 1).await;
    let client = broker.client(&[]).await;
    fill(&client, "growing", 100).await;
    let mut bounded = client.reader().topic("growing").until(Until::EndAtStart).start().await.unwrap();
    let mut endless = client.reader().topic("growing").from(Position::End).start().await.unwrap();
    fill(&client, "growing", 50).await;
    let mut count = 0;
    while let Some(record) = bounded.next().await {
        assert!(record.unwrap().offset < Offset::from_count(100));
        count += 1;
    }
    assert_eq!(count, 100);
    for offset in 100..150 {
        assert_eq!(endless.next().await.unwrap().unwrap().offset, Offset::from_count(offset));
    }
    assert_eq!(endless.position("growing", PartitionIndex(0)), Some(Offset::from_count(150)));
}

#[tokio::test]
async fn records_and_batches_can_be_read_in_turn() {
    let broker = Embedded::start().await;
    broker.topic("turns", 1).await;
    let client = broker.client(&[]).await;
    fill(&client, "turns", 100).await;
    let reader = client.reader().topic("turns").until(Until::EndAtStart);
    let mut reader = reader.start().await.unwrap();
    let mut read = Vec::new();
    while let Some(record) = reader.next().await {
        read.push(record.unwrap());
        if let Some(batch) = reader.next_batch().await {
            read.extend(batch.unwrap().records().unwrap().map(Result::unwrap));
        }
    }
    assert_eq!(numbers(&read), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_offset_that_is_not_there_is_an_error_or_moves_the_reader_as_told() {
    use millrace_client::OnOutOfRange;
    let broker = Embedded::start().await;
    broker.topic("out", 1).await;
    let client = broker.client(&[]).await;
    fill(&client, "out", 10).await;
    let beyond = || client.reader().topic("out").from(Position::Offset(Offset::from_count(1_000)));
    let mut reader = beyond().start().await.unwrap();
    let error = reader.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ReadError::OutOfRange { .. }), "{error}");
    assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange));
    assert!(reader.next().await.is_none());
    let mut reader = beyond().on_out_of_range(OnOutOfRange::Earliest).start().await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap().offset, Offset::ZERO);
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_at_send() {
    let broker = Embedded::start().await;
    let client = broker.client(&[]).await;
    let small = NewTopic::new("small").config("max.message.bytes", "2000");
    client.admin().create_topic(small).await.unwrap();
    let producer = client.producer().build().unwrap();
    let large = producer.send(ProducerRecord::new("small", vec![0; 2_000])).await.unwrap_err();
    assert!(matches!(large, ProduceError::TooLarge { max: 2_000, .. }), "{large:?}");
    let unknown = producer.send(ProducerRecord::new("nothing", "v")).await.unwrap_err();
    assert_eq!(
        (unknown.code(), unknown.outcome()),
        (Some(ErrorCode::UnknownTopicOrPartition), Outcome::Definite)
    );
    let beyond = ProducerRecord::new("small", "v").partition(PartitionIndex(1));
    assert!(matches!(producer.send(beyond).await, Err(ProduceError::NoSuchPartition { partitions: 1, .. })));
    let fits = producer.send(ProducerRecord::new("small", vec![0; 1_800])).await.unwrap();
    assert_eq!(fits.await.unwrap().offset, Some(Offset::ZERO));
    producer.clone().close().await.unwrap();
    assert_eq!(producer.send(ProducerRecord::new("small", "v")).await.unwrap_err(), ProduceError::Closed);
}

#[tokio::test]
async fn records_without_a_key_reach_every_partition_and_those_with_one_always_the_same() {
    let broker = Embedded::start().await;
    broker.topic("spread", 4).await;
    let client = broker.client(&[]).await;
    let producer = client.producer().batch_bytes(1_000).build().unwrap();
    let mut partitions = BTreeMap::new();
    for n in 0..400 {
        let delivery = producer.send(ProducerRecord::new("spread", vec![0; 200])).await.unwrap();
        if n % 4 == 0 {
            let keyed = producer.send(ProducerRecord::new("spread", "v").key("21")).await.unwrap();
            // murmur2("21") = -973932308, so Kafka's partitioner says 0.
            assert_eq!(keyed.await.unwrap().partition, PartitionIndex(0));
        }
        *partitions.entry(delivery.await.unwrap().partition).or_insert(0) += 1;
    }
    assert_eq!(partitions.len(), 4, "{partitions:?}");
}

#[tokio::test]
async fn without_durability_records_are_stored_and_no_offset_is_told() {
    let broker = Embedded::start().await;
    broker.topic("hasty", 1).await;
    let client = broker.client(&[]).await;
    let producer = client.producer().durability(Durability::None).build().unwrap();
    let delivery = producer.send(ProducerRecord::new("hasty", "v")).await.unwrap();
    assert_eq!(delivery.await.unwrap().offset, None);
    let mut reader = client.reader().topic("hasty").start().await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap().offset, Offset::ZERO);
}

#[tokio::test]
async fn groups_commit_what_they_have_read() {
    let broker = Embedded::start().await;
    broker.topic("grouped", 1).await;
    let client = broker.client(&[]).await;
    fill(&client, "grouped", 10).await;
    let admin = client.admin();
    let mut reader = client.reader().topic("grouped").until(Until::EndAtStart).start().await.unwrap();
    for _ in 0..4 {
        reader.next().await.unwrap().unwrap();
    }
    let committed = admin.commit_offsets("g", &reader.positions()).await.unwrap();
    assert!(committed.iter().all(Result::is_ok), "{committed:?}");
    let fetched = admin.fetch_offsets("g", &[("grouped", PartitionIndex(0))]).await.unwrap();
    assert_eq!(fetched[0].offset, Some(Offset::from_count(4)));
    assert!(
        admin.fetch_offsets("other", &[("grouped", PartitionIndex(0))]).await.unwrap()[0].offset.is_none()
    );
}

#[tokio::test]
async fn topics_are_created_listed_described_and_deleted() {
    let broker = Embedded::start().await;
    let client = broker.client(&[]).await;
    let admin = client.admin();
    let created = admin.create_topic(NewTopic::new("t").partitions(2)).await.unwrap();
    assert_eq!(created.partitions.len(), 2);
    let again = admin.create_topic(NewTopic::new("t")).await.unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::TopicAlreadyExists));
    assert_eq!(admin.list_topics().await.unwrap().len(), 1);
    assert_eq!(admin.describe_topic("t").await.unwrap().id, created.id);
    let at = [OffsetAt::Earliest, OffsetAt::Latest, OffsetAt::Time(TimestampMs(0))];
    let queries = at.map(|at| OffsetQuery { topic: "t".to_owned(), partition: PartitionIndex(1), at });
    let offsets = admin.list_offsets(&queries).await.unwrap();
    let offsets: Vec<_> = offsets.into_iter().map(|answer| answer.unwrap().offset).collect();
    assert_eq!(offsets, [Some(Offset::ZERO), Some(Offset::ZERO), None]);
    admin.delete_topic("t").await.unwrap();
    let gone = admin.describe_topic("t").await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(admin.describe_cluster().await.unwrap().brokers.len(), 1);
}

#[tokio::test]
async fn a_topic_that_was_made_again_is_another_one() {
    let broker = Embedded::start().await;
    broker.topic("phoenix", 1).await;
    let client = broker.client(&[]).await;
    let producer = client.producer().build().unwrap();
    producer.send(ProducerRecord::new("phoenix", "old")).await.unwrap().await.unwrap();
    client.admin().delete_topic("phoenix").await.unwrap();
    broker.topic("phoenix", 1).await;
    let stored = producer.send(ProducerRecord::new("phoenix", "new")).await.unwrap().await.unwrap();
    assert_eq!(stored.offset, Some(Offset::ZERO));
}
