//! A broker's machine, which stays, and its process, which comes and goes.

use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{ApiError, Broker, BrokerConfig, ClusterOptions, GroupSettings, Peers};
use millrace_env::sim::{Sim, SimClock, SimRng, Survival};
use millrace_env::{Clock, Env, Tasks};
use millrace_types::NodeId;
use parking_lot::Mutex;

use super::line::{Line, Owner};
use super::process::{LocalClock, Process, ProcessTasks};
use super::wire::{Doors, Switch, Wire, address};

/// Where the data directory is on the disk of each machine.
pub(super) const DATA: &str = "/data";
/// How long a clean stop waits for others to lead, and then for what is in flight.
const PATIENCE: Duration = Duration::from_secs(10);

/// A machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) node: NodeId,
    pub(super) sim: Sim,
    pub(super) wall: Arc<LocalClock>,
    seed: u64,
    line: Arc<Line>,
    clock: Arc<SimClock>,
    switch: Arc<Switch>,
    lives: u64,
    pub(super) life: Option<Life>,
    pub(super) has_power: bool,
}

/// How far a process is.
#[derive(Debug)]
enum Stage {
    Starting,
    Running(Arc<Broker>),
    Stopping,
    Stopped,
    Failed(String),
}

/// A life.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) process: Arc<Process>,
    stage: Arc<Mutex<Stage>>,
    pub(super) is_paused: bool,
}

impl Machine {
    pub(super) fn new(
        (node, seed): (NodeId, u64),
        line: &Arc<Line>,
        clock: &Arc<SimClock>,
        switch: &Arc<Switch>,
    ) -> Machine {
        let seed = seed ^ (u64::from(node.0.unsigned_abs()) << 48);
        Machine {
            node,
            sim: Sim::new(seed),
            wall: LocalClock::new(clock),
            seed,
            line: Arc::clone(line),
            clock: Arc::clone(clock),
            switch: Arc::clone(switch),
            lives: 0,
            life: None,
            has_power: true,
        }
    }

    /// Whether a process runs, or is about to.
    pub(super) fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// The broker, if it serves.
    pub(super) fn broker(&self) -> Option<Arc<Broker>> {
        match &*self.life.as_ref()?.stage.lock() {
            Stage::Running(broker) => Some(Arc::clone(broker)),
            _ => None,
        }
    }

    /// Starts a process on what the disk holds. Without anybody to join it founds a cluster.
    pub(super) fn start(&mut self, join: &[NodeId]) {
        if self.is_up() {
            return;
        }
        self.has_power = true;
        self.lives += 1;
        let owner = Owner(u64::from(self.node.0.unsigned_abs()) * 1_000_000 + self.lives);
        let disk = self.sim.disk().clone();
        let rng = Arc::new(SimRng::new(self.seed.wrapping_add(self.lives) ^ 0x5eed));
        let process = Process::new(&self.line, owner, disk, &self.clock, rng);
        let tasks: Arc<dyn Tasks> = Arc::new(ProcessTasks(Arc::clone(&process)));
        let wall = Arc::clone(&self.wall) as Arc<dyn Clock>;
        let env = Env { clock: wall, tasks: Arc::clone(&tasks), ..self.sim.env() };
        let peers: Arc<dyn Peers> = Arc::new(Wire { switch: Arc::clone(&self.switch), from: self.node });
        let cluster = ClusterOptions {
            peers,
            internal: address(self.node),
            kafka: String::new(),
            join: join.iter().map(|node| address(*node)).collect(),
        };
        let config = BrokerConfig {
            data_dir: DATA.into(),
            node: self.node,
            memory_budget_bytes: 64 << 20,
            grpc_advertised: format!("grpc-{}", self.node),
            groups: GroupSettings::default(),
            cluster: Some(cluster),
        };
        let stage = Arc::new(Mutex::new(Stage::Starting));
        self.switch.unplug(self.node, true);
        let (reached, switch, node, inner) =
            (Arc::clone(&stage), Arc::clone(&self.switch), self.node, Arc::clone(&process));
        let starting = async move {
            match Broker::start(env, config).await {
                Ok(broker) => {
                    switch.plug(node, &inner, &broker, Doors::Internal);
                    *reached.lock() = Stage::Running(Arc::clone(&broker));
                    broker.joined().await;
                    switch.plug(node, &inner, &broker, Doors::All);
                    let failed = broker.failed().await;
                    *reached.lock() = Stage::Failed(format!("its directory has failed: {failed:?}"));
                }
                Err(error) => *reached.lock() = Stage::Failed(format!("it does not start: {error}")),
            }
        };
        let _runs_on = tasks.spawn("main", Box::pin(starting));
        self.life = Some(Life { process, stage, is_paused: false });
    }

    /// The process dies; the disk and its cache stay.
    pub(super) fn kill(&mut self) {
        let Some(life) = self.life.take() else { return };
        life.process.kill();
        self.switch.unplug(self.node, true);
    }

    /// The power goes.
    pub(super) fn cut_power(&mut self, survival: Survival) {
        match self.life.take() {
            Some(life) => life.process.cut_power(survival),
            None => drop(self.sim.disk().power_cut(survival)),
        }
        self.go_dark();
    }

    fn go_dark(&mut self) {
        self.has_power = false;
        self.switch.unplug(self.node, false);
    }

    /// It ends as it should: others lead what it led, and everything is synced.
    pub(super) fn stop(&mut self) {
        let Some(life) = self.life.as_ref() else { return };
        let mut stage = life.stage.lock();
        let Stage::Running(broker) = &*stage else { return };
        let broker = Arc::clone(broker);
        *stage = Stage::Stopping;
        drop(stage);
        let (reached, switch) = (Arc::clone(&life.stage), Arc::clone(&self.switch));
        let tasks = ProcessTasks(Arc::clone(&life.process));
        let stopping = async move {
            if broker.hand_over(PATIENCE).await {
                switch.mark(|marks| marks.handed_over += 1);
            }
            let stopped: Result<(), ApiError> = broker.shut_down(PATIENCE).await;
            *reached.lock() = match stopped {
                Ok(()) => Stage::Stopped,
                Err(error) => Stage::Failed(format!("it does not stop: {error}")),
            };
        };
        let _runs_on = tasks.spawn("stop", Box::pin(stopping));
    }

    /// Takes note of what has become of the process: answers why it has failed, if it has.
    pub(super) fn look(&mut self) -> Result<Seen, String> {
        let Some(life) = self.life.as_ref() else { return Ok(Seen::Nothing) };
        if life.process.is_dead() {
            self.life = None;
            self.go_dark();
            return Ok(Seen::LostPower);
        }
        let stopped = match &*life.stage.lock() {
            Stage::Failed(why) => return Err(format!("node {}: {why}", self.node)),
            Stage::Stopped => true,
            Stage::Starting | Stage::Running(_) | Stage::Stopping => false,
        };
        if !stopped {
            return Ok(Seen::Nothing);
        }
        self.kill();
        Ok(Seen::Stopped)
    }

    /// The disk is lost, and another one is put in.
    pub(super) fn lose_disk(&mut self) {
        self.kill();
        self.lives += 1_000;
        self.sim = Sim::new(self.seed.wrapping_add(self.lives << 8));
    }
}

/// What was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    Nothing,
    /// In the middle of something, as was planned.
    LostPower,
    Stopped,
}
