//! Other people's Kafka clients, as programs with five verbs: produce, consume, offsets, group, admin. What they read and
//! print stands in `tests/kafka-clients/python/exchange.py`.
//!
//! Each is installed once per target directory, in the versions that `tests/kafka-clients` names, by the installer of its
//! language.

mod group;
mod install;
mod record;
mod talk;

use std::io::Write as _;
use std::process::{Command, Stdio};

pub use group::{Group, Member, Wish};
pub use install::{Language, jars, java_source};
pub use record::{Exchanged, Place, Sent};
use serde_json::{Value, json};
pub use talk::{Talk, Told};

/// The codecs of the protocol, by name.
pub const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// A client, and what it cannot do.
#[derive(Debug, Clone, Copy)]
pub struct KafkaClient {
    /// What it is called.
    pub name: &'static str,
    /// What it is written in.
    pub language: Language,
    /// Its program below `tests/kafka-clients`, or the name of what is built.
    pub program: &'static str,
    /// The codecs that it writes.
    pub codecs: &'static [&'static str],
    /// Whether it can send a header without a value.
    pub null_headers: bool,
    /// Whether it can read a partition without a group.
    pub reads: bool,
}

/// confluent-kafka for Python, which is librdkafka.
pub const LIBRDKAFKA: KafkaClient = KafkaClient {
    name: "confluent-kafka (librdkafka)",
    language: Language::Python,
    program: "python/librdkafka.py",
    codecs: &CODECS,
    null_headers: true,
    reads: true,
};
/// kafka-python.
pub const KAFKA_PYTHON: KafkaClient = KafkaClient {
    name: "kafka-python",
    program: "python/kafka_python.py",
    null_headers: false,
    ..LIBRDKAFKA
};
/// aiokafka.
pub const AIOKAFKA: KafkaClient =
    KafkaClient { name: "aiokafka", program: "python/aio_kafka.py", ..LIBRDKAFKA };
/// Kafka's own.
pub const JAVA: KafkaClient =
    KafkaClient { name: "kafka-clients (Java)", language: Language::Java, program: "Exchange", ..LIBRDKAFKA };
/// franz-go.
pub const FRANZ: KafkaClient =
    KafkaClient { name: "franz-go", language: Language::Go, program: "franz", ..LIBRDKAFKA };
/// sarama.
pub const SARAMA: KafkaClient = KafkaClient { name: "sarama", program: "sarama", ..FRANZ };
/// kafkajs.
pub const KAFKAJS: KafkaClient = KafkaClient {
    name: "kafkajs",
    language: Language::Node,
    program: "node/kafkajs.js",
    codecs: &["none", "gzip"],
    null_headers: false,
    reads: false,
};

impl KafkaClient {
    /// Sends records; answers where each came to lie.
    ///
    /// # Panics
    /// When one is not acknowledged.
    #[must_use]
    pub fn produce(&self, bootstrap: &str, records: &[Sent], settings: &[&str]) -> Vec<Place> {
        let lines: Vec<Value> = records.iter().map(Sent::line).collect();
        let words = [&["produce", bootstrap], settings].concat();
        let places: Vec<Place> = self.run(&words, &lines).iter().map(Place::of_line).collect();
        assert_eq!(places.len(), records.len(), "{}: an answer for each record", self.name);
        places
    }

    /// Reads so many records of partition 0.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn consume(&self, bootstrap: &str, topic: &str, from: i64, count: usize) -> Vec<Exchanged> {
        let line = json!({ "topic": topic, "partition": 0, "from": from, "count": count });
        let records = self.run(&["consume", bootstrap], &[line]);
        assert_eq!(records.len(), count, "{}: so many were asked for", self.name);
        records.iter().map(Exchanged::of_line).collect()
    }

    /// The offsets of partition 0 at `"earliest"`, `"latest"` or times in milliseconds; -1 where there is nothing so late.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn offsets(&self, bootstrap: &str, topic: &str, at: &[Value]) -> Vec<i64> {
        let lines: Vec<Value> =
            at.iter().map(|at| json!({ "topic": topic, "partition": 0, "at": at })).collect();
        let answers = self.run(&["offsets", bootstrap], &lines);
        answers.iter().map(|answer| answer["offset"].as_i64().expect("an offset")).collect()
    }

    /// The program, not started.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.language.command(self.program);
        command.args(words);
        command
    }

    fn run(&self, words: &[&str], lines: &[Value]) -> Vec<Value> {
        let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let text = finish(&mut self.command(words), input, self.name);
        text.lines().map(|line| serde_json::from_str(line).expect("an object per line")).collect()
    }
}

/// Runs a program to its end with that standard input: what it prints.
///
/// # Panics
/// When it fails.
#[must_use]
pub fn finish(command: &mut Command, input: String, name: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program may print before it has read everything.
    let writing = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("a thread");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{errors}", output.status);
    text.into_owned()
}
