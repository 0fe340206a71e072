//! A broker: a process over a disk, with one replica value and one log for each topic id that it knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millrace_env::sim::{Sim, Survival};
use millrace_log::LogDir;
use millrace_metadata::Losses;
use millrace_replication::completeness::{Completeness, LastRun, Synced, of_log};
use millrace_replication::reads::{Position, Served, serve};
use millrace_replication::{
    AlterAnswer, AppendId, Effect, Event, Fetch, FetchAnswer, Fetched, FollowerEvent, Halt, LeaderEvent,
    Moment, Replica, Timing,
};
use millrace_types::{BrokerEpoch, NodeId, Offset, SyncMode, TopicId};

use super::store::{Outcome, Store, may_have_lost, open_dir};
use super::truth::place;
use super::wire::{Answer, Entry, Known, Message, Place, Produced, Registration, RequestNo, batch, entries};

pub(crate) const TIMING: Timing = Timing { lag_ms_max: 1_200, retry_ms: 250, idle_ms: 30 };

/// What a broker has done, for the world to carry on.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Did {
    Send(Place, Message),
    /// Something was written that is to be synced.
    Wrote(TopicId),
    /// An append of a client, by the leader of this epoch.
    Appended {
        topic: TopicId,
        epoch: i32,
    },
    /// An exact retry was found.
    Known,
    /// Too few replicas are in sync.
    TooFew,
    /// The leader of this epoch lacks what the producer has sent before.
    OutOfOrder {
        topic: TopicId,
        epoch: i32,
        why: String,
    },
    /// What a leader has made committed, or a follower was told.
    HighWatermark {
        topic: TopicId,
        to: Offset,
        leads: bool,
    },
    /// Batches of the leader of this epoch were appended.
    Replicated {
        topic: TopicId,
        records: usize,
    },
    Cut {
        topic: TopicId,
    },
    /// The log begins where the leader's starts.
    Reset {
        topic: TopicId,
    },
    Led {
        again: bool,
    },
    Halted(Halt),
    Refused(millrace_replication::FetchRefusal),
    /// The process ends, and why.
    Died(String),
}

/// What is carried along while effects are done.
#[derive(Clone, Copy, Debug)]
struct Doing<'a> {
    topic: TopicId,
    /// The batches of the answer that is being worked on.
    with: &'a Bytes,
    now: u64,
}

/// No answer is being worked on.
static NOTHING: Bytes = Bytes::new();

impl Doing<'static> {
    fn plain(topic: TopicId, now: u64) -> Doing<'static> {
        Doing { topic, with: &NOTHING, now }
    }
}

/// What a replica holds, as the oracle keeps it: by offset.
pub(crate) type Mirror = Vec<Entry>;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) sim: Sim,
    pub(crate) run: Option<Run>,
    /// How many processes there have been.
    pub(crate) runs: u64,
    pub(crate) paused: bool,
    /// What is on its disk, as far as is certain; all that is written while it runs.
    pub(crate) mirrors: BTreeMap<TopicId, Mirror>,
    /// Where each log starts. What a mirror has before that is of no meaning.
    starts: BTreeMap<TopicId, usize>,
    /// How slow its disk is.
    pub(crate) disk_ms: u64,
    /// How much of each log was synced when the last process ended.
    synced: BTreeMap<TopicId, usize>,
    /// How much of each log there was before the power went.
    before_cut: BTreeMap<TopicId, usize>,
    /// It may have lost records and has not said so yet.
    pub(crate) suspect: bool,
    /// It has lost records, and has not had all that is committed since; or a leader does not know of it.
    pub(crate) lacking: bool,
    /// A sync of its disk will fail.
    pub(crate) failing: bool,
    /// Which disk it has, counted from 0.
    disk: u64,
    /// What a start has found lost, or has not lived to look for, and the controller has not heard of. It outlives the process: the
    /// next start of one that died before it was registered finds nothing wrong any more.
    unreported: Losses,
}

#[derive(Debug)]
pub(crate) struct Run {
    dir: Arc<LogDir>,
    pub(crate) registered: Option<BrokerEpoch>,
    pub(crate) registration: Registration,
    pub(crate) known: Option<Arc<Known>>,
    pub(crate) parts: BTreeMap<TopicId, Part>,
    pub(crate) stopping: bool,
    mode: SyncMode,
    waiting: BTreeMap<AppendId, (usize, RequestNo, Offset)>,
    appends: u64,
}

#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) store: Store,
    pub(crate) replica: Option<Replica>,
    pub(crate) sync_due: bool,
}

impl Run {
    /// The log of a topic is deleted.
    fn drop_part(&mut self, topic: TopicId) -> Result<(), String> {
        self.parts.remove(&topic);
        self.dir.delete(super::store::partition_of(topic)).map_err(|error| format!("deleting: {error}"))
    }
}

impl Node {
    pub(crate) fn new(id: NodeId, seed: u64) -> Node {
        let mirrors = BTreeMap::new();
        Node {
            id,
            sim: Sim::new(seed),
            run: None,
            runs: 0,
            paused: false,
            mirrors,
            starts: BTreeMap::new(),
            disk_ms: 0,
            synced: BTreeMap::new(),
            before_cut: BTreeMap::new(),
            suspect: false,
            lacking: false,
            failing: false,
            disk: 0,
            unreported: Losses::Nothing,
        }
    }

    /// The process dies.
    pub(crate) fn kill(&mut self) {
        self.note_certain();
        self.run = None;
        self.paused = false;
        let _env = self.sim.kill();
    }

    /// The run ends: what it has synced is on the disk.
    fn note_certain(&mut self) {
        if self.run.is_some() {
            self.synced = self.mirrors.keys().map(|topic| (*topic, self.certain(*topic))).collect();
        }
    }

    /// The power goes: what was not synced may be gone.
    pub(crate) fn power_cut(&mut self) {
        self.kill();
        let _env = self.sim.power_cut(Survival::Random);
        for (topic, mirror) in &mut self.mirrors {
            self.before_cut.insert(*topic, mirror.len());
            mirror.truncate(self.synced.get(topic).copied().unwrap_or_default());
        }
    }

    /// The disk is gone, and another one is in its place.
    pub(crate) fn wipe(&mut self, seed: u64) {
        self.kill();
        self.sim = Sim::new(seed);
        self.failing = false;
        self.mirrors.clear();
        self.starts.clear();
        self.unreported = Losses::Nothing;
        self.disk += 1;
    }

    /// No sync fails any more.
    pub(crate) fn repair(&mut self) {
        self.failing = false;
        self.sim.disk().heal();
    }

    /// A process starts. Answers of which topics the log is shorter than it was known to be.
    pub(crate) fn start(&mut self, mode: SyncMode) -> Result<Vec<TopicId>, String> {
        self.runs += 1;
        self.paused = false;
        let left = self.unreported;
        if may_have_lost(&self.sim)? {
            // The start renews the mark by which that is seen, and may end before it has looked at everything.
            self.unreported = Losses::Unsynced;
        }
        let opened = open_dir(&self.sim, self.id)?;
        let dir = opened.dir;
        let (mut parts, mut shorter) = (BTreeMap::new(), Vec::new());
        for meta in &opened.found {
            let topic = meta.id.topic;
            let store = Store::open(&dir, topic, mode)?;
            let found = store.all().map_err(|error| format!("{} at its start: {error}", self.id))?;
            let start = place(store.facts().start);
            let mut mirror = self.mirrors.remove(&topic).unwrap_or_default();
            if self.before_cut.remove(&topic).is_some_and(|length| start + found.len() < length) {
                shorter.push(topic);
            }
            let before = mirror.get(start..).unwrap_or_default();
            if before.get(..found.len()) != Some(found.as_slice())
                && found.get(..before.len()) != Some(before)
            {
                return Err(format!("{} has other records of {topic} than it wrote", self.id));
            }
            mirror.resize(start, Entry::DELETED);
            mirror.extend(found);
            self.mirrors.insert(topic, mirror);
            self.starts.insert(topic, start);
            parts.insert(topic, Part { store, replica: None, sync_due: false });
        }
        let report = dir.start_report();
        let last_run = match (report.clean, report.cache_may_be_lost) {
            (true, _) => LastRun::Clean,
            (false, true) => LastRun::CacheLost,
            (false, false) => LastRun::Killed,
        };
        let synced = if report.damaged.is_empty() { Synced::Intact } else { Synced::Damaged };
        // What that means to a topic depends on how it syncs: the controller knows.
        let lossy = of_log(last_run, SyncMode::Os, synced) == Completeness::Lossy;
        self.unreported = if lossy { Losses::Unsynced } else { left };
        let registration =
            Registration { node: self.id, run: self.runs, losses: self.unreported, disk: self.disk };
        self.run = Some(Run {
            dir,
            registered: None,
            registration,
            known: None,
            parts,
            stopping: false,
            mode,
            waiting: BTreeMap::new(),
            appends: 0,
        });
        Ok(shorter)
    }

    /// The controller has registered this run.
    pub(crate) fn registered(&mut self, of_run: u64, epoch: BrokerEpoch) {
        let runs = self.runs;
        if let Some(run) = self.run.as_mut().filter(|run| runs == of_run && run.registered.is_none()) {
            run.registered = Some(epoch);
            self.unreported = Losses::Nothing;
        }
    }

    /// The metadata have come this far.
    pub(crate) fn learn(&mut self, known: &Arc<Known>, now: u64) -> Vec<Did> {
        let Some(run) = &mut self.run else { return Vec::new() };
        let Some(epoch) = run.registered else { return Vec::new() };
        // Metadata from before this run was registered speak of an earlier one: by them it may be no replica, and would delete what
        // it has.
        let knows_me = known.brokers.get(&self.id).is_some_and(|broker| broker.epoch == epoch);
        if !knows_me || run.known.as_ref().is_some_and(|old| old.version >= known.version) {
            return Vec::new();
        }
        run.known = Some(Arc::clone(known));
        let topic = known.view.id.topic;
        // Topics that were deleted: by name there is only one, and another id has taken it.
        let gone: Vec<TopicId> = run.parts.keys().filter(|id| **id != topic).copied().collect();
        for id in gone {
            self.mirrors.remove(&id);
            self.starts.remove(&id);
            if let Err(error) = run.drop_part(id) {
                return vec![Did::Died(error)];
            }
        }
        if !run.parts.contains_key(&topic) {
            if !known.view.replicas.contains(&self.id) {
                return Vec::new();
            }
            match Store::create(&run.dir, topic, run.mode) {
                Ok(store) => run.parts.insert(topic, Part { store, replica: None, sync_due: false }),
                Err(error) => return vec![Did::Died(error)],
            };
            self.mirrors.insert(topic, Vec::new());
        }
        if !known.view.replicas.contains(&self.id) {
            // What is removed from the replicas goes; should it come back, it begins with nothing.
            self.mirrors.remove(&topic);
            self.starts.remove(&topic);
            return run.drop_part(topic).err().map(Did::Died).into_iter().collect();
        }
        let (me, mut did) = (self.id, Vec::new());
        let Some(part) = run.parts.get_mut(&topic) else { return Vec::new() };
        let facts = part.store.facts();
        let replica = part.replica.get_or_insert_with(|| Replica::new(me, epoch, TIMING, facts.start));
        let led = replica.leader().map(millrace_replication::Leader::leader_epoch);
        let (view, brokers) = ((*known.view).clone(), (*known.brokers).clone());
        let effects = replica.step(Event::Metadata { view, brokers, log: facts }, Moment(now));
        let leads = replica.leader().map(millrace_replication::Leader::leader_epoch);
        if leads.is_some() && leads != led {
            did.push(Did::Led { again: led.is_some() });
        }
        self.perform(effects, &Doing::plain(topic, now), &mut did);
        did
    }

    fn part(&mut self, topic: TopicId) -> Option<&mut Part> {
        self.run.as_mut()?.parts.get_mut(&topic)
    }

    fn step(&mut self, event: Event, doing: &Doing<'_>, did: &mut Vec<Did>) {
        let Some(part) = self.part(doing.topic) else { return };
        let Some(replica) = &mut part.replica else { return };
        let effects = replica.step(event, Moment(doing.now));
        self.perform(effects, doing, did);
    }

    /// Tells the replica how its log is now.
    fn tell(&mut self, topic: TopicId, now: u64, did: &mut Vec<Did>) {
        let Some(part) = self.part(topic) else { return };
        let facts = part.store.facts();
        self.step(Event::Log(facts), &Doing::plain(topic, now), did);
    }

    /// Does what a step has asked for, in order. What fails ends the process.
    fn perform(&mut self, effects: Vec<Effect>, doing: &Doing<'_>, did: &mut Vec<Did>) {
        for effect in effects {
            if let Err(error) = self.effect(effect, doing, did) {
                did.push(Did::Died(error));
                return;
            }
        }
    }

    fn effect(&mut self, effect: Effect, doing: &Doing<'_>, did: &mut Vec<Did>) -> Result<(), String> {
        let Doing { topic, now, .. } = *doing;
        let Some(run) = self.run.as_mut() else { return Ok(()) };
        let Some(part) = run.parts.get_mut(&topic) else { return Ok(()) };
        let text = |error: millrace_log::DirError| error.to_string();
        match effect {
            Effect::BeginEpoch(epoch) => {
                let _start = part.store.log.begin_epoch(epoch).map_err(text)?;
            }
            Effect::Follow => part.store.log.follow(),
            Effect::Truncate { to, below_high_watermark } => {
                let log = &part.store.log;
                if below_high_watermark { log.truncate_uncleanly_to(to) } else { log.truncate_to(to) }
                    .map_err(text)?;
                part.store.was_cut();
                self.shorten(topic, to);
                did.push(Did::Cut { topic });
                self.tell(topic, now, did);
            }
            Effect::Reset(to) => {
                part.store.log.reset_to(to).map_err(text)?;
                part.store.was_cut();
                self.mirrors.entry(topic).or_default().resize(place(to), Entry::DELETED);
                self.starts.insert(topic, place(to));
                did.push(Did::Reset { topic });
                self.tell(topic, now, did);
            }
            Effect::Append { .. } => self.replicate(doing, did)?,
            Effect::Trim(to) => {
                part.store.log.trim_to(to).map_err(text)?;
                let start = place(part.store.facts().start);
                self.starts.insert(topic, start);
            }
            Effect::HighWatermark(to) => {
                let _now = part.store.log.raise_high_watermark(to);
                let leads = part.replica.as_ref().is_some_and(|replica| replica.leader().is_some());
                did.push(Did::HighWatermark { topic, to, leads });
            }
            Effect::Fetch { to, fetch } => did.push(Did::Send(Place::Node(to), Message::Fetch(fetch))),
            Effect::Answer { to, answer } => {
                let bytes = match answer.answer {
                    FetchAnswer::Records { from, .. } => part.store.read(from, None)?,
                    FetchAnswer::Refused(refusal) => {
                        did.push(Did::Refused(refusal));
                        Bytes::new()
                    }
                    FetchAnswer::Diverging(_) | FetchAnswer::BelowStart { .. } => Bytes::new(),
                };
                did.push(Did::Send(Place::Node(to), Message::Fetched(answer, bytes)));
            }
            Effect::LookUp { fetch, theirs } => {
                let ours = part.store.end_of(theirs.epoch);
                let event = FollowerEvent::Diverged { fetch, theirs, ours };
                self.step(Event::Follower(event), doing, did);
            }
            Effect::Alter(alter) => did.push(Did::Send(Place::Controller, Message::Alter(alter))),
            Effect::Committed(id) => did.extend(self.answer(topic, id, Answer::Committed)),
            Effect::InDoubt(id, _) => did.extend(self.answer(topic, id, |_| Answer::InDoubt)),
            Effect::Halted(halt) => did.push(Did::Halted(halt)),
        }
        Ok(())
    }

    /// Who waits for an append is answered.
    fn answer(&mut self, topic: TopicId, id: AppendId, answer: impl Fn(Offset) -> Answer) -> Option<Did> {
        let (client, request, offset) = self.run.as_mut()?.waiting.remove(&id)?;
        let (node, answer) = (self.id, answer(offset));
        Some(Did::Send(Place::Client(client), Message::Answer { client, request, topic, node, answer }))
    }

    fn shorten(&mut self, topic: TopicId, to: Offset) {
        if let Some(mirror) = self.mirrors.get_mut(&topic) {
            mirror.truncate(usize::try_from(to.get()).unwrap_or_default());
        }
    }

    fn replicate(&mut self, doing: &Doing<'_>, did: &mut Vec<Did>) -> Result<(), String> {
        let Doing { topic, with: bytes, now } = *doing;
        let Some(part) = self.part(topic) else { return Ok(()) };
        if !bytes.is_empty() {
            part.store.append_replica(bytes)?;
            let came = entries(bytes)?;
            let mirror = self.mirrors.entry(topic).or_default();
            for (offset, entry) in &came {
                if *offset != Offset::from_count(mirror.len() as u64) {
                    return Err(format!("a replica append at {offset}, the log ends at {}", mirror.len()));
                }
                mirror.push(*entry);
            }
            did.push(Did::Replicated { topic, records: came.len() });
            did.push(Did::Wrote(topic));
        }
        self.tell(topic, now, did);
        Ok(())
    }

    /// The disk has synced what was written.
    pub(crate) fn synced(&mut self, topic: TopicId, now: u64) -> Vec<Did> {
        let mut did = Vec::new();
        let Some(part) = self.part(topic) else { return did };
        part.sync_due = false;
        if let Err(error) = part.store.sync() {
            return vec![Did::Died(error)];
        }
        self.tell(topic, now, &mut did);
        did
    }

    pub(crate) fn tick(&mut self, now: u64) -> Vec<Did> {
        let mut did = Vec::new();
        let topics: Vec<TopicId> = self.run.iter().flat_map(|run| run.parts.keys().copied()).collect();
        for topic in topics {
            self.step(Event::Tick, &Doing::plain(topic, now), &mut did);
        }
        did
    }

    /// A message for the replica of a topic has come. Requests are led by name, as clients without ids would: what an id is for
    /// is checked by the value.
    fn by_name(&self) -> Option<TopicId> {
        let known = self.run.as_ref()?.known.as_ref()?;
        Some(known.view.id.topic)
    }

    pub(crate) fn fetch(&mut self, fetch: Fetch, now: u64) -> Vec<Did> {
        let mut did = Vec::new();
        let Some(topic) = self.by_name() else { return did };
        let Some(part) = self.part(topic) else { return did };
        let found = part.store.end_of(fetch.last_epoch);
        let event = Event::Leader(LeaderEvent::Fetch { fetch, found });
        self.step(event, &Doing::plain(topic, now), &mut did);
        did
    }

    pub(crate) fn fetched(&mut self, fetched: Fetched, bytes: &Bytes, now: u64) -> Vec<Did> {
        let mut did = Vec::new();
        if let Some(topic) = self.by_name() {
            let event = Event::Follower(FollowerEvent::Fetched(fetched));
            self.step(event, &Doing { topic, with: bytes, now }, &mut did);
        }
        did
    }

    pub(crate) fn altered(&mut self, topic: TopicId, answer: AlterAnswer, now: u64) -> Vec<Did> {
        let mut did = Vec::new();
        let event = Event::Leader(LeaderEvent::Altered(answer));
        self.step(event, &Doing::plain(topic, now), &mut did);
        did
    }

    pub(crate) fn produce(
        &mut self,
        from: (usize, RequestNo),
        topic: TopicId,
        produced: Produced,
        now: u64,
    ) -> Vec<Did> {
        let mut did = Vec::new();
        let (client, request) = from;
        match self.appended(topic, produced, &mut did) {
            Ok(Some(last)) => {
                let Some(run) = self.run.as_mut() else { return did };
                run.appends += 1;
                let id = AppendId(run.appends);
                run.waiting.insert(id, (client, request, last.0));
                if last.1 {
                    let leader = run.parts.get(&topic).and_then(|part| part.replica.as_ref()?.leader());
                    let epoch = leader.map_or(-1, |leader| leader.leader_epoch().0);
                    did.push(Did::Appended { topic, epoch });
                    did.push(Did::Wrote(topic));
                } else {
                    did.push(Did::Known);
                }
                let event = Event::Leader(LeaderEvent::Appended { id, last: last.0 });
                self.step(event, &Doing::plain(topic, now), &mut did);
                self.tell(topic, now, &mut did);
            }
            Ok(None) => {
                let answer = Message::Answer { client, request, topic, node: self.id, answer: Answer::No };
                did.push(Did::Send(Place::Client(client), answer));
            }
            Err(error) => did.push(Did::Died(error)),
        }
        did
    }

    /// Appends as a leader, if it is one: where the record lies, and whether it is new.
    fn appended(
        &mut self,
        topic: TopicId,
        produced: Produced,
        did: &mut Vec<Did>,
    ) -> Result<Option<(Offset, bool)>, String> {
        let Some(part) = self.part(topic) else { return Ok(None) };
        let Some(leader) = part.replica.as_ref().and_then(Replica::leader) else { return Ok(None) };
        let epoch = leader.leader_epoch().0;
        if produced.acks_all && leader.admit().is_err() {
            did.push(Did::TooFew);
            return Ok(None);
        }
        match part.store.append(batch(produced)?) {
            Outcome::Appended(offset) => {
                let mirror = self.mirrors.entry(topic).or_default();
                mirror.push(Entry { value: produced.value, epoch });
                Ok(Some((offset, true)))
            }
            Outcome::Unchanged(ticket) => {
                let mirror = self.mirrors.get(&topic).map_or(&[][..], Vec::as_slice);
                let place = mirror.iter().rposition(|entry| entry.value == produced.value);
                if let Some(place) = place {
                    return Ok(Some((Offset::from_count(place as u64), false)));
                }
                let why = ticket.wait().err().ok_or("an append that is neither written nor known")?;
                did.push(Did::OutOfOrder { topic, epoch, why: why.to_string() });
                Ok(None)
            }
            Outcome::Refused(error) => Err(error),
        }
    }

    pub(crate) fn read(&self, topic: TopicId, position: Position) -> (Served, Vec<Entry>) {
        let part = self.run.as_ref().and_then(|run| run.parts.get(&topic));
        let Some((part, replica)) = part.and_then(|part| Some((part, part.replica.as_ref()?))) else {
            return (Served::NotAReplica, Vec::new());
        };
        let facts = part.store.facts();
        let found = position.last_epoch.and_then(|epoch| part.store.end_of(epoch));
        let served = serve(replica, position, found, facts);
        let Served::UpTo(end) = served else { return (served, Vec::new()) };
        if end <= position.next {
            return (served, Vec::new());
        }
        let read = part.store.read(position.next, Some(end)).and_then(|bytes| entries(&bytes));
        (served, read.map(|entries| entries.into_values().collect()).unwrap_or_default())
    }

    /// Where a log starts.
    pub(crate) fn start_of(&self, topic: TopicId) -> usize {
        self.starts.get(&topic).copied().unwrap_or_default()
    }

    /// What is known here to be committed.
    pub(crate) fn high_watermark(&self, topic: TopicId) -> Offset {
        let part = self.run.as_ref().and_then(|run| run.parts.get(&topic));
        part.map_or(Offset::ZERO, |part| part.store.log.offsets().high_watermark)
    }

    /// Deletes records as a leader. Answers where its log starts then.
    pub(crate) fn delete_records(
        &mut self,
        topic: TopicId,
        to: Offset,
        now: u64,
        did: &mut Vec<Did>,
    ) -> Option<usize> {
        let part = self.part(topic)?;
        if let Err(error) = part.store.log.trim_to(to) {
            did.push(Did::Died(error.to_string()));
            return None;
        }
        let start = place(part.store.facts().start);
        self.starts.insert(topic, start);
        self.tell(topic, now, did);
        Some(start)
    }

    pub(crate) fn latest(&self, topic: TopicId) -> Option<Answer> {
        let part = self.run.as_ref()?.parts.get(&topic)?;
        let leader = part.replica.as_ref()?.leader()?;
        Some(match leader.latest_offset() {
            Some(offset) => Answer::Latest { epoch: leader.leader_epoch().0, offset },
            None => Answer::LatestUnknown,
        })
    }

    /// Stops cleanly.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        // If it does not close, what was synced before is on its disk all the same.
        self.note_certain();
        let Some(run) = self.run.take() else { return Ok(()) };
        run.dir.close().map_err(|error| format!("it does not close: {error}"))?;
        self.synced = self.mirrors.iter().map(|(topic, mirror)| (*topic, mirror.len())).collect();
        drop(run);
        let _env = self.sim.kill();
        Ok(())
    }

    /// What is certainly on its disk of a topic, whatever happens to the broker: offsets below this.
    pub(crate) fn certain(&self, topic: TopicId) -> usize {
        let mirror = self.mirrors.get(&topic).map_or(0, Vec::len);
        let part = self.run.as_ref().and_then(|run| run.parts.get(&topic));
        if self.run.is_none() {
            return self.synced.get(&topic).map_or(mirror, |synced| (*synced).min(mirror));
        }
        let synced =
            part.map(|part| usize::try_from(part.store.log.offsets().synced_end.get()).unwrap_or_default());
        synced.map_or(mirror, |synced| synced.min(mirror))
    }
}
