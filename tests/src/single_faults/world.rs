//! A data directory with every class of file, stopped in order or killed.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_broker::{
    ApiError, Broker, BrokerConfig, CommitOffsetsRequest, ConnectionId, Context, CreateTopicRequest,
    Durability, ListenerName, NewRecord, OffsetCommit, PartitionProduce, Principal, ProduceData,
    ProduceRequest, SequenceStart, TopicRef,
};
use millrace_env::sim::Sim;
use millrace_env::{EntryKind, Env, FsExt};
use millrace_log::format::synced_marks;
use millrace_log::{LogConfig, LogDir, LogDirOptions};
use millrace_record::Compression;
use millrace_types::{
    GroupId, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicName,
    TopicPartition,
};

/// Where the data lies.
pub(super) const DATA: &str = "/data";
/// The topics and how many partitions they have.
pub(super) const TOPICS: [(&str, u32); 2] = [("flights", 2), ("weather", 1)];
/// The groups that commit.
pub(super) const GROUPS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];

/// How the last broker ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// In order.
    Clean,
    /// Killed; its page cache lives on.
    Kill,
}

/// A batch that a producer sent, as it would send it again.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) topic: &'static str,
    pub(super) partition: u32,
    pub(super) values: Vec<Bytes>,
    pub(super) time: i64,
    pub(super) sequence: SequenceStart,
}

/// The directory.
#[derive(Debug)]
pub struct World {
    sim: Sim,
    /// What the files held earlier.
    older: BTreeMap<PathBuf, Vec<u8>>,
    /// The last batch for each partition.
    pub(super) last_sent: Vec<Sent>,
    /// Producer ids that were handed out.
    pub(super) producers: Vec<ProducerId>,
}

pub(super) fn ctx() -> Context {
    Context {
        principal: Principal::Anonymous,
        client_id: "faults".into(),
        listener: ListenerName::Grpc,
        connection: ConnectionId(1),
        deadline: None,
    }
}

pub(super) fn by_name(topic: &str) -> TopicRef {
    TopicRef::Name(TopicName::new(topic).expect("a name"))
}

/// Starts a broker.
///
/// # Errors
/// Why it does not start.
pub(super) async fn start(env: Env) -> Result<Arc<Broker>, ApiError> {
    let config = BrokerConfig {
        data_dir: DATA.into(),
        node: NodeId(1),
        memory_budget_bytes: 256 * 1024 * 1024,
        grpc_advertised: "127.0.0.1:7070".to_owned(),
        groups: millrace_broker::GroupSettings::default(),
        cluster: None,
    };
    Broker::start(env, config).await
}

impl World {
    /// Makes one.
    ///
    /// # Panics
    /// When the broker fails without a fault.
    pub async fn new(seed: u64, stop: Stop) -> World {
        let mut world = World {
            sim: Sim::new(seed),
            older: BTreeMap::new(),
            last_sent: Vec::new(),
            producers: Vec::new(),
        };
        let broker = start(world.sim.env()).await.expect("an empty directory");
        for (name, partitions) in TOPICS {
            let configs = BTreeMap::from([("segment.bytes".to_owned(), "65536".to_owned())]);
            let request = CreateTopicRequest {
                name: name.to_owned(),
                partitions: Some(partitions),
                replication_factor: None,
                configs,
                validate_only: false,
            };
            broker.create_topic(&ctx(), request).await.expect("a topic");
        }
        world.work(&broker, 0).await;
        broker.shut_down(Duration::from_secs(5)).await.expect("a clean stop");
        drop(broker);
        world.trim(30);
        let broker = start(world.sim.kill()).await.expect("a start");
        world.work(&broker, 1).await;
        world.remember();
        let env = world.sim.kill();
        drop(broker);
        let broker = start(env).await.expect("a start after a kill");
        world.work(&broker, 2).await;
        broker.shut_down(Duration::from_secs(5)).await.expect("a clean stop");
        drop(broker);
        world.trim(75);
        if stop == Stop::Clean {
            // An old clean mark is what a clean stop of before had left.
            world.remember_marks();
        }
        let broker = start(world.sim.kill()).await.expect("a start");
        world.work(&broker, 3).await;
        match stop {
            Stop::Clean => broker.shut_down(Duration::from_secs(5)).await.expect("a clean stop"),
            Stop::Kill => world.settle(&broker).await,
        }
        let _next_life = world.sim.kill();
        drop(broker);
        world
    }

    /// A machine of its own with a copy of the directory.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Sim {
        self.sim.fork(seed)
    }

    /// Its files, by class.
    ///
    /// # Panics
    /// When it cannot be listed.
    #[must_use]
    pub fn classes(&self) -> BTreeMap<String, Vec<PathBuf>> {
        let mut classes: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        let all: Vec<PathBuf> = self.files().into_keys().chain(self.older.keys().cloned()).collect();
        for path in all {
            let known = classes.entry(class_of(&path, self)).or_default();
            if !known.contains(&path) {
                known.push(path);
            }
        }
        classes
    }

    /// What the file held earlier.
    #[must_use]
    pub fn older(&self, path: &Path) -> Option<Vec<u8>> {
        self.older.get(path).cloned()
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let fs = self.sim.env().fs;
        let mut found = BTreeMap::new();
        let mut dirs = vec![PathBuf::from(DATA)];
        while let Some(dir) = dirs.pop() {
            for entry in fs.read_dir(&dir).expect("a listing") {
                let path = dir.join(&entry.name);
                match entry.kind {
                    EntryKind::Dir => dirs.push(path),
                    _ => match fs.read_small(&path, 64 << 20) {
                        Ok(content) => drop(found.insert(path, content.to_vec())),
                        // A running broker has renamed or removed it since it was listed.
                        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{}", path.display()),
                    },
                }
            }
        }
        found
    }

    fn remember(&mut self) {
        self.older.extend(self.files());
    }

    fn remember_marks(&mut self) {
        let marks =
            self.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "mark"));
        self.older.extend(marks);
    }

    /// Raises the log start of one partition, as retention will.
    fn trim(&self, to: u64) {
        let env = self.sim.env();
        let options =
            LogDirOptions { path: DATA.into(), node: NodeId(1), tail_cache_bytes: 0, handles: None };
        let opened = LogDir::open(&env, options).expect("a directory");
        let trimmed =
            opened.found.iter().find(|meta| meta.name.as_str() == "flights" && meta.id.partition.0 == 1);
        let config = LogConfig { segment_bytes: 65_536, ..LogConfig::default() };
        let log = opened.dir.open_log(trimmed.expect("a log").id, config).expect("a log");
        log.trim_to(Offset::from_count(to)).expect("a trim");
        opened.dir.close().expect("a clean stop");
    }

    /// Lets the janitor write the synced marks of what was appended: a fault beside a kill in the same second would be two.
    async fn settle(&self, broker: &Arc<Broker>) {
        let fs = self.sim.env().fs;
        let mut behind = TOPICS.len();
        for _ in 0..10_000 {
            self.sim.clock().advance(Duration::from_secs(2));
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let Ok(marks) = synced_marks::read(&*fs, &Path::new(DATA).join("synced.marks")) else { continue };
            behind = 0;
            for (name, _) in TOPICS {
                let topic = broker.describe_topic(&ctx(), by_name(name)).await.expect("a topic");
                for partition in topic.partitions {
                    let id = TopicPartition { topic: topic.id, partition: partition.partition };
                    let mark = marks.marks.iter().find(|mark| mark.partition == id);
                    behind += usize::from(mark.is_none_or(|mark| mark.offset < partition.end_offset));
                }
            }
            if behind == 0 {
                return;
            }
        }
        panic!("the marks of {behind} partitions stay behind");
    }

    /// What clients do to a broker in one of its lives.
    async fn work(&mut self, broker: &Arc<Broker>, life: u32) {
        self.last_sent.clear();
        for (number, (topic, partitions)) in TOPICS.into_iter().enumerate() {
            for partition in 0..partitions {
                let producer = broker.init_producer(&ctx()).await.expect("an identity");
                self.producers.push(producer.id);
                for batch in 0..22 {
                    let time = i64::from(life) * 1_000_000 + i64::from(batch) * 1000;
                    let sent = Sent {
                        topic,
                        partition,
                        values: (0..3).map(|value| value_of(number, life, batch * 3 + value)).collect(),
                        time: 1_735_000_000_000 + time,
                        sequence: SequenceStart {
                            id: producer.id,
                            epoch: ProducerEpoch(0),
                            base_sequence: i32::try_from(batch * 3).expect("small"),
                        },
                    };
                    send(broker, &sent).await.expect("a batch");
                    if batch == 21 {
                        self.last_sent.push(sent);
                    }
                }
                self.sim.clock().advance(Duration::from_secs(2));
            }
        }
        for group in GROUPS {
            for round in 0..3 {
                commit(broker, group, u64::from(life * 10 + round)).await;
            }
        }
    }
}

fn value_of(topic: usize, life: u32, number: u32) -> Bytes {
    let text = format!("{topic}/{life}/{number};");
    text.repeat(900 / text.len()).into()
}

/// Sends a batch; the answer in words.
///
/// # Errors
/// The broker's.
pub(super) async fn send(broker: &Arc<Broker>, sent: &Sent) -> Result<String, ApiError> {
    let record = |value: &Bytes| NewRecord {
        key: Some(Bytes::from_static(b"key")),
        value: Some(value.clone()),
        headers: Vec::new(),
        timestamp: Some(TimestampMs(sent.time)),
    };
    let data = ProduceData::Records {
        records: sent.values.iter().map(record).collect(),
        sequence: Some(sent.sequence),
        compression: Compression::None,
    };
    let partition = PartitionIndex(sent.partition);
    let partitions = vec![PartitionProduce { topic: by_name(sent.topic), partition, data }];
    let request = ProduceRequest { partitions, durability: Durability::Committed, timeout: None };
    let mut answered = broker.produce(&ctx(), request).await?.acknowledged().await;
    let produced = answered.partitions.remove(0)?;
    Ok(format!("at {}, duplicate: {}", produced.base_offset, produced.duplicate))
}

async fn commit(broker: &Arc<Broker>, group: &str, offset: u64) {
    let offsets = TOPICS.iter().map(|(topic, _)| OffsetCommit {
        topic: by_name(topic),
        partition: PartitionIndex(0),
        offset: Offset::from_count(offset),
        leader_epoch: None,
        metadata: format!("{group} at {offset}"),
    });
    let group = GroupId::new(group).expect("a group");
    let request = CommitOffsetsRequest { group, offsets: offsets.collect(), member: None };
    for answer in broker.commit_offsets(&ctx(), request).await.expect("a commit") {
        answer.expect("a commit");
    }
}

/// What kind of file this is.
fn class_of(path: &Path, world: &World) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let dir = path.parent().filter(|dir| *dir != Path::new(DATA));
    let Some(dir) = dir else { return name.to_owned() };
    let owner = if is_metadata(dir) {
        "metadata "
    } else if is_offsets(dir, world) {
        "offsets "
    } else {
        ""
    };
    match name.rsplit_once('.') {
        Some((base, suffix)) if base.len() == 20 => {
            let fs = world.sim.env().fs;
            let sealed = fs.exists(&dir.join(format!("{base}.seal"))).unwrap_or(false);
            let stage = if sealed && suffix != "producers" { "sealed " } else { "" };
            format!("{owner}{stage}.{suffix}")
        }
        _ => format!("{owner}{name}"),
    }
}

fn is_metadata(dir: &Path) -> bool {
    dir.to_string_lossy().contains("00000000000000000000000000000001-")
}

fn is_offsets(dir: &Path, world: &World) -> bool {
    let fs = world.sim.env().fs;
    let meta = fs.read_small(&dir.join("partition.meta"), 4096).ok();
    let meta = meta.and_then(|bytes| millrace_log::format::partition_meta::decode(&bytes).ok());
    meta.is_some_and(|meta| meta.name.as_str() == "__consumer_offsets")
}
