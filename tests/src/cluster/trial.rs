//! A run: clients at work, faults one after the other, and the judgement.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use millrace_client::{Client, ClientOptions, NewTopic};
use tempfile::TempDir;

use super::fault::Doing;
use super::{Cluster, Menu};
use crate::crew::{Crew, Place};
use crate::{Seed, on_two_workers, say};

const TOPIC: &str = "ledger";
const PARTITIONS: u32 = 4;
/// Records a second of each producer: enough for something to be under way at any moment.
const PACE: u32 = 150;
/// Records that are acknowledged to our producer between two faults.
const RECORDS: (u64, u64) = (50, 250);
/// How long nothing may be acknowledged although every broker runs and hears of every other.
const RECOVERY: Duration = Duration::from_secs(60);

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// Its name.
    pub suite: &'static str,
    /// How many brokers.
    pub brokers: u8,
    /// How many faults.
    pub faults: usize,
    /// Which.
    pub menu: Menu,
}

/// Runs it.
///
/// # Panics
/// When a promise was broken; the histories and the logs of the brokers are kept then, and it is said where.
pub fn run(trial: Trial) {
    let Trial { suite, brokers, faults, menu } = trial;
    let (began, mut seed) = (Instant::now(), Seed::announced(suite));
    let mut kept = Kept { folder: Some(TempDir::new().expect("a folder")) };
    let histories = kept.path().join("histories");
    std::fs::create_dir(&histories).expect("a folder");
    let mut cluster = Cluster::start(brokers, &kept.path());
    make_topic(&cluster, brokers);
    let (grpc, kafka) = (cluster.grpc(), cluster.kafka());
    let place = Place { grpc, kafka, topic: TOPIC.to_owned(), partitions: PARTITIONS, pace: PACE };
    let crew = Crew::start(place, &histories);
    let mut slowest = (Duration::ZERO, String::new());
    for number in 0..faults {
        let records = seed.between(RECORDS.0, RECORDS.1);
        assert!(
            crew.goes_on(records, RECOVERY),
            "{suite}: nothing is acknowledged any more, after {number} faults\n{}",
            cluster.tails()
        );
        let fault = menu.draw(number, &mut seed);
        let at = began.elapsed().as_secs_f64();
        let what = Doing { cluster: &mut cluster, topic: TOPIC, seed: &mut seed }.run(fault);
        crew.note(&what);
        say(&format!("{suite}: {at:7.2} s, {}: {what}", number + 1));
        let undone = Instant::now();
        let is_well = crew.goes_on(1, RECOVERY);
        assert!(is_well, "{suite}: nothing is acknowledged after {what}\n{}", cluster.tails());
        if undone.elapsed() > slowest.0 {
            slowest = (undone.elapsed(), what);
        }
    }
    assert!(
        crew.goes_on(RECORDS.1, RECOVERY),
        "{suite}: nothing is acknowledged at the end\n{}",
        cluster.tails()
    );
    cluster.until("every replica is in sync", |cluster| {
        let described = cluster.describe(TOPIC);
        let is_whole = |partition: &super::roles::Described| {
            partition.leader.is_some() && partition.in_sync.len() == partition.replicas.len()
        };
        described.len() == PARTITIONS as usize && described.iter().all(is_whole)
    });
    let verdict = crew.judge();
    let took = began.elapsed().as_secs_f64();
    let (slowest, after) = (slowest.0.as_secs_f64(), slowest.1);
    say(&format!(
        "{suite}: {faults} faults in {took:.1} s; from the end of a fault to the next acknowledgement at most {slowest:.2} s \
         (after {after})\n{verdict}"
    ));
    assert!(verdict.is_clean(), "{suite}: anomalies, see above");
    cluster.stop();
    kept.folder.take();
}

fn make_topic(cluster: &Cluster, brokers: u8) {
    on_two_workers(async {
        let client = Client::connect(cluster.grpc(), ClientOptions::default()).await.expect("they accept");
        let mut topic = NewTopic::new(TOPIC).partitions(PARTITIONS).config("segment.bytes", "1048576");
        if brokers > 1 {
            topic = topic.replication_factor(brokers.into()).config("min.insync.replicas", "2");
        }
        client.admin().create_topic(topic).await.expect("a topic");
    });
}

/// The histories and logs of a run; they stay when it fails.
struct Kept {
    folder: Option<TempDir>,
}

impl Kept {
    fn path(&self) -> PathBuf {
        self.folder.as_ref().expect("it is there until the end").path().to_owned()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            say(&format!("histories and logs stay in {}", folder.keep().display()));
        }
    }
}
