//! librdkafka's own tests against the broker: ten on every change, all of them in the long form.
#![allow(clippy::unwrap_used, reason = "an exam fails by panicking, in its own functions too")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use millrace_tests::judged::Judged;
use millrace_tests::librdkafka::{self, LibrdkafkaSuite, Verdict};
use millrace_tests::{require, say};

/// The suite expects that of topics that make themselves.
const BROKER: [&str; 2] = ["--num-partitions", "4"];

/// Number and name.
const TEN: [(&str, &str); 10] = [
    ("0001", "multiobj"),
    ("0008", "reqacks"),
    ("0012", "produce_consume"),
    ("0017", "compression"),
    ("0029", "assign_offset"),
    ("0030", "offset_commit"),
    ("0031", "get_offsets"),
    ("0039", "event"),
    ("0044", "partition_cnt"),
    ("0099", "commit_metadata"),
];

/// The numbers of those that do not pass, and why. docs/kafka-clients.md has them for readers.
const NOT_PASSING: [(&str, &str); 8] = [
    ("0052", "runs Kafka's scripts"),
    ("0077", "runs Kafka's scripts"),
    ("0081", "access control lists are not there yet"),
    ("0103", "transactions are not there yet"),
    ("0109", "runs Kafka's scripts"),
    ("0115", "runs Kafka's scripts"),
    ("0119", "runs Kafka's scripts"),
    ("0129", "transactions are not there yet"),
];

#[test]
#[ignore = "takes eight minutes"]
fn soak_all_of_librdkafkas_own_tests_pass_but_those_of_the_list() {
    let suite = "exam_librdkafka";
    if !require(suite, &librdkafka::NEEDS) {
        return;
    }
    let built = LibrdkafkaSuite::build(&target());
    let judged = Judged::start(&BROKER);
    let (mut passed, mut surprises) = (0, Vec::new());
    for number in built.numbers() {
        let expected = NOT_PASSING.iter().find(|(listed, _)| *listed == number);
        match (built.run(&number, judged.bootstrap()), expected) {
            (Verdict::Passed, None) => passed += 1,
            (Verdict::Skipped(why), _) => say(&format!("{suite}: {number} leaves itself out: {why}")),
            (Verdict::Failed(_), Some((_, why))) => say(&format!("{suite}: {number} does not pass: {why}")),
            (Verdict::Passed, Some(_)) => surprises.push(format!("{number} passes: the list is too long")),
            (Verdict::Failed(told), None) => surprises.push(format!("{number} does not pass:\n{told}")),
        }
    }
    say(&format!("{suite}: {passed} of its own tests pass"));
    judged.stop();
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[test]
fn ten_of_librdkafkas_own_tests_pass() {
    let suite = "exam_librdkafka";
    if !require(suite, &librdkafka::NEEDS) {
        return;
    }
    let built = LibrdkafkaSuite::build(&target());
    let judged = Judged::start(&BROKER);
    let began = Instant::now();
    for (number, name) in TEN {
        let began = Instant::now();
        let verdict = built.run(number, judged.bootstrap());
        assert_eq!(verdict, Verdict::Passed, "{number} {name}");
        say(&format!("{suite}: {number} {name} passed in {:.1} s", began.elapsed().as_secs_f64()));
    }
    say(&format!("{suite}: ten of its own tests pass, in {:.1} s", began.elapsed().as_secs_f64()));
    judged.stop();
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned()
}
