//! A broker that is going to crash, and the ledger of what it was told and has answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{
    ApiError, Broker, BrokerConfig, CommitOffsetsRequest, CreateTopicRequest, Durability, OffsetCommit,
    PartitionProduce, ProduceData, ProduceRequest, Produced, TopicRef,
};
use millrace_env::Env;
use millrace_env::sim::{Sim, SimRng};
use millrace_types::{GroupId, NodeId, PartitionIndex, TopicId, TopicName};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::life::{client_batch, count, next_sequence, offset};
use crate::caller::ctx;
use crate::ledger::{Fate, Sent, Stop};

/// More than the broker asks for.
const MEMORY_BYTES: u64 = 256 * 1024 * 1024;
/// How long a stop waits for requests; there are none.
const PATIENCE: Duration = Duration::from_secs(5);

/// One topic: partition 0 of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Topic {
    pub(super) fate: Fate,
    pub(super) id: Option<TopicId>,
    pub(super) sent: Vec<Arc<Sent>>,
    pub(super) acked: u64,
    /// By group: the offset that was acknowledged, and the one that was sent last.
    pub(super) committed: BTreeMap<u32, (Option<u64>, u64)>,
}

impl Topic {
    pub(super) fn end(&self) -> u64 {
        self.sent.last().map_or(0, |sent| sent.end())
    }
}

/// Everything that a broker was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) topics: BTreeMap<String, Topic>,
    /// Ids of topics whose deletion was acknowledged.
    pub(super) deleted: BTreeSet<TopicId>,
    pub(super) producers: BTreeSet<i64>,
    pub(super) stop: Stop,
    pub(super) operation: &'static str,
    pub(super) revision: u64,
}

pub(super) fn config() -> BrokerConfig {
    BrokerConfig {
        data_dir: "/data".into(),
        node: NodeId(1),
        memory_budget_bytes: MEMORY_BYTES,
        grpc_advertised: "127.0.0.1:7070".to_owned(),
        groups: millrace_broker::GroupSettings::default(),
        cluster: None,
    }
}

pub(super) fn by_name(name: &str) -> Result<TopicRef, String> {
    TopicName::new(name).map(TopicRef::Name).map_err(|e| e.to_string())
}

pub(super) fn group_id(group: u32) -> Result<GroupId, String> {
    GroupId::new(&format!("group.{group}")).map_err(|e| e.to_string())
}

pub(super) fn text(error: ApiError) -> String {
    error.to_string()
}

pub(super) fn new_topic(name: &str) -> CreateTopicRequest {
    CreateTopicRequest {
        name: name.to_owned(),
        partitions: Some(1),
        replication_factor: None,
        configs: [("segment.bytes".to_owned(), "65536".to_owned())].into(),
        validate_only: false,
    }
}

/// Sends one batch to partition 0 and waits for its answer.
pub(super) async fn produce(broker: &Broker, topic: &str, sent: &Sent) -> Result<Produced, String> {
    let data = ProduceData::Batch(sent.bytes.clone());
    let partition = PartitionProduce { topic: by_name(topic)?, partition: PartitionIndex(0), data };
    let request =
        ProduceRequest { partitions: vec![partition], durability: Durability::Committed, timeout: None };
    let answers = broker.produce(&ctx(), request).await.map_err(text)?.acknowledged().await.partitions;
    answers.into_iter().next().ok_or("no answer")?.map_err(text)
}

pub(super) async fn commit(broker: &Broker, group: u32, topic: &str, to: u64) -> Result<(), String> {
    let commit = OffsetCommit {
        topic: by_name(topic)?,
        partition: PartitionIndex(0),
        offset: offset(to),
        leader_epoch: None,
        metadata: String::new(),
    };
    let request = CommitOffsetsRequest { group: group_id(group)?, offsets: vec![commit], member: None };
    let answers = broker.commit_offsets(&ctx(), request).await.map_err(text)?;
    answers.into_iter().try_for_each(|answer| answer.map_err(text))
}

/// Blocking work runs one piece after another, so that the same seed makes the same calls in the same order.
pub(super) fn runtime() -> Result<Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.max_blocking_threads(1).build().map_err(|e| e.to_string())
}

pub(super) async fn start(env: Env) -> Result<Arc<Broker>, String> {
    Broker::start(env, config()).await.map_err(|e| format!("the broker does not start: {e}"))
}

pub(super) async fn stop(broker: &Broker) -> Result<(), String> {
    broker.shut_down(PATIENCE).await.map_err(text)
}

/// A broker's process.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) sim: Arc<Sim>,
    pub(super) told: Arc<Mutex<Told>>,
    draw: SimRng,
    broker: Option<Arc<Broker>>,
    serial: u64,
}

impl Service {
    pub(super) fn new(seed: u64) -> Service {
        Service {
            sim: Arc::new(Sim::new(seed)),
            told: Arc::default(),
            draw: SimRng::new(seed ^ 0x5eed),
            broker: None,
            serial: 0,
        }
    }

    fn note<R>(&self, note: impl FnOnce(&mut Told) -> R) -> R {
        let mut told = self.told.lock();
        told.revision += 1;
        note(&mut told)
    }

    fn note_of<R>(&self, topic: &str, note: impl FnOnce(&mut Topic) -> R) -> R {
        self.note(|told| note(told.topics.entry(topic.to_owned()).or_default()))
    }

    fn begin(&self, operation: &'static str) {
        self.note(|told| told.operation = operation);
    }

    fn broker(&self) -> Result<Arc<Broker>, String> {
        self.broker.as_ref().map(Arc::clone).ok_or_else(|| "the broker does not run".to_owned())
    }

    async fn start(&mut self) -> Result<(), String> {
        self.note(|told| (told.operation, told.stop) = ("broker start", Stop::Opening));
        self.broker = Some(start(self.sim.env()).await?);
        self.note(|told| told.stop = Stop::Running);
        Ok(())
    }

    async fn stop(&mut self) -> Result<(), String> {
        self.note(|told| (told.operation, told.stop) = ("broker stop", Stop::Closing));
        stop(&*self.broker()?).await?;
        self.note(|told| told.stop = Stop::Closed);
        self.end();
        Ok(())
    }

    pub(super) fn end(&mut self) {
        self.broker = None;
    }

    async fn create(&self, name: &str) -> Result<(), String> {
        self.begin("topic create");
        self.note_of(name, |topic| *topic = Topic { fate: Fate::Creating, ..Topic::default() });
        let made = self.broker()?.create_topic(&ctx(), new_topic(name)).await.map_err(text)?;
        self.note_of(name, |topic| (topic.fate, topic.id) = (Fate::There, Some(made.id)));
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        self.begin("topic delete");
        self.note_of(name, |topic| topic.fate = Fate::Deleting);
        self.broker()?.delete_topic(&ctx(), by_name(name)?).await.map_err(text)?;
        self.note(|told| {
            let gone = told.topics.remove(name).and_then(|topic| topic.id);
            told.deleted.extend(gone);
        });
        Ok(())
    }

    async fn new_producer(&self) -> Result<i64, String> {
        self.begin("producer id");
        let id = self.broker()?.init_producer(&ctx()).await.map_err(text)?.id.0;
        let is_new = self.note(|told| told.producers.insert(id));
        if is_new { Ok(id) } else { Err(format!("producer id {id} was handed out twice")) }
    }

    async fn produce(&mut self, name: &str, producer: i64) -> Result<(), String> {
        self.begin("produce");
        self.serial += 1;
        let bytes = 1 + self.draw.index(3_000);
        let value: Vec<u8> = format!("{}.", self.serial).bytes().cycle().take(bytes).collect();
        let (base, sequence) =
            self.note_of(name, |topic| (topic.end(), next_sequence(&topic.sent, Some(producer))));
        let timestamp = 1_000 + self.serial.cast_signed();
        let batch = client_batch(timestamp, &[value], Some((producer, sequence)))?;
        let producer = Some((producer, sequence));
        let sent = Arc::new(Sent {
            base,
            records: 1,
            timestamp,
            producer,
            bytes: batch.into_bytes(),
            ..Sent::default()
        });
        self.note_of(name, |topic| topic.sent.push(Arc::clone(&sent)));
        let produced = produce(&*self.broker()?, name, &sent).await?;
        if count(produced.base_offset) != base {
            return Err(format!("offset {base} was due, {produced:?} was answered"));
        }
        self.note_of(name, |topic| topic.acked = topic.end());
        Ok(())
    }

    async fn commit(&self, group: u32, name: &str, to: u64) -> Result<(), String> {
        self.begin("offset commit");
        self.note_of(name, |topic| topic.committed.entry(group).or_default().1 = to);
        commit(&*self.broker()?, group, name, to).await?;
        self.note_of(name, |topic| topic.committed.entry(group).or_default().0 = Some(to));
        Ok(())
    }

    /// What this process does before it crashes.
    pub(super) async fn live(&mut self) -> Result<(), String> {
        self.start().await?;
        let producer = self.new_producer().await?;
        for name in ["orders", "payments"] {
            self.create(name).await?;
            self.produce(name, producer).await?;
        }
        for to in 1..3 {
            self.commit(1, "orders", to).await?;
            self.commit(2, "payments", to).await?;
            self.produce("orders", producer).await?;
        }
        self.delete("payments").await?;
        self.create("payments").await?;
        self.produce("payments", producer).await?;
        self.commit(2, "payments", 1).await?;
        self.stop().await?;
        self.start().await?;
        let producer = self.new_producer().await?;
        self.produce("orders", producer).await?;
        self.commit(1, "orders", 3).await?;
        self.delete("orders").await?;
        self.produce("payments", producer).await?;
        self.create("refunds").await
    }
}
