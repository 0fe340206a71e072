//! A coordinator around the pure core: the values, an outbox, and a log that commits late, fails, and is read again.
//!
//! The fault model: a batch is in the log whole or not at all, in the order of the appends. After a crash those that were
//! committed are there, and of the others, which nobody was told of, any number from the front. A persist that fails leaves the
//! same; then everybody who waits hears that the outcome is unknown, and the values are read again from the log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use millrace_env::sim::SimRng;
use millrace_group::assign::TopicInput;
use millrace_group::consumer::{Answer, ConsumerGroup, Effect, Event, GroupConfig, Heartbeat, Join};
use millrace_group::{
    Commit, CommitRefused, Effect as OffsetsEffect, Event as OffsetsEvent, GroupOffsets, GroupRecord,
    GroupState, MemberId, Moment, Now, OffsetCommitKey, OffsetRecord, Outbox, Pattern, PersistId,
    PersistTicket, Refusal, Stranger, Subscription, TopicView, Topics,
};
use millrace_types::{GroupId, Offset, TimestampMs, TopicId, TopicName, TopicPartition};

use super::coordinator::{Coordinator, Disk, Links, matched};
use super::wire::{Address, Ask, Letter, No, Position, RequestNo, StreamNo, Told, Topic, TopicChange};

/// How long a position outlives its group.
const RETENTION_MS: u64 = 15_000;
/// How often what is too old is looked for.
const SWEEP_MS: u64 = 5_000;

/// A batch.
#[derive(Debug)]
enum Entry {
    Group(Vec<GroupRecord>),
    Offsets(PersistId, Vec<OffsetRecord>),
}

pub(crate) struct Pure {
    links: Links,
    rng: Arc<SimRng>,
    now: u64,
    next_sweep: u64,
    up: bool,
    name: GroupId,
    topics: Vec<Topic>,
    ids_drawn: u8,
    patterns: Vec<Pattern>,
    group: ConsumerGroup,
    offsets: GroupOffsets,
    outbox: Outbox<Letter>,
    log: Vec<Entry>,
    under_way: VecDeque<PersistTicket>,
    streams: BTreeMap<MemberId, StreamNo>,
    out: Vec<Letter>,
}

impl Pure {
    pub(crate) fn new(links: Links, name: GroupId, patterns: Vec<Pattern>, rng: Arc<SimRng>) -> Pure {
        Pure {
            links,
            rng,
            now: 0,
            next_sweep: SWEEP_MS,
            up: true,
            name,
            topics: Vec::new(),
            ids_drawn: 0,
            patterns,
            group: ConsumerGroup::new(GroupConfig::default(), Arc::default()),
            offsets: GroupOffsets::default(),
            outbox: Outbox::default(),
            log: Vec::new(),
            under_way: VecDeque::new(),
            streams: BTreeMap::new(),
            out: Vec::new(),
        }
    }

    fn time(&self) -> Now {
        Now { moment: Moment(self.now), wall: wall(self.now) }
    }

    fn view(&self) -> Arc<Topics> {
        let view = |topic: &Topic| {
            (topic.name.clone(), TopicView { id: topic.id, shape: TopicInput::of(topic.partitions) })
        };
        let by_name = self.topics.iter().map(view).collect();
        let found = |pattern: &Pattern| (pattern.clone(), matched(pattern, &self.topics));
        Arc::new(Topics { by_name, matches: self.patterns.iter().map(found).collect() })
    }

    fn step(&mut self, asker: Option<(RequestNo, &MemberId)>, event: Event) {
        let effects = self.group.step(event, self.time());
        self.perform(asker, effects);
    }

    fn perform(&mut self, asker: Option<(RequestNo, &MemberId)>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist(records) => {
                    self.log.push(Entry::Group(records));
                    self.under_way.push_back(self.outbox.persist());
                }
                Effect::Reply(answer) => {
                    if let Some((request, member)) = asker {
                        let told = answer.map_or_else(|refusal| Told::No(of_refusal(&refusal)), of_answer);
                        let member = Some(member.clone());
                        self.outbox.push(Letter { to: Address::Request(request), told, member });
                    }
                }
                Effect::Lost { member, .. } => {
                    let asking = asker.is_some_and(|(_, asker)| *asker == member);
                    if let Some(stream) = self.streams.remove(&member).filter(|_| !asking) {
                        let told = Told::No(No::StreamOver);
                        self.outbox.push(Letter { to: Address::Stream(stream), told, member: Some(member) });
                    }
                }
                Effect::Due(member) => self.tell(&member),
            }
        }
        self.let_out();
    }

    /// Says what is new to who can be reached.
    fn tell(&mut self, member: &MemberId) {
        let Some(stream) = self.streams.get(member).copied() else { return };
        for effect in self.group.step(Event::Poll { member: member.clone() }, self.time()) {
            match effect {
                Effect::Persist(records) => {
                    self.log.push(Entry::Group(records));
                    self.under_way.push_back(self.outbox.persist());
                }
                Effect::Reply(Ok(answer)) => {
                    let (told, member) = (of_answer(answer), Some(member.clone()));
                    self.outbox.push(Letter { to: Address::Stream(stream), told, member });
                }
                // A poll changes nobody else's place.
                Effect::Reply(Err(_)) | Effect::Lost { .. } | Effect::Due(_) => {}
            }
        }
    }

    fn let_out(&mut self) {
        while let Some(letter) = self.outbox.pop() {
            self.out.push(letter);
        }
    }

    fn answer(&mut self, request: RequestNo, told: Told) {
        self.out.push(Letter { to: Address::Request(request), told, member: None });
    }

    fn commit(&mut self, request: RequestNo, who: &millrace_group::Committer, position: &Position) {
        if let Err(refused) = self.group.check_commit(who) {
            // What refuses it may not be committed yet.
            let told = Told::No(of_commit(&refused));
            self.outbox.push(Letter { to: Address::Request(request), told, member: who.member.clone() });
            return self.let_out();
        }
        let Some(commit) = self.resolve(position) else {
            return self.answer(request, Told::No(No::Nowhere));
        };
        let event = OffsetsEvent::Commit { group: self.name.clone(), commits: vec![commit] };
        let effects = self.offsets.step(event, wall(self.now));
        self.perform_offsets(Some(request), effects);
    }

    fn resolve(&self, position: &Position) -> Option<Commit> {
        let TopicPartition { topic, partition } = position.partition;
        let found = self.topics.iter().find(|known| known.id == topic && partition.0 < known.partitions)?;
        Some(Commit {
            topic: found.name.clone(),
            topic_id: topic,
            partition,
            offset: Offset::from_count(position.offset),
            leader_epoch: None,
            metadata: position.text.clone(),
        })
    }

    fn perform_offsets(&mut self, request: Option<RequestNo>, effects: Vec<OffsetsEffect>) {
        for effect in effects {
            match effect {
                OffsetsEffect::Persist { id, records } => {
                    self.log.push(Entry::Offsets(id, records));
                    self.under_way.push_back(self.outbox.persist());
                }
                OffsetsEffect::Reply(_) => {
                    if let Some(request) = request {
                        let to = Address::Request(request);
                        self.outbox.push(Letter { to, told: Told::Done, member: None });
                    }
                }
            }
        }
        self.let_out();
    }

    fn fetch(&mut self, request: RequestNo, partition: TopicPartition) {
        let Some(topic) = self.topics.iter().find(|topic| topic.id == partition.topic) else {
            return self.answer(request, Told::No(No::Nowhere));
        };
        let key = self.key(&topic.name, partition);
        let found = self.offsets.fetch(&key, partition.topic);
        let found = found.map(|value| (value.offset.get().unsigned_abs(), value.metadata.clone()));
        self.answer(request, Told::Committed(found));
    }

    fn key(&self, topic: &TopicName, partition: TopicPartition) -> OffsetCommitKey {
        OffsetCommitKey { group: self.name.clone(), topic: topic.clone(), partition: partition.partition }
    }

    /// Lets expired positions go, as the driver does from time to time.
    fn sweep(&mut self) {
        let cutoff = wall(self.now.saturating_sub(RETENTION_MS));
        let counts_from = |topic: &TopicName, at: TimestampMs| self.group.expires_from(topic, at);
        let keys = self.offsets.expired(&self.name, cutoff, counts_from);
        let effects = self.offsets.step(OffsetsEvent::Expired { keys }, wall(self.now));
        self.perform_offsets(None, effects);
    }

    /// Of what is under way some is in the log, the rest never was.
    fn lose_some(&mut self) {
        let under_way = u64::try_from(self.under_way.len()).unwrap_or(u64::MAX);
        let lost = usize::try_from(self.rng.below(under_way + 1)).unwrap_or(usize::MAX);
        self.log.truncate(self.log.len().saturating_sub(lost));
        self.under_way.clear();
    }

    /// The oldest persist under way is in the log.
    fn commit_first(&mut self) {
        let at = self.log.len() - self.under_way.len();
        let Some(ticket) = self.under_way.pop_front() else { return };
        if let Some(Entry::Offsets(id, _)) = self.log.get(at) {
            self.offsets.committed(*id);
        }
        self.outbox.committed(ticket);
        self.let_out();
    }

    /// Reads the log, and knows nothing else.
    fn read_again(&mut self) {
        let mut state = GroupState::default();
        self.offsets = GroupOffsets::default();
        for entry in &self.log {
            match entry {
                Entry::Group(records) => records.iter().cloned().for_each(|record| state.apply(record)),
                Entry::Offsets(_, records) => {
                    for record in records {
                        let value = record.value.as_ref().map(|value| value.encode());
                        // What we have encoded ourselves decodes.
                        let replayed = self.offsets.replay(Some(&record.key.encode()), value.as_deref());
                        debug_assert!(replayed.is_ok(), "{replayed:?}");
                    }
                }
            }
        }
        self.streams.clear();
        let (group, effects) =
            ConsumerGroup::restore(GroupConfig::default(), self.view(), state, self.time());
        self.group = group;
        self.perform(None, effects);
    }

    /// The next moment at which something is due.
    fn due(&self) -> u64 {
        self.group.next_deadline().map_or(self.next_sweep, |deadline| deadline.0.min(self.next_sweep))
    }
}

impl Coordinator for Pure {
    fn advance(&mut self, to_ms: u64) {
        while self.up && self.due() <= to_ms {
            self.now = self.now.max(self.due());
            if self.next_sweep <= self.now {
                self.next_sweep = self.now + SWEEP_MS;
                self.sweep();
            }
            if self.group.next_deadline().is_some_and(|deadline| deadline.0 <= self.now) {
                self.step(None, Event::Deadline);
            }
        }
        self.now = to_ms;
        self.next_sweep = self.next_sweep.max(if self.up { 0 } else { to_ms });
    }

    fn ask(&mut self, request: RequestNo, stream: StreamNo, ask: &Ask) {
        if !self.up {
            return;
        }
        let event = match ask {
            Ask::Commit { who, position } => return self.commit(request, who, position),
            Ask::Fetch { partition } => return self.fetch(request, *partition),
            Ask::Join { member, profile } => {
                Event::Join(Join { member: member.clone(), profile: profile.clone() })
            }
            Ask::Resume { member, profile, progress } => Event::Heartbeat(Heartbeat {
                member: member.clone(),
                instance: profile.instance.clone(),
                epoch: progress.epoch,
                heard: Some(progress.heard),
                owned: Some(progress.owned.clone()),
                profile: Some(profile.clone()),
            }),
            Ask::Heartbeat { member, instance, progress, wants } => {
                let known = self.group.state().members.get(member);
                let profile = wants.as_ref().zip(known).map(|(wants, known)| {
                    let mut profile = known.clone();
                    profile.subscription = Subscription::clone(wants);
                    profile
                });
                Event::Heartbeat(Heartbeat {
                    member: member.clone(),
                    instance: instance.clone(),
                    epoch: progress.epoch,
                    heard: Some(progress.heard),
                    owned: Some(progress.owned.clone()),
                    profile,
                })
            }
            Ask::Leave { member, instance, epoch, leaving } => Event::Leave {
                member: member.clone(),
                instance: instance.clone(),
                epoch: Some(*epoch),
                leaving: *leaving,
            },
        };
        let member = match ask {
            Ask::Join { member, .. } | Ask::Resume { member, .. } => {
                self.open(member, stream);
                member
            }
            Ask::Heartbeat { member, .. } | Ask::Leave { member, .. } => {
                if self.links == Links::Streams && self.streams.get(member) != Some(&stream) {
                    return self.answer(request, Told::No(No::StreamOver));
                }
                member
            }
            Ask::Commit { .. } | Ask::Fetch { .. } => return,
        };
        self.step(Some((request, member)), event);
        if !self.group.state().members.contains_key(member) {
            self.streams.remove(member);
        }
    }

    fn disconnected(&mut self, stream: StreamNo) {
        let held = self.streams.iter().find(|(_, held)| **held == stream).map(|(member, _)| member.clone());
        if let Some(member) = held.filter(|_| self.up) {
            self.streams.remove(&member);
            self.step(None, Event::Disconnected { member });
        }
    }

    fn is_writing(&self) -> bool {
        !self.under_way.is_empty()
    }

    fn disk(&mut self, disk: Disk) {
        if !self.up {
            return;
        }
        match (disk, self.under_way.front().copied()) {
            (_, None) => {}
            (Disk::Commits, Some(_)) => {
                // One sync takes what was written by its beginning.
                let waiting = u64::try_from(self.under_way.len()).unwrap_or(1);
                for _ in 0..=self.rng.below(waiting) {
                    self.commit_first();
                }
            }
            (Disk::Fails, Some(_)) => {
                self.lose_some();
                let all = PendingLetters::of(std::mem::take(&mut self.outbox));
                for to in all.0 {
                    self.out.push(Letter { to, told: Told::No(No::InDoubt), member: None });
                }
                let over: BTreeSet<StreamNo> = self.streams.values().copied().collect();
                for stream in over {
                    let told = Told::No(No::StreamOver);
                    self.out.push(Letter { to: Address::Stream(stream), told, member: None });
                }
                self.read_again();
            }
        }
    }

    fn crash(&mut self) {
        if self.up {
            self.up = false;
            self.lose_some();
            self.outbox = Outbox::default();
            self.streams.clear();
        }
    }

    fn start(&mut self) -> Result<(), String> {
        if !self.up {
            self.up = true;
            self.read_again();
        }
        Ok(())
    }

    fn must_stop(&self) -> bool {
        false
    }

    fn is_up(&self) -> bool {
        self.up
    }

    fn change_topic(&mut self, change: &TopicChange) -> Result<(), String> {
        if !self.up {
            return Ok(());
        }
        match change {
            TopicChange::Create(name, partitions) => {
                self.ids_drawn += 1;
                let id = TopicId([self.ids_drawn; 16]);
                self.topics.push(Topic { name: name.clone(), id, partitions: *partitions });
            }
            TopicChange::Grow(name, partitions) => {
                for topic in self.topics.iter_mut().filter(|topic| topic.name == *name) {
                    topic.partitions = topic.partitions.max(*partitions);
                }
            }
            TopicChange::Delete(name) => {
                let gone = self.topics.extract_if(.., |topic| topic.name == *name);
                let ids = gone.map(|topic| topic.id).collect();
                let effects = self.offsets.step(OffsetsEvent::TopicsDeleted { ids }, wall(self.now));
                self.perform_offsets(None, effects);
            }
        }
        self.step(None, Event::Topics(self.view()));
        Ok(())
    }

    fn topics(&self) -> Vec<Topic> {
        self.topics.clone()
    }

    fn letters(&mut self) -> Vec<Letter> {
        std::mem::take(&mut self.out)
    }

    fn state(&self) -> Option<&GroupState> {
        self.up.then(|| self.group.state())
    }

    fn retention_ms(&self) -> u64 {
        RETENTION_MS
    }
}

impl Pure {
    fn open(&mut self, member: &MemberId, stream: StreamNo) {
        if self.links == Links::Loose {
            return;
        }
        if let Some(before) = self.streams.insert(member.clone(), stream).filter(|before| *before != stream) {
            let told = Told::No(No::StreamOver);
            self.out.push(Letter { to: Address::Stream(before), told, member: Some(member.clone()) });
        }
    }
}

/// The requests that wait in an outbox.
struct PendingLetters(Vec<Address>);

impl PendingLetters {
    fn of(mut outbox: Outbox<Letter>) -> PendingLetters {
        // The next ticket covers all that was ever asked for.
        let last = outbox.persist();
        outbox.committed(last);
        let mut waiting = Vec::new();
        while let Some(letter) = outbox.pop() {
            waiting.push(letter.to);
        }
        waiting.retain(|to| matches!(to, Address::Request(_)));
        PendingLetters(waiting)
    }
}

fn wall(ms: u64) -> TimestampMs {
    TimestampMs(1_000_000 + i64::try_from(ms).unwrap_or(i64::MAX))
}

fn of_answer(answer: Answer) -> Told {
    match answer {
        Answer::Assignment(assignment) => Told::Assignment(assignment),
        Answer::Done => Told::Done,
    }
}

fn of_stranger(stranger: &Stranger) -> No {
    match stranger {
        Stranger::Unknown { .. } | Stranger::UnknownInstance { .. } => No::Unknown,
        Stranger::FencedInstance { .. } => No::Fenced,
    }
}

fn of_refusal(refusal: &Refusal) -> No {
    match refusal {
        Refusal::Stranger(stranger) => of_stranger(stranger),
        Refusal::FencedEpoch { .. } => No::FencedEpoch,
        Refusal::Full { .. }
        | Refusal::TooManyNames { .. }
        | Refusal::TooManyOwned { .. }
        | Refusal::RebalanceTimeout { .. }
        | Refusal::NotStatic
        | Refusal::NotEmpty { .. } => No::Unavailable,
    }
}

fn of_commit(refused: &CommitRefused) -> No {
    match refused {
        CommitRefused::Stranger(stranger) => of_stranger(stranger),
        CommitRefused::NotAMember | CommitRefused::StaleEpoch { .. } | CommitRefused::Rebalancing => {
            No::Stale
        }
    }
}
