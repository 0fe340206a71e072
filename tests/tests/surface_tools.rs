//! The tools as a person runs them: what they take, what they print, how they end.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::tool::{self, Said};
use serde_json::Value;
use tempfile::TempDir;

struct World {
    _home: TempDir,
    setup: BrokerSetup,
    broker: BrokerProcess,
}

impl World {
    fn new() -> World {
        let home = TempDir::new().expect("a folder");
        let setup = BrokerSetup::new(&home.path().join("data"), &home.path().join("log"));
        let broker = setup.start();
        World { _home: home, setup, broker }
    }

    fn ask(&self, words: &[&str], input: &str) -> Said {
        tool::ask(self.broker.grpc(), words, input)
    }

    /// A tool that must succeed: what it prints.
    fn done(&self, words: &[&str], input: &str) -> String {
        let said = self.ask(words, input);
        assert_eq!(said.code, 0, "{words:?}: {}", said.err);
        said.out
    }

    fn json(&self, words: &[&str]) -> Vec<Value> {
        self.done(words, "")
            .lines()
            .map(|line| serde_json::from_str(line).expect("an object per line"))
            .collect()
    }
}

#[test]
fn lines_go_in_with_keys_and_come_out_in_every_format() {
    let world = World::new();
    world.done(&["topic", "create", "t", "--partitions", "1"], "");
    world.done(&["produce", "t", "--key-separator", ":"], "k1:v1\nk2:v2\n");
    world.done(&["produce", "t", "--compression", "zstd"], "plain\n");
    assert_eq!(world.done(&["consume", "t"], ""), "v1\nv2\nplain\n");
    assert_eq!(world.done(&["consume", "t", "--format", "raw"], ""), "v1v2plain");
    let records = world.json(&["consume", "t", "--format", "json"]);
    let pick = |key: &str| -> Vec<Value> { records.iter().map(|record| record[key].clone()).collect() };
    assert_eq!(pick("offset"), [0, 1, 2]);
    assert_eq!(pick("key"), ["k1".into(), "k2".into(), Value::Null]);
    assert_eq!(pick("value"), ["v1", "v2", "plain"]);
    assert_eq!(pick("topic"), ["t", "t", "t"]);
}

#[test]
fn ranges_are_half_open_and_counts_end_the_reading() {
    let world = World::new();
    world.done(&["topic", "create", "t"], "");
    world.done(&["produce", "t"], "0\n1\n2\n3\n4\n");
    assert_eq!(world.done(&["consume", "t", "--from", "1", "--to", "3"], ""), "1\n2\n");
    assert_eq!(world.done(&["consume", "t", "--from", "3"], ""), "3\n4\n");
    assert_eq!(world.done(&["consume", "t", "--from", "-15m", "-n", "2"], ""), "0\n1\n");
    assert_eq!(world.done(&["consume", "t", "--from", "end"], ""), "");
    assert_eq!(world.done(&["consume", "t", "--from", "@0", "--to", "@1"], ""), "");
}

#[test]
fn a_csv_becomes_a_record_per_row_with_key_and_time() {
    let world = World::new();
    world.done(&["topic", "create", "t"], "");
    let csv = "day,tail,note\n1357034400000,N14228,\"a, b\"\n1357038000000,N24211,c\n";
    world.done(&["produce", "t", "--key-column", "tail", "--time-column", "day"], csv);
    let records = world.json(&["consume", "t", "--format", "json"]);
    assert_eq!(records.len(), 2, "the header is no record");
    assert_eq!(records[0]["key"], "N14228");
    assert_eq!(records[0]["timestamp"], 1_357_034_400_000_i64);
    let found = world.json(&["offsets", "t", "--at", "@1357034400001", "--format", "json"]);
    assert_eq!(found[0]["offset"], 1);
}

#[test]
fn topics_are_made_listed_described_and_deleted() {
    let world = World::new();
    let header = "topic,id,partitions,replication_factor\r\n";
    assert_eq!(world.done(&["topic", "list", "--format", "csv"], ""), header, "of no topics");
    world.done(&["topic", "create", "b", "--partitions", "3", "--config", "segment.bytes=1048576"], "");
    world.done(&["topic", "create", "a"], "");
    let names: Vec<Value> = world
        .json(&["topic", "list", "--format", "json"])
        .iter()
        .map(|topic| topic["topic"].clone())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let partitions = world.json(&["topic", "describe", "b", "--format", "json"]);
    assert_eq!(partitions.len(), 3, "one object per partition");
    for key in ["topic", "partition", "leader", "replicas", "isr"] {
        assert!(!partitions[0][key].is_null(), "{key}");
    }
    assert_eq!((&partitions[0]["damaged_ranges"], &partitions[0]["damaged_bytes"]), (&0.into(), &0.into()));
    world.done(&["topic", "delete", "b"], "");
    assert_eq!(world.json(&["topic", "list", "--format", "json"]).len(), 1);
    let again = world.ask(&["topic", "delete", "b"], "");
    assert_ne!(again.code, 0);
    assert!(again.err.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{}", again.err);
}

#[test]
fn a_sync_mode_is_given_to_a_topic_and_shown_again() {
    let world = World::new();
    for mode in ["always", "interval=100,65536", "os"] {
        let name = mode.split('=').next().unwrap();
        world.done(&["topic", "create", name, "--config", &format!("sync.mode={mode}")], "");
        let configs = world.json(&["topic", "describe", name, "--configs", "--format", "json"]);
        let shown = configs.iter().find(|config| config["key"] == "sync.mode").expect("it is shown");
        assert_eq!((&shown["value"], &shown["source"]), (&mode.into(), &"topic".into()));
    }
}

#[test]
fn a_topic_is_altered_grows_and_gives_records_up() {
    let mut world = World::new();
    world.done(&["topic", "create", "t"], "");
    world.done(&["produce", "t"], "0\n1\n2\n3\n");
    let alter =
        ["topic", "alter", "t", "--config", "retention.ms=3600000", "--config", "max.message.bytes=300"];
    world.done(&alter, "");
    world.done(&["topic", "alter", "t", "--unset", "max.message.bytes", "--partitions", "3"], "");
    let config = |world: &World, key: &str| {
        let configs = world.json(&["topic", "describe", "t", "--configs", "--format", "json"]);
        let shown = configs.into_iter().find(|config| config["key"] == key).expect("it is shown");
        (shown["value"].clone(), shown["source"].clone())
    };
    assert_eq!(config(&world, "retention.ms"), ("3600000".into(), "topic".into()));
    assert_eq!(config(&world, "max.message.bytes").1, "default");
    world.done(&["produce", "t", "--partition", "2"], "far\n");

    let delete = ["delete-records", "t", "--partition", "0", "--before", "2", "--format", "json"];
    let deleted = world.json(&delete);
    assert_eq!((&deleted[0]["partition"], &deleted[0]["log_start"]), (&0.into(), &2.into()));
    assert_eq!(deleted.len(), 1);
    assert_eq!(world.done(&["consume", "t", "--partition", "0"], ""), "2\n3\n");

    world.broker.kill_hard();
    world.broker = world.setup.start();
    assert_eq!(world.done(&["consume", "t", "--partition", "0"], ""), "2\n3\n");
    assert_eq!(world.done(&["consume", "t", "--partition", "2"], ""), "far\n");
    // A time at which there was nothing yet takes nothing, one that is to come takes all.
    world.done(&["delete-records", "t", "--before", "@0"], "");
    assert_eq!(world.done(&["consume", "t"], "").len(), 8);
    let starts = world.done(&["delete-records", "t", "--before", "2999-01-01T00:00:00Z"], "");
    assert!(starts.contains("LOG START"), "{starts}");
    assert_eq!(world.done(&["consume", "t"], ""), "");

    let refusals: [(&[&str], &str); 6] = [
        (&["topic", "alter", "t"], "--config"),
        (&["topic", "alter", "t", "--partitions", "2"], "INVALID_PARTITION_COUNT"),
        (&["topic", "alter", "t", "--config", "retention.ms=soon"], "INVALID_CONFIG"),
        (&["topic", "alter", "__consumer_offsets", "--partitions", "99"], "INVALID_REQUEST"),
        (&["delete-records", "t", "--partition", "0", "--before", "99"], "OFFSET_OUT_OF_RANGE"),
        (&["delete-records", "t", "--before", "beginning"], "--before"),
    ];
    for (words, expected) in refusals {
        let said = world.ask(words, "");
        assert_ne!(said.code, 0, "{words:?}");
        assert!(said.err.contains(expected), "{words:?}: {}", said.err);
    }
}

#[test]
fn what_cannot_be_done_is_said_on_standard_error_and_by_the_exit_code() {
    let world = World::new();
    let refusals: [(&[&str], &str); 7] = [
        (&["topic", "create", "t", "--config", "sync.mode=interval=100,1"], "a number from 4096 to 16777216"),
        (&["topic", "create", "a/b"], "a/b"),
        (&["topic", "create", "t", "--config", "no.such.key=1"], "no.such.key"),
        (&["topic", "create", "t", "--config", "compression.type=zstd"], "UNSUPPORTED"),
        (&["topic", "create", "t", "--replication-factor", "3"], "INVALID_REPLICATION_FACTOR"),
        (&["produce", "nowhere"], "nowhere"),
        (&["consume", "nowhere"], "nowhere"),
    ];
    for (words, expected) in refusals {
        let said = world.ask(words, "x\n");
        assert_ne!(said.code, 0, "{words:?}");
        assert_eq!(said.out, "", "{words:?}");
        assert!(said.err.contains(expected), "{words:?}: {}", said.err);
    }
}

#[test]
fn a_closed_pipe_ends_a_reader_quietly() {
    let world = World::new();
    world.done(&["topic", "create", "t"], "");
    // Much more than a pipe holds.
    let lines: String = (0..200_000).map(|number| format!("line {number}\n")).collect();
    world.done(&["produce", "t"], &lines);
    let mut command = tool::bare();
    command
        .args(["--server", world.broker.grpc(), "consume", "t"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut first).expect("a line");
    // The reader of the pipe is gone now.
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(first, "line 0\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "quietly");
    assert!(output.status.success(), "{}", output.status);
}

#[test]
fn a_follower_sees_what_comes() {
    let world = World::new();
    world.done(&["topic", "create", "t"], "");
    let mut command = tool::bare();
    command
        .args(["--server", world.broker.grpc(), "consume", "t", "--follow", "-n", "3"])
        .stdout(Stdio::piped());
    let child = command.spawn().expect("the binary starts");
    world.done(&["produce", "t"], "a\nb\n");
    world.done(&["produce", "t"], "c\nd\n");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a\nb\nc\n");
}

#[test]
fn the_environment_names_the_server_and_a_flag_wins() {
    let world = World::new();
    let said =
        tool::run(tool::bare().env("MILLRACE_SERVER", world.broker.grpc()).args(["topic", "list"]), "");
    assert_eq!(said.code, 0, "{}", said.err);
    let mut command = tool::bare();
    command.env("MILLRACE_SERVER", "127.0.0.1:1").args(["--server", world.broker.grpc(), "topic", "list"]);
    assert_eq!(tool::run(&mut command, "").code, 0);
}

#[test]
fn logs_are_dumped_and_verified_once_nobody_serves_them() {
    let mut world = World::new();
    world.done(&["topic", "create", "t"], "");
    world.done(&["produce", "t"], "a\nb\n");
    let dir = world.setup.data_dir.display().to_string();
    let served = tool::run(tool::bare().args(["log", "verify", &dir]), "");
    assert_ne!(served.code, 0, "a served directory changes under the eyes");
    assert_eq!(world.broker.stop().code(), Some(0));
    let verified = tool::run(tool::bare().args(["log", "verify", &dir]), "");
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    let dumped = tool::run(tool::bare().args(["log", "dump", &dir, "--records", "--format", "json"]), "");
    assert_eq!(dumped.code, 0, "{}", dumped.err);
    assert!(dumped.out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{}", dumped.out);
}

#[test]
fn headers_keep_their_order_their_doubles_and_their_nulls() {
    let world = World::new();
    world.done(&["topic", "create", "t"], "");
    let added =
        ["produce", "t", "--header", "a=1", "--header", "a=2=3", "--header", "flag", "--header", "a="];
    world.done(&added, "plain\n");
    let object = concat!(
        r#"{"key":"k","value":null,"timestamp":7,"headers":[{"key":"z","value":"1"},{"key":"z","value":null},"#,
        r#"{"key":"b","value_base64":"//4="}]}"#,
    );
    world.done(&["produce", "t", "--json", "--header", "z=last"], object);
    let records = world.json(&["consume", "t", "--format", "json"]);
    let header = |key: &str, value: Value| serde_json::json!({ "key": key, "value": value });
    let first = [
        header("a", "1".into()),
        header("a", "2=3".into()),
        header("flag", Value::Null),
        header("a", "".into()),
    ];
    assert_eq!(records[0]["headers"], Value::from(first.to_vec()));
    let base64 = serde_json::json!({ "key": "b", "value_base64": "//4=" });
    let second = [header("z", "1".into()), header("z", Value::Null), base64, header("z", "last".into())];
    assert_eq!(records[1]["headers"], Value::from(second.to_vec()));
    assert_eq!((&records[1]["value"], &records[1]["timestamp"]), (&Value::Null, &7.into()));
    // What came out goes in again, and comes out the same.
    let out = world.done(&["consume", "t", "--format", "json"], "");
    world.done(&["topic", "create", "copy"], "");
    world.done(&["produce", "copy", "--json"], &out);
    let copied = world.done(&["consume", "copy", "--format", "json"], "");
    assert_eq!(copied.replace(r#""topic":"copy""#, r#""topic":"t""#), out);
    let said = world.ask(&["produce", "t", "--json"], "{}\n[1]\n");
    assert_eq!(said.code, 1);
    assert!(said.err.contains("line 2 is no record"), "{}", said.err);
}

#[test]
fn a_range_of_time_is_by_the_order_of_offsets() {
    let world = World::new();
    world.done(&["topic", "create", "t"], "");
    // Not in the order of time.
    let csv = "at,name\n10,a\n40,b\n20,c\n30,d\n50,e\n45,f\n";
    world.done(&["produce", "t", "--time-column", "at"], csv);
    let range = |words: &[&str]| {
        let out = world.done(&[&["consume", "t"], words].concat(), "");
        out.lines().filter_map(|line| line.split(',').nth(1)).collect::<String>()
    };
    assert_eq!(range(&["--from", "@30"]), "bcdef");
    assert_eq!(range(&["--from", "@11", "--to", "@45"]), "bcd");
    assert_eq!(range(&["--to", "@30"]), "a");
    assert_eq!(range(&["--from", "1970-01-01T00:00:00.041Z"]), "ef");
    assert_eq!(range(&["--from", "@51"]), "", "nothing is that late");
    assert_eq!(range(&["--to", "-1h"]), "abcdef", "every record is older");
    assert_eq!(range(&["--from", "-1h"]), "");
}
