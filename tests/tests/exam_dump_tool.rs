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
    let mut seed = Seed::announced("exam_dump_tool");
    let home = TempDir::new().unwrap();
    let data_dir = home.path().join("data");
    let mut broker = BrokerSetup::new(&data_dir, &home.path().join("log")).start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sent = runtime.block_on(fill(broker.grpc(), &mut seed));
    assert_eq!(broker.stop().code(), Some(0));

    let mut total = (0, 0);
    for (topic, acknowledged) in &sent {
        let files = files_of(&data_dir, topic);
        let of = |suffix: &str| -> Vec<PathBuf> {
            files.iter().filter(|file| file.extension().is_some_and(|is| is == suffix)).cloned().collect()
        };
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

async fn fill(address: &str, seed: &mut Seed) -> Acknowledged {
    let client = Client::connect([address.to_owned()], ClientOptions::default()).await.unwrap();
    let mut sent = Acknowledged::new();
    for (name, compression) in CODECS {
        let topic = format!("dump-{name}");
        let new = NewTopic::new(&topic).config("segment.bytes", SEGMENT_BYTES);
        client.admin().create_topic(new).await.unwrap();
        let producer = client.producer().compression(compression).batch_bytes(8 * 1024).build().unwrap();
        let mut deliveries = Vec::new();
        for number in 0..RECORDS {
            let record = record(&topic, number, seed);
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

/// Times go back and forth, as they do in life; some records have no key.
fn record(topic: &str, number: u64, seed: &mut Seed) -> ProducerRecord {
    let time = 1_700_000_000_000 + number * 10 + seed.between(0, 500);
    let noise: String = (0..seed.between(1, 8)).map(|_| format!("{:016x}", seed.draw())).collect();
    let value = format!("{topic} number {number} {noise}");
    let record = ProducerRecord::new(topic, value)
        .partition(PartitionIndex::new(0).unwrap())
        .timestamp(TimestampMs(time.cast_signed()));
    if number.is_multiple_of(7) { record } else { record.key(format!("key {}", number % 100)) }
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
