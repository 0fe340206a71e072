//! kcat, from Debian, against the broker: it writes every codec with keys, headers and nulls, and reads from any offset.
#![allow(clippy::unwrap_used, reason = "an exam fails by panicking, in its own functions too")]

use std::process::Command;

use bytes::Bytes;
use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::kafka_clients::{CODECS, finish};
use millrace_tests::{Need, require, tool};
use serde_json::{Value, json};
use tempfile::TempDir;

struct World {
    _home: TempDir,
    broker: BrokerProcess,
}

impl World {
    fn new() -> World {
        let home = TempDir::new().unwrap();
        let broker = BrokerSetup::new(&home.path().join("data"), &home.path().join("log")).start();
        World { _home: home, broker }
    }

    fn kcat(&self, words: &[&str], input: &str) -> String {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", self.broker.kafka(), "-m", "60"]).args(words);
        finish(&mut kcat, input.to_owned(), "kcat")
    }

    /// One of our own tools.
    fn tool(&self, words: &[&str], input: &str) -> String {
        let said = tool::ask(self.broker.grpc(), words, input);
        assert_eq!(said.code, 0, "{words:?}: {}", said.err);
        said.out
    }

    /// Everything in a topic, read through gRPC.
    fn records(&self, topic: &str) -> Vec<Value> {
        objects(&self.tool(&["consume", topic, "--format", "json"], ""))
    }
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is_here(suite: &str) -> bool {
    require(suite, &[Need::Program("kcat")])
}

#[test]
fn what_kcat_writes_in_each_codec_is_read_by_our_tool_and_by_kcat() {
    if !is_here("exam_kcat") {
        return;
    }
    let world = World::new();
    for codec in CODECS {
        let topic = format!("kcat-{codec}");
        let input: String = (0..200).map(|number| format!("key {}:value {number}\n", number % 7)).collect();
        let words = ["-P", "-t", &topic, "-p", "0", "-z", codec, "-K:", "-H", "a=1", "-H", "a=2", "-H", "b="];
        world.kcat(&words, &input);
        let through_grpc = world.records(&topic);
        assert_eq!(through_grpc.len(), 200, "{codec}");
        let through_kafka =
            objects(&world.kcat(&["-C", "-t", &topic, "-p", "0", "-o", "0", "-e", "-q", "-J"], ""));
        assert_eq!(through_kafka.len(), 200, "{codec}");
        for (number, (ours, theirs)) in through_grpc.iter().zip(&through_kafka).enumerate() {
            assert_eq!(ours["offset"], number, "{ours}");
            assert_eq!(ours["value"], format!("value {number}"), "{ours}");
            assert_eq!(ours["key"], format!("key {}", number % 7), "{ours}");
            let headers =
                json!([{"key": "a", "value": "1"}, {"key": "a", "value": "2"}, {"key": "b", "value": ""}]);
            assert_eq!(ours["headers"], headers);
            assert_eq!(theirs["headers"], json!(["a", "1", "a", "2", "b", ""]));
            assert_eq!(theirs["tstype"], "create");
            for (our_name, their_name) in
                [("offset", "offset"), ("timestamp", "ts"), ("key", "key"), ("value", "payload")]
            {
                assert_eq!(ours[our_name], theirs[their_name], "{codec}: {ours} and {theirs}");
            }
        }
    }
}

#[test]
fn kcat_reads_from_any_offset_and_finds_offsets_by_time() {
    if !is_here("exam_kcat_offsets") {
        return;
    }
    let world = World::new();
    world.tool(&["topic", "create", "t", "--partitions", "3"], "");
    let rows: String =
        (0..100).map(|number| format!("{},{number}\n", 1_700_000_000_000_i64 + 1_000 * number)).collect();
    world.tool(&["topic", "create", "times", "--partitions", "1"], "");
    world.tool(
        &["produce", "times", "--time-column", "at", "--compression", "zstd"],
        &format!("at,number\n{rows}"),
    );
    let read = |words: &[&str]| world.kcat(&[&["-C", "-q", "-f", "%o %T\n"], words].concat(), "");
    let line = |number: i64| format!("{number} {}\n", 1_700_000_000_000_i64 + 1_000 * number);
    let lines = |range: std::ops::Range<i64>| range.map(line).collect::<String>();
    assert_eq!(read(&["-t", "times", "-p", "0", "-o", "37", "-c", "5"]), lines(37..42));
    assert_eq!(read(&["-t", "times", "-p", "0", "-o", "beginning", "-c", "2"]), lines(0..2));
    assert_eq!(read(&["-t", "times", "-p", "0", "-o", "-3", "-e"]), lines(97..100));
    assert_eq!(read(&["-t", "times", "-p", "0", "-o", "s@1700000010500", "-c", "1"]), lines(11..12));
    let found = world.kcat(&["-Q", "-t", "times:0:1700000050001"], "");
    assert!(found.contains("51"), "{found}");

    // Each record to the partition that was asked for, and nulls as nulls.
    for partition in ["0", "1", "2"] {
        world
            .kcat(&["-P", "-t", "t", "-p", partition, "-Z", "-K:"], &format!("{partition}:\n:{partition}\n"));
    }
    let mut records = world.records("t");
    records.sort_by_key(|record| (record["partition"].as_i64(), record["offset"].as_i64()));
    let found: Vec<Value> = records
        .iter()
        .map(|record| json!([record["partition"], record["offset"], record["key"], record["value"]]))
        .collect();
    let expected: Vec<Value> = (0..3)
        .flat_map(|partition| {
            let text = partition.to_string();
            [json!([partition, 0, text, null]), json!([partition, 1, null, text])]
        })
        .collect();
    assert_eq!(found, expected);
    let listed: Value = serde_json::from_str(&world.kcat(&["-L", "-J", "-t", "t"], "")).unwrap();
    assert_eq!(listed["topics"][0]["partitions"].as_array().unwrap().len(), 3, "{listed}");
}

#[test]
fn what_our_tool_writes_in_each_codec_is_read_by_kcat() {
    if !is_here("exam_kcat_ours") {
        return;
    }
    let world = World::new();
    for codec in CODECS {
        let topic = format!("ours-{codec}");
        world.tool(&["topic", "create", &topic], "");
        let input: String =
            (0..500).map(|number| format!("k{}:a value, number {number}\n", number % 9)).collect();
        world.tool(&["produce", &topic, "--key-separator", ":", "--compression", codec], &input);
        let read = world.kcat(&["-C", "-t", &topic, "-p", "0", "-o", "0", "-e", "-q", "-f", "%k:%s\n"], "");
        assert_eq!(read, input, "{codec}");
        let times = world.kcat(&["-C", "-t", &topic, "-p", "0", "-o", "0", "-e", "-q", "-f", "%T\n"], "");
        let ours: String =
            world.records(&topic).iter().map(|record| format!("{}\n", record["timestamp"])).collect();
        assert_eq!(times, ours, "{codec}");
    }
}

#[test]
fn kcat_reads_as_a_group_and_goes_on_where_it_was() {
    if !is_here("exam_kcat_group") {
        return;
    }
    let world = World::new();
    world.tool(&["topic", "create", "shared", "--partitions", "3"], "");
    let lines = |numbers: std::ops::Range<u32>| -> Vec<String> {
        numbers.map(|number| format!("k{number}:value {number}")).collect()
    };
    for numbers in [0..30, 30..40] {
        let count = numbers.len().to_string();
        let mut sent = lines(numbers);
        world.kcat(&["-P", "-t", "shared", "-K:"], &(sent.join("\n") + "\n"));
        let words = [
            "-X",
            "auto.offset.reset=earliest",
            "-q",
            "-f",
            "%k:%s\n",
            "-c",
            &count,
            "-G",
            "kcats",
            "shared",
        ];
        let read = world.kcat(&words, "");
        let mut read: Vec<&str> = read.lines().collect();
        read.sort_unstable();
        sent.sort_unstable();
        assert_eq!(read, sent, "what nobody of the group has read, and nothing else");
    }
}

/// The bytes of a record are its own whatever they are.
#[test]
fn binary_values_survive_both_doors() {
    if !is_here("exam_kcat_binary") {
        return;
    }
    let world = World::new();
    let home = TempDir::new().unwrap();
    let file = home.path().join("value");
    let value: Vec<u8> =
        (0..300_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&file, Bytes::from(value.clone())).unwrap();
    world.kcat(&["-P", "-t", "binary", "-p", "0", &file.display().to_string()], "");
    let mut raw = tool::bare();
    raw.args(["--server", world.broker.grpc(), "consume", "binary", "--format", "raw"]);
    assert!(raw.output().unwrap().stdout == value, "read by our tool");
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", world.broker.kafka(), "-C", "-t", "binary", "-p", "0", "-o", "0", "-e", "-q", "-D", ""]);
    assert!(kcat.output().unwrap().stdout == value, "read by kcat");
}
