//! A node: its machine, which stays, and its process, which comes and goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_env::sim::{Sim, SimClock, Survival};
use millrace_env::{Clock, Env};
use millrace_log::{LogDir, LogDirOptions, PartitionMeta};
use millrace_quorum::{MetadataQuorum, QuorumNetwork, QuorumOptions, QuorumPace, quorum_log_config};
use millrace_types::{NodeId, PartitionIndex, TopicId, TopicName, TopicPartition};

use super::mortal::Mortal;

/// Where the data directory is on the disk of each machine.
const DATA: &str = "/data";

/// A machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) node: NodeId,
    pub(super) sim: Sim,
    clock: Arc<SimClock>,
    network: Arc<dyn QuorumNetwork>,
    pub(super) life: Option<Life>,
}

/// A process.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) tasks: Arc<Mortal>,
    dir: Arc<LogDir>,
    pub(super) quorum: Arc<MetadataQuorum>,
}

/// Thresholds that a run reaches.
fn pace() -> QuorumPace {
    QuorumPace {
        answer: std::time::Duration::from_secs(3),
        snapshot_every: 12,
        entries_kept: 4,
        ..QuorumPace::default()
    }
}

impl Machine {
    pub(super) fn new(
        node: NodeId,
        seed: u64,
        clock: &Arc<SimClock>,
        network: Arc<dyn QuorumNetwork>,
    ) -> Machine {
        Machine { node, sim: Sim::new(seed), clock: Arc::clone(clock), network, life: None }
    }

    /// Whether a process runs.
    pub(super) fn is_up(&self) -> bool {
        self.life.as_ref().is_some_and(|life| !life.tasks.is_dead())
    }

    /// Starts a process on what the disk holds.
    pub(super) async fn start(&mut self) -> Result<Arc<MetadataQuorum>, String> {
        self.bury();
        let tasks = Mortal::new(self.sim.disk().clone());
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let env = Env { clock, tasks: Arc::clone(&tasks) as Arc<_>, ..self.sim.env() };
        let told = |error: &dyn std::fmt::Display| format!("node {} does not start: {error}", self.node.0);
        let path = PathBuf::from(DATA);
        let options =
            LogDirOptions { path: path.clone(), node: self.node, tail_cache_bytes: 1 << 20, handles: None };
        let opened = LogDir::open(&env, options).map_err(|error| told(&error))?;
        let dir = opened.dir;
        let id = TopicPartition { topic: TopicId::CLUSTER_METADATA, partition: PartitionIndex(0) };
        let log = if opened.found.is_empty() {
            let name = TopicName::new("__cluster_metadata").map_err(|error| told(&error))?;
            let meta = PartitionMeta { id, name, partitions: 1, replication_factor: 1 };
            dir.create(meta, quorum_log_config())
        } else {
            dir.open_log(id, quorum_log_config())
        };
        let log = log.map_err(|error| told(&error))?;
        let options = QuorumOptions {
            node: self.node,
            log,
            dir: Path::new(DATA).to_owned(),
            network: Arc::clone(&self.network),
            pace: pace(),
        };
        let quorum = MetadataQuorum::open(&env, options).await.map_err(|error| told(&error))?;
        self.life = Some(Life { tasks, dir, quorum: Arc::clone(&quorum) });
        Ok(quorum)
    }

    /// The process dies; the disk and its cache stay.
    pub(super) fn kill(&mut self) {
        if let Some(life) = &self.life {
            life.tasks.kill();
        }
        self.sim.disk().kill();
        self.bury();
    }

    /// The power goes.
    pub(super) fn cut_power(&mut self, survival: Survival) {
        if let Some(life) = &self.life {
            life.tasks.kill();
        }
        self.sim.disk().power_cut(survival);
        self.bury();
    }

    /// The process ends as it should.
    pub(super) async fn stop(&mut self) -> Result<(), String> {
        let Some(life) = self.life.take() else { return Ok(()) };
        life.quorum.stop().await;
        let closed =
            life.dir.close().map_err(|error| format!("node {} does not close: {error}", self.node.0));
        life.tasks.kill();
        closed
    }

    /// What was done by the janitor every now and then.
    pub(super) fn tend(&self) {
        if let Some(life) = &self.life
            && !life.tasks.is_dead()
        {
            life.dir.janitor_step();
        }
    }

    fn bury(&mut self) {
        self.life = None;
    }
}
