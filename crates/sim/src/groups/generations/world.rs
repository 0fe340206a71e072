//! The world of a seed: what happens, and when.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_env::sim::SimRng;
use millrace_group::InstanceId;
use millrace_group::classic::{ClassicAnswer, ClassicRefusal, Stage};

use super::client::{Client, Doing};
use super::coordinator::Coordinator;
use super::watch::Watch;
use super::{Ask, Letter, PARTITIONS, REBALANCE_MS, RequestNo, SESSION_MS, Told};
use crate::groups::Marks;

type Verdict = Result<(), String>;

/// How often a client looks at what it has to do.
const TICK_MS: u64 = 500;
/// How often a member says that it is there.
const BEAT_MS: u64 = 1_500;
/// How late a message comes at most.
const LATE_MS: u64 = 15_000;
/// How long it takes at most until a group has come to rest: lost members are out, everybody has joined again, twice.
const REST_MS: u64 = LATE_MS + 2 * (SESSION_MS + 2 * REBALANCE_MS) + 20_000;

#[derive(Clone, Debug)]
enum Happening {
    Tick(usize),
    Arrive(RequestNo),
    HangUp(RequestNo),
    Told(Letter),
    Disk,
    Fault,
    Start,
    Revive(usize),
}

/// Of 1,000.
struct Weather {
    lost: u64,
    late: u64,
    twice: u64,
    failing: u64,
    disk_ms: u64,
    fault_every_ms: u64,
}

pub(in crate::groups) struct GenerationWorld {
    rng: Arc<SimRng>,
    weather: Weather,
    now: u64,
    happenings: BTreeMap<(u64, u64), Happening>,
    number: u64,
    clients: Vec<Client>,
    asked: BTreeMap<RequestNo, (usize, Ask)>,
    coordinator: Coordinator,
    watch: Watch,
    pub(in crate::groups) marks: Marks,
    pub(in crate::groups) story: Option<Vec<String>>,
}

impl GenerationWorld {
    pub(in crate::groups) fn new(seed: u64) -> Result<GenerationWorld, String> {
        let rng = Arc::new(SimRng::new(seed));
        let weather = Weather {
            lost: rng.one_of([0, 20, 100]),
            late: rng.one_of([0, 50, 150]),
            twice: rng.one_of([0, 0, 50]),
            failing: rng.one_of([0, 2, 10]),
            disk_ms: rng.one_of([1, 20, 400]),
            fault_every_ms: rng.one_of([1_000, 2_500, 6_000]),
        };
        let fixed = rng.below(3);
        let mut clients = Vec::new();
        for number in 0..2 + rng.below(4) {
            let name = (number < fixed).then(|| InstanceId::new(&format!("i{number}"))).transpose();
            clients.push(Client::new(name.map_err(|error| error.to_string())?));
        }
        let coordinator = Coordinator::new(Arc::clone(&rng), rng.one_of([0, 0, 3_000]));
        let mut world = GenerationWorld {
            rng,
            weather,
            now: 0,
            happenings: BTreeMap::new(),
            number: 0,
            clients,
            asked: BTreeMap::new(),
            coordinator,
            watch: Watch::default(),
            marks: Marks::default(),
            story: None,
        };
        for number in 0..world.clients.len() {
            let wait = world.rng.below(TICK_MS);
            world.later(wait, Happening::Tick(number));
        }
        world.later(world.weather.fault_every_ms, Happening::Fault);
        Ok(world)
    }

    fn later(&mut self, wait: u64, happening: Happening) {
        self.number += 1;
        self.happenings.insert((self.now + wait, self.number), happening);
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            story.push(format!("{now:>7} {}", line()));
        }
    }

    /// A storm, and then calm weather in which all must come to rest.
    pub(in crate::groups) fn run(&mut self) -> Verdict {
        self.run_until(45_000)?;
        let calm = Weather { lost: 0, late: 0, twice: 0, failing: 0, disk_ms: 1, fault_every_ms: u64::MAX };
        self.weather = calm;
        self.happenings.retain(|_, happening| !matches!(happening, Happening::Fault));
        for client in &mut self.clients {
            (client.running, client.paused_until) = (true, 0);
        }
        self.run_until(45_000 + REST_MS)?;
        self.judge_rest()?;
        self.marks.healed += 1;
        Watch::judge_log(self.coordinator.committed())
    }

    fn judge_rest(&self) -> Verdict {
        let group = self.coordinator.group();
        let generation = group.state().generation;
        let mut owned = Vec::new();
        for (number, client) in self.clients.iter().enumerate() {
            if client.doing != Doing::Reading || client.generation != Some(generation) {
                return Err(format!("client {number} is not at rest in generation {generation}: {client:?}"));
            }
            owned.extend(client.owned.iter().copied());
        }
        owned.sort_unstable();
        if group.stage() != Stage::Stable || owned != (0..PARTITIONS).collect::<Vec<_>>() {
            return Err(format!("at rest {:?} with {owned:?}", group.stage()));
        }
        Ok(())
    }

    fn run_until(&mut self, end: u64) -> Verdict {
        while let Some(((at, _), happening)) = self.happenings.pop_first() {
            if at > end {
                self.later(at - self.now, happening);
                break;
            }
            self.now = at;
            self.coordinator.advance(at)?;
            self.take_letters()?;
            self.happen(happening)?;
            self.take_letters()?;
        }
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Verdict {
        match happening {
            Happening::Tick(number) => self.tick(number),
            Happening::Arrive(request) => {
                if let Some((_, ask)) = self.asked.get(&request).filter(|_| self.coordinator.up).cloned() {
                    self.tell(|| format!("{request} arrives: {ask:?}"));
                    self.watch.arrives(request, &ask);
                    self.coordinator.ask(request, &ask);
                    self.wake_disk();
                }
            }
            Happening::HangUp(request) => {
                self.coordinator.hung_up(request);
                self.wake_disk();
            }
            Happening::Told(letter) => self.hear(&letter),
            Happening::Disk => self.disk()?,
            Happening::Fault => self.fault()?,
            Happening::Start => {
                if !self.coordinator.up {
                    self.tell(|| "the coordinator starts".to_owned());
                    self.coordinator.start();
                    self.marks.restarts += 1;
                }
            }
            Happening::Revive(number) => {
                if let Some(client) = self.clients.get_mut(number) {
                    client.running = true;
                }
            }
        }
        Ok(())
    }

    fn wake_disk(&mut self) {
        let waits = self.happenings.values().any(|happening| matches!(happening, Happening::Disk));
        if self.coordinator.is_writing() && !waits {
            let wait = 1 + self.rng.below(self.weather.disk_ms);
            self.later(wait, Happening::Disk);
        }
    }

    fn disk(&mut self) -> Verdict {
        if self.coordinator.is_writing() {
            if self.rng.chance(self.weather.failing, 1_000) {
                self.tell(|| "a persist fails".to_owned());
                self.marks.failed_persists += 1;
                self.coordinator.disk_fails();
                self.watch.read_again();
                Watch::judge_log(self.coordinator.committed())?;
            } else {
                self.coordinator.disk_commits();
            }
        }
        self.wake_disk();
        Ok(())
    }

    /// What leaves the coordinator goes on its way.
    fn take_letters(&mut self) -> Verdict {
        self.wake_disk();
        for letter in std::mem::take(&mut self.coordinator.out) {
            let Some((_, ask)) = self.asked.get(&letter.request).cloned() else { continue };
            self.tell(|| format!("{} is told {:?}", letter.request, letter.told));
            self.count(&letter, &ask);
            self.watch.leaves(&letter, &ask, self.coordinator.committed())?;
            if self.rng.chance(self.weather.lost, 1_000) {
                self.marks.lost += 1;
            } else {
                let wait = self.delay();
                self.later(wait, Happening::Told(letter));
            }
        }
        Ok(())
    }

    fn count(&mut self, letter: &Letter, ask: &Ask) {
        let mark = match &letter.told {
            Told::Committed => &mut self.marks.committed,
            Told::Refused(millrace_group::CommitRefused::StaleEpoch { .. }) => &mut self.marks.stale,
            Told::Refused(_) => &mut self.marks.strangers,
            Told::Loading => &mut self.marks.doubts,
            Told::Of(answer) => match (&**answer, ask) {
                (Ok(ClassicAnswer::Joined { .. }), _) => &mut self.marks.joined,
                (Ok(ClassicAnswer::Synced { .. }), _) => &mut self.marks.told,
                (Ok(ClassicAnswer::Done), Ask::Leave(_)) => &mut self.marks.left,
                (Err(ClassicRefusal::Stranger(millrace_group::Stranger::FencedInstance { .. })), _) => {
                    &mut self.marks.fenced
                }
                (Err(ClassicRefusal::Stranger(_)), _) => &mut self.marks.unknown,
                _ => return,
            },
        };
        *mark += 1;
    }

    fn delay(&self) -> u64 {
        let late = self.rng.chance(self.weather.late, 1_000);
        1 + self.rng.below(if late { LATE_MS } else { 20 })
    }

    fn send(&mut self, number: usize, ask: Ask) -> RequestNo {
        self.number += 1;
        let request = self.number;
        self.send_as(request, number, ask);
        request
    }

    fn send_as(&mut self, request: RequestNo, number: usize, ask: Ask) {
        self.asked.insert(request, (number, ask));
        if self.rng.chance(self.weather.lost, 1_000) {
            self.marks.lost += 1;
            return;
        }
        let wait = self.delay();
        self.later(wait, Happening::Arrive(request));
        if self.rng.chance(self.weather.twice, 1_000) {
            let again = self.delay();
            self.later(again, Happening::Arrive(request));
        }
    }

    fn tick(&mut self, number: usize) {
        self.later(TICK_MS, Happening::Tick(number));
        let now = self.now;
        let Some(client) = self.clients.get_mut(number) else { return };
        if !client.running || client.paused_until > now {
            return;
        }
        // It does not wait for ever: the request, or its answer, may be lost.
        if let Some(request) = client.waits_for()
            && now > client.since + REBALANCE_MS + 5_000
        {
            client.give_up();
            return self.later(1, Happening::HangUp(request));
        }
        if client.doing == Doing::Reading {
            let (who, reads) = (client.who(), !client.owned.is_empty());
            let Some(who) = who else { return };
            if now >= client.since + BEAT_MS {
                client.since = now;
                self.send(number, Ask::Beat(who.clone()));
            }
            if reads && self.rng.chance(1, 2) {
                self.send(number, Ask::Commit(who));
            }
            return;
        }
        self.go_on(number);
    }

    /// The next request of the way into the group.
    fn go_on(&mut self, number: usize) {
        self.number += 1;
        let (request, now) = (self.number, self.now);
        let ask = self.clients.get_mut(number).and_then(|client| client.next(request, now));
        if let Some(ask) = ask {
            self.send_as(request, number, ask);
        }
    }

    fn hear(&mut self, letter: &Letter) {
        let Some((number, ask)) = self.asked.get(&letter.request).cloned() else { return };
        let Some(client) = self.clients.get_mut(number) else { return };
        if !client.running || client.paused_until > self.now {
            return;
        }
        client.hear(letter.request, &ask, &letter.told);
        if !client.running {
            self.later(2_000, Happening::Revive(number));
        } else if matches!(client.doing, Doing::Joined) {
            self.go_on(number);
        }
    }

    /// Something goes wrong.
    fn fault(&mut self) -> Verdict {
        self.later(self.weather.fault_every_ms, Happening::Fault);
        let number = self.rng.index(self.clients.len());
        let kind = self.rng.below(10);
        self.tell(|| format!("fault {kind} of {number}"));
        match kind {
            0..=2 => self.end(number, Ending::Killed),
            3 | 4 => self.end(number, Ending::Leaves),
            5 => {
                let until = self.now + self.rng.below(18_000);
                if let Some(client) = self.clients.get_mut(number) {
                    client.paused_until = until;
                    self.marks.paused += 1;
                }
            }
            6 if self.coordinator.up => {
                self.marks.crashes += 1;
                self.coordinator.crash();
                self.watch.read_again();
                Watch::judge_log(self.coordinator.committed())?;
                // Every connection broke.
                for client in &mut self.clients {
                    if client.waits_for().is_some() {
                        client.give_up();
                    }
                }
                let down = self.rng.below(9_000);
                self.later(down, Happening::Start);
            }
            _ => self.hold_back(number),
        }
        Ok(())
    }

    fn end(&mut self, number: usize, ending: Ending) {
        let Some(client) = self.clients.get_mut(number).filter(|client| client.running) else { return };
        let (request, who) = (client.waits_for(), client.who());
        client.running = false;
        client.forget();
        if let Some(request) = request {
            self.later(1, Happening::HangUp(request));
        }
        match (ending, who) {
            (Ending::Leaves, Some(who)) => {
                self.send(number, Ask::Leave(who));
            }
            (Ending::Killed, _) => self.marks.died += 1,
            (Ending::Leaves, None) => {}
        }
        let away = self.rng.below(12_000);
        self.later(away, Happening::Revive(number));
    }

    /// A member commits, and what it sends comes when it may be somebody else.
    fn hold_back(&mut self, number: usize) {
        let Some(client) = self.clients.get(number).filter(|client| client.running) else { return };
        let Some(who) = client.who().filter(|_| !client.owned.is_empty()) else { return };
        self.number += 1;
        let request = self.number;
        self.asked.insert(request, (number, Ask::Commit(who)));
        let wait = self.rng.below(2 * LATE_MS);
        self.later(wait, Happening::Arrive(request));
        self.marks.zombies += 1;
    }
}

/// How a life ends.
#[derive(Clone, Copy)]
enum Ending {
    Killed,
    Leaves,
}
