//! Kafka's command-line tools against the broker, each by its own `main`, several of them in one Java machine.
#![allow(clippy::unwrap_used, reason = "an exam fails by panicking, in its own functions too")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Instant;

use millrace_tests::judged::Judged;
use millrace_tests::kafka_clients::{JAVA, KafkaClient, Language, Talk, Told, finish, jars};
use millrace_tests::{require, say};
use serde_json::{Value, json};
use tempfile::TempDir;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
const VERSIONS: &str = "org.apache.kafka.tools.BrokerApiVersionsCommand";
const VERIFIABLE_PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
const VERIFIABLE_CONSUMER: &str = "org.apache.kafka.tools.VerifiableConsumer";
const COMPATIBILITY: &str = "org.apache.kafka.tools.ClientCompatibilityTest";

/// Longer than anything takes here.
const TIMEOUT: [&str; 2] = ["--timeout-ms", "60000"];

#[test]
fn topics_and_their_configuration_are_managed_with_kafkas_tools() {
    let suite = "exam_commands_topics";
    let Some(mut tools) = Tools::start(suite) else { return };
    let suite = tools.suite.clone();
    let suite = suite.as_str();
    let topic = ["--topic", suite];
    let made =
        tools.run(TOPICS, &[&["--create", "--partitions", "3", "--config", "retention.ms=-1"], &topic]);
    assert!(made.contains(&format!("Created topic {suite}.")), "{made}");
    let again = tools.fails(TOPICS, &[&["--create", "--partitions", "3"], &topic]);
    assert!(again.contains("exists"), "{again}");
    tools.run(TOPICS, &[&["--create", "--if-not-exists", "--partitions", "3"], &topic]);
    assert!(tools.run(TOPICS, &[&["--list"]]).lines().any(|line| line == suite));
    let described = tools.run(TOPICS, &[&["--describe"], &topic]);
    assert!(described.contains("PartitionCount: 3") && described.contains("retention.ms=-1"), "{described}");
    tools.run(TOPICS, &[&["--alter", "--partitions", "4"], &topic]);
    let described = tools.run(TOPICS, &[&["--describe"], &topic]);
    assert_eq!(described.matches("Leader: ").count(), 4, "{described}");

    let entity = ["--entity-type", "topics", "--entity-name", suite];
    let larger = ["--alter", "--add-config", "max.message.bytes=2000000,segment.bytes=104857600"];
    tools.run(CONFIGS, &[&larger, &entity]);
    let described = tools.run(CONFIGS, &[&["--describe"], &entity]);
    for config in ["max.message.bytes=2000000", "segment.bytes=104857600", "retention.ms=-1"] {
        assert!(described.contains(config), "{config} in {described}");
    }
    tools.run(CONFIGS, &[&["--alter", "--delete-config", "segment.bytes"], &entity]);
    let described = tools.run(CONFIGS, &[&["--describe"], &entity]);
    assert!(!described.contains("segment.bytes=104857600"), "{described}");
    tools.fails(CONFIGS, &[&["--alter", "--add-config", "no.such.key=1"], &entity]);
    let everything = tools.run(CONFIGS, &[&["--describe", "--all"], &entity]);
    assert!(everything.contains("cleanup.policy=delete"), "{everything}");

    tools.run(TOPICS, &[&["--delete"], &topic]);
    assert!(!tools.run(TOPICS, &[&["--list"]]).lines().any(|line| line == suite));
    tools.fails(TOPICS, &[&["--describe"], &topic]);
    tools.end();
}

#[test]
fn a_group_is_read_described_and_reset_with_kafkas_tools() {
    let suite = "exam_commands_groups";
    let Some(mut tools) = Tools::start(suite) else { return };
    let suite = tools.suite.clone();
    let suite = suite.as_str();
    let (topic, group) = (["--topic", suite], ["--group", suite]);
    tools.run(TOPICS, &[&["--create", "--partitions", "2"], &topic]);
    let keyed = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"];
    let input: String = (0..50).map(|number| format!("key {number}:value {number}\n")).collect();
    tools.given(PRODUCER, &[&keyed, &topic], &input);
    let wanted: BTreeSet<String> = (0..50).map(|number| format!("value {number}")).collect();
    let from_group = ["--from-beginning", "--max-messages", "50"];
    let read = tools.run(CONSUMER, &[&from_group, &TIMEOUT, &topic, &group]);
    let lines: BTreeSet<String> = read.lines().map(str::to_owned).collect();
    assert_eq!(lines, wanted);
    assert!(tools.run(GROUPS, &[&["--list"]]).lines().any(|line| line == suite));
    assert_eq!(tools.lags(suite), [0, 0]);
    let state = tools.run(GROUPS, &[&["--describe", "--state"], &group]);
    assert!(state.contains("Empty"), "{state}");

    // Dry first: nothing moves.
    let earliest = ["--reset-offsets", "--to-earliest"];
    tools.run(GROUPS, &[&earliest, &["--dry-run"], &topic, &group]);
    assert_eq!(tools.lags(suite), [0, 0]);
    tools.run(GROUPS, &[&earliest, &["--execute"], &topic, &group]);
    assert_eq!(tools.lags(suite).iter().sum::<i64>(), 50);
    let read = tools.run(CONSUMER, &[&["--max-messages", "50"], &TIMEOUT, &topic, &group]);
    assert_eq!(read.lines().map(str::to_owned).collect::<BTreeSet<String>>(), wanted);
    tools.run(GROUPS, &[&["--reset-offsets", "--to-offset", "1", "--execute"], &topic, &group]);
    assert_eq!(tools.lags(suite).iter().sum::<i64>(), 48);
    let newer = ["--command-property", "group.protocol=consumer", "--from-beginning", "--max-messages", "50"];
    let other = format!("{suite}-newer");
    let read = tools.run(CONSUMER, &[&newer, &TIMEOUT, &topic, &["--group", &other]]);
    assert_eq!(read.lines().count(), 50, "{read}");
    tools.run(GROUPS, &[&["--delete-offsets"], &topic, &group]);
    tools.run(GROUPS, &[&["--delete"], &group]);
    assert!(!tools.run(GROUPS, &[&["--list"]]).lines().any(|line| line == suite));
    tools.end();
}

#[test]
fn offsets_sizes_and_trims_are_told_to_kafkas_tools() {
    let suite = "exam_commands_offsets";
    let Some(mut tools) = Tools::start(suite) else { return };
    let suite = tools.suite.clone();
    let suite = suite.as_str();
    let topic = ["--topic", suite];
    tools.run(TOPICS, &[&["--create", "--partitions", "1"], &topic]);
    let input: String = (0..20).map(|number| format!("value {number}\n")).collect();
    tools.given(PRODUCER, &[&topic], &input);
    assert_eq!(tools.run(OFFSETS, &[&topic]).trim(), format!("{suite}:0:20"));
    assert_eq!(tools.run(OFFSETS, &[&topic, &["--time", "earliest"]]).trim(), format!("{suite}:0:0"));
    let home = TempDir::new().unwrap();
    let file = home.path().join("offsets.json").display().to_string();
    let until = json!({ "partitions": [{ "topic": suite, "partition": 0, "offset": 5 }], "version": 1 });
    std::fs::write(&file, until.to_string()).unwrap();
    let trimmed = tools.run(DELETE_RECORDS, &[&["--offset-json-file", &file]]);
    assert!(trimmed.contains("low_watermark: 5"), "{trimmed}");
    assert_eq!(tools.run(OFFSETS, &[&topic, &["--time", "earliest"]]).trim(), format!("{suite}:0:5"));
    let described = tools.run(LOG_DIRS, &[&["--describe", "--topic-list", suite]]);
    let dirs: Value =
        serde_json::from_str(described.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    let partition = &dirs["brokers"][0]["logDirs"][0]["partitions"][0];
    assert_eq!(partition["partition"], format!("{suite}-0"), "{dirs}");
    assert!(partition["size"].as_i64().unwrap() > 0, "{dirs}");
    let versions = tools.run(VERSIONS, &[]);
    assert!(versions.contains("ApiVersions(18)") && versions.contains("usable"), "{versions}");
    tools.end();
}

#[test]
fn the_verifiable_consumer_reads_what_the_verifiable_producer_was_acknowledged() {
    let suite = "exam_commands_verifiable";
    let Some(mut tools) = Tools::start(suite) else { return };
    let suite = tools.suite.clone();
    let suite = suite.as_str();
    const RECORDS: usize = 5_000;
    let count = RECORDS.to_string();
    tools.run(TOPICS, &[&["--create", "--partitions", "3", "--topic", suite]]);
    // Its last words are those of its shutdown hook: a machine of its own.
    let mut producer = Command::new("java");
    producer.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(jars().join("*")).arg(VERIFIABLE_PRODUCER);
    producer.args([
        "--bootstrap-server",
        tools.judged.bootstrap(),
        "--topic",
        suite,
        "--max-messages",
        &count,
    ]);
    let produced = finish(&mut producer, String::new(), VERIFIABLE_PRODUCER);
    let place = |line: &Value| (line["partition"].as_i64().unwrap(), line["offset"].as_i64().unwrap());
    let acknowledged: BTreeSet<(i64, i64)> =
        objects(&produced, "producer_send_success").iter().map(place).collect();
    assert_eq!(acknowledged.len(), RECORDS);
    for protocol in ["classic", "consumer"] {
        let group = format!("{suite}-{protocol}");
        let words = ["--topic", suite, "--group-id", &group, "--max-messages", &count, "--verbose"];
        let more = ["--reset-policy", "earliest", "--group-protocol", protocol];
        let consumed = tools.run(VERIFIABLE_CONSUMER, &[&words, &more]);
        let read: BTreeSet<(i64, i64)> = objects(&consumed, "record_data").iter().map(place).collect();
        assert!(read == acknowledged, "as {protocol}: {} of {RECORDS}", read.len());
        let commits = objects(&consumed, "offsets_committed");
        assert!(!commits.is_empty() && commits.iter().all(|commit| commit["success"] == true), "{commits:?}");
    }
    tools.end();
}

#[test]
fn kafkas_compatibility_test_passes() {
    let suite = "exam_commands_compatibility";
    let Some(mut tools) = Tools::start(suite) else { return };
    let suite = tools.suite.clone();
    let suite = suite.as_str();
    tools.run(TOPICS, &[&["--create", "--partitions", "1", "--topic", suite]]);
    let yes = [
        "--offsets-for-times-supported",
        "--cluster-id-supported",
        "--create-topics-supported",
        "--describe-configs-supported",
        "--idempotent-producer-supported",
    ];
    // There is no authorization yet; Kafka's answer counts as one without it.
    let acls = tools.judged.is_foreign().to_string();
    let mut words = vec!["--num-cluster-nodes", "1", "--topic", suite, "--describe-acls-supported", &acls];
    // The first batch comes whole, however large (KIP-74).
    words.extend(["--expect-record-too-large-exception", "false"]);
    words.extend(yes.iter().flat_map(|flag| [*flag, "true"]));
    let said = tools.run(COMPATIBILITY, &[&words]);
    assert!(said.contains("SUCCESS"), "{said}");
    tools.end();
}

/// The lines of that name.
fn objects(text: &str, name: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["name"] == name).collect()
}

/// The tools, in one Java machine, against a broker of their own.
struct Tools {
    talk: Talk,
    judged: Judged,
    /// Its name, and that of its topic and of its group.
    suite: String,
    began: Instant,
    took: BTreeMap<String, u128>,
}

impl Tools {
    fn start(suite: &str) -> Option<Tools> {
        if !require(suite, Language::Java.needs()) {
            return None;
        }
        let judged = Judged::start(&[]);
        let mut talk = Talk::default();
        let machine = KafkaClient { program: "Tools", ..JAVA };
        talk.start("Kafka's tools", &mut machine.command(&[]));
        let suite = judged.name(suite);
        Some(Tools { talk, judged, suite, began: Instant::now(), took: BTreeMap::new() })
    }

    /// What the tool prints, which must succeed.
    fn run(&mut self, class: &str, words: &[&[&str]]) -> String {
        self.given(class, words, "")
    }

    fn given(&mut self, class: &str, words: &[&[&str]], input: &str) -> String {
        let answer = self.answer(class, words, input);
        assert_eq!(answer["exit"], 0, "{class} {words:?}: {answer:#}");
        answer["out"].as_str().unwrap().to_owned()
    }

    /// What the tool prints, which must fail.
    fn fails(&mut self, class: &str, words: &[&[&str]]) -> String {
        let answer = self.answer(class, words, "");
        assert_ne!(answer["exit"], 0, "{class} {words:?}: {answer:#}");
        format!("{}{}", answer["out"].as_str().unwrap(), answer["err"].as_str().unwrap())
    }

    fn answer(&mut self, class: &str, words: &[&[&str]], input: &str) -> Value {
        let began = Instant::now();
        let bootstrap: &[&str] = &["--bootstrap-server", self.judged.bootstrap()];
        let words = [&[bootstrap], words].concat().concat();
        self.talk.say(0, &json!({ "class": class, "words": words, "input": input }));
        let (_, Told::Line(answer)) = self.talk.hear(&format!("{class} {words:?}")) else {
            panic!("{class} ends everything\n{}", self.talk.complaints())
        };
        *self.took.entry(class.to_owned()).or_default() += began.elapsed().as_millis();
        answer
    }

    /// The lag of each partition of the group of that name, with Kafka's tool.
    fn lags(&mut self, group: &str) -> Vec<i64> {
        let described = self.run(GROUPS, &[&["--describe", "--group", group]]);
        let mut lines = described.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>());
        let names = lines.find(|words| words.contains(&"LAG")).unwrap_or_else(|| panic!("{described}"));
        let at = names.iter().position(|name| *name == "LAG").unwrap();
        lines.filter_map(|words| words.get(at)?.parse().ok()).collect()
    }

    fn end(mut self) {
        self.talk.hang_up(0);
        self.talk.end(0);
        self.judged.stop();
        let took = self.began.elapsed().as_secs_f64();
        say(&format!("{}: {took:.1} s, of which in ms {:?}", self.suite, self.took));
    }
}
