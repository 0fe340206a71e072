//! The world of a seed: what happens in it, and its end.

mod members;
mod scenarios;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_env::sim::{SimClock, SimRng, SimTasks, Survival};
use millrace_env::{Clock, Tasks};
use millrace_metadata::{Command, CreateTopic, MetadataRecord, Owner};
use millrace_quorum::{MetadataQuorum, Peer, ProposeError, QuorumRole};
use millrace_types::limits::QUORUM_VOTERS_MAX;
use millrace_types::{DirectoryId, NodeId, TopicId, TopicName};
use parking_lot::Mutex;

use super::Ended;
use super::invariants::{Images, Ledger, Op};
use super::life::Machine;
use super::marks::Marks;
use super::mortal::Moment;
use super::wire::{CALM, Switch, Weather, Wire};

/// The nodes, of which a world has the first.
const NODES: [NodeId; 7] = [NodeId(1), NodeId(2), NodeId(3), NodeId(4), NodeId(5), NodeId(6), NodeId(7)];
/// Things that are done to the world before it is left in peace.
const ACTS: u64 = 45;
/// Polls of everything that is runnable before time goes on: chains of tasks that wake each other are shorter.
const SETTLE_POLLS: usize = 48;
/// Time within which everything must have come to an end once nothing is done to it any more.
const PEACE: Duration = Duration::from_secs(60);
/// Producer ids that are taken at a time.
const IDS: u32 = 10;

/// What clients and driver share.
#[derive(Debug, Default)]
struct Shared {
    ledger: Ledger,
    marks: Marks,
    broken: Option<String>,
    quorums: BTreeMap<NodeId, Arc<MetadataQuorum>>,
    /// Names that were used.
    names: u64,
    busy: usize,
}

struct World {
    clock: Arc<SimClock>,
    rng: Arc<SimRng>,
    tasks: SimTasks,
    switch: Arc<Switch>,
    machines: Vec<Machine>,
    images: Images,
    shared: Arc<Mutex<Shared>>,
    leaders: BTreeSet<(u64, NodeId)>,
    /// Who each node is in the quorum.
    peers: Vec<Peer>,
}

pub(super) use scenarios::grow_and_replace;

pub(super) fn run(seed: u64, nodes: usize) -> Ended {
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => return Ended { marks: Marks::default(), broken: Some(error.to_string()) },
    };
    let mut world = World::new(seed, nodes);
    let outcome = runtime.block_on(world.play());
    let (mut marks, promise) = world.switch.seen();
    let shared = world.shared.lock();
    marks.add(&shared.marks);
    marks.leaders += world.leaders.len() as u64;
    let broken = promise.or_else(|| shared.broken.clone()).or_else(|| outcome.err());
    Ended { marks, broken }
}

impl World {
    fn new(seed: u64, nodes: usize) -> World {
        let clock = Arc::new(SimClock::new());
        let rng = Arc::new(SimRng::new(seed));
        let switch = Switch::new(&clock, &rng);
        let machine = |node: NodeId| {
            let wire = Arc::new(Wire { switch: Arc::clone(&switch), from: node });
            Machine::new(node, seed ^ (u64::from(node.0.unsigned_abs()) << 48), &clock, wire)
        };
        let machines = NODES.into_iter().take(nodes).map(machine).collect();
        World {
            tasks: SimTasks::new(),
            machines,
            images: Images::default(),
            shared: Arc::default(),
            leaders: BTreeSet::new(),
            peers: Vec::new(),
            clock,
            rng,
            switch,
        }
    }

    async fn play(&mut self) -> Result<(), String> {
        let mut voters = BTreeMap::new();
        for machine in 0..self.machines.len() {
            let quorum = self.start(machine).await?;
            if machine < QUORUM_VOTERS_MAX {
                voters.insert(quorum.own(), format!("node{machine}:1"));
            }
            self.peers.push(Peer { voter: quorum.own(), address: format!("node{machine}:1") });
        }
        let founder = self.quorum(0).ok_or("the founder is down")?;
        founder.found(voters).await.map_err(|error| error.to_string())?;
        self.pass(Duration::from_secs(3)).await?;
        let register = Command::RegisterBroker {
            node: NODES[0],
            directory: DirectoryId([1; 16]),
            grpc: "node0:2".to_owned(),
        };
        self.insist(&register).await?;
        for _ in 0..ACTS {
            if self.machines.len() > QUORUM_VOTERS_MAX && self.rng.chance(1, 3) {
                self.reshape();
            }
            self.act().await?;
            let time = Duration::from_millis(self.rng.below(700));
            self.pass(time).await?;
        }
        self.end().await
    }

    fn quorum(&self, machine: usize) -> Option<Arc<MetadataQuorum>> {
        let machine = self.machines.get(machine).filter(|machine| machine.is_up())?;
        machine.life.as_ref().map(|life| Arc::clone(&life.quorum))
    }

    async fn start(&mut self, machine: usize) -> Result<Arc<MetadataQuorum>, String> {
        let machine = self.machines.get_mut(machine).ok_or("no such machine")?;
        let node = machine.node;
        let quorum = machine.start().await?;
        self.switch.plug(node, &quorum);
        self.shared.lock().quorums.insert(node, Arc::clone(&quorum));
        Ok(quorum)
    }

    /// Takes a node that died out of the others' sight.
    fn forget(&self, node: NodeId) {
        self.switch.unplug(node);
        self.shared.lock().quorums.remove(&node);
    }

    /// Lets everything run and time go on.
    async fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = self.clock.monotonic().after(time);
        loop {
            for _ in 0..SETTLE_POLLS {
                tokio::task::yield_now().await;
            }
            self.look()?;
            if !self.clock.advance_towards(end) {
                return Ok(());
            }
        }
    }

    /// Holds what is to be seen from outside against what must hold.
    fn look(&mut self) -> Result<(), String> {
        for index in 0..self.machines.len() {
            let node = self.machines.get(index).map_or(NODES[0], |machine| machine.node);
            let Some(quorum) = self.quorum(index) else {
                let had = self.machines.get_mut(index).and_then(|machine| machine.life.take());
                if had.is_some() {
                    self.shared.lock().marks.power_cuts_in_syncs += 1;
                    self.forget(node);
                }
                continue;
            };
            self.images.see(node, quorum.image())?;
            let status = quorum.status();
            if status.role == QuorumRole::Leader {
                self.leaders.insert((status.term, node));
            }
            self.shared.lock().marks.purges += u64::from(status.purged.is_some());
            if let Some(why) = status.stopped {
                let machine = self.machines.get(index);
                if machine.is_some_and(Machine::is_up) {
                    return Err(format!("node {} stopped by itself: {why}", node.0));
                }
            }
        }
        let (_, promise) = self.switch.seen();
        let broken = promise.or_else(|| self.shared.lock().broken.clone());
        broken.map_or(Ok(()), Err)
    }

    async fn act(&mut self) -> Result<(), String> {
        let machine = self.rng.index(self.machines.len());
        match self.rng.below(100) {
            0..45 => self.clients(1 + self.rng.below(4)),
            45..48 => self.kill(machine),
            48..53 => self.cut_power(machine),
            53..58 => self.arm(machine),
            58..60 => self.cut_all(),
            60..79 => self.restart(machine).await?,
            79..82 => self.stop(machine).await?,
            82..87 => self.cut_links(machine),
            87..93 => self.switch.heal(),
            93..97 => self.change_weather(),
            _ => self.machines.iter().for_each(Machine::tend),
        }
        Ok(())
    }

    fn kill(&mut self, machine: usize) {
        let Some(machine) = self.machines.get_mut(machine).filter(|machine| machine.is_up()) else { return };
        machine.kill();
        let node = machine.node;
        self.shared.lock().marks.kills += 1;
        self.forget(node);
    }

    fn cut_power(&mut self, machine: usize) {
        let survival = Survival::draw(&self.rng);
        let Some(machine) = self.machines.get_mut(machine).filter(|machine| machine.is_up()) else { return };
        machine.cut_power(survival);
        let node = machine.node;
        self.shared.lock().marks.power_cuts += 1;
        self.forget(node);
    }

    fn cut_all(&mut self) {
        self.shared.lock().marks.power_cuts_of_all += 1;
        (0..self.machines.len()).for_each(|machine| self.cut_power(machine));
    }

    /// The power will go in the middle of something.
    fn arm(&self, machine: usize) {
        let when = if self.rng.chance(1, 2) { Moment::Before } else { Moment::After };
        let (sections, survival) = (1 + self.rng.below(6), Survival::draw(&self.rng));
        if let Some(life) = self.machines.get(machine).and_then(|machine| machine.life.as_ref()) {
            life.tasks.arm(sections, survival, when);
        }
    }

    async fn restart(&mut self, machine: usize) -> Result<(), String> {
        if self.machines.get(machine).is_some_and(Machine::is_up) {
            return Ok(());
        }
        self.shared.lock().marks.restarts += 1;
        self.start(machine).await.map(drop)
    }

    async fn stop(&mut self, machine: usize) -> Result<(), String> {
        let Some(machine) = self.machines.get_mut(machine).filter(|machine| machine.is_up()) else {
            return Ok(());
        };
        let node = machine.node;
        // Not to be torn by a power cut that was planned.
        machine.life.iter().for_each(|life| life.tasks.arm(0, Survival::Everything, Moment::After));
        let stopped = machine.stop().await;
        self.forget(node);
        stopped
    }

    fn cut_links(&self, machine: usize) {
        let Some(one) = self.machines.get(machine).map(|machine| machine.node) else { return };
        let directions = self.rng.below(3);
        for other in self.machines.iter().map(|machine| machine.node).filter(|other| *other != one) {
            if directions != 1 {
                self.switch.cut(one, other);
            }
            if directions != 0 {
                self.switch.cut(other, one);
            }
        }
    }

    fn change_weather(&self) {
        let lost = self.rng.one_of([0, 20, 200]);
        let late_ms = self.rng.one_of([1, 20, 200]);
        self.switch.set_weather(Weather { lost, repeated: self.rng.below(100), late_ms });
    }

    /// Lets clients want something.
    fn clients(&self, count: u64) {
        for _ in 0..count {
            let mut shared = self.shared.lock();
            shared.names += 1;
            let name = format!("t{}", shared.names);
            let op = match TopicName::new(&name) {
                Ok(name) if self.rng.chance(3, 4) => Op::Topic(name),
                _ => Op::Ids,
            };
            shared.busy += 1;
            drop(shared);
            let client = client(Arc::clone(&self.shared), Arc::clone(&self.rng), op);
            let _runs_on = self.tasks.spawn("client", Box::pin(client));
        }
    }

    /// Asks whoever is there until somebody carries it out.
    async fn insist(&mut self, command: &Command) -> Result<(), String> {
        let end = self.clock.monotonic().after(PEACE);
        while self.clock.monotonic() < end {
            for machine in 0..self.machines.len() {
                let Some(quorum) = self.quorum(machine) else { continue };
                if quorum.status().role != QuorumRole::Leader {
                    continue;
                }
                let done = Arc::new(Mutex::new(None));
                let (answer, command) = (Arc::clone(&done), command.clone());
                let work = async move { *answer.lock() = Some(quorum.propose(&command).await.is_ok()) };
                let _runs_on = self.tasks.spawn("driver", Box::pin(work));
                while done.lock().is_none() {
                    self.pass(Duration::from_millis(20)).await?;
                }
                if *done.lock() == Some(true) {
                    return Ok(());
                }
            }
            self.pass(Duration::from_millis(100)).await?;
        }
        Err(format!("{command:?} was carried out by nobody within {PEACE:?} of peace: {}", self.standing()))
    }

    /// Where everybody stands, for whoever reads of a failure.
    fn standing(&self) -> String {
        let status = |machine: usize| self.quorum(machine).map(|quorum| quorum.status());
        format!("{:?}", (0..self.machines.len()).map(status).collect::<Vec<_>>())
    }

    /// Nothing is done to the world any more: everything that was acknowledged is there, and everybody agrees.
    async fn end(&mut self) -> Result<(), String> {
        self.switch.heal();
        self.switch.set_weather(CALM);
        for machine in 0..self.machines.len() {
            if let Some(life) = self.machines.get(machine).and_then(|machine| machine.life.as_ref()) {
                life.tasks.arm(0, Survival::Everything, Moment::After);
            }
            self.restart(machine).await?;
        }
        if self.machines.len() > QUORUM_VOTERS_MAX {
            self.bring_back_all().await?;
        }
        let waiting = self.clock.monotonic().after(PEACE);
        while self.shared.lock().busy > 0 {
            self.pass(Duration::from_millis(200)).await?;
            if self.clock.monotonic() > waiting {
                return Err("a client waits for ever".to_owned());
            }
        }
        self.insist(&topic(TopicName::new("last").map_err(|error| error.to_string())?, &self.rng)).await?;
        let end = self.clock.monotonic().after(PEACE);
        loop {
            let images: Vec<_> =
                (0..self.machines.len()).filter_map(|machine| Some(self.quorum(machine)?.image())).collect();
            let versions: BTreeSet<u64> = images.iter().map(|image| image.version()).collect();
            if versions.len() == 1 && images.len() == self.machines.len() {
                let shared = self.shared.lock();
                return images
                    .iter()
                    .try_for_each(|image| shared.ledger.check(&shared.ledger.acknowledged(), image));
            }
            if self.clock.monotonic() > end {
                return Err(format!("they do not agree in the end: {}", self.standing()));
            }
            self.pass(Duration::from_millis(100)).await?;
        }
    }
}

fn topic(name: TopicName, rng: &SimRng) -> Command {
    let mut id = [0; 16];
    millrace_env::Rng::fill(rng, &mut id);
    Command::CreateTopic(CreateTopic {
        id: TopicId(id),
        name,
        partitions: Some(1),
        replication_factor: Some(1),
        configs: BTreeMap::new(),
        owner: Owner::User,
    })
}

/// Wants one thing, of one node after another, until it is told what became of it; then reads.
async fn client(shared: Arc<Mutex<Shared>>, rng: Arc<SimRng>, op: Op) {
    let command = match &op {
        Op::Topic(name) => topic(name.clone(), &rng),
        Op::Ids => Command::TakeProducerIds { node: NODES[0], count: IDS },
    };
    let mut told = None;
    for _ in 0..4 {
        let Some(quorum) = any(&shared, &rng) else { break };
        match quorum.propose(&command).await {
            Ok(records) => told = Some(Ok(records)),
            Err(ProposeError::TimedOut(_) | ProposeError::Stopped(_) | ProposeError::Deposed(_)) => {
                told = Some(Err(()));
            }
            // Certainly not carried out: the next node may.
            Err(
                ProposeError::NotLeader(_)
                | ProposeError::Busy
                | ProposeError::Unconfirmed(_)
                | ProposeError::Refused(_)
                | ProposeError::Contradiction(_),
            ) => {}
        }
        if told.is_some() {
            break;
        }
    }
    {
        let mut shared = shared.lock();
        match (op, told) {
            (Op::Topic(name), Some(Ok(_))) => {
                shared.marks.acknowledged += 1;
                shared.ledger.acknowledge(name);
            }
            (Op::Topic(name), None) => {
                shared.marks.refused += 1;
                shared.ledger.refuse(name);
            }
            (Op::Ids, Some(Ok(records))) => {
                shared.marks.acknowledged += 1;
                for record in records {
                    if let MetadataRecord::ProducerIdsTaken(block) = record
                        && let Err(broken) = shared.ledger.give(block.first.0, block.count)
                    {
                        shared.broken = Some(broken);
                    }
                }
            }
            (_, Some(Err(()))) => shared.marks.unknown += 1,
            (Op::Ids, None) => {}
        }
    }
    let before = shared.lock().ledger.acknowledged();
    if let Some(quorum) = any(&shared, &rng)
        && let Ok(image) = quorum.read().await
    {
        let mut shared = shared.lock();
        shared.marks.reads += 1;
        if let Err(broken) = shared.ledger.check(&before, &image) {
            shared.broken = Some(broken);
        }
    }
    shared.lock().busy -= 1;
}

/// Somebody who may be asked, rather who leads.
fn any(shared: &Mutex<Shared>, rng: &SimRng) -> Option<Arc<MetadataQuorum>> {
    let shared = shared.lock();
    let leader = shared.quorums.values().find(|quorum| quorum.status().role == QuorumRole::Leader);
    if let Some(leader) = leader
        && rng.chance(2, 3)
    {
        return Some(Arc::clone(leader));
    }
    shared.quorums.values().nth(rng.index(shared.quorums.len())).map(Arc::clone)
}
