//! `millrace bench`: what it refuses, what it leaves behind, and the one schema of its figures; `--format csv` and the shell
//! completions as a person runs them. How fast anything is does not matter here.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::tool::{self, Said};
use serde_json::Value;
use tempfile::TempDir;

const KEYS: [&str; 28] = [
    "bench",
    "measure",
    "loop",
    "target_rate",
    "producers",
    "readers",
    "partitions",
    "record_bytes",
    "batch_bytes",
    "linger_ms",
    "outstanding",
    "compression",
    "durability",
    "sync_mode",
    "warm_up_s",
    "seconds",
    "records",
    "failed",
    "unsent",
    "records_per_s",
    "mb_per_s",
    "p50_us",
    "p90_us",
    "p99_us",
    "p99_9_us",
    "max_us",
    "late_p99_us",
    "late_max_us",
];

struct World {
    _home: TempDir,
    broker: BrokerProcess,
}

impl World {
    fn new() -> World {
        let home = TempDir::new().expect("a folder");
        let broker = BrokerSetup::new(&home.path().join("data"), &home.path().join("log")).start();
        World { _home: home, broker }
    }

    fn ask(&self, words: &[&str]) -> Said {
        tool::ask(self.broker.grpc(), words, "")
    }

    fn done(&self, words: &[&str]) -> String {
        let said = self.ask(words);
        assert_eq!(said.code, 0, "{words:?}: {}", said.err);
        said.out
    }

    fn figures(&self, words: &[&str]) -> Vec<Value> {
        let out = self.done(&[words, &["--format", "json"]].concat());
        let rows: Vec<Value> =
            out.lines().map(|line| serde_json::from_str(line).expect("an object per line")).collect();
        for row in &rows {
            let keys: Vec<&str> = row.as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!(keys, KEYS, "one schema");
        }
        rows
    }

    fn topics(&self) -> String {
        self.done(&["topic", "list", "--format", "json"])
    }
}

#[test]
fn a_closed_loop_counts_what_was_asked_for_and_its_topic_is_gone() {
    let world = World::new();
    let rows = world.figures(&[
        "bench",
        "produce",
        "--records",
        "500",
        "--warm-up",
        "0s",
        "--producers",
        "3",
        "--partitions",
        "2",
        "--record-size",
        "200",
        "--compression",
        "zstd",
    ]);
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["measure"], &rows[0]["loop"]), (&"acknowledged".into(), &"closed".into()));
    assert_eq!(
        (&rows[0]["records"], &rows[0]["failed"], &rows[0]["target_rate"]),
        (&500.into(), &0.into(), &Value::Null)
    );
    assert_eq!(world.topics(), "", "nothing is left behind");
}

#[test]
fn an_open_loop_sends_every_record_that_is_due_and_readers_read_each() {
    let world = World::new();
    let rows = world.figures(&[
        "bench",
        "end-to-end",
        "--rate",
        "2000",
        "--records",
        "600",
        "--warm-up",
        "100ms",
        "--producers",
        "2",
        "--partitions",
        "3",
        "--readers",
        "2",
        "--linger",
        "1ms",
    ]);
    let measures: Vec<&str> = rows.iter().filter_map(|row| row["measure"].as_str()).collect();
    assert_eq!(measures, ["acknowledged", "read"]);
    for row in &rows {
        assert_eq!((&row["records"], &row["unsent"], &row["loop"]), (&600.into(), &0.into(), &"open".into()));
        assert!(
            row["p50_us"].as_f64() <= row["p99_9_us"].as_f64() && row["max_us"].as_f64() > Some(0.0),
            "{row}"
        );
    }
    assert!(rows[0]["late_max_us"].as_f64() > Some(0.0), "how late the driver was is said");
}

#[test]
fn a_topic_that_exists_is_read_and_not_written_to_unless_told() {
    let world = World::new();
    world.done(&["topic", "create", "mine"]);
    let words =
        ["bench", "produce", "--topic", "mine", "--records", "10", "--warm-up", "0s", "--format", "json"];
    let refused = world.ask(&words);
    assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{}", refused.err);
    assert!(refused.err.contains("--keep"), "{}", refused.err);
    world.done(&[&words[..], &["--keep"]].concat());
    let rows = world.figures(&["bench", "consume", "--topic", "mine"]);
    assert_eq!((&rows[0]["measure"], &rows[0]["records"]), (&"batch-awaited".into(), &10.into()));
    assert!(world.topics().contains("\"mine\""), "what was there stays");
}

#[test]
fn a_topic_that_is_made_can_be_kept_and_read_without_being_filled_again() {
    let world = World::new();
    world.done(&["bench", "produce", "--topic", "made", "--keep", "--records", "20", "--warm-up", "0s"]);
    let values = world.done(&["consume", "made"]);
    assert_eq!(values.lines().filter(|line| line.len() == 1024).count(), 20);
    let rows =
        world.figures(&["bench", "consume", "--records", "300", "--partitions", "2", "--readers", "2"]);
    assert_eq!(rows[0]["records"], 300);
    assert!(world.topics().lines().count() == 1 && world.topics().contains("\"made\""));
}

#[test]
fn figures_are_told_to_people_and_to_spreadsheets() {
    let world = World::new();
    let words = ["bench", "produce", "--records", "50", "--warm-up", "0s"];
    let table = world.done(&words);
    assert!(
        table.contains("closed loop") && table.contains("P99.9 US") || table.contains("P99 9 US"),
        "{table}"
    );
    let csv = world.done(&[&words[..], &["--format", "csv"]].concat());
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines[0], KEYS.join(","));
    assert_eq!((lines.len(), lines[1].split(',').count()), (3, KEYS.len()));
}

#[test]
fn what_cannot_be_is_a_matter_of_usage() {
    let world = World::new();
    let cases: [&[&str]; 4] = [
        &["bench", "produce", "--rate", "10", "--outstanding", "5"],
        &["bench", "end-to-end", "--record-size", "8B", "--records", "1"],
        &["bench", "consume", "--readers", "2", "--records", "1"],
        &["bench", "produce", "--batch", "1GiB", "--records", "1"],
    ];
    for words in cases {
        let said = world.ask(words);
        assert_eq!(said.code, 2, "{words:?}: {}", said.err);
    }
    assert_eq!(world.topics(), "", "and leaves nothing behind");
}

#[test]
fn records_and_lists_come_as_csv() {
    let world = World::new();
    world.done(&["topic", "create", "t", "--partitions", "2"]);
    let produced = tool::ask(
        world.broker.grpc(),
        &["produce", "t", "--partition", "1", "--key-separator", ":"],
        "k:a,\"b\"\n",
    );
    assert_eq!(produced.code, 0, "{}", produced.err);
    let csv = world.done(&["consume", "t", "--format", "csv"]);
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines[0], "topic,partition,offset,timestamp,key,key_form,value,value_form,headers");
    assert!(lines[1].starts_with("t,1,0,") && lines[1].ends_with(",k,text,\"a,\"\"b\"\"\",text,[]"), "{csv}");
    for words in [
        &["topic", "list"][..],
        &["topic", "describe", "t"],
        &["topic", "describe", "t", "--configs"],
        &["offsets", "t"],
        &["config"],
    ] {
        let csv = world.done(&[words, &["--format", "csv"]].concat());
        let columns = |line: &str| line.split(',').count();
        let mut lines = csv.split("\r\n");
        let head = lines.next().map(columns).expect("a header");
        assert!(head > 2 && lines.next().is_some_and(|row| columns(row) >= head), "{words:?}: {csv}");
    }
}

#[test]
fn shells_are_told_the_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let said = tool::run(tool::bare().args(["completions", shell]), "");
        assert_eq!(said.code, 0, "{}", said.err);
        for verb in ["serve", "bench", "end-to-end", "completions", "describe"] {
            assert!(said.out.contains(verb), "{shell}: {verb}");
        }
    }
}
