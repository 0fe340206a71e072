//! Kafka's own dump tool reads our segments and indexes, and agrees on every record.
#![allow(clippy::unwrap_used, reason = "an exam fails by panicking, in its own functions too")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use millrace_client::{
    Client, ClientOptions, Compression, NewTopic, PartitionIndex, ProducerRecord, TimestampMs,
};
use millrace_tests::broker::BrokerSetup;
use millrace_tests::kafka_tools::{self, DumpedRecord, KafkaTools};
use millrace_tests::{Need, Seed, require, say};
use tempfile::TempDir;

const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];
const RECORDS: u64 = 6_000;
/// The smallest there is: several segments from little data.
const SEGMENT_BYTES: &str = "65536";

/// Fetched once, whichever exam comes first.
fn tools() -> KafkaTools {
    static TOOLS: OnceLock<KafkaTools> = OnceLock::new();
    TOOLS.get_or_init(|| KafkaTools::fetch(Path::new(env!("CARGO_TARGET_TMPDIR")))).clone()
}

/// What was acknowledged, by topic.
type Acknowledged = BTreeMap<String, Vec<DumpedRecord>>;

#[test]
fn kafkas_dump_tool_agrees_on_every_record_of_every_codec() {
    if !require("exam_dump_tool", &[Need::Program("java"), Need::Program("mvn")]) {
        return;
    }
    let tools = tools();
    let (home, sent) = filled("exam_dump_tool", (&[], 7));
    let data_dir = home.path().join("data");

    let mut total = (0, 0);
    for (topic, acknowledged) in &sent {
        let of = |suffix: &str| files_with(&data_dir, topic, suffix);
        let logs = of("log");
        assert!(logs.len() >= 3, "{topic}: {} segments; several are wanted", logs.len());
        let dump = tools.dump(&["--deep-iteration", "--print-data-log"], &logs);
        assert_eq!(kafka_tools::complaints(&dump), [""; 0], "{topic}");
        let dumped = kafka_tools::records(&dump);
        assert_eq!(dumped.len(), acknowledged.len(), "{topic}");
        if let Some((ours, theirs)) = acknowledged.iter().zip(&dumped).find(|(ours, theirs)| ours != theirs) {
            panic!("{topic}: acknowledged {ours:?}, dumped {theirs:?}");
        }

        let indexes: Vec<PathBuf> = [of("index"), of("timeindex")].concat();
        assert_eq!(indexes.len(), 2 * logs.len(), "{topic}");
        let sane = tools.dump(&["--index-sanity-check"], &indexes);
        assert_eq!(sane.matches("passed sanity check").count(), indexes.len(), "{topic}:\n{sane}");
        let verified = tools.dump(&["--verify-index-only"], &indexes);
        assert_eq!(kafka_tools::complaints(&verified), [""; 0], "{topic}");
        total = (total.0 + logs.len(), total.1 + dumped.len());
    }
    say(&format!(
        "exam_dump_tool: Kafka 3.9.1 agrees on {} records in {} segments of {} codecs, and finds their indexes sane",
        total.1,
        total.0,
        CODECS.len()
    ));
}

#[test]
fn kafkas_dump_tool_reads_what_compaction_has_left() {
    if !require("exam_dump_tool_compacted", &[Need::Program("java"), Need::Program("mvn")]) {
        return;
    }
    let tools = tools();
    let (home, sent) = filled("exam_dump_tool_compacted", (&[("cleanup.policy", "compact")], 1));
    let data_dir = home.path().join("data");
    compact(&data_dir);

    for (topic, acknowledged) in &sent {
        let logs = files_with(&data_dir, topic, "log");
        let dump = tools.dump(&["--deep-iteration", "--print-data-log"], &logs);
        assert_eq!(kafka_tools::complaints(&dump), [""; 0], "{topic}");
        let dumped = kafka_tools::records(&dump);
        assert!(dumped.len() < acknowledged.len() / 2, "{topic}: {} records are left", dumped.len());
        assert!(dumped.is_sorted_by_key(|record| record.offset), "{topic}");
        let is_sent = |record: &&DumpedRecord| acknowledged.binary_search(record).is_ok();
        assert_eq!(dumped.iter().find(|record| !is_sent(record)), None, "{topic}");
        let last_of = |records: &[DumpedRecord]| -> BTreeMap<Option<String>, i64> {
            records.iter().map(|record| (record.key.clone(), record.offset)).collect()
        };
        assert_eq!(last_of(&dumped), last_of(acknowledged), "{topic}: the last of every key");
        let indexes = [files_with(&data_dir, topic, "index"), files_with(&data_dir, topic, "timeindex")];
        let verified = tools.dump(&["--verify-index-only"], &indexes.concat());
        assert_eq!(kafka_tools::complaints(&verified), [""; 0], "{topic}");
    }
    say(&format!(
        "exam_dump_tool: Kafka 3.9.1 finds the last record of every key in compacted logs of {} codecs",
        sent.len()
    ));
}

/// Compacts all logs that say so, as a broker's janitor would; nobody serves them.
fn compact(data_dir: &Path) {
    let node = millrace_types::NodeId(1);
    let path = data_dir.to_owned();
    let options = millrace_log::LogDirOptions { path, node, tail_cache_bytes: 0, handles: None };
    let opened = millrace_log::LogDir::open(&millrace_env::real::env(), options).unwrap();
    let compaction =
        millrace_log::CompactionConfig { dirty_parts_min: 0, ..millrace_log::CompactionConfig::default() };
    let cleanup = millrace_types::CleanupPolicy::Compact;
    for meta in &opened.found {
        let config = millrace_log::LogConfig { cleanup, compaction, ..millrace_log::LogConfig::default() };
        if meta.name.as_str().starts_with("dump-") {
            opened.dir.open_log(meta.id, config).unwrap();
        }
    }
    opened.dir.janitor_step();
    let room = opened.dir.storage();
    assert!(
        room.level < millrace_log::StorageLevel::Scarce,
        "the disk is too full for anything to be compacted: {room:?}"
    );
    opened.dir.close().unwrap();
}

#[test]
fn kafkas_dump_tool_notices_a_flipped_bit_in_what_it_is_given() {
    if !require("exam_dump_tool_teeth", &[Need::Program("java"), Need::Program("mvn")]) {
        return;
    }
    let tools = tools();
    let home = TempDir::new().unwrap();
    let file = home.path().join("00000000000000000000.log");
    let mut batch = include_bytes!("../../crates/record/fixtures/kafka-java-none.batch").to_vec();
    let last = batch.len() - 1;
    batch[last] ^= 1;
    std::fs::write(&file, batch).unwrap();
    let dump = tools.dump(&[], &[file]);
    assert_ne!(kafka_tools::complaints(&dump), [""; 0], "{dump}");
}

/// A broker that was filled and stopped: its home, with the data directory `data`, and what it has acknowledged.
fn filled(suite: &str, topics: (&[(&str, &str)], u64)) -> (TempDir, Acknowledged) {
    let mut seed = Seed::announced(suite);
    let home = TempDir::new().unwrap();
    let mut broker = BrokerSetup::new(&home.path().join("data"), &home.path().join("log")).start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sent = runtime.block_on(fill(broker.grpc(), &mut seed, topics));
    assert_eq!(broker.stop().code(), Some(0));
    (home, sent)
}

/// Fills a topic for each codec, all with these configurations; one record in so many has no key, unless that is 1.
async fn fill(
    address: &str,
    seed: &mut Seed,
    (configs, keyless_one_in): (&[(&str, &str)], u64),
) -> Acknowledged {
    let client = Client::connect([address.to_owned()], ClientOptions::default()).await.unwrap();
    let mut sent = Acknowledged::new();
    for (name, compression) in CODECS {
        let topic = format!("dump-{name}");
        let new = NewTopic::new(&topic).config("segment.bytes", SEGMENT_BYTES);
        let new = configs.iter().fold(new, |new, (key, value)| new.config(*key, *value));
        client.admin().create_topic(new).await.unwrap();
        let producer = client.producer().compression(compression).batch_bytes(8 * 1024).build().unwrap();
        let mut deliveries = Vec::new();
        for number in 0..RECORDS {
            let has_key = keyless_one_in == 1 || !number.is_multiple_of(keyless_one_in);
            let record = record(&topic, number, seed);
            let record = if has_key { record.key(format!("key {}", number % 100)) } else { record };
            deliveries.push((record.clone(), producer.send(record).await.unwrap()));
        }
        let mut acknowledged = Vec::new();
        for (record, delivery) in deliveries {
            let place = delivery.await.unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            acknowledged.push(DumpedRecord {
                offset: place.offset.unwrap().get(),
                timestamp: place.timestamp.0,
                key: record.key.as_deref().map(text),
                value: record.value.as_deref().map(text).unwrap(),
            });
        }
        acknowledged.sort();
        producer.close().await.unwrap();
        sent.insert(topic, acknowledged);
    }
    sent
}

/// Times go back and forth, as they do in life.
fn record(topic: &str, number: u64, seed: &mut Seed) -> ProducerRecord {
    let time = 1_700_000_000_000 + number * 10 + seed.between(0, 500);
    let noise: String = (0..seed.between(1, 8)).map(|_| format!("{:016x}", seed.draw())).collect();
    let value = format!("{topic} number {number} {noise}");
    ProducerRecord::new(topic, value)
        .partition(PartitionIndex::new(0).unwrap())
        .timestamp(TimestampMs(time.cast_signed()))
}

/// Those files of it that end so.
fn files_with(data_dir: &Path, topic: &str, suffix: &str) -> Vec<PathBuf> {
    let files = files_of(data_dir, topic).into_iter();
    files.filter(|file| file.extension().is_some_and(|is| is == suffix)).collect()
}

/// The files of the only partition of a topic, by name.
fn files_of(data_dir: &Path, topic: &str) -> Vec<PathBuf> {
    let fs = std::sync::Arc::new(millrace_env::real::RealFs);
    let inspection = millrace_log::inspect::Inspection::open(fs, data_dir).unwrap();
    let named = |meta: &millrace_log::PartitionMeta| meta.name.as_str() == topic;
    let partition =
        inspection.partitions().iter().find(|partition| partition.meta.as_ref().is_some_and(named));
    let entries = std::fs::read_dir(&partition.unwrap().dir).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
