//! What a third-party client was acknowledged outlives `kill -9` of the broker, and what it sent again is there once.
#![allow(clippy::unwrap_used, reason = "an exam fails by panicking, in its own functions too")]

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_client::NewTopic;
use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::kafka_clients::{LIBRDKAFKA, Sent};
use millrace_tests::read::Wire;
use millrace_tests::{Seed, on_two_workers, require, say};
use tempfile::TempDir;

const TOPIC: &str = "ledger";
const RECORDS: usize = 12_000;
const KILLS: u64 = 3;
/// Many small batches, so that a kill finds some of them under way. Retries go on for as long as a restart may take.
const SETTINGS: [&str; 3] = ["batch.num.messages=10", "max.in.flight=5", "reconnect.backoff.max.ms=200"];

#[test]
fn what_librdkafka_was_acknowledged_outlives_kills_and_is_there_once() {
    if !require("exam_kafka_kill", LIBRDKAFKA.language.needs()) {
        return;
    }
    let mut seed = Seed::announced("exam_kafka_kill");
    let home = TempDir::new().unwrap();
    let mut setup = BrokerSetup::new(&home.path().join("data"), &home.path().join("log"));
    let mut broker = setup.start();
    broker.grpc().clone_into(&mut setup.grpc);
    broker.kafka().clone_into(&mut setup.kafka);
    on_two_workers(async {
        broker.client().await.admin().create_topic(NewTopic::new(TOPIC)).await.unwrap();
    });
    let sent: Vec<Sent> = (0..RECORDS).map(record).collect();
    let bootstrap = setup.kafka.clone();
    let producing = std::thread::spawn({
        let sent = sent.clone();
        move || LIBRDKAFKA.produce(&bootstrap, &sent, &SETTINGS)
    });
    for kill in 1..=KILLS {
        let target = kill * RECORDS as u64 / (KILLS + 1) + seed.between(0, 500);
        on_two_workers(reach(&broker, target.cast_signed()));
        broker.kill_hard();
        broker = setup.start();
    }
    let places = producing.join().unwrap();
    let read = on_two_workers(async { Wire::connect(broker.grpc()).await.records(TOPIC, 0, 0).await });
    let found: BTreeMap<i64, Option<Bytes>> =
        read.into_iter().map(|record| (record.offset, record.value)).collect();
    assert_eq!(found.len(), RECORDS, "each record once");
    for (sent, place) in sent.iter().zip(&places) {
        assert_eq!(found.get(&place.offset), Some(&sent.value), "acknowledged at {}", place.offset);
    }
    let in_order = places.is_sorted_by(|one, next| one.offset < next.offset);
    assert!(in_order, "records of one producer lie in its order");
    say(&format!(
        "exam_kafka_kill: {RECORDS} records acknowledged to librdkafka over {KILLS} kills, all of them there, in order, once"
    ));
    assert_eq!(broker.stop().code(), Some(0), "it stops cleanly");
}

fn record(number: usize) -> Sent {
    Sent {
        topic: TOPIC.to_owned(),
        partition: 0,
        codec: "none",
        acks: "all",
        timestamp: 1_700_000_000_000 + number as i64,
        key: None,
        value: Some(format!("entry {number}").into()),
        headers: Vec::new(),
    }
}

/// Waits until so many records are there.
async fn reach(broker: &BrokerProcess, end: i64) {
    let mut reader = broker.client().await.reader().topic(TOPIC).start().await.unwrap();
    while reader.next().await.unwrap().unwrap().offset.get() + 1 < end {}
}
