//! The metrics of the program as it is shipped: what the page and the dashboard say of them is true.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use millrace_client::{NewTopic, Offset, OffsetCommit, PartitionIndex, Position, ProducerRecord, Until};
use millrace_record::Compression;
use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::kafka_door::{KafkaConnection, batch_of};
use tempfile::TempDir;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).expect("a file of the repository")
}

/// Every word that begins as our metrics do.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("millrace_")).map(str::to_owned).collect()
}

fn start(home: &TempDir) -> BrokerProcess {
    BrokerSetup::new(&home.path().join("data"), &home.path().join("log")).start()
}

/// Families by name and kind, as the page of the broker tells them.
fn families(broker: &BrokerProcess) -> BTreeSet<(String, String)> {
    let (_, text) = broker.get("/metrics");
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    kinds.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// Writes, reads, follows, and asks for what is not there: nothing is counted that has no series.
async fn use_it(broker: &BrokerProcess) {
    let client = broker.client().await;
    client.admin().create_topic(NewTopic::new("metered").partitions(2)).await.expect("a topic");
    let producer = client.producer().build().expect("a producer");
    for _ in 0..10 {
        let record = ProducerRecord::new("metered", vec![b'x'; 1000]).partition(PartitionIndex(0));
        producer.send(record).await.expect("sent").await.expect("acknowledged");
    }
    let mut reader =
        client.reader().topic("metered").until(Until::EndAtStart).start().await.expect("a reader");
    let mut read = 0;
    while let Some(record) = reader.next().await {
        record.expect("a record");
        read += 1;
    }
    assert_eq!(read, 10);
    client.admin().describe_topic("nowhere").await.expect_err("there is none");
    let too_far = Position::Offset(Offset::from_count(1000));
    let mut lost = client
        .reader()
        .partition_from("metered", PartitionIndex(0), too_far)
        .start()
        .await
        .expect("it begins");
    lost.next().await.expect("an answer").expect_err("there is no such offset");
    let commit = [committed(4)];
    let by_hand = client.admin().commit_offsets("by-hand", &commit).await.expect("an answer");
    assert!(by_hand[0].is_ok());
    // On a topic of its own: a member reads ahead, and what is counted above would depend on how far it comes.
    client.admin().create_topic(NewTopic::new("empty")).await.expect("a topic");
    let member = client.consumer("readers").topic("empty").start().await.expect("a member");
    client.admin().commit_offsets("readers", &commit).await.expect_err("only its members may");
    member.close().await;
}

fn committed(offset: u64) -> OffsetCommit {
    OffsetCommit {
        topic: "metered".to_owned(),
        partition: PartitionIndex(0),
        offset: Offset::from_count(offset),
        leader_epoch: None,
        metadata: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_names_every_metric_and_no_other() {
    let home = TempDir::new().expect("a folder");
    let broker = start(&home);
    use_it(&broker).await;
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `millrace_"));
    let written: BTreeSet<(String, String)> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let name = cells.next().expect("a name").trim_end_matches('`');
            (format!("millrace_{name}"), cells.next().expect("a kind").to_owned())
        })
        .collect();
    let mut shown = families(&broker);
    // Shown once a request has come in through Kafka's door, which this broker has not.
    shown.insert(("millrace_kafka_requests".to_owned(), "counter".to_owned()));
    assert_eq!(written, shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_asks_for_what_there_is() {
    let home = TempDir::new().expect("a folder");
    let broker = start(&home);
    use_it(&broker).await;
    let mut samples = BTreeSet::new();
    for (name, kind) in families(&broker) {
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        samples.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/grafana/millrace.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let asked: Vec<&str> = targets.map(|target| target["expr"].as_str().expect("a query")).collect();
    assert!(asked.len() > 30, "the dashboard shows something");
    let names: BTreeSet<String> = asked.iter().flat_map(|query| names_in(query)).collect();
    let unknown: Vec<_> = names.difference(&samples).collect();
    assert!(unknown.is_empty(), "the dashboard asks for what is not there: {unknown:?}");
}

#[test]
fn what_comes_through_the_kafka_door_is_counted() {
    let home = TempDir::new().expect("a folder");
    let broker = start(&home);
    let mut connection = KafkaConnection::open(broker.kafka());
    connection.topic_id("metered");
    let batch = batch_of(&[b'x'; 1000], Compression::None);
    for offset in 0..3 {
        assert_eq!(connection.produce("metered", &batch), (0, offset));
    }
    assert_eq!(connection.fetch("metered", 0).0, 0);
    // Its answer shows that those before it were counted; it itself may not be yet.
    connection.topic_id("metered");
    let (_, text) = broker.get("/metrics");
    let value = |series: &str| -> f64 {
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("{series} is missing"))
    };
    assert_eq!(value(r#"millrace_door_calls_total{door="kafka",api="produce"}"#), 3.0);
    assert_eq!(value(r#"millrace_door_call_seconds_count{door="kafka",api="fetch"}"#), 1.0);
    let received = value(r#"millrace_door_received_bytes_total{door="kafka",api="produce"}"#);
    let sent = value(r#"millrace_door_sent_bytes_total{door="kafka",api="fetch"}"#);
    assert!((3000.0..4000.0).contains(&received) && (3000.0..4000.0).contains(&sent), "{received} {sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_counted() {
    let home = TempDir::new().expect("a folder");
    let broker = start(&home);
    use_it(&broker).await;
    let metric = |name: &str| broker.metric(name).expect(name);
    assert_eq!(metric("millrace_produced_records_total"), 10.0);
    assert_eq!(metric("millrace_fetched_records_total"), 10.0);
    assert!(metric("millrace_produced_bytes_total") > 10_000.0);
    assert!(metric("millrace_log_sync_seconds_count") >= 1.0);
    assert!(metric("millrace_log_write_batches_sum") >= 1.0);
    let (_, text) = broker.get("/metrics");
    let series = |start: &str| {
        let line = text.lines().find(|line| line.starts_with(start)).expect(start);
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    assert!(series("millrace_log_size_bytes{topic=\"metered\"}") > 10_000.0);
    assert_eq!(series("millrace_log_offsets{topic=\"metered\"}"), 10.0);
    assert_eq!(series("millrace_log_uncommitted_offsets{topic=\"metered\"}"), 0.0);
    // Ten records in partition 0, four of them read.
    assert_eq!(series("millrace_group_lag_records{group=\"by-hand\"}"), 6.0);
    assert_eq!(series("millrace_group_lag_worst_records{group=\"by-hand\"}"), 6.0);
    assert!(series("millrace_group_commits_refused_total{code=\"UNKNOWN_MEMBER\"}") >= 1.0);
    assert!(series("millrace_door_sent_bytes_total{door=\"grpc\",api=\"Fetch\"}") > 10_000.0);
    assert!(series("millrace_door_received_bytes_total{door=\"grpc\",api=\"ProduceStream\"}") > 10_000.0);
    assert!(
        series("millrace_requests_total{operation=\"describe_topic\",code=\"UNKNOWN_TOPIC_OR_PARTITION\"}")
            >= 1.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_counted_while_it_is_open_and_so_is_what_it_brings() {
    let home = TempDir::new().expect("a folder");
    let broker = start(&home);
    use_it(&broker).await;
    let client = broker.client().await;
    let mut follower = client.reader().topic("metered").subscribe().start().await.expect("a reader");
    for _ in 0..10 {
        follower.next().await.expect("it goes on").expect("a record");
    }
    assert_eq!(broker.metric("millrace_subscriptions"), Some(1.0));
    assert_eq!(broker.metric("millrace_fetched_records_total"), Some(20.0));
    drop(follower);
    while broker.metric("millrace_subscriptions") != Some(0.0) {
        tokio::task::yield_now().await;
    }
}

/// However many topics there are, the page has one series of each metric for a hundred of them.
#[tokio::test(flavor = "multi_thread")]
async fn many_topics_make_no_more_series_than_a_hundred() {
    let home = TempDir::new().expect("a folder");
    let broker = start(&home);
    let client = broker.client().await;
    for number in 0..105 {
        let topic = NewTopic::new(format!("topic-{number:03}")).partitions(1);
        client.admin().create_topic(topic).await.expect("a topic");
    }
    let (_, text) = broker.get("/metrics");
    let sizes = text.lines().filter(|line| line.starts_with("millrace_log_size_bytes{")).count();
    assert_eq!(sizes, 101);
    assert!(text.contains("millrace_log_size_bytes{topic=\"other\"}"));
}

/// A group is a name that a client chose: there are a hundred of them in the page and no more.
#[tokio::test(flavor = "multi_thread")]
async fn many_groups_make_no_more_series_than_a_hundred() {
    let home = TempDir::new().expect("a folder");
    let broker = start(&home);
    let client = broker.client().await;
    client.admin().create_topic(NewTopic::new("metered").partitions(1)).await.expect("a topic");
    for number in 0..105 {
        let group = format!("group \"{number:03}\"");
        client.admin().commit_offsets(&group, &[committed(0)]).await.expect("an answer");
    }
    let (_, text) = broker.get("/metrics");
    let lags = text.lines().filter(|line| line.starts_with("millrace_group_lag_records{")).count();
    assert_eq!(lags, 100);
    assert!(text.contains(r#"millrace_group_lag_records{group="group \"099\""} 0"#));
}
