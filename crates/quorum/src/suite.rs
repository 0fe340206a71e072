//! openraft's own suite for storage, on the simulated disk and on a real one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_env::sim::Sim;
use millrace_env::{Env, real};
use millrace_log::{LogDir, LogDirOptions, PartitionMeta};
use millrace_types::{NodeId, PartitionIndex, TopicId, TopicName, TopicPartition};
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::entries::quorum_log_config;
use crate::files::QuorumFiles;
use crate::log_store::LogStore;
use crate::raft::{Consensus, RaftId, RaftStorageError};
use crate::runtime::enter;
use crate::state_machine::StateMachine;

impl From<u64> for RaftId {
    fn from(number: u64) -> RaftId {
        let node = NodeId(i32::try_from(number).unwrap());
        RaftId(millrace_schema::QuorumVoter { node, incarnation: 0 })
    }
}

/// What must live as long as a store.
type Kept = (Arc<LogDir>, Option<TempDir>);

fn store(env: &Arc<Env>, path: &Path) -> (Arc<LogDir>, LogStore, StateMachine) {
    let options =
        LogDirOptions { path: path.to_owned(), node: NodeId(0), tail_cache_bytes: 0, handles: None };
    let dir = LogDir::open(env, options).unwrap().dir;
    let id = TopicPartition { topic: TopicId::CLUSTER_METADATA, partition: PartitionIndex(0) };
    let name = TopicName::new("__cluster_metadata").unwrap();
    let meta = PartitionMeta { id, name, partitions: 1, replication_factor: 1 };
    let log = dir.create(meta, quorum_log_config()).unwrap();
    let files = QuorumFiles::new(Arc::clone(&env.fs), path.to_owned());
    let store = LogStore::open(env, log, files.clone(), NodeId(0)).unwrap();
    (dir, store, StateMachine::open(env, files).unwrap())
}

struct OnSim {
    env: Arc<Env>,
    made: AtomicU64,
}

impl StoreBuilder<Consensus, LogStore, StateMachine, Kept> for OnSim {
    async fn build(&self) -> Result<(Kept, LogStore, StateMachine), RaftStorageError> {
        let path = format!("/{}", self.made.fetch_add(1, Ordering::Relaxed));
        let (dir, store, machine) = store(&self.env, Path::new(&path));
        Ok(((dir, None), store, machine))
    }
}

struct OnDisk {
    env: Arc<Env>,
}

impl StoreBuilder<Consensus, LogStore, StateMachine, Kept> for OnDisk {
    async fn build(&self) -> Result<(Kept, LogStore, StateMachine), RaftStorageError> {
        let place = tempfile::tempdir().unwrap();
        let (dir, store, machine) = store(&self.env, place.path());
        Ok(((dir, Some(place)), store, machine))
    }
}

#[test]
fn the_suite_passes_on_the_simulated_disk() {
    let env = Arc::new(Sim::new(1).env());
    let _within = enter(&env);
    Suite::test_all(OnSim { env: Arc::clone(&env), made: AtomicU64::new(0) }).unwrap();
}

#[test]
fn the_suite_passes_on_a_real_disk() {
    let env = Arc::new(real::env());
    let _within = enter(&env);
    Suite::test_all(OnDisk { env: Arc::clone(&env) }).unwrap();
}
