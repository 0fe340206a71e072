//! The broker on the simulated machine: real log, real metadata, a disk that a test can cut.
#![expect(clippy::disallowed_methods, reason = "a test is its own runtime: what it spawns ends with it")]

mod altering;
mod bounds;
mod cluster;
mod damage;
mod full_disk;
mod groups;
mod modes;
mod offsets;
mod power;
mod produce;
mod read;
mod real;
mod restart;
mod topics;

use std::time::Duration;

use bytes::Bytes;
use millrace_env::Env;
use millrace_env::sim::{Sim, Survival};
use millrace_record::{Compression, split_batches};
use millrace_types::{GroupId, PartitionIndex, TopicName};

use super::*;
use crate::{
    ConnectionId, Durability, Isolation, ListenerName, NewRecord, OffsetCommit, PartitionFetch,
    PartitionProduce, Principal, ProduceData, ProduceResponse, Produced, SequenceStart,
};

const BUDGET: u64 = 256 * 1024 * 1024;

/// A machine and the broker that runs on it.
struct World {
    sim: Sim,
    broker: Arc<Broker>,
}

fn config() -> BrokerConfig {
    BrokerConfig {
        data_dir: "/data".into(),
        node: NodeId(1),
        memory_budget_bytes: BUDGET,
        grpc_advertised: "127.0.0.1:7070".to_owned(),
        groups: GroupSettings::default(),
        cluster: None,
    }
}

fn ctx() -> Context {
    Context {
        principal: Principal::Anonymous,
        client_id: "test".into(),
        listener: ListenerName::Grpc,
        connection: ConnectionId(1),
        deadline: None,
    }
}

async fn start(env: Env) -> Arc<Broker> {
    Broker::start(env, config()).await.unwrap()
}

impl World {
    async fn new(seed: u64) -> World {
        let sim = Sim::new(seed);
        let broker = start(sim.env()).await;
        World { sim, broker }
    }

    /// Stops cleanly and starts again.
    async fn restart(self) -> World {
        self.broker.shut_down(Duration::from_secs(5)).await.unwrap();
        let World { sim, broker } = self;
        drop(broker);
        let broker = start(sim.kill()).await;
        World { sim, broker }
    }

    /// Kills the process and starts another.
    async fn kill(self) -> World {
        let World { sim, broker } = self;
        let env = sim.kill();
        drop(broker);
        World { broker: start(env).await, sim }
    }

    /// Cuts the power and starts again.
    async fn cut(self, survival: Survival) -> World {
        let World { sim, broker } = self;
        let env = sim.power_cut(survival);
        drop(broker);
        World { broker: start(env).await, sim }
    }

    async fn create(&self, name: &str, partitions: u32) -> TopicDescription {
        self.broker.create_topic(&ctx(), new_topic(name, partitions)).await.unwrap()
    }

    /// Produces values into partition 0 and waits until they are safe.
    async fn produce(&self, topic: &str, values: &[&str]) -> Result<Produced, ApiError> {
        self.send(produce_request(vec![plain(topic, 0, values, None)])).await.partitions.remove(0)
    }

    async fn send(&self, request: ProduceRequest) -> ProduceResponse {
        self.broker.produce(&ctx(), request).await.unwrap().acknowledged().await
    }

    /// Commits an offset of partition 0 of topic a; answers what was wrong with it.
    async fn commit(&self, group: &GroupId, offset: u64) -> Option<ErrorCode> {
        let commit = OffsetCommit {
            topic: by_name("a"),
            partition: PartitionIndex(0),
            offset: Offset::from_count(offset),
            leader_epoch: None,
            metadata: String::new(),
        };
        let request = CommitOffsetsRequest { group: group.clone(), offsets: vec![commit], member: None };
        match self.broker.commit_offsets(&ctx(), request).await {
            Ok(mut answers) => code(answers.remove(0)),
            Err(error) => Some(error.code),
        }
    }

    /// The values of partition 0 from an offset on, without waiting.
    async fn values(&self, topic: &str, offset: u64) -> Result<Vec<String>, ApiError> {
        let request = fetch_request(vec![from(topic, 0, offset)], Duration::ZERO);
        let fetched = self.broker.fetch(&ctx(), request).await.unwrap().partitions.remove(0)?;
        Ok(decoded(fetched.extents))
    }
}

fn new_topic(name: &str, partitions: u32) -> CreateTopicRequest {
    CreateTopicRequest {
        name: name.to_owned(),
        partitions: Some(partitions),
        replication_factor: None,
        configs: std::collections::BTreeMap::new(),
        validate_only: false,
    }
}

fn by_name(topic: &str) -> TopicRef {
    TopicRef::Name(TopicName::new(topic).unwrap())
}

fn record(value: &str) -> NewRecord {
    NewRecord {
        key: None,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Vec::new(),
        timestamp: None,
    }
}

fn plain(topic: &str, partition: u32, values: &[&str], sequence: Option<SequenceStart>) -> PartitionProduce {
    let records = values.iter().map(|value| record(value)).collect();
    let data = ProduceData::Records { records, sequence, compression: Compression::None };
    PartitionProduce { topic: by_name(topic), partition: PartitionIndex(partition), data }
}

fn produce_request(partitions: Vec<PartitionProduce>) -> ProduceRequest {
    ProduceRequest { partitions, durability: Durability::Committed, timeout: None }
}

fn from(topic: &str, partition: u32, offset: u64) -> PartitionFetch {
    PartitionFetch {
        topic: by_name(topic),
        partition: PartitionIndex(partition),
        offset: Offset::from_count(offset),
        end_offset: None,
        bytes_max: None,
        last_read_epoch: None,
        leader_epoch: None,
    }
}

fn fetch_request(partitions: Vec<PartitionFetch>, wait: Duration) -> FetchRequest {
    FetchRequest { partitions, bytes_max: 1 << 20, bytes_min: 1, wait, isolation: Isolation::Committed }
}

fn decoded(extents: Vec<Bytes>) -> Vec<String> {
    let batches = extents.into_iter().flat_map(split_batches);
    let records = batches.flat_map(|batch| batch.unwrap().records().unwrap());
    records.map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap()).collect()
}

fn code<T>(result: Result<T, ApiError>) -> Option<ErrorCode> {
    result.err().map(|error| error.code)
}
