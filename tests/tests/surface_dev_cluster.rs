//! `millrace dev-cluster` as it is shipped: three brokers by one command, one of them killed, everything still there.
#![expect(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::collections::BTreeSet;
use std::process::Stdio;

use millrace_tests::dev_cluster::DevCluster;
use millrace_tests::tool;
use tempfile::TempDir;

const RECORDS: usize = 5_000;

fn numbers(from: usize) -> String {
    (from..from + RECORDS).map(|number| format!("{number}\n")).collect()
}

/// Every number below `end`, each once.
fn assert_all(cluster: &DevCluster, end: usize) {
    let said = cluster.ask(&["consume", "events"], "");
    assert_eq!(said.code, 0, "{}", said.err);
    let read: Vec<usize> = said.out.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(read.len(), end, "as many as were acknowledged");
    assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), (0..end).collect::<BTreeSet<_>>());
}

#[test]
fn a_broker_is_killed_and_everything_goes_on_and_is_there_the_next_time() {
    let home = TempDir::new().expect("a folder");
    let dir = home.path().join("cluster");
    let mut cluster = DevCluster::start(&dir);
    for (index, line) in cluster.lines.iter().enumerate() {
        assert_eq!(line["node"], index + 1);
        let keys: Vec<_> = line.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["node", "pid", "grpc", "kafka", "http"], "{line}");
    }
    let made =
        cluster.ask(&["topic", "create", "events", "--partitions", "3", "--replication-factor", "3"], "");
    assert_eq!(made.code, 0, "{}", made.err);
    let first = cluster.ask(&["produce", "events"], &numbers(0));
    assert_eq!(first.code, 0, "{}", first.err);
    cluster.kill_node(1);
    let second = cluster.ask(&["produce", "events"], &numbers(RECORDS));
    assert_eq!(second.code, 0, "{}", second.err);
    assert_all(&cluster, 2 * RECORDS);
    let (status, said) = cluster.stop();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("node 1") && said.contains("SIGKILL"), "{said}");
    cluster.wait_for_brokers();

    let mut again = DevCluster::start(&dir);
    assert_all(&again, 2 * RECORDS);
    let third = again.ask(&["produce", "events"], &numbers(2 * RECORDS));
    assert_eq!(third.code, 0, "{}", third.err);
    assert_all(&again, 3 * RECORDS);
    let (status, said) = again.stop();
    assert_eq!(status.code(), Some(0), "{said}");
    again.wait_for_brokers();
}

#[test]
fn brokers_do_not_outlive_the_command_that_started_them() {
    let home = TempDir::new().expect("a folder");
    let mut cluster = DevCluster::start(&home.path().join("cluster"));
    cluster.kill();
    cluster.wait_for_brokers();
}

#[test]
fn a_broker_that_cannot_start_is_told_and_nothing_is_left_running() {
    let home = TempDir::new().expect("a folder");
    let dir = home.path().join("cluster");
    let cluster = DevCluster::start(&dir);
    let mut command = tool::bare();
    command.args(["dev-cluster", "--grpc-port", "0", "--kafka-port", "0", "--http-port", "0"]);
    command.args(["--internal-port", "0", "--data-dir"]).arg(&dir).stdin(Stdio::null());
    let said = tool::run(&mut command, "");
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(said.out, "");
    assert!(said.err.contains("did not come up"), "{}", said.err);
    let topics = cluster.ask(&["topic", "list"], "");
    assert_eq!(topics.code, 0, "the first one is left in peace: {}", topics.err);
}
