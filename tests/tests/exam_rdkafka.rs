//! The integration tests of the Rust crate `rdkafka` against the broker; only in the long form, because they are built for two
//! minutes.
#![allow(clippy::unwrap_used, reason = "an exam fails by panicking, in its own functions too")]

use std::path::Path;

use millrace_tests::judged::Judged;
use millrace_tests::rdkafka::{self, RdkafkaSuites};
use millrace_tests::{require, say};

/// The tests expect that of topics that make themselves.
const BROKER: [&str; 2] = ["--num-partitions", "3"];
/// Some of them look for a broker only here.
const ADDRESS: &str = "127.0.0.1:9092";
const SUITES: [&str; 8] = [
    "test_admin",
    "test_high_consumers",
    "test_high_producers",
    "test_low_consumers",
    "test_low_producers",
    "test_metadata",
    "test_topic_partition_list",
    "test_transactions",
];
/// Those that do not pass, and why. docs/kafka-clients.md has them for readers.
const NOT_PASSING: [(&str, &str); 6] = [
    ("test_topics", "wants a broker with the number 0; ours begin with 1"),
    ("test_configs", "wants a broker with the number 0; ours begin with 1"),
    ("test_metadata", "wants a broker with the number 0; ours begin with 1"),
    ("test_base_producer_timeout", "wants a new topic to take longer than 100 ms"),
    ("test_transaction_abort", "transactions are not there yet"),
    ("test_transaction_commit", "transactions are not there yet"),
];

#[test]
#[ignore = "takes five minutes, and port 9092"]
fn soak_all_tests_of_rdkafka_pass_but_those_of_the_list() {
    let suite = "exam_rdkafka";
    if !require(suite, &rdkafka::NEEDS) {
        return;
    }
    let built = RdkafkaSuites::build(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let judged = Judged::start_at(ADDRESS, &BROKER);
    let (mut passed, mut surprises) = (0, Vec::new());
    for name in SUITES {
        let told = built.run(name, judged.bootstrap());
        assert!(!told.is_empty(), "{name} told nothing");
        for (test, is_good) in told {
            let listed = NOT_PASSING.iter().find(|(listed, _)| *listed == test);
            match (is_good, listed) {
                (true, None) => passed += 1,
                (false, Some((_, why))) => say(&format!("{suite}: {name}::{test} does not pass: {why}")),
                (true, Some(_)) => surprises.push(format!("{name}::{test} passes: the list is too long")),
                (false, None) => surprises.push(format!("{name}::{test} does not pass")),
            }
        }
    }
    say(&format!("{suite}: {passed} of its tests pass"));
    judged.stop();
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}
