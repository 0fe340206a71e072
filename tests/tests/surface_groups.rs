//! The tools for groups as an operator runs them: what they take, what they print, how they end.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use millrace_client::{ClientOptions, Offset, OffsetCommit, PartitionIndex};
use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::tool::{self, Said};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Only a net: whatever waits so long will not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A broker with a topic `t` of two partitions: ten records in the first, at the times 0, 1000, ..., and four in the second.
struct World {
    _home: TempDir,
    broker: BrokerProcess,
}

impl World {
    fn new() -> World {
        let home = TempDir::new().expect("a folder");
        let broker = BrokerSetup::new(&home.path().join("data"), &home.path().join("log")).start();
        let world = World { _home: home, broker };
        world.done(&["topic", "create", "t", "--partitions", "2"]);
        for (partition, records) in [("0", 10), ("1", 4)] {
            let row = |number: i32| format!("{},{number}\n", i64::from(number) * 1000);
            let csv = format!("at,number\n{}", (0..records).map(row).collect::<String>());
            let said = world.ask(&["produce", "t", "--partition", partition, "--time-column", "at"], &csv);
            assert_eq!(said.code, 0, "{}", said.err);
        }
        world
    }

    fn ask(&self, words: &[&str], input: &str) -> Said {
        tool::ask(self.broker.grpc(), words, input)
    }

    /// A tool that must succeed: what it prints.
    fn done(&self, words: &[&str]) -> String {
        let said = self.ask(words, "");
        assert_eq!(said.code, 0, "{words:?}: {}", said.err);
        said.out
    }

    fn json(&self, words: &[&str]) -> Vec<Value> {
        let out = self.done(&[words, &["--format", "json"]].concat());
        out.lines().map(|line| serde_json::from_str(line).expect("an object per line")).collect()
    }

    /// Commits from outside, as a group that nobody is in allows it.
    fn commit(&self, group: &str, partition: u32, offset: u64) {
        let commit = OffsetCommit {
            topic: "t".to_owned(),
            partition: PartitionIndex(partition),
            offset: Offset::from_count(offset),
            leader_epoch: None,
            metadata: String::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let servers = [self.broker.grpc().to_owned()];
            let client = millrace_client::Client::connect(servers, ClientOptions::default())
                .await
                .expect("it accepts");
            let committed = client.admin().commit_offsets(group, &[commit]).await.expect("it answers");
            committed.into_iter().for_each(|one| one.expect("it is taken"));
        });
    }

    fn start(&self, words: &[&str]) -> Running {
        let mut command = tool::bare();
        command.args(["--server", self.broker.grpc()]).args(words);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Running { child, lines }
    }

    /// Each partition and what is committed for it.
    fn committed(&self, group: &str) -> Vec<(Value, Value)> {
        let rows = self.json(&["group", "lag", group]);
        rows.iter().map(|row| (row["partition"].clone(), row["committed"].clone())).collect()
    }
}

/// A tool that goes on until it is dropped.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn line(&mut self) -> String {
        self.lines.next().expect("it goes on").expect("a line")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn pairs(expected: &[(u32, u64)]) -> Vec<(Value, Value)> {
    expected.iter().map(|(partition, offset)| ((*partition).into(), (*offset).into())).collect()
}

#[test]
fn a_group_is_listed_and_how_far_it_is_behind_is_told_by_partition() {
    let world = World::new();
    assert_eq!(world.json(&["group", "list"]), Vec::<Value>::new());
    world.commit("g", 0, 7);
    world.commit("g", 1, 4);
    let listed = json!({ "group": "g", "kind": "offsets", "stage": "empty", "members": 0 });
    assert_eq!(world.json(&["group", "list"]), [listed]);
    let lags = world.json(&["group", "lag", "g"]);
    assert_eq!(lags.len(), 2, "one object per partition: {lags:?}");
    let behind = &lags[0];
    for (key, value) in [
        ("group", json!("g")),
        ("topic", json!("t")),
        ("partition", json!(0)),
        ("member", Value::Null),
        ("committed", json!(7)),
        ("log_start", json!(0)),
        ("high_watermark", json!(10)),
        ("lag", json!(3)),
        ("error", Value::Null),
    ] {
        assert_eq!(behind[key], value, "{key} of {behind}");
    }
    // The records are of 1970.
    assert!(behind["lag_seconds"].as_f64().is_some_and(|seconds| seconds > 1e9), "{behind}");
    assert!(behind.as_object().is_some_and(|row| row.contains_key("caught_up_seconds")), "{behind}");
    let even = &lags[1];
    assert_eq!((&even["lag"], &even["lag_seconds"]), (&json!(0), &json!(0.0)), "{even}");
    let csv = world.done(&["group", "lag", "g", "--format", "csv"]);
    let head = "group,topic,partition,member,committed,high_watermark,lag,lag_seconds,caught_up_seconds\r\n";
    assert!(csv.starts_with(head), "{csv}");
    let said = world.ask(&["group", "lag", "g"], "");
    assert!(said.out.contains("LAG SECONDS"), "{}", said.out);
    assert!(said.err.contains("3 records behind in 2 partitions"), "{}", said.err);
    let described = world.ask(&["group", "describe", "g"], "");
    assert_eq!((described.code, described.out.as_str()), (0, ""), "nobody is in it");
    assert!(described.err.contains("group g: empty (offsets), 0 members"), "{}", described.err);
}

#[test]
fn a_reset_goes_to_ends_offsets_times_and_by_shifts_and_a_dry_run_goes_nowhere() {
    let world = World::new();
    world.commit("g", 0, 5);
    world.commit("g", 1, 2);
    type Case<'a> = (&'a [&'a str], &'a [(u32, u64)]);
    let cases: [Case<'_>; 9] = [
        (&["--to-latest", "--dry-run"], &[(0, 5), (1, 2)]),
        (&["--to-latest"], &[(0, 10), (1, 4)]),
        (&["--shift", "-3"], &[(0, 7), (1, 1)]),
        (&["--shift", "100", "--topic", "t:1"], &[(0, 7), (1, 4)]),
        (&["--to", "3", "--topic", "t:0"], &[(0, 3), (1, 4)]),
        (&["--to", "99"], &[(0, 10), (1, 4)]),
        (&["--to", "1970-01-01T00:00:02Z"], &[(0, 2), (1, 2)]),
        (&["--to", "@3000", "--topic", "t:0,1"], &[(0, 3), (1, 3)]),
        (&["--to-earliest", "--topic", "t"], &[(0, 0), (1, 0)]),
    ];
    for (words, expected) in cases {
        let rows = world.json(&[&["group", "reset", "g"], words].concat());
        assert!(rows.iter().all(|row| row["group"] == "g" && row["topic"] == "t"), "{rows:?}");
        assert_eq!(world.committed("g"), pairs(expected), "{words:?}");
    }
    // Everything is older than a quarter of an hour.
    let rows = world.json(&["group", "reset", "g", "--to", "-15m", "--topic", "t:1", "--dry-run"]);
    let row = json!({
        "group": "g", "topic": "t", "partition": 1, "before": 0, "after": 4, "moved": 4, "error": null,
    });
    assert_eq!(rows, [row]);
    let told = world.ask(&["group", "reset", "g", "--to-latest", "--dry-run"], "");
    assert!(told.err.contains("2 partitions would be reset; nothing was changed"), "{}", told.err);
    let told = world.ask(&["group", "reset", "g", "--to-latest", "--topic", "t:0"], "");
    assert!(told.err.contains("reset 1 partition of group g"), "{}", told.err);
    assert!(told.out.contains("BEFORE"), "{}", told.out);
}

#[test]
fn what_makes_no_sense_ends_with_2_and_what_is_refused_with_1() {
    let world = World::new();
    world.commit("g", 0, 5);
    let nonsense: [&[&str]; 6] = [
        &["group", "reset", "g"],
        &["group", "reset", "g", "--to-earliest", "--to-latest"],
        &["group", "reset", "g", "--to", "yesterday"],
        &["group", "reset", "g", "--to-latest", "--topic", "t:one"],
        &["group", "lag"],
        &["group", "lag", "g", "--watch=often"],
    ];
    for words in nonsense {
        let said = world.ask(words, "");
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{words:?}: {}", said.err);
    }
    let refused: [(&[&str], &str); 4] = [
        (&["group", "describe", "nobody"], "GROUP_NOT_FOUND"),
        (&["group", "lag", "nobody"], "GROUP_NOT_FOUND"),
        (&["group", "delete", "nobody"], "GROUP_NOT_FOUND"),
        (&["group", "reset", "g", "--to-latest", "--topic", "nowhere"], "UNKNOWN_TOPIC_OR_PARTITION"),
    ];
    for (words, expected) in refused {
        let said = world.ask(words, "");
        assert_eq!(said.code, 1, "{words:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(expected), "{words:?}: {}", said.err);
    }
    // What can be reset is, and what cannot is said.
    let words =
        ["group", "reset", "g", "--to-latest", "--topic", "t:0", "--topic", "t:7", "--format", "json"];
    let said = world.ask(&words, "");
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("t partition 7"), "{}", said.err);
    assert_eq!(said.out.lines().count(), 2, "{}", said.out);
    assert_eq!(world.committed("g"), pairs(&[(0, 10)]));
}

#[test]
fn a_deleted_group_has_committed_nothing() {
    let world = World::new();
    world.commit("g", 0, 5);
    world.commit("other", 1, 1);
    world.done(&["group", "delete", "g"]);
    let names: Vec<Value> =
        world.json(&["group", "list"]).iter().map(|group| group["group"].clone()).collect();
    assert_eq!(names, ["other"]);
    assert_eq!(world.ask(&["group", "delete", "g"], "").code, 1);
    assert_eq!(world.committed("other"), pairs(&[(1, 1)]));
}

#[test]
fn who_watches_sees_it_again_and_again() {
    let world = World::new();
    world.commit("g", 0, 5);
    let mut watched = world.start(&["group", "lag", "g", "--watch=20ms", "--format", "json"]);
    let lag = |line: String| serde_json::from_str::<Value>(&line).expect("an object per line")["lag"].clone();
    assert_eq!(lag(watched.line()), 5);
    assert_eq!(lag(watched.line()), 5);
    world.commit("g", 0, 9);
    let begun = Instant::now();
    while lag(watched.line()) != 1 {
        assert!(begun.elapsed() < PATIENCE, "it shows what was");
    }
}

#[test]
fn a_group_with_a_member_is_described_and_left_alone_unless_forced() {
    let world = World::new();
    let mut member = world.start(&["consume", "t", "--group", "g", "--follow", "--format", "json"]);
    // It has printed all there is, so it is a member that owns both partitions.
    for _ in 0..14 {
        member.line();
    }
    let described = world.json(&["group", "describe", "g"]);
    assert_eq!(described.len(), 1, "{described:?}");
    let one = &described[0];
    for (key, value) in
        [("group", "g"), ("kind", "consumer"), ("stage", "stable"), ("client_id", "millrace-cli")]
    {
        assert_eq!(one[key], value, "{key} of {one}");
    }
    let owned = json!([{ "topic": "t", "partition": 0 }, { "topic": "t", "partition": 1 }]);
    assert_eq!(one["owned"], owned, "{one}");
    assert_eq!(one["topics"], json!(["t"]), "{one}");
    let table = world.done(&["group", "describe", "g"]);
    assert!(table.contains("t:0-1"), "{table}");
    let lags = world.json(&["group", "lag", "g"]);
    assert!(
        lags.iter().all(|lag| lag["member"] == one["member"] && lag["client_id"] == "millrace-cli"),
        "{lags:?}"
    );
    for words in [&["group", "delete", "g"][..], &["group", "reset", "g", "--to-earliest"]] {
        let said = world.ask(words, "");
        assert_eq!(said.code, 1, "{words:?}");
        assert!(said.err.contains("GROUP_NOT_EMPTY"), "{words:?}: {}", said.err);
    }
    let said = world.ask(&["group", "reset", "g", "--to-earliest"], "");
    assert!(said.err.contains("--force"), "{}", said.err);
    let forced = world.json(&["group", "reset", "g", "--to", "1", "--topic", "t", "--force"]);
    assert!(forced.iter().all(|row| row["after"] == 1 && row["error"].is_null()), "{forced:?}");
}
