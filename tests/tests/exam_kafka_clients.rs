//! Other people's Kafka clients against the broker: what they write our client reads through gRPC, and what it writes they
//! read, with the same offset, time, key, value and headers, for every codec; producers are idempotent on both sides.
#![allow(clippy::unwrap_used, reason = "an exam fails by panicking, in its own functions too")]

use std::time::Instant;

use bytes::Bytes;
use millrace_client::{
    Client, Compression, Header, NewTopic, PartitionIndex, ProducerRecord, TimestampMs, Until,
};
use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::kafka_clients::{
    AIOKAFKA, Exchanged, FRANZ, JAVA, KAFKA_PYTHON, KAFKAJS, KafkaClient, LIBRDKAFKA, SARAMA, Sent,
};
use millrace_tests::{Seed, on_two_workers, require, say};
use serde_json::json;
use tempfile::TempDir;

/// Sent by either side for each codec.
const RECORDS: u64 = 24;
/// Of the first record.
const BEGAN_MS: i64 = 1_700_000_000_000;

#[test]
fn librdkafka_and_our_client_read_what_the_other_wrote() {
    exam("exam_kafka_librdkafka", &LIBRDKAFKA);
}

#[test]
fn kafka_python_and_our_client_read_what_the_other_wrote() {
    exam("exam_kafka_python", &KAFKA_PYTHON);
}

#[test]
fn aiokafka_and_our_client_read_what_the_other_wrote() {
    exam("exam_kafka_aiokafka", &AIOKAFKA);
}

#[test]
fn kafkas_java_client_and_ours_read_what_the_other_wrote() {
    exam("exam_kafka_java", &JAVA);
}

#[test]
fn franz_go_and_our_client_read_what_the_other_wrote() {
    exam("exam_kafka_franz_go", &FRANZ);
}

#[test]
fn sarama_and_our_client_read_what_the_other_wrote() {
    exam("exam_kafka_sarama", &SARAMA);
}

#[test]
fn our_client_reads_what_kafkajs_wrote() {
    exam("exam_kafka_kafkajs", &KAFKAJS);
}

fn exam(suite: &str, theirs: &KafkaClient) {
    if !require(suite, theirs.language.needs()) {
        return;
    }
    let mut seed = Seed::announced(suite);
    let home = TempDir::new().unwrap();
    let mut broker = BrokerSetup::new(&home.path().join("data"), &home.path().join("log")).start();
    let began = Instant::now();
    let records = on_two_workers(exchange(theirs, &broker, &mut seed));
    say(&format!(
        "{suite}: {} and ours agree on {records} records of {} codecs, in {:.1} s",
        theirs.name,
        theirs.codecs.len(),
        began.elapsed().as_secs_f64()
    ));
    assert_eq!(broker.stop().code(), Some(0), "it stops cleanly");
}

async fn exchange(theirs: &KafkaClient, broker: &BrokerProcess, seed: &mut Seed) -> usize {
    let ours = broker.client().await;
    // The topic of the first codec is made by whoever writes to it.
    for codec in &theirs.codecs[1..] {
        ours.admin().create_topic(NewTopic::new(topic(codec))).await.unwrap();
    }
    let sent: Vec<Sent> = theirs
        .codecs
        .iter()
        .flat_map(|codec| (0..RECORDS).map(|number| record(codec, number, theirs, seed)).collect::<Vec<_>>())
        .collect();
    let places = theirs.produce(broker.kafka(), &sent, &[]);
    let mut checked = 0;
    for codec in theirs.codecs {
        let topic = topic(codec);
        let placed = sent.iter().zip(&places).filter(|(sent, _)| sent.topic == topic);
        let mut written: Vec<Exchanged> = placed.map(|(sent, place)| sent.at(place.offset)).collect();
        written.sort_by_key(|record| record.offset);
        assert_same(&written, &read(&ours, &topic).await, theirs.name);

        for number in RECORDS..2 * RECORDS {
            let more = record(codec, number, theirs, seed);
            let offset = send(&ours, &more).await;
            written.push(more.at(offset));
        }
        assert_same(&written, &read(&ours, &topic).await, "ours");
        check_offsets(theirs, broker.kafka(), &topic, &written);
        if theirs.reads {
            let all = theirs.consume(broker.kafka(), &topic, 0, written.len());
            assert_same(&written, &all, theirs.name);
            let half = written.len() / 2 + 3;
            let tail = theirs.consume(broker.kafka(), &topic, written[half].offset, written.len() - half);
            assert_same(&written[half..], &tail, theirs.name);
        }
        checked += written.len();
    }
    checked
}

fn topic(codec: &str) -> String {
    format!("exam-{codec}")
}

/// Without a key, without a value, empty, large; headers whose names repeat, empty and without a value.
fn record(codec: &'static str, number: u64, theirs: &KafkaClient, seed: &mut Seed) -> Sent {
    let bytes = |text: String| Some(Bytes::from(text));
    let noise =
        |seed: &mut Seed, words: u64| (0..words).map(|_| format!("{:x} ", seed.draw())).collect::<String>();
    let value = match number % 6 {
        0 => bytes(noise(seed, 2_000)),
        2 => bytes(String::new()),
        // Only with a key, as in life.
        3 => None,
        _ => bytes(noise(seed, 8)),
    };
    let mut headers = Vec::new();
    if number.is_multiple_of(2) {
        for (name, value) in [("trace", "first"), ("trace", "second"), ("empty", "")] {
            headers.push((name.to_owned(), bytes(value.to_owned())));
        }
        if theirs.null_headers {
            headers.push(("nothing".to_owned(), None));
        }
    }
    let key = (number % 6 != 4).then(|| Bytes::from(format!("key {}", number % 5)));
    // Not in order, as in life.
    let timestamp = BEGAN_MS + (number * 1_000 + seed.between(0, 3_000)).cast_signed();
    Sent { topic: topic(codec), partition: 0, codec, acks: "all", timestamp, key, value, headers }
}

async fn send(ours: &Client, record: &Sent) -> i64 {
    let compression = Compression::ALL.into_iter().find(|codec| codec.name() == record.codec).unwrap();
    let producer = ours.producer().compression(compression).build().unwrap();
    let headers = record.headers.iter().cloned();
    let sent = ProducerRecord {
        topic: record.topic.as_str().into(),
        partition: Some(PartitionIndex(0)),
        key: record.key.clone(),
        value: record.value.clone(),
        headers: headers.map(|(key, value)| Header { key: key.into(), value }).collect(),
        timestamp: Some(TimestampMs(record.timestamp)),
    };
    let stored = producer.send(sent).await.unwrap().await.unwrap();
    producer.close().await.unwrap();
    stored.offset.unwrap().get()
}

async fn read(ours: &Client, topic: &str) -> Vec<Exchanged> {
    let mut reader = ours.reader().topic(topic).until(Until::EndAtStart).start().await.unwrap();
    let mut records = Vec::new();
    while let Some(record) = reader.next().await {
        records.push(record.unwrap().into());
    }
    records
}

fn assert_same(written: &[Exchanged], read: &[Exchanged], who: &str) {
    if let Some((written, read)) = written.iter().zip(read).find(|(written, read)| written != read) {
        panic!("{who}: written {written:?}, read {read:?}");
    }
    assert_eq!(written.len(), read.len(), "{who}: as many as were written");
}

/// By time: the first record that is not older. Nothing is so late: -1, or the end where a client makes it that.
fn check_offsets(theirs: &KafkaClient, bootstrap: &str, topic: &str, written: &[Exchanged]) {
    let times = [0, 5, 17, 40].map(|seconds| BEGAN_MS + 1_000 * seconds);
    let mut at = vec![json!("earliest"), json!("latest")];
    at.extend(times.iter().map(|time| json!(time)));
    let first = |time: &i64| written.iter().find(|record| record.timestamp >= *time).unwrap().offset;
    let end = written.last().unwrap().offset + 1;
    let mut expected = vec![0, end];
    expected.extend(times.iter().map(first));
    assert_eq!(theirs.offsets(bootstrap, topic, &at), expected, "{}: {at:?}", theirs.name);
    let late = theirs.offsets(bootstrap, topic, &[json!(BEGAN_MS + 1_000_000_000)]);
    assert!(late == [-1] || late == [end], "{}: {late:?}", theirs.name);
}
