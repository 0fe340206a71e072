//! The world: consumers, the network between them and a coordinator, a schedule, and what goes wrong.
//!
//! The fault model: a message is delayed, lost, or comes twice, and messages overtake each other; a stream breaks, and either side
//! may notice late or never. What was on its way by a stream that broke still comes, unless the other side has noticed. A commit
//! comes however late. What a client sends again is another request, with another text: a commit that is repeated comes once
//! under each. What changes a subscription is not overtaken. A join that its sender has given up, for a later one or by its end, is lost (its connection is gone).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_env::sim::SimRng;
use millrace_group::{InstanceId, Pattern, Subscription};
use millrace_types::TopicName;

use super::consumer::Consumer;
use super::coordinator::{Coordinator, Disk};
use super::invariants::{Invariant, Scene, Sent, Verdict, all};
use super::lease::SentAt;
use super::living::WORK_MS;
use super::marks::Marks;
use super::weather::Weather;
use super::wire::{Address, Ask, Letter, No, RequestNo, StreamNo, Told, Topic, TopicChange};

/// How often a member is heard of.
pub(super) const BEAT_MS: u64 = 1_500;
/// How long it waits for an answer.
const PATIENCE_MS: u64 = 3_000;

#[derive(Clone, Debug)]
pub(super) enum Happening {
    Arrive(RequestNo),
    Hear(usize, Letter),
    Notice(StreamNo),
    Beat(usize),
    Reconcile(usize),
    Work(usize),
    /// The answer to that request is overdue.
    Overdue(RequestNo),
    Disk,
    Start,
    Fault,
}

pub(crate) struct World {
    pub(super) rng: Arc<SimRng>,
    pub(super) weather: Weather,
    pub(super) coordinator: Box<dyn Coordinator>,
    pub(super) now: u64,
    pub(super) tick: u64,
    drawn: u64,
    pub(super) positions: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    pub(super) consumers: Vec<Consumer>,
    pub(super) requests: BTreeMap<RequestNo, Sent>,
    streams: BTreeMap<StreamNo, usize>,
    closed: BTreeSet<StreamNo>,
    disk_is_due: bool,
    pub(super) topics: Vec<Topic>,
    invariants: Vec<Box<dyn Invariant>>,
    pub(super) marks: Marks,
    /// The commits that were taken.
    pub(super) taken: BTreeSet<RequestNo>,
    /// Nobody is started any more.
    pub(super) healing: bool,
    /// What has happened, if somebody wants to know.
    pub(super) story: Option<Vec<String>>,
}

pub(super) fn topic_name(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).map_err(|error| error.to_string())
}

/// The patterns that anybody subscribes to.
pub(super) fn patterns() -> Vec<Pattern> {
    Pattern::new("u.*").into_iter().collect()
}

impl World {
    pub(super) fn new(
        rng: Arc<SimRng>,
        weather: Weather,
        coordinator: Box<dyn Coordinator>,
    ) -> Result<World, String> {
        let mut consumers = Vec::new();
        for number in 0..weather.consumers {
            let same = weather.namesakes && number == 1;
            let name = format!("fixed-{}", if same { 0 } else { number });
            let instance = (number < weather.fixed).then(|| InstanceId::new(&name).ok()).flatten();
            let mut consumer = Consumer::new(number, instance, Subscription::default());
            consumer.rebalance_timeout_ms = weather.rebalance_timeout_ms;
            consumers.push(consumer);
        }
        let mut world = World {
            rng,
            weather,
            coordinator,
            now: 0,
            tick: 0,
            drawn: 0,
            positions: 0,
            queue: BTreeMap::new(),
            consumers,
            requests: BTreeMap::new(),
            streams: BTreeMap::new(),
            closed: BTreeSet::new(),
            disk_is_due: false,
            topics: Vec::new(),
            invariants: all(),
            marks: Marks::default(),
            taken: BTreeSet::new(),
            healing: false,
            story: None,
        };
        world.coordinator.change_topic(&TopicChange::Create(topic_name("t")?, 3))?;
        world.coordinator.change_topic(&TopicChange::Create(topic_name("u1")?, 2))?;
        world.topics = world.coordinator.topics();
        for number in 0..world.consumers.len() {
            let wants = world.draw_wants()?;
            if let Some(consumer) = world.consumers.get_mut(number) {
                consumer.wants = wants;
            }
            let (first, second) = (world.rng.below(3_000), world.rng.below(WORK_MS));
            world.later(first, Happening::Beat(number));
            world.later(second, Happening::Work(number));
        }
        if let Some(every) = world.weather.fault_every_ms {
            world.later(every, Happening::Fault);
        }
        Ok(world)
    }

    pub(super) fn draw_wants(&self) -> Result<Subscription, String> {
        let both = [topic_name("t")?, topic_name("u1")?];
        Ok(match self.rng.below(6) {
            0 => Subscription { names: [topic_name("t")?].into(), pattern: None },
            1 => Subscription { names: [topic_name("t")?].into(), pattern: patterns().pop() },
            _ => Subscription { names: both.into(), pattern: None },
        })
    }

    pub(super) fn later(&mut self, ms: u64, happening: Happening) {
        self.drawn += 1;
        self.queue.insert((self.now + ms, self.drawn), happening);
    }

    /// When the last of the messages that are under way comes.
    pub(super) fn last_arrival(&self) -> u64 {
        let arrivals = self.queue.iter().filter(|(_, happening)| matches!(happening, Happening::Arrive(_)));
        arrivals.map(|((at, _), _)| *at).max().unwrap_or(self.now)
    }

    /// Lets happen what happens until then.
    pub(super) fn run_until(&mut self, end_ms: u64) -> Verdict {
        while let Some(first) = self.queue.first_entry() {
            let (at, _) = *first.key();
            if at > end_ms {
                break;
            }
            let happening = first.remove();
            self.pass(at)?;
            self.tick += 1;
            self.tell(|| format!("{happening:?}"));
            let matters =
                !matches!(happening, Happening::Beat(_) | Happening::Work(_) | Happening::Overdue(_));
            self.happen(happening)?;
            self.deliver()?;
            if matters {
                self.judge()?;
            }
            if !self.disk_is_due && self.coordinator.is_writing() {
                self.disk_is_due = true;
                let wait = 1 + self.rng.below(self.weather.disk_ms);
                self.later(wait, Happening::Disk);
            }
        }
        self.pass(end_ms)?;
        self.judge()
    }

    /// Lets time pass until a moment.
    fn pass(&mut self, at: u64) -> Verdict {
        self.now = self.now.max(at);
        self.coordinator.advance(self.now);
        self.deliver()
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>6} ms: {}", self.now, what()));
        }
    }

    /// What there is to be seen, and who looks.
    pub(super) fn look(&mut self) -> (Scene<'_>, &mut Vec<Box<dyn Invariant>>) {
        let scene = Scene {
            now: self.now,
            tick: self.tick,
            consumers: &self.consumers,
            requests: &self.requests,
            topics: &self.topics,
            state: self.coordinator.state(),
            retention_ms: self.coordinator.retention_ms(),
        };
        (scene, &mut self.invariants)
    }

    /// Takes what the coordinator has let out, judges it, and puts it on its way.
    pub(super) fn deliver(&mut self) -> Verdict {
        for letter in self.coordinator.letters() {
            self.tick += 1;
            self.tell(|| format!("  let out: {letter:?}"));
            let request = match letter.to {
                Address::Request(request) => Some(request),
                Address::Stream(_) => None,
            };
            let (scene, invariants) = self.look();
            let answers = request.and_then(|request| Some((request, scene.requests.get(&request)?)));
            for invariant in invariants {
                let said = invariant.let_out(scene, &letter, answers);
                said.map_err(|what| format!("{}: {what}", invariant.name()))?;
            }
            let ask = request.and_then(|request| self.requests.get(&request)).map(|sent| &sent.ask);
            self.marks.count(&letter, ask);
            self.taken.extend(request.filter(|_| letter.told == Told::Done));
            self.send_back(letter);
        }
        Ok(())
    }

    fn judge(&mut self) -> Verdict {
        let (scene, invariants) = self.look();
        for invariant in invariants {
            invariant.after(scene).map_err(|what| format!("{}: {what}", invariant.name()))?;
        }
        Ok(())
    }

    /// A letter goes on its way to its consumer.
    fn send_back(&mut self, letter: Letter) {
        let stream = match letter.to {
            Address::Stream(stream) => Some(stream),
            Address::Request(request) => self.requests.get(&request).map(|sent| sent.stream),
        };
        let to = match letter.to {
            Address::Stream(stream) => self.streams.get(&stream).copied(),
            Address::Request(request) => self.requests.get(&request).map(|sent| sent.consumer),
        };
        let Some(number) = to else { return };
        // Who is told that it is no member, or must begin anew, is told so by a stream that ends with that.
        if matches!(letter.told, Told::No(No::StreamOver | No::FencedEpoch | No::Unknown | No::Fenced)) {
            let at = SentAt { ms: self.now, tick: self.tick };
            let current = self.consumers.get_mut(number).filter(|consumer| Some(consumer.stream) == stream);
            if let Some(consumer) = current {
                consumer.lease.broke(at);
            }
        }
        for delay in self.delays() {
            self.later(delay, Happening::Hear(number, letter.clone()));
        }
    }

    /// When a message comes: not at all, once, or twice.
    fn delays(&mut self) -> Vec<u64> {
        let of = |world: &World, thousandths| world.rng.chance(thousandths, 1_000);
        let one = |world: &World| {
            let late = if of(world, world.weather.late) { world.rng.below(world.weather.late_ms) } else { 0 };
            1 + world.rng.below(20) + late
        };
        if of(self, self.weather.lost) {
            self.marks.lost += 1;
            return Vec::new();
        }
        let copies = if of(self, self.weather.twice) { 2 } else { 1 };
        (0..copies).map(|_| one(self)).collect()
    }

    pub(super) fn open_stream(&mut self, number: usize) {
        self.drawn += 1;
        let stream = StreamNo(self.drawn);
        self.streams.insert(stream, number);
        if let Some(consumer) = self.consumers.get_mut(number) {
            consumer.stream = stream;
        }
    }

    /// A request goes on its way to the coordinator.
    pub(super) fn send(&mut self, number: usize, ask: Ask) -> Option<RequestNo> {
        let mut delays = self.delays();
        let once = !matches!(ask, Ask::Heartbeat { .. } | Ask::Leave { .. });
        delays.truncate(if once { 1 } else { 2 });
        if matches!(ask, Ask::Heartbeat { wants: Some(_), .. }) {
            // On one connection nothing overtakes a change of mind: an older one would be the last word.
            delays = delays.first().map(|_| 1 + self.rng.below(20)).into_iter().collect();
        }
        let request = self.write(number, ask)?;
        for delay in delays {
            self.later(delay, Happening::Arrive(request));
        }
        self.later(PATIENCE_MS, Happening::Overdue(request));
        Some(request)
    }

    /// A request that is not on its way yet.
    pub(super) fn write(&mut self, number: usize, ask: Ask) -> Option<RequestNo> {
        self.drawn += 1;
        let request = RequestNo(self.drawn);
        let consumer = self.consumers.get_mut(number)?;
        let unary = matches!(ask, Ask::Commit { .. } | Ask::Fetch { .. });
        if !unary {
            consumer.newest = Some(request);
        }
        let at = SentAt { ms: self.now, tick: self.tick };
        let (life, stream) = (consumer.life, if unary { StreamNo(0) } else { consumer.stream });
        self.tell(|| format!("  consumer {number} sends {request:?}: {ask:?}"));
        self.requests.insert(request, Sent { consumer: number, life, stream, ask, at, arrived: None });
        Some(request)
    }

    fn happen(&mut self, happening: Happening) -> Verdict {
        match happening {
            Happening::Arrive(request) => self.arrive(request)?,
            Happening::Hear(number, letter) => self.hear(number, letter),
            Happening::Notice(stream) => {
                self.closed.insert(stream);
                self.coordinator.disconnected(stream);
            }
            Happening::Beat(number) => self.beat(number),
            Happening::Reconcile(number) => self.reconcile(number),
            Happening::Work(number) => self.work(number),
            Happening::Overdue(request) => self.overdue(request),
            Happening::Disk => {
                self.disk_is_due = false;
                let fails = self.rng.chance(self.weather.failing, 1_000);
                self.coordinator.disk(if fails { Disk::Fails } else { Disk::Commits });
                if fails {
                    self.marks.failed_persists += 1;
                    self.deliver()?;
                    if self.coordinator.must_stop() {
                        self.coordinator.crash();
                        let wait = 10 + self.rng.below(2_000);
                        self.later(wait, Happening::Start);
                    } else {
                        self.read_again();
                    }
                }
            }
            Happening::Start => {
                if !self.coordinator.is_up() {
                    self.coordinator.start()?;
                    self.marks.restarts += 1;
                    self.read_again();
                }
            }
            Happening::Fault => {
                if let Some(every) = self.weather.fault_every_ms {
                    self.later(every / 2 + self.rng.below(every), Happening::Fault);
                    self.fault()?;
                }
            }
        }
        Ok(())
    }

    fn read_again(&mut self) {
        self.invariants.iter_mut().for_each(|invariant| invariant.read_again());
    }

    fn arrive(&mut self, request: RequestNo) -> Verdict {
        let Some(sent) = self.requests.get_mut(&request) else { return Ok(()) };
        if !self.coordinator.is_up() || self.closed.contains(&sent.stream) {
            return Ok(());
        }
        // A join that its sender has given up is gone with its connection.
        let given_up =
            self.consumers.get(sent.consumer).is_none_or(|consumer| consumer.stream != sent.stream);
        if given_up && matches!(sent.ask, Ask::Join { .. }) {
            return Ok(());
        }
        sent.arrived.get_or_insert(self.tick);
        if let Ask::Join { profile, .. } = &sent.ask
            && profile.instance.is_some()
        {
            for other in self.consumers.iter_mut().filter(|other| other.number != sent.consumer) {
                if other.instance == profile.instance {
                    other.lease.void(self.tick);
                }
            }
        }
        let (scene, invariants) = self.look();
        if let Some(sent) = scene.requests.get(&request) {
            for invariant in invariants {
                invariant
                    .arrived(scene, request, sent)
                    .map_err(|what| format!("{}: {what}", invariant.name()))?;
            }
        }
        if let Some(sent) = self.requests.get(&request) {
            self.coordinator.ask(request, sent.stream, &sent.ask);
        }
        Ok(())
    }
}
