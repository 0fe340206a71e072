//! Files of sealed segments that somebody shortens under a running broker, while readers are at them: the readers get what is
//! there or CORRUPT, and nobody else notices. Touching a mapped page that a file no longer has is a SIGBUS, which ends
//! processes.

#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::path::{Path, PathBuf};

use millrace_client::{Client, Compression, NewTopic, PartitionIndex, ProducerRecord};
use millrace_proto::v1;
use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::load::RecordId;
use millrace_tests::read::{Wire, topic_named};
use millrace_tests::{Seed, say};
use tempfile::TempDir;

const TOPIC: &str = "shortened";
/// The partition whose files are shortened; the other one is not touched.
const HURT: i32 = 0;
const WELL: i32 = 1;
/// Some eight segments of 1 MiB in each partition.
const RECORDS: u64 = 8_000;
const READERS: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_shortened_under_its_readers_answers_corrupt_and_the_broker_lives() {
    let mut seed = Seed::announced("crash_map_truncated");
    let folder = TempDir::new().expect("a folder");
    let setup = BrokerSetup::new(&folder.path().join("data"), &folder.path().join("log"));
    let mut broker = setup.start();
    let client = broker.client().await;
    let new = NewTopic::new(TOPIC).partitions(2).config("segment.bytes", "1048576");
    let topic = client.admin().create_topic(new).await.expect("a topic");
    for partition in [HURT, WELL] {
        produce(&client, partition, 0..RECORDS).await;
    }
    let hurt = folder.path().join("data").join(format!("{}-{HURT}", topic.id));
    let logs = sealed_logs(&hurt);
    assert!(logs.len() >= 4, "{logs:?}");

    // Another broker, so that readers are not answered from the memory in which the records were received.
    assert_eq!(broker.stop().code(), Some(0));
    let mut broker = setup.start();
    let client = broker.client().await;
    // Everything is read and checked once: what the readers touch from now on is in the maps.
    let mut wire = Wire::connect(broker.grpc()).await;
    assert_eq!(wire.records(TOPIC, HURT, 0).await.len() as u64, RECORDS);
    let readers: Vec<_> = (0..READERS)
        .map(|number| tokio::spawn(read_until_corrupt(broker.grpc().to_owned(), number * RECORDS / READERS)))
        .collect();
    for log in &logs {
        let file = std::fs::File::options().write(true).open(log).expect("a log");
        let size = file.metadata().expect("a size").len();
        file.set_len(seed.between(0, size)).expect("it is shortened");
    }
    let mut whole = 0;
    for reader in readers {
        whole += reader.await.expect("every record that is answered is right");
    }

    others_go_on(&mut broker, &client, &mut wire).await;
    say(&format!(
        "crash_map_truncated: {} files shortened under {READERS} readers, who were answered {whole} records and CORRUPT, and \
         nothing else",
        logs.len()
    ));
}

/// The broker is alive, its other partition whole, and both take records.
async fn others_go_on(broker: &mut BrokerProcess, client: &Client, wire: &mut Wire) {
    assert!(broker.is_running());
    for (at, record) in wire.records(TOPIC, WELL, 0).await.iter().enumerate() {
        assert_eq!(sequence_of(record.offset, record.value.as_deref(), WELL), at as u64);
    }
    for partition in [HURT, WELL] {
        produce(client, partition, RECORDS..RECORDS + 10).await;
        let tail = wire.records(TOPIC, partition, RECORDS.cast_signed()).await;
        assert_eq!(tail.len(), 10);
    }
    assert_eq!(broker.get("/healthz").0, 200);
}

fn id(partition: i32, sequence: u64) -> RecordId {
    RecordId { producer: 0, partition: partition.cast_unsigned(), sequence }
}

async fn produce(client: &Client, partition: i32, sequences: std::ops::Range<u64>) {
    let producer = client.producer().compression(Compression::None).build().expect("a producer");
    let mut deliveries = Vec::new();
    for sequence in sequences {
        let record = ProducerRecord::new(TOPIC, id(partition, sequence).value());
        let record = record.partition(PartitionIndex::new(partition).expect("a partition"));
        deliveries.push((sequence, producer.send(record).await.expect("it is taken")));
    }
    for (sequence, delivery) in deliveries {
        let offset = delivery.await.expect("it is stored").offset.expect("an offset").get();
        assert_eq!(offset, sequence.cast_signed());
    }
}

/// The number of a record that is right; panics at one that is not.
fn sequence_of(offset: i64, value: Option<&[u8]>, partition: i32) -> u64 {
    let found = value.and_then(RecordId::of_value).expect("a record that was sent");
    assert_eq!(found, id(partition, offset.cast_unsigned()), "the record at {offset}");
    found.sequence
}

/// Reads round and round, and checks every byte of what it gets, until it was told CORRUPT in every part of the log that
/// it went through. Answers how many records it got.
async fn read_until_corrupt(address: String, from: u64) -> u64 {
    let mut wire = Wire::connect(&address).await;
    let (mut next, mut records, mut corrupt) = (from.cast_signed(), 0, 0);
    while corrupt < 50 {
        let fetched = fetch(&mut wire, next).await;
        for record in &fetched.records {
            sequence_of(record.offset, record.value.as_deref(), HURT);
            records += 1;
        }
        match &fetched.error {
            None if fetched.next_offset > next => next = fetched.next_offset,
            None => next = 0,
            Some(error) => {
                assert_eq!(error.name, "CORRUPT", "{error:?}");
                corrupt += 1;
                // Somewhere behind the damage.
                next += 199;
            }
        }
        if next >= RECORDS.cast_signed() {
            next = 0;
        }
    }
    records
}

async fn fetch(wire: &mut Wire, offset: i64) -> v1::PartitionFetched {
    let wanted = v1::PartitionFetch {
        topic: topic_named(TOPIC),
        partition: HURT,
        offset,
        end_offset: None,
        ..Default::default()
    };
    let request = v1::FetchRequest {
        partitions: vec![wanted],
        max_bytes: 256 * 1024,
        min_bytes: 0,
        max_wait_ms: 0,
        isolation: v1::Isolation::Committed.into(),
        format: v1::FetchFormat::Records.into(),
    };
    let answer = wire.rpc.fetch(request).await.expect("an answer").into_inner();
    answer.partitions.into_iter().next().expect("one answer")
}

/// The logs under a seal. The janitor seals each second: asked for until there are some.
fn sealed_logs(partition: &Path) -> Vec<PathBuf> {
    loop {
        let entries = std::fs::read_dir(partition).expect("a partition").flatten().map(|entry| entry.path());
        let seals: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|suffix| suffix == "seal")).collect();
        if seals.len() >= 4 {
            return seals.iter().map(|seal| seal.with_extension("log")).collect();
        }
        std::thread::yield_now();
    }
}
