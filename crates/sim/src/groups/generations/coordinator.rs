//! The pure core with an outbox and a log: batches are there whole or not at all, in the order of the appends. After a crash, or
//! a persist that failed, those that were committed are there, and of the others any number from the front.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use millrace_env::sim::SimRng;
use millrace_group::classic::{
    Came, ClassicConfig, ClassicEffect, ClassicEvent, ClassicGroup, ClassicJoin, ClassicMember,
    ClassicProtocol, ClassicSync, RequestId,
};
use millrace_group::{Committer, GroupRecord, GroupState, MemberId, Moment, Now, Outbox, PersistTicket};
use millrace_types::TimestampMs;

use super::{Ask, Letter, REBALANCE_MS, RequestNo, SESSION_MS, Told};

/// A batch.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Group(Vec<GroupRecord>),
    Commit { who: Committer },
}

pub(super) struct Coordinator {
    rng: Arc<SimRng>,
    config: ClassicConfig,
    pub(super) now: u64,
    pub(super) up: bool,
    group: ClassicGroup,
    outbox: Outbox<Letter>,
    log: Vec<Entry>,
    under_way: VecDeque<PersistTicket>,
    /// What has arrived and is not answered: a request may arrive twice.
    parked: BTreeMap<RequestId, RequestNo>,
    arrived: u64,
    ids_drawn: u64,
    pub(super) out: Vec<Letter>,
}

fn wall(now: u64) -> TimestampMs {
    TimestampMs(1_000_000 + i64::try_from(now).unwrap_or_default())
}

impl Coordinator {
    pub(super) fn new(rng: Arc<SimRng>, initial_delay_ms: u64) -> Coordinator {
        let config = ClassicConfig { initial_delay_ms, ..ClassicConfig::default() };
        let now = Now { moment: Moment(0), wall: wall(0) };
        Coordinator {
            group: ClassicGroup::restore(config, GroupState::default().classic.unwrap_or_default(), now),
            rng,
            config,
            now: 0,
            up: true,
            outbox: Outbox::default(),
            log: Vec::new(),
            under_way: VecDeque::new(),
            parked: BTreeMap::new(),
            arrived: 0,
            ids_drawn: 0,
            out: Vec::new(),
        }
    }

    fn time(&self) -> Now {
        Now { moment: Moment(self.now), wall: wall(self.now) }
    }

    /// What certainly is in the log.
    pub(super) fn committed(&self) -> &[Entry] {
        self.log.get(..self.log.len() - self.under_way.len()).unwrap_or_default()
    }

    pub(super) fn is_writing(&self) -> bool {
        !self.under_way.is_empty()
    }

    pub(super) fn group(&self) -> &ClassicGroup {
        &self.group
    }

    /// Lets time pass, with all that is due by then.
    pub(super) fn advance(&mut self, to_ms: u64) -> Result<(), String> {
        let mut steps = 0_u32;
        while let Some(due) = self.group.next_deadline().filter(|due| self.up && due.0 <= to_ms) {
            self.now = self.now.max(due.0);
            self.step(ClassicEvent::Deadline);
            steps += 1;
            if steps > 10_000 {
                return Err("a deadline comes again and again".to_owned());
            }
        }
        self.now = to_ms;
        Ok(())
    }

    pub(super) fn ask(&mut self, request: RequestNo, ask: &Ask) {
        if !self.up {
            return;
        }
        self.arrived += 1;
        let arrival = RequestId(self.arrived);
        let event = match ask {
            Ask::Commit(who) => return self.commit(request, who),
            Ask::Join { member, instance } => {
                let (member, came) = match member {
                    Some(member) => (member.clone(), Came::WithId),
                    None => {
                        let Some(drawn) = self.draw_id() else { return };
                        (drawn, if request.is_multiple_of(2) { Came::Fresh } else { Came::FreshAndReturns })
                    }
                };
                let protocol =
                    |name: &str| ClassicProtocol { name: name.to_owned(), metadata: bytes::Bytes::new() };
                let profile = ClassicMember {
                    instance: instance.clone(),
                    session_timeout_ms: SESSION_MS,
                    rebalance_timeout_ms: REBALANCE_MS,
                    protocols: vec![protocol("range")],
                    ..ClassicMember::default()
                };
                let protocol_type = "consumer".to_owned();
                ClassicEvent::Join(arrival, ClassicJoin { member, came, profile, protocol_type })
            }
            Ask::Sync { who, assignments } => {
                let (who, assignments) = (who.clone(), assignments.clone());
                let sync = ClassicSync { who, protocol_type: None, protocol: None, assignments };
                ClassicEvent::Sync(arrival, sync)
            }
            Ask::Beat(who) => ClassicEvent::Heartbeat(arrival, who.clone()),
            Ask::Leave(who) => ClassicEvent::Leave(arrival, who.clone()),
        };
        self.parked.insert(arrival, request);
        self.step(event);
    }

    fn draw_id(&mut self) -> Option<MemberId> {
        self.ids_drawn += 1;
        MemberId::new(&format!("m{}", self.ids_drawn)).ok()
    }

    /// The connection by which that came is gone.
    pub(super) fn hung_up(&mut self, request: RequestNo) {
        let arrivals: Vec<RequestId> =
            self.parked.iter().filter(|(_, of)| **of == request).map(|(arrival, _)| *arrival).collect();
        for arrival in arrivals {
            self.parked.remove(&arrival);
            if self.up {
                self.step(ClassicEvent::HungUp(arrival));
            }
        }
    }

    fn step(&mut self, event: ClassicEvent) {
        for effect in self.group.step(event, self.time()) {
            match effect {
                ClassicEffect::Persist(records) => self.persist(Entry::Group(records)),
                ClassicEffect::Reply(arrival, answer) => {
                    if let Some(request) = self.parked.remove(&arrival) {
                        self.outbox.push(Letter { request, told: Told::Of(Box::new(answer)) });
                    }
                }
            }
        }
        self.let_out();
    }

    fn persist(&mut self, entry: Entry) {
        self.log.push(entry);
        self.under_way.push_back(self.outbox.persist());
    }

    fn commit(&mut self, request: RequestNo, who: &Committer) {
        let told = match self.group.check_commit(who) {
            Ok(()) => {
                self.persist(Entry::Commit { who: who.clone() });
                Told::Committed
            }
            // What refuses it may not be committed yet.
            Err(refused) => Told::Refused(refused),
        };
        self.outbox.push(Letter { request, told });
        self.let_out();
    }

    fn let_out(&mut self) {
        while let Some(letter) = self.outbox.pop() {
            self.out.push(letter);
        }
    }

    /// The oldest persist under way is in the log.
    pub(super) fn disk_commits(&mut self) {
        if let Some(ticket) = self.under_way.pop_front() {
            self.outbox.committed(ticket);
            self.let_out();
        }
    }

    /// A persist fails: whoever waits hears that it must ask again, and the log is read.
    pub(super) fn disk_fails(&mut self) {
        self.lose_some();
        let waiting: Vec<Letter> = self.outbox.drain().collect();
        let parked = std::mem::take(&mut self.parked).into_values();
        let asked = waiting.into_iter().map(|letter| letter.request).chain(parked);
        self.out.extend(asked.map(|request| Letter { request, told: Told::Loading }));
        self.read_again();
    }

    /// The machine stops; nobody is told.
    pub(super) fn crash(&mut self) {
        self.up = false;
        self.parked.clear();
        self.out.clear();
        self.lose_some();
        self.outbox = Outbox::default();
    }

    pub(super) fn start(&mut self) {
        self.up = true;
        self.read_again();
    }

    fn lose_some(&mut self) {
        let under_way = u64::try_from(self.under_way.len()).unwrap_or(u64::MAX);
        let lost = usize::try_from(self.rng.below(under_way + 1)).unwrap_or(usize::MAX);
        self.log.truncate(self.log.len().saturating_sub(lost));
        self.under_way.clear();
    }

    fn read_again(&mut self) {
        self.outbox = Outbox::default();
        let mut state = GroupState::default();
        for entry in &self.log {
            if let Entry::Group(records) = entry {
                records.iter().cloned().for_each(|record| state.apply(record));
            }
        }
        self.group = ClassicGroup::restore(self.config, state.classic.unwrap_or_default(), self.time());
    }
}
