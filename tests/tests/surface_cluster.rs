//! The operator's tools of a cluster as they are shipped, on real processes.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a suite fails by panicking, in its own functions too"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::dev_cluster::DevCluster;
use millrace_tests::tool::Said;
use serde_json::Value;
use tempfile::TempDir;

/// A safety net, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);
const RECORDS: usize = 2_000;

/// Three brokers by one command, and a fourth that has joined them.
struct Four {
    cluster: DevCluster,
    setup: BrokerSetup,
    fourth: Option<BrokerProcess>,
    _home: TempDir,
}

fn four() -> Four {
    let home = TempDir::new().unwrap();
    let cluster = DevCluster::start(&home.path().join("cluster"));
    let brokers = rows(&cluster.ask(&["cluster", "brokers", "--format", "json"], ""));
    let internal: Vec<_> = brokers.iter().map(|broker| broker["internal"].as_str().unwrap()).collect();
    let mut setup = BrokerSetup::new(&home.path().join("node-4"), &home.path().join("node-4.log"));
    setup.args = ["--node-id", "4", "--internal", "127.0.0.1:0", "--join"].map(str::to_owned).into();
    setup.args.push(internal.join(","));
    let fourth = setup.start();
    Four { cluster, setup, fourth: Some(fourth), _home: home }
}

impl Four {
    fn done(&self, words: &[&str]) -> Said {
        let said = self.cluster.ask(words, "");
        assert_eq!(said.code, 0, "{words:?}: {}", said.err);
        said
    }

    fn refused(&self, words: &[&str], because: &str) {
        let said = self.cluster.ask(words, "");
        assert_eq!(said.code, 1, "{words:?}: {said:?}");
        assert!(said.err.contains(because), "{words:?}: {}", said.err);
    }

    fn produce(&self, topic: &str) {
        let lines: String = (0..RECORDS).map(|number| format!("{number}\n")).collect();
        let said = self.cluster.ask(&["produce", topic], &lines);
        assert_eq!(said.code, 0, "{}", said.err);
    }

    /// Asks until the answer is as wanted.
    fn until(&self, words: &[&str], what: &str, is_so: impl Fn(&Said) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let said = self.cluster.ask(words, "");
            if is_so(&said) {
                return;
            }
            assert!(Instant::now() < end, "it is not so that {what}: {said:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn until_well(&self) {
        self.until(&["cluster", "status"], "all is well", |said| said.code == 0);
    }

    fn until_fenced(&self, node: i32) {
        self.until(&["cluster", "brokers", "--format", "json"], "it is fenced", |said| {
            rows(said).iter().any(|broker| broker["node"] == node && broker["state"] == "fenced")
        });
    }

    fn brokers(&self) -> Vec<Value> {
        rows(&self.done(&["cluster", "brokers", "--format", "json"]))
    }
}

fn rows(said: &Said) -> Vec<Value> {
    said.out.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

#[test]
fn a_broker_comes_and_another_goes_and_nothing_is_lost() {
    let four = four();
    four.done(&["topic", "create", "events", "--partitions", "8", "--replication-factor", "3"]);
    four.done(&["topic", "reassign", "events", "0", "1,2,3"]);
    four.produce("events");
    four.until_well();

    let planned = rows(&four.done(&["cluster", "add", "4", "--dry-run", "--format", "json"]));
    let before = four.brokers();
    assert!(
        planned.iter().all(|planned| planned["to"].as_array().unwrap().contains(&4.into())),
        "{planned:?}"
    );
    four.done(&["cluster", "add", "4"]);
    let held = |brokers: &[Value], node: usize| brokers[node - 1]["replicas"].as_u64().unwrap();
    assert_eq!(held(&four.brokers(), 4), held(&before, 4) + planned.len() as u64);
    assert_eq!(rows(&four.done(&["cluster", "add", "4", "--dry-run", "--format", "json"])), [] as [Value; 0]);

    four.refused(&["cluster", "remove", "9"], "9");
    four.refused(&["cluster", "remove", "2"], "stop it");
    assert_eq!(held(&four.brokers(), 2), 0, "it holds nothing any more");
    four.cluster.kill_node(2);
    four.until_fenced(2);
    four.done(&["cluster", "remove", "2"]);
    let nodes: Vec<_> = four.brokers().iter().map(|broker| broker["node"].clone()).collect();
    assert_eq!(nodes, [1, 3, 4]);
    four.until_well();
    four.refused(&["cluster", "remove", "3"], "add a broker first");
    let said = four.done(&["consume", "events"]);
    let read: BTreeSet<usize> = said.out.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!((said.out.lines().count(), read.len()), (RECORDS, RECORDS));
}

#[test]
fn a_leader_that_may_lose_records_takes_a_word() {
    let mut four = four();
    let configs = ["--config", "min.insync.replicas=1"];
    four.done(&[&["topic", "create", "events", "--replication-factor", "2"][..], &configs[..]].concat());
    four.done(&["topic", "reassign", "events", "0", "4,3"]);
    four.done(&["topic", "elect", "events", "0"]);
    four.refused(&["topic", "elect", "events", "0", "3", "--accept-loss"], "is led by node 4");
    four.until_well();

    // What is written now only node 3 holds, and then nobody who is there.
    four.fourth.take().unwrap().kill_hard();
    four.until_fenced(4);
    four.produce("events");
    four.cluster.kill_node(3);
    four.until_fenced(3);
    four.fourth = Some(four.setup.start());
    let status = four.cluster.ask(&["cluster", "status", "--format", "json"], "");
    assert_eq!(status.code, 3, "{status:?}");
    assert_eq!(rows(&status)[0]["without_leader"], 1, "{}", status.out);

    four.refused(&["topic", "elect", "events", "0", "4"], "--accept-loss");
    four.refused(&["topic", "elect", "events", "0", "1", "--accept-loss"], "holds nothing of it");
    let said = four.done(&["topic", "elect", "events", "0", "4", "--accept-loss"]);
    assert!(said.err.contains("node 3 hold"), "who could bring it back: {}", said.err);
    let described = rows(&four.done(&["topic", "describe", "events", "--format", "json"]));
    assert_eq!(described[0]["leader"], 4, "{described:?}");
    four.produce("events");
    let said = four.done(&["consume", "events"]);
    assert_eq!(said.out.lines().count(), RECORDS, "what only node 3 held is lost, as was accepted");
}
