//! Clients of three kinds write down what they did and what they were told while a broker is killed again and again; the histories
//! are judged by the analyses C1 to C17.

#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::time::{Duration, Instant};

use millrace_client::NewTopic;
use millrace_tests::broker::BrokerSetup;
use millrace_tests::crew::{Crew, KAFKA_PYTHON_HISTORY, Place};
use millrace_tests::{Seed, on_two_workers, require, say};
use tempfile::TempDir;

const TOPIC: &str = "ledger";
const PARTITIONS: u32 = 4;
const PACE: u32 = 300;
/// Records that are acknowledged to our producer between two kills.
const RECORDS: (u64, u64) = (100, 400);
/// A safety net, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn five_kills_of_one_broker_leave_no_anomaly_in_what_clients_saw() {
    kills("crash_history", 5);
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn two_hundred_kills_of_one_broker_leave_no_anomaly_in_what_clients_saw() {
    kills("crash_history_soak", 200);
}

fn kills(suite: &str, kills: u32) {
    if !require(suite, KAFKA_PYTHON_HISTORY.language.needs()) {
        return;
    }
    let began = Instant::now();
    let mut seed = Seed::announced(suite);
    let home = TempDir::new().expect("a folder");
    let mut setup = BrokerSetup::new(&home.path().join("data"), &home.path().join("broker.log"));
    let mut broker = setup.start();
    broker.grpc().clone_into(&mut setup.grpc);
    broker.kafka().clone_into(&mut setup.kafka);
    on_two_workers(async {
        let topic = NewTopic::new(TOPIC).partitions(PARTITIONS).config("segment.bytes", "1048576");
        broker.client().await.admin().create_topic(topic).await.expect("a topic");
    });
    let histories = home.path().join("histories");
    std::fs::create_dir(&histories).expect("a folder");
    let (grpc, kafka) = (vec![setup.grpc.clone()], vec![setup.kafka.clone()]);
    let place = Place { grpc, kafka, topic: TOPIC.to_owned(), partitions: PARTITIONS, pace: PACE };
    let crew = Crew::start(place, &histories);
    for kill in 1..=kills {
        let records = seed.between(RECORDS.0, RECORDS.1);
        assert!(crew.goes_on(records, PATIENCE), "{suite}: nothing is acknowledged before kill {kill}");
        broker.kill_hard();
        broker = setup.start();
    }
    assert!(crew.goes_on(RECORDS.1, PATIENCE), "{suite}: nothing is acknowledged after the last kill");
    let verdict = crew.judge();
    say(&format!("{suite}: {kills} kills in {:.1} s\n{verdict}", began.elapsed().as_secs_f64()));
    if !verdict.is_clean() {
        panic!("{suite}: the histories are in {}", home.keep().display());
    }
    assert_eq!(broker.stop().code(), Some(0), "it stops cleanly");
}
