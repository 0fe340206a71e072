//! Ten of librdkafka's own tests against the broker.
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
