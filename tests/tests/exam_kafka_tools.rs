//! Kafka's own producer tools against the broker: they end well, and every record that they count is there.
#![allow(clippy::unwrap_used, reason = "an exam fails by panicking, in its own functions too")]

use std::process::Command;

use millrace_tests::broker::BrokerSetup;
use millrace_tests::kafka_clients::{Language, finish, jars};
use millrace_tests::read::Wire;
use millrace_tests::{on_two_workers, require, say};
use serde_json::Value;
use tempfile::TempDir;

/// Runs one of Kafka's tools: what it prints.
fn kafkas(class: &str, words: &[&str]) -> String {
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(jars().join("*"))
        .arg(format!("org.apache.kafka.tools.{class}"));
    finish(java.args(words), String::new(), class)
}

#[test]
fn the_verifiable_producer_is_acknowledged_every_record_where_it_lies() {
    if !require("exam_verifiable_producer", Language::Java.needs()) {
        return;
    }
    const RECORDS: usize = 20_000;
    let home = TempDir::new().unwrap();
    let mut broker = BrokerSetup::new(&home.path().join("data"), &home.path().join("log")).start();
    let count = RECORDS.to_string();
    let words = ["--bootstrap-server", broker.kafka(), "--topic", "verifiable", "--max-messages", &count];
    let said = kafkas("VerifiableProducer", &words);
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let named = |name: &'static str| lines.iter().filter(move |line| line["name"] == name);
    assert_eq!(named("producer_send_error").count(), 0, "{said}");
    let mut acknowledged: Vec<(i64, String)> = named("producer_send_success")
        .map(|line| (line["offset"].as_i64().unwrap(), line["value"].as_str().unwrap().to_owned()))
        .collect();
    acknowledged.sort();
    assert_eq!(acknowledged.len(), RECORDS);
    let read = on_two_workers(async {
        let mut wire = Wire::connect(broker.grpc()).await;
        wire.records("verifiable", 0, 0).await
    });
    let read: Vec<(i64, String)> = read
        .into_iter()
        .map(|record| (record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()))
        .collect();
    assert!(read == acknowledged, "what was acknowledged is what lies there");
    say(&format!("exam_verifiable_producer: {RECORDS} records acknowledged and read back"));
    assert_eq!(broker.stop().code(), Some(0), "it stops cleanly");
}

#[test]
fn the_performance_producer_ends_well_and_every_record_is_there() {
    if !require("exam_producer_performance", Language::Java.needs()) {
        return;
    }
    const RECORDS: usize = 100_000;
    let home = TempDir::new().unwrap();
    let mut broker = BrokerSetup::new(&home.path().join("data"), &home.path().join("log")).start();
    let (count, bootstrap) = (RECORDS.to_string(), format!("bootstrap.servers={}", broker.kafka()));
    let words = ["--topic", "performance", "--num-records", &count, "--record-size", "200"];
    let more = ["--throughput", "-1", "--producer-props", &bootstrap, "compression.type=lz4", "acks=all"];
    let said = kafkas("ProducerPerformance", &[words.as_slice(), more.as_slice()].concat());
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("{RECORDS} records sent")), "{said}");
    let read = on_two_workers(async {
        let mut wire = Wire::connect(broker.grpc()).await;
        wire.records("performance", 0, 0).await
    });
    assert_eq!(read.len(), RECORDS);
    assert!(read.iter().all(|record| record.value.as_ref().is_some_and(|value| value.len() == 200)));
    say(&format!("exam_producer_performance: {last}"));
    assert_eq!(broker.stop().code(), Some(0), "it stops cleanly");
}
