//! Promises of the whole broker: it runs on the simulated machine.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{Broker, BrokerConfig, ConnectionId, Context, ListenerName, Principal};
use millrace_env::FsExt;
use millrace_env::sim::{Sim, Survival};
use millrace_log::names::{PARTITION_META, partition_dir};
use millrace_types::{NodeId, PartitionIndex, TopicId, TopicPartition};

use crate::Outcome;
use crate::world::{DATA, meta};

fn config() -> BrokerConfig {
    BrokerConfig {
        data_dir: DATA.into(),
        node: NodeId(1),
        memory_budget_bytes: 64 * 1024 * 1024,
        grpc_advertised: "127.0.0.1:7070".to_owned(),
        groups: millrace_broker::GroupSettings::default(),
        cluster: None,
    }
}

fn ctx() -> Context {
    Context {
        principal: Principal::Anonymous,
        client_id: "teeth".into(),
        listener: ListenerName::Grpc,
        connection: ConnectionId(1),
        deadline: None,
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

async fn start(sim: &Sim) -> Result<Arc<Broker>, String> {
    Broker::start(sim.env(), config()).await.map_err(|error| format!("the broker does not start: {error}"))
}

/// Producers come, before and after two crashes, and more of them than fit into one block.
pub(crate) fn producer_ids(seed: u64) -> Outcome {
    block_on(async {
        let sim = Sim::new(seed);
        let mut given = BTreeSet::new();
        for crash in [Survival::Nothing, Survival::Random, Survival::Nothing] {
            let broker = start(&sim).await?;
            for _ in 0..1 + sim.rng().below(30) {
                let producer = broker.init_producer(&ctx()).await.map_err(|error| error.to_string())?;
                if !given.insert(producer.id) {
                    return Err(format!("producer id {} was given twice", producer.id));
                }
            }
            sim.power_cut(crash);
            drop(broker);
        }
        Ok(())
    })
}

/// A directory lies among the others that the metadata never heard of.
pub(crate) fn strangers(seed: u64) -> Outcome {
    block_on(async {
        let sim = Sim::new(seed);
        let broker = start(&sim).await?;
        broker.shut_down(Duration::from_secs(5)).await.map_err(|error| error.to_string())?;
        drop(broker);
        let number = u8::try_from(2 + sim.rng().below(200)).unwrap();
        let stranger = TopicPartition { topic: TopicId([number; 16]), partition: PartitionIndex(0) };
        let dir = Path::new(DATA).join(partition_dir(stranger));
        let fs = sim.env().fs;
        fs.create_dir_all(&dir).unwrap();
        let bytes = millrace_log::format::partition_meta::encode(&meta(stranger));
        fs.replace(&dir.join(PARTITION_META), &bytes).unwrap();
        fs.sync_dir(Path::new(DATA)).unwrap();
        let broker = start(&sim).await?;
        if broker.orphans() != [stranger] {
            return Err(format!("{stranger} is not reported: {:?}", broker.orphans()));
        }
        drop(broker);
        if sim.kill().fs.exists(&dir).unwrap() { Ok(()) } else { Err(format!("{stranger} is gone")) }
    })
}
