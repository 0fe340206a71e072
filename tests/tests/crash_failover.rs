//! Leaders are killed and stopped while our client writes, reads and commits: it sees no error, and nothing that was acknowledged
//! is lost, doubled or out of order.

#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millrace_client::{Client, NewTopic, PartitionIndex, ProducerRecord, TopicDescription, Until};
use millrace_tests::trio::{Trio, until};
use millrace_tests::{on_two_workers, say};
use tempfile::TempDir;
use tokio::task::JoinHandle;

const TOPIC: &str = "ledger";
const PARTITIONS: u32 = 6;
/// Records that are acknowledged between two blows.
const RECORDS: u64 = 500;
const PACE: Duration = Duration::from_millis(2);
/// A safety net, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn kills_of_leaders_cost_our_clients_nothing() {
    blows("kills", 3, Trio::kill_hard);
}

#[test]
fn leaders_that_stop_hand_over_and_cost_our_clients_nothing() {
    blows("stops", 3, Trio::stop);
}

fn blows(name: &str, count: u32, blow: impl Fn(&mut Trio, i32)) {
    let home = TempDir::new().expect("a folder");
    let mut trio = Trio::start(home.path());
    on_two_workers(async {
        let client = trio.client().await;
        until_all_serve(&client).await;
        let topic = NewTopic::new(TOPIC).partitions(PARTITIONS).replication_factor(3);
        client.admin().create_topic(topic.config("min.insync.replicas", "2")).await.expect("a topic");
        until(&client, TOPIC, "whole", is_whole).await;
        let work = Work::begin(&trio).await;
        for _ in 0..count {
            work.goes_on(RECORDS).await;
            let described = client.admin().describe_topic(TOPIC).await.expect("a description");
            let leader = described.partitions[0].leader.expect("a leader").0;
            let before = work.longest_wait_ms.swap(0, Ordering::SeqCst);
            let began = Instant::now();
            blow(&mut trio, leader);
            let blown = began.elapsed().as_millis();
            until(&client, TOPIC, "led by others", |topic| {
                topic.partitions.iter().all(|p| p.leader.is_some_and(|node| node.0 != leader))
            })
            .await;
            let led = began.elapsed();
            work.goes_on(RECORDS).await;
            let waited = work.longest_wait_ms.swap(0, Ordering::SeqCst);
            say(&format!(
                "{name}: node {leader} is gone after {blown} ms and others lead after {} ms; an acknowledgement took {waited} ms \
                 at most ({before} ms before)",
                led.as_millis(),
            ));
            trio.start_again(leader);
            until(&client, TOPIC, "whole", is_whole).await;
        }
        work.end_and_judge(&client).await;
    });
}

/// All three have come.
async fn until_all_serve(client: &Client) {
    let end = Instant::now() + PATIENCE;
    loop {
        let cluster = client.admin().describe_cluster().await.expect("a cluster");
        if cluster.brokers.iter().filter(|broker| broker.is_active).count() == 3 {
            return;
        }
        assert!(Instant::now() < end, "they do not come together: {cluster:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_whole(topic: &TopicDescription) -> bool {
    topic.partitions.iter().all(|partition| partition.isr.len() == 3 && partition.leader.is_some())
}

/// Clients at work.
struct Work {
    is_over: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
    longest_wait_ms: Arc<AtomicU64>,
    writers: Vec<JoinHandle<BTreeMap<i64, u64>>>,
    reader: JoinHandle<u64>,
    member: JoinHandle<u64>,
}

impl Work {
    async fn begin(trio: &Trio) -> Work {
        let (is_over, acked, longest_wait_ms) = (Arc::default(), Arc::default(), Arc::default());
        let mut writers = Vec::new();
        for partition in 0..PARTITIONS {
            let shared = (Arc::clone(&is_over), Arc::clone(&acked), Arc::clone(&longest_wait_ms));
            writers.push(tokio::spawn(write(trio.client().await, PartitionIndex(partition), shared)));
        }
        let reader = tokio::spawn(read(trio.client().await, Arc::clone(&is_over)));
        let member = tokio::spawn(consume(trio.client().await, Arc::clone(&is_over)));
        Work { is_over, acked, longest_wait_ms, writers, reader, member }
    }

    /// Waits for so many more acknowledgements.
    async fn goes_on(&self, records: u64) {
        let (wanted, end) = (self.acked.load(Ordering::SeqCst) + records, Instant::now() + PATIENCE);
        while self.acked.load(Ordering::SeqCst) < wanted {
            let has_failed = self.writers.iter().any(JoinHandle::is_finished)
                || self.reader.is_finished()
                || self.member.is_finished();
            assert!(!has_failed && Instant::now() < end, "it does not go on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end_and_judge(self, client: &Client) {
        self.is_over.store(true, Ordering::SeqCst);
        let mut acked = BTreeMap::new();
        for (partition, writer) in (0..).zip(self.writers) {
            acked.insert(PartitionIndex(partition), writer.await.expect("no error"));
        }
        let (read, consumed) = (self.reader.await.expect("no error"), self.member.await.expect("no error"));
        let mut stored: BTreeMap<PartitionIndex, BTreeMap<i64, u64>> = BTreeMap::new();
        let mut reader =
            client.reader().topic(TOPIC).until(Until::EndAtStart).start().await.expect("a reader");
        while let Some(record) = reader.next().await {
            let record = record.expect("a record");
            let value = number(record.value.as_deref());
            stored.entry(record.partition).or_default().insert(record.offset.get(), value);
        }
        let mut total = 0;
        for (partition, acked) in acked {
            let stored = stored.remove(&partition).unwrap_or_default();
            let values: Vec<u64> = stored.values().copied().collect();
            assert!(values.is_sorted_by(|a, b| a < b), "partition {partition}: doubled, or out of order");
            for (offset, value) in acked {
                assert_eq!(stored.get(&offset), Some(&value), "partition {partition}, offset {offset}");
                total += 1;
            }
        }
        say(&format!("{total} acknowledged, all there; the reader has read {read}, the member {consumed}"));
    }
}

type Shared = (Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>);

/// Writes numbers, several on their way at once; answers where the acknowledged ones came to lie.
async fn write(
    client: Client,
    partition: PartitionIndex,
    (is_over, acked, longest): Shared,
) -> BTreeMap<i64, u64> {
    let producer = client.producer().linger(Duration::ZERO).build().expect("a producer");
    let mut deliveries = Vec::new();
    for value in 0_u64.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let record = ProducerRecord::new(TOPIC, value.to_string()).partition(partition);
        let (began, delivery) = (Instant::now(), producer.send(record).await.expect("it is taken"));
        let (acked, longest) = (Arc::clone(&acked), Arc::clone(&longest));
        deliveries.push(tokio::spawn(async move {
            let stored = delivery.await.expect("it is delivered");
            longest.fetch_max(u64::try_from(began.elapsed().as_millis()).expect("short"), Ordering::SeqCst);
            acked.fetch_add(1, Ordering::SeqCst);
            (stored.offset.expect("an offset").get(), value)
        }));
        tokio::time::sleep(PACE).await;
    }
    let mut stored = BTreeMap::new();
    for delivery in deliveries {
        let (offset, value) = delivery.await.expect("no error");
        assert_eq!(stored.insert(offset, value), None, "an offset twice");
    }
    producer.close().await.expect("all are delivered");
    stored
}

/// Follows all partitions: every record once, in order.
async fn read(client: Client, is_over: Arc<AtomicBool>) -> u64 {
    let mut reader = client.reader().topic(TOPIC).start().await.expect("a reader");
    let (mut next, mut count) = (BTreeMap::new(), 0);
    while !is_over.load(Ordering::SeqCst) {
        let Ok(record) = tokio::time::timeout(Duration::from_millis(50), reader.next()).await else {
            continue;
        };
        let record = record.expect("it follows").expect("a record");
        let expected = next.entry(record.partition).or_insert(0);
        assert_eq!(number(record.value.as_deref()), *expected, "partition {}", record.partition);
        *expected += 1;
        count += 1;
    }
    count
}

/// Consumes as the only member of a group, and commits: nothing is handed out twice to a member that never loses its place.
async fn consume(client: Client, is_over: Arc<AtomicBool>) -> u64 {
    let builder = client.consumer("clerks").topic(TOPIC);
    let mut consumer = builder.start().await.expect("a member");
    let mut count = 0;
    while !is_over.load(Ordering::SeqCst) {
        let records = consumer.poll(Duration::from_millis(50)).await.expect("it stays a member");
        count += u64::try_from(records.len()).expect("few");
        if !records.is_empty() {
            consumer.commit_sync().await.expect("a commit");
        }
    }
    consumer.close().await;
    count
}

fn number(value: Option<&[u8]>) -> u64 {
    let text = value.and_then(|value| std::str::from_utf8(value).ok());
    text.and_then(|text| text.parse().ok()).expect("a number")
}
