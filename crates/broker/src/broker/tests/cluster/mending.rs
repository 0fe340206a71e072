//! Damaged records: readers never hear of them while another replica has them whole.

use std::path::PathBuf;

use millrace_log::names::partition_dir;
use millrace_types::TopicPartition;
use millrace_types::limits::SEGMENT_BYTES_MIN;

use super::*;

const RECORDS: usize = 200;

/// Three brokers that were stopped in order, with some segments of records; and where those lie in each directory.
async fn stopped() -> (Cluster, Vec<String>, PathBuf) {
    let cluster = Cluster::new();
    let brokers = cluster.three().await;
    let configs = BTreeMap::from([("segment.bytes".to_owned(), SEGMENT_BYTES_MIN.to_string())]);
    let request = CreateTopicRequest { configs, replication_factor: Some(3), ..new_topic("a", 1) };
    let topic = within("the topic", brokers[0].create_topic(&ctx(), request)).await.unwrap();
    let mut values = Vec::new();
    for number in 0..RECORDS {
        let value = format!("{number} {}", "x".repeat(1_000));
        within("a produce", produced(&brokers, "a", &value)).await;
        values.push(value);
    }
    cluster.stop_all(&brokers).await;
    let at = TopicPartition { topic: topic.id, partition: PartitionIndex(0) };
    (cluster, values, PathBuf::from(partition_dir(at)))
}

/// Changes a byte in the middle of segment `number` of what a node has.
fn harm(cluster: &Cluster, node: usize, dir: &PathBuf, number: usize) {
    let dir = cluster.dir.path().join(format!("data-{node}")).join(dir);
    let mut logs: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    assert!(logs.len() >= 4, "{logs:?}");
    let mut bytes = std::fs::read(&logs[number]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&logs[number], bytes).unwrap();
}

async fn again(cluster: &Cluster) -> Vec<Arc<Broker>> {
    let mut brokers = Vec::new();
    for node in 1..=3 {
        brokers.push(cluster.start(node, if node == 1 { &[] } else { &[1] }).await);
    }
    for broker in &brokers {
        within("a start", broker.joined()).await;
    }
    brokers
}

/// Reads everything from whoever leads; answers it with what was refused on the way.
async fn read_all(brokers: &[Arc<Broker>]) -> (Vec<String>, Vec<ApiError>) {
    let (mut values, mut refused) = (Vec::new(), Vec::new());
    while values.len() < RECORDS {
        for broker in brokers {
            let next = u64::try_from(values.len()).unwrap();
            let fetch = fetch_request(vec![from("a", 0, next)], Duration::ZERO);
            match broker.fetch(&ctx(), fetch).await.unwrap().partitions.remove(0) {
                Ok(fetched) => values.extend(decoded(fetched.extents)),
                Err(error) if error.code == ErrorCode::NotLeader => {}
                Err(error) => {
                    let is_definite = !error.code.is_retriable();
                    refused.push(error);
                    if is_definite {
                        return (values, refused);
                    }
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (values, refused)
}

fn wounds(brokers: &[Arc<Broker>]) -> usize {
    let of = |broker: &Arc<Broker>| {
        let parts = broker.cluster().unwrap().replicas().all();
        parts.values().map(|part| part.log().wounds().len()).sum::<usize>()
    };
    brokers.iter().map(of).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_each_replica_has_damaged_elsewhere_is_put_back_and_nobody_reads_past_it() {
    let (cluster, values, dir) = stopped().await;
    for node in 1..=3 {
        harm(&cluster, node, &dir, node - 1);
    }
    let brokers = again(&cluster).await;
    let (read, refused) = within("reading", read_all(&brokers)).await;
    assert!(read == values, "{refused:?}");
    // Whoever leads has found its own damage when it was read.
    assert!(!refused.is_empty());
    for error in &refused {
        assert_eq!(error.code, ErrorCode::OffsetNotAvailable, "{error}");
    }
    // Others have found theirs if they were asked for it, and put it back too.
    within("mending", async {
        while wounds(&brokers) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(within("reading again", read_all(&brokers)).await == (values, Vec::new()));
    cluster.stop_all(&brokers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_replica_has_damaged_is_told_as_lost() {
    let (cluster, values, dir) = stopped().await;
    for node in 1..=3 {
        harm(&cluster, node, &dir, 1);
    }
    let brokers = again(&cluster).await;
    let (read, refused) = within("reading", read_all(&brokers)).await;
    assert!(!read.is_empty() && values.starts_with(&read));
    let (last, before) = refused.split_last().unwrap();
    assert_eq!(last.code, ErrorCode::Corrupt, "{last}");
    let lost = last.corrupt.unwrap();
    assert_eq!(lost.start, Offset::from_count(u64::try_from(read.len()).unwrap()));
    assert!(before.iter().all(|error| error.code == ErrorCode::OffsetNotAvailable), "{before:?}");
    cluster.stop_all(&brokers).await;
}
