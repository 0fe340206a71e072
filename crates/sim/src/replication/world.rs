//! The world: brokers, a controller, clients, the network between them, a schedule, and what goes wrong.
//!
//! The fault model: a message is delayed, lost, or comes twice, and messages overtake each other; links are cut, one way too;
//! processes stop, die and stand still; power goes at one broker or at all of them, and then of what was not synced anything may
//! be left; a disk is lost whole, but never so many that a committed record has no copy left that may be elected. The controller is one
//! value that does not fail: that several nodes agree on it is another suite's.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use millrace_env::sim::SimRng;
use millrace_metadata::Losses;
use millrace_types::{NodeId, SyncMode, TopicId};

use super::clients::Client;
use super::helm::{Helm, Partition};
use super::invariants::{Invariant, Scene, Verdict, all};
use super::marks::Marks;
use super::more::More;
use super::node::{Did, Node};
use super::plots::Plot;
use super::truth::Truth;
use super::weather::Weather;
use super::wire::{Message, Place, RequestNo};

const TICK_MS: u64 = 60;
const BEAT_MS: u64 = 150;
const HELM_MS: u64 = 100;

#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Arrive(Place, Place, Message),
    /// The disk of that run of a broker has synced a log.
    Synced(NodeId, u64, TopicId),
    Tick(NodeId, u64),
    Beat(NodeId, u64),
    Start(NodeId),
    /// A run of a broker that has told of it stops.
    Stop(NodeId, u64),
    Resume(NodeId),
    Join(Place, Place),
    Helm,
    Turn(usize),
    Plot(Plot),
    Overdue(usize, RequestNo),
    Fault,
    More,
}

pub(crate) struct World {
    pub(crate) rng: Arc<SimRng>,
    pub(crate) weather: Weather,
    pub(super) more: More,
    pub(super) more_rng: Arc<SimRng>,
    pub(crate) now: u64,
    tick: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) helm: Helm,
    pub(crate) clients: Vec<Client>,
    pub(crate) truth: Truth,
    /// Links that carry nothing, from and to.
    pub(crate) cut: BTreeSet<(Place, Place)>,
    invariants: Vec<Box<dyn Invariant>>,
    pub(crate) marks: Marks,
    /// The replica that a reassignment takes out so that it comes back, and who stands in for it.
    pub(crate) returning: Option<(NodeId, NodeId)>,
    last_asked: Option<millrace_replication::Alter>,
    pub(crate) requests: u64,
    pub(crate) values: u64,
    /// Nothing goes wrong any more.
    pub(crate) healing: bool,
    pub(crate) story: Option<Vec<String>>,
    hash: DefaultHasher,
}

pub(crate) const REPLICAS: usize = 3;

impl World {
    pub(crate) fn new(seed: u64, more: More) -> Result<World, String> {
        let rng = Arc::new(SimRng::new(seed));
        let weather = Weather::draw(&rng);
        let ids: Vec<NodeId> = (1..=weather.brokers).map(NodeId).collect();
        let helm = Helm::new(&ids, weather.isr_min, weather.sync_mode)?;
        let nodes = (1..=weather.brokers)
            .map(|id| (NodeId(id), Node::new(NodeId(id), seed ^ (u64::from(id.unsigned_abs()) << 48))));
        let nodes: BTreeMap<NodeId, Node> = nodes.collect();
        let truth = Truth::new(helm.topic());
        let mut world = World {
            clients: Client::all(&weather, more),
            more,
            more_rng: More::draw(seed),
            now: 0,
            tick: 0,
            queue: BTreeMap::new(),
            helm,
            truth,
            cut: BTreeSet::new(),
            invariants: all(),
            marks: Marks::default(),
            returning: None,
            last_asked: None,
            requests: 0,
            values: 0,
            healing: false,
            story: None,
            hash: DefaultHasher::new(),
            nodes,
            weather,
            rng,
        };
        for id in world.nodes.keys().copied().collect::<Vec<_>>() {
            world.later(1, Happening::Start(id));
        }
        for client in 0..world.clients.len() {
            let first = 100 + world.rng.below(500);
            world.later(first, Happening::Turn(client));
        }
        world.later(HELM_MS, Happening::Helm);
        if let Some(every) = world.weather.fault_every_ms {
            world.later(800 + every, Happening::Fault);
        }
        world.plan_more();
        Ok(world)
    }

    pub(crate) fn later(&mut self, delay: u64, happening: Happening) {
        self.tick += 1;
        self.queue.insert((self.now + delay, self.tick), happening);
    }

    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            let line = format!("{:>6} {}", self.now, line());
            story.push(line);
        }
    }

    /// A number that stands for all that has happened.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub(crate) fn run_until(&mut self, end: u64) -> Verdict {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, tick), happening) = entry.remove_entry();
            self.now = at;
            (at, tick, self.truth.committed.len()).hash(&mut self.hash);
            self.tell(|| format!("{happening:?}"));
            self.happen(happening)?;
            self.after()?;
        }
        self.now = end;
        Ok(())
    }

    fn after(&mut self) -> Verdict {
        self.truth.look(&self.nodes);
        let lacking = self.nodes.values().filter(|node| node.lacking && !node.suspect).map(|node| node.id);
        let whole = lacking.filter(|id| self.truth.is_complete(*id) && !self.counts_on_earlier_run(*id));
        for id in whole.collect::<Vec<_>>() {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.lacking = false;
            }
        }
        self.watch(|invariant, scene| invariant.after(scene))
    }

    /// Whether a leader may still count what a broker has said in an earlier run, and commit what that has lost since.
    fn counts_on_earlier_run(&self, id: NodeId) -> bool {
        let registered = self.nodes.get(&id).and_then(|node| node.run.as_ref()?.registered);
        let parts = self.nodes.values().filter_map(|node| node.run.as_ref()?.parts.get(&self.truth.topic));
        parts.filter_map(|part| part.replica.as_ref()?.leader()).any(|leader| {
            let heard = leader.progress(id).map(|progress| progress.broker_epoch);
            leader.maximal_isr().contains(&id) && heard != registered
        })
    }

    fn watch(&mut self, look: impl Fn(&mut dyn Invariant, Scene<'_>) -> Verdict) -> Verdict {
        let scene = Scene {
            nodes: &self.nodes,
            helm: &self.helm,
            truth: &self.truth,
            always: self.weather.sync_mode == SyncMode::Always,
        };
        for invariant in &mut self.invariants {
            look(&mut **invariant, scene).map_err(|what| format!("{}: {what}", invariant.name()))?;
        }
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Verdict {
        match happening {
            Happening::Arrive(from, to, message) => self.arrive(from, to, message),
            Happening::Synced(id, run, topic) => {
                let now = self.now;
                let did = match self.running(id, run) {
                    Some(node) if node.paused => {
                        self.later(TICK_MS, Happening::Synced(id, run, topic));
                        return Ok(());
                    }
                    Some(node) => node.synced(topic, now),
                    None => return Ok(()),
                };
                self.carry_on(id, did)
            }
            Happening::Tick(id, run) => {
                let now = self.now;
                let Some(node) = self.running(id, run) else { return Ok(()) };
                let did = if node.paused { Vec::new() } else { node.tick(now) };
                self.later(TICK_MS, Happening::Tick(id, run));
                self.carry_on(id, did)
            }
            Happening::Beat(id, run) => {
                self.beat(id, run);
                Ok(())
            }
            Happening::Start(id) => self.start(id),
            Happening::Stop(id, run) => {
                let stops = self.running(id, run).is_some_and(|node| !node.paused);
                if stops { self.gone(id) } else { Ok(()) }
            }
            Happening::Resume(id) => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.paused = false;
                }
                Ok(())
            }
            Happening::Join(from, to) => {
                self.cut.remove(&(from, to));
                Ok(())
            }
            Happening::Helm => {
                self.later(HELM_MS, Happening::Helm);
                let before = self.helm.partition.clone();
                let now = self.now;
                self.marks.fenced += self.helm.fence_silent(now);
                self.decided(&before, None)
            }
            Happening::Turn(client) => {
                self.turn(client);
                Ok(())
            }
            Happening::Plot(plot) => self.goes_on(plot),
            Happening::Overdue(client, request) => {
                self.overdue(client, request);
                Ok(())
            }
            Happening::More => self.happen_more(),
            Happening::Fault => {
                if let Some(every) = self.weather.fault_every_ms {
                    let next = every / 2 + self.rng.below(every);
                    self.later(next, Happening::Fault);
                    self.fault()?;
                }
                Ok(())
            }
        }
    }

    /// A broker, if that run of it runs.
    fn running(&mut self, id: NodeId, run: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&id).filter(|node| node.run.is_some() && node.runs == run)
    }

    fn start(&mut self, id: NodeId) -> Verdict {
        let mode = self.weather.sync_mode;
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.run.is_none()) else { return Ok(()) };
        let shorter = match node.start(mode) {
            Ok(shorter) => shorter,
            Err(why) => {
                self.marks.failed_starts += 1;
                return if self.ended_by_disk(id, &why) { Ok(()) } else { Err(why) };
            }
        };
        let run = node.runs;
        self.marks.torn += shorter.len() as u64;
        self.truth.forget(id);
        let first = self.rng.below(20);
        self.later(first, Happening::Beat(id, run));
        self.later(TICK_MS, Happening::Tick(id, run));
        Ok(())
    }

    /// A broker registers, or tells that it is there.
    fn beat(&mut self, id: NodeId, run: u64) {
        let Some(node) = self.running(id, run) else { return };
        if !node.paused {
            let Some(run) = &node.run else { return };
            let version = run.known.as_ref().map_or(0, |known| known.version);
            let message = match run.registered {
                Some(epoch) => Message::Heartbeat { node: id, epoch, version, stopping: run.stopping },
                None => Message::Register(run.registration.clone()),
            };
            self.send(Place::Node(id), Place::Controller, message);
        }
        self.later(BEAT_MS, Happening::Beat(id, run));
    }

    /// When a message comes: not at all, once, or twice.
    fn delays(&mut self) -> Vec<u64> {
        if self.rng.chance(self.weather.lost, 1_000) {
            self.marks.lost += 1;
            return Vec::new();
        }
        let copies = if self.rng.chance(self.weather.twice, 1_000) { 2 } else { 1 };
        self.marks.repeated += copies - 1;
        (0..copies)
            .map(|_| {
                let is_late = self.rng.chance(self.weather.late, 1_000);
                let late = if is_late { self.rng.below(self.weather.late_ms) } else { 0 };
                1 + self.rng.below(8) + late
            })
            .collect()
    }

    pub(crate) fn send(&mut self, from: Place, to: Place, message: Message) {
        if self.cut.contains(&(from, to)) {
            return;
        }
        let mut delays = self.delays();
        if matches!(&message, Message::Produce { batch, .. } if batch.stamp.is_none()) {
            // Nobody sends for an application what is not idempotent twice.
            delays.truncate(1);
        }
        for delay in delays {
            self.later(delay, Happening::Arrive(from, to, message.clone()));
        }
    }

    fn arrive(&mut self, from: Place, to: Place, message: Message) -> Verdict {
        if self.cut.contains(&(from, to)) {
            return Ok(());
        }
        match to {
            Place::Controller => self.decide(from, message),
            Place::Client(client) => {
                if let Message::Answer { request, topic, node, answer, .. } = message {
                    if topic != self.truth.topic {
                        return Ok(());
                    }
                    self.watch(|invariant, scene| invariant.told(scene, node, &answer))?;
                    self.hear(client, request, &answer);
                }
                Ok(())
            }
            Place::Node(id) => {
                let now = self.now;
                let Some(node) = self.nodes.get_mut(&id).filter(|node| node.run.is_some()) else {
                    return Ok(());
                };
                if node.paused {
                    // It waits in the socket.
                    self.later(40, Happening::Arrive(from, to, message));
                    return Ok(());
                }
                let did = match message {
                    Message::Fetch(fetch) => node.fetch(fetch, now),
                    Message::Fetched(fetched, bytes) => node.fetched(fetched, &bytes, now),
                    Message::Altered(topic, answer) => node.altered(topic, answer, now),
                    Message::Registered { run, epoch } => {
                        node.registered(run, epoch);
                        Vec::new()
                    }
                    Message::Metadata(known) => node.learn(&known, now),
                    Message::Produce { from, request, topic, batch } => {
                        node.produce((from, request), topic, batch, now)
                    }
                    Message::Read { .. } | Message::Latest { .. } => {
                        self.serve(id, &message);
                        return Ok(());
                    }
                    Message::Alter(_)
                    | Message::Register(_)
                    | Message::Heartbeat { .. }
                    | Message::Answer { .. } => {
                        return Ok(());
                    }
                };
                self.carry_on(id, did)
            }
        }
    }

    /// The controller takes a message.
    fn decide(&mut self, from: Place, message: Message) -> Verdict {
        let before = self.helm.partition.clone();
        let now = self.now;
        match &message {
            Message::Alter(alter) => {
                let answer = self.helm.alter(alter);
                match &answer.outcome {
                    Ok(view) if view.isr.len() > before.view.isr.len() => self.marks.grown += 1,
                    Ok(view) if view.isr.len() < before.view.isr.len() => self.marks.shrunk += 1,
                    Ok(_) => {}
                    Err(millrace_replication::AlterRefusal::Stale) => self.marks.stale += 1,
                    Err(millrace_replication::AlterRefusal::Ineligible) => self.marks.ineligible += 1,
                }
                let topic = alter.partition.topic;
                self.send(Place::Controller, from, Message::Altered(topic, answer));
            }
            Message::Register(ask) => match self.helm.register(ask, now) {
                Some(epoch) => {
                    self.marks.registered += 1;
                    self.marks.lossy += u64::from(ask.losses != Losses::Nothing);
                    if let Some(node) = self.nodes.get_mut(&ask.node).filter(|node| node.runs == ask.run) {
                        node.suspect = false;
                    }
                    self.send(Place::Controller, from, Message::Registered { run: ask.run, epoch });
                }
                None => self.marks.too_early += 1,
            },
            Message::Heartbeat { node, epoch, version, stopping } => {
                if *stopping {
                    self.helm.stopping(*node, *epoch);
                }
                self.helm.heard(*node, *epoch, *version, now);
                if *version < self.helm.version() {
                    let known = self.helm.known();
                    self.send(Place::Controller, from, Message::Metadata(known));
                }
            }
            _ => {}
        }
        self.decided(&before, Some(&message))
    }

    /// The controller may have decided something: everybody is told.
    pub(crate) fn decided(&mut self, before: &Partition, message: Option<&Message>) -> Verdict {
        let after = &self.helm.partition.clone();
        let (was, is) = (&before.view, &after.view);
        if was.id != is.id {
            self.truth = Truth::new(is.id.topic);
            self.marks.recreated += 1;
        }
        if was.leader_epoch != is.leader_epoch || was.id != is.id {
            let committed = self.truth.committed.len();
            self.truth.elected_at.insert(is.leader_epoch.0, committed);
            match is.leader {
                None => self.marks.leaderless += 1,
                leader if leader == was.leader => self.marks.elected_again += 1,
                Some(leader) => {
                    self.marks.elections += 1;
                    self.marks.from_eligible += u64::from(before.elr.contains(&leader));
                }
            }
        }
        self.marks.eligible += after.elr.difference(&before.elr).count() as u64;
        let was_moving = !before.adding.is_empty() || !before.removing.is_empty();
        let is_moving = !after.adding.is_empty() || !after.removing.is_empty();
        if was_moving && !is_moving && was.id == is.id {
            self.marks.reassignments_done += 1;
            self.was_reassigned(after);
        }
        let changed = *before != *after;
        if let Some(message) = message {
            self.truth.look(&self.nodes);
            self.watch(|invariant, scene| invariant.decided(scene, before, message))?;
        }
        if changed {
            self.tell_all();
        }
        Ok(())
    }

    /// Everybody is told of the newest metadata.
    fn tell_all(&mut self) {
        let known = self.helm.known();
        let line = format!("  {:?}", self.helm.partition);
        self.tell(|| line);
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.send(Place::Controller, Place::Node(id), Message::Metadata(Arc::clone(&known)));
        }
    }

    /// What a broker has done has consequences.
    pub(crate) fn carry_on(&mut self, id: NodeId, did: Vec<Did>) -> Verdict {
        for did in did {
            if let Some(node) = self.nodes.get(&id)
                && let Did::HighWatermark { topic, to, leads: true } = &did
                && *topic == self.truth.topic
            {
                self.truth.rose(node, *to);
            }
            if matches!(did, Did::Cut { .. } | Did::Reset { .. }) {
                self.truth.forget(id);
            }
            self.truth.look(&self.nodes);
            self.watch(|invariant, scene| {
                scene.nodes.get(&id).map_or(Ok(()), |node| invariant.did(scene, node, &did))
            })?;
            let ends = matches!(did, Did::Died(_));
            self.note(id, did)?;
            if ends {
                break;
            }
        }
        Ok(())
    }

    fn note(&mut self, id: NodeId, did: Did) -> Verdict {
        if !matches!(did, Did::Send(..)) {
            self.tell(|| format!("  {id}: {did:?}"));
        }
        match did {
            Did::Send(to, message) => {
                match &message {
                    Message::Answer { answer: super::wire::Answer::Committed(_), .. } => {
                        self.marks.committed += 1
                    }
                    Message::Answer { answer: super::wire::Answer::InDoubt, .. } => self.marks.doubts += 1,
                    Message::Alter(alter) => {
                        self.marks.asked_again += u64::from(self.last_asked.as_ref() == Some(alter));
                        self.last_asked = Some(alter.clone());
                    }
                    _ => {}
                }
                self.send(Place::Node(id), to, message);
            }
            Did::Wrote(topic) => self.plan_sync(id, topic),
            Did::Appended { topic, epoch } => {
                self.marks.appended += 1;
                let view = &self.helm.partition.view;
                self.marks.zombies += u64::from(topic == view.id.topic && epoch < view.leader_epoch.0);
            }
            Did::Known => self.marks.retries_known += 1,
            Did::TooFew => self.marks.too_few += 1,
            Did::OutOfOrder { topic, epoch, why } => {
                let view = &self.helm.partition.view;
                if topic == view.id.topic && epoch == view.leader_epoch.0 {
                    return Err(format!(
                        "R15 {id} leads in epoch {epoch} and lacks what was acknowledged: {why}"
                    ));
                }
                self.marks.out_of_order += 1;
            }
            Did::HighWatermark { .. } => {}
            Did::Replicated { .. } => self.marks.replicated += 1,
            Did::Cut { .. } => self.marks.cut += 1,
            Did::Reset { .. } => self.marks.resets += 1,
            Did::Led { again } => self.marks.elected_again += u64::from(again),
            Did::Refused(refusal) => {
                use millrace_replication::FetchRefusal as No;
                match refusal {
                    No::OtherTopic => self.marks.other_topics += 1,
                    No::FencedLeaderEpoch => self.marks.fenced_fetches += 1,
                    No::UnknownLeaderEpoch => self.marks.early_fetches += 1,
                    No::StaleBrokerEpoch => self.marks.stale_brokers += 1,
                    No::NotAReplica | No::NotLeader => {}
                }
            }
            Did::Halted(halt) => return Err(format!("R11 {id} halts: {halt}")),
            Did::Died(why) => return self.died(id, why),
        }
        Ok(())
    }

    /// A process has ended by itself: only a disk that fails may do that.
    pub(crate) fn died(&mut self, id: NodeId, why: String) -> Verdict {
        if !self.ended_by_disk(id, &why) {
            return Err(format!("{id} dies: {why}"));
        }
        self.marks.failed_syncs += 1;
        Ok(())
    }

    fn plan_sync(&mut self, id: NodeId, topic: TopicId) {
        let most = self.weather.disk_ms;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let (run, slow) = (node.runs, node.disk_ms);
        let part = node.run.as_mut().and_then(|run| run.parts.get_mut(&topic));
        let Some(part) = part.filter(|part| !part.sync_due) else { return };
        part.sync_due = true;
        let delay = 1 + slow + self.rng.below(most);
        self.later(delay, Happening::Synced(id, run, topic));
    }
}
