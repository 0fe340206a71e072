//! Random histories: simulated consumers over links that lose, delay and break, a log that commits late, coordinators that
//! fail over, members that pause and come back as zombies. After every step the rules of a group are checked, those of the
//! value as well as those that only the consumers can see.
//!
//! The fault model: a link is ordered until it breaks; then what is on its way is lost, in both directions, and the door takes
//! nothing more from it. Commits may arrive at any time later. What is not committed when a coordinator fails is lost, and
//! nobody was told of it.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::tests::{at, fixed, profile, topics};
use super::*;
use crate::outbox::{Outbox, PersistTicket};

const CLIENTS: usize = 5;

enum Request {
    Join,
    Beat { epoch: GroupEpoch, owned: BTreeSet<TopicPartition>, seen: u64, profile: Option<Profile> },
    Leave { leaving: Leaving },
}

/// A link, both ways.
#[derive(Default)]
struct Link {
    number: u64,
    to_server: VecDeque<Request>,
    to_client: VecDeque<Result<Answer, Refusal>>,
}

struct Client {
    running: bool,
    member: MemberId,
    lives: u32,
    fixed: bool,
    /// Whether it wants one of the topics only.
    narrow: bool,
    epoch: Option<GroupEpoch>,
    told: BTreeSet<TopicPartition>,
    owned: BTreeSet<TopicPartition>,
    seen: u64,
    link: Link,
}

struct World {
    now: u64,
    group: ConsumerGroup,
    topics: Arc<Topics>,
    clients: Vec<Client>,
    log: Vec<Vec<GroupRecord>>,
    tickets: VecDeque<PersistTicket>,
    committed: usize,
    outbox: Outbox<(usize, u64, Result<Answer, Refusal>)>,
    /// Under which identity and epoch some consumer has ever owned a partition.
    licences: BTreeSet<(TopicPartition, MemberId, Option<InstanceId>, GroupEpoch)>,
    epochs: BTreeMap<MemberId, GroupEpoch>,
}

impl World {
    fn new() -> World {
        let topics = topics(&[("t", 1, 3), ("u", 2, 2)]);
        let client = |number: usize| Client {
            running: false,
            member: MemberId::new(&format!("c{number}-0")).unwrap(),
            lives: 0,
            fixed: number < 2,
            narrow: number == 2,
            epoch: None,
            told: BTreeSet::new(),
            owned: BTreeSet::new(),
            seen: 0,
            link: Link::default(),
        };
        World {
            now: 0,
            group: ConsumerGroup::new(GroupConfig::default(), Arc::clone(&topics)),
            topics,
            clients: (0..CLIENTS).map(client).collect(),
            log: Vec::new(),
            tickets: VecDeque::new(),
            committed: 0,
            outbox: Outbox::default(),
            licences: BTreeSet::new(),
            epochs: BTreeMap::new(),
        }
    }

    fn instance(&self, k: usize) -> Option<InstanceId> {
        // The two static ones share a name, so that they fence each other.
        self.clients[k].fixed.then(|| InstanceId::new("shared").unwrap())
    }

    fn profile(&self, k: usize) -> Profile {
        let names: &[&str] = if self.clients[k].narrow { &["t"] } else { &["t", "u"] };
        if self.clients[k].fixed { fixed(names, "shared") } else { profile(names) }
    }

    fn act(&mut self, op: u8, k: usize, param: u16) {
        match op {
            0 | 1 => self.start(k, param),
            2 => self.crash(k),
            3..=6 => self.send(k),
            7..=12 => self.serve(k),
            13..=17 => self.hear(k),
            18..=20 => self.reconcile(k),
            21 => self.pass(u64::from(param) % 12_000),
            22 => self.break_link(k, param.is_multiple_of(2)),
            23 => self.change_topics(param),
            24 => self.ask_to_leave(k, param),
            25 => self.fail_over(),
            26 => self.change_mind(k),
            _ => self.commit_log(),
        }
    }

    /// A new life of a stopped consumer.
    fn start(&mut self, k: usize, param: u16) {
        if self.clients[k].running {
            return;
        }
        let client = &mut self.clients[k];
        if !param.is_multiple_of(4) {
            client.lives += 1;
            client.member = MemberId::new(&format!("c{k}-{}", client.lives)).unwrap();
        }
        // A new life has a new link, and hears nothing that was meant for the one before.
        client.running = true;
        self.forget(k);
        self.break_link(k, false);
    }

    fn forget(&mut self, k: usize) {
        let client = &mut self.clients[k];
        (client.epoch, client.told, client.owned) = (None, BTreeSet::new(), BTreeSet::new());
    }

    fn crash(&mut self, k: usize) {
        self.clients[k].running = false;
        self.forget(k);
        self.break_link(k, false);
    }

    fn break_link(&mut self, k: usize, noticed: bool) {
        let client = &mut self.clients[k];
        client.link = Link { number: client.link.number + 1, ..Link::default() };
        let member = client.member.clone();
        if client.running && client.epoch.is_none() {
            client.link.to_server.push_back(Request::Join);
        }
        if noticed {
            self.step(None, Event::Disconnected { member });
        }
    }

    fn change_mind(&mut self, k: usize) {
        self.clients[k].narrow ^= true;
        let profile = self.profile(k);
        self.send(k);
        if let Some(Request::Beat { profile: told, .. }) = self.clients[k].link.to_server.back_mut() {
            *told = Some(profile);
        }
    }

    fn send(&mut self, k: usize) {
        let client = &mut self.clients[k];
        if let Some(epoch) = client.epoch.filter(|_| client.running) {
            let (owned, seen) = (client.owned.clone(), client.seen);
            client.link.to_server.push_back(Request::Beat { epoch, owned, seen, profile: None });
        }
    }

    fn ask_to_leave(&mut self, k: usize, param: u16) {
        let client = &mut self.clients[k];
        if client.running && client.epoch.is_some() {
            client.running = false;
            let for_now = client.fixed && param.is_multiple_of(2);
            let leaving = if for_now { Leaving::ForNow } else { Leaving::ForGood };
            client.link.to_server.push_back(Request::Leave { leaving });
            self.forget(k);
        }
    }

    /// The door takes one request of a link.
    fn serve(&mut self, k: usize) {
        let (member, instance) = (self.clients[k].member.clone(), self.instance(k));
        let Some(request) = self.clients[k].link.to_server.pop_front() else { return };
        let event = match request {
            Request::Join => Event::Join(Join { member, profile: self.profile(k) }),
            Request::Beat { epoch, owned, seen, profile } => {
                let (heard, owned) = (Some(seen), Some(owned));
                Event::Heartbeat(Heartbeat { member, instance, epoch, heard, owned, profile })
            }
            Request::Leave { leaving } => Event::Leave { member, instance, epoch: None, leaving },
        };
        self.step(Some(k), event);
    }

    fn step(&mut self, caller: Option<usize>, event: Event) {
        let effects = self.group.step(event, at(self.now));
        self.perform(caller, effects);
    }

    fn perform(&mut self, caller: Option<usize>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist(records) => {
                    assert!(!records.is_empty());
                    self.log.push(records);
                    self.tickets.push_back(self.outbox.persist());
                }
                Effect::Reply(answer) => {
                    if let Some(k) = caller {
                        self.outbox.push((k, self.clients[k].link.number, answer));
                    }
                }
                Effect::Due(member) => {
                    // Only some doors can reach their members unasked.
                    let reachable = |c: &Client| c.member == member && c.running && c.epoch.is_some();
                    if let Some(k) = self.clients.iter().position(reachable).filter(|k| k % 2 == 0) {
                        self.step(Some(k), Event::Poll { member });
                    }
                }
                Effect::Lost { member, .. } => assert!(
                    caller.is_some() || !self.group.state.members.contains_key(&member),
                    "{member} was lost and is still there"
                ),
            }
        }
    }

    fn commit_log(&mut self) {
        if let Some(ticket) = self.tickets.pop_front() {
            self.committed += 1;
            self.outbox.committed(ticket);
        }
        while let Some((k, link, answer)) = self.outbox.pop() {
            if self.clients[k].link.number == link {
                self.clients[k].link.to_client.push_back(answer);
            }
        }
    }

    /// The consumer takes one answer.
    fn hear(&mut self, k: usize) {
        let client = &mut self.clients[k];
        let Some(answer) = client.link.to_client.pop_front() else { return };
        match answer {
            _ if !client.running => {}
            Ok(Answer::Done) => {}
            Ok(Answer::Assignment(assignment)) => {
                (client.epoch, client.seen) = (Some(assignment.epoch), assignment.revision);
                client.told = assignment.assigned;
            }
            Err(Refusal::Stranger(crate::fence::Stranger::FencedInstance { .. })) => {
                client.running = false;
                self.forget(k);
            }
            Err(_) => {
                self.forget(k);
                self.clients[k].link.to_server.push_back(Request::Join);
            }
        }
    }

    /// The consumer lets go and takes up.
    fn reconcile(&mut self, k: usize) {
        let client = &mut self.clients[k];
        if client.running && client.epoch.is_some() {
            client.owned = client.told.clone();
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        if self.group.next_deadline().is_some_and(|moment| moment.0 <= self.now) {
            self.step(None, Event::Deadline);
        }
        assert!(self.group.next_deadline().is_none_or(|moment| moment.0 > self.now));
    }

    fn change_topics(&mut self, param: u16) {
        let size = u32::from(param % 5);
        self.topics = match param % 3 {
            0 => topics(&[("t", 1, size)]),
            1 => topics(&[("t", 1, size), ("u", 2, 3)]),
            _ => topics(&[("t", 3, size), ("u", 2, 3)]),
        };
        self.step(None, Event::Topics(Arc::clone(&self.topics)));
    }

    /// Another coordinator takes over what is committed.
    fn fail_over(&mut self) {
        self.log.truncate(self.committed);
        (self.outbox, self.tickets) = (Outbox::default(), VecDeque::new());
        let mut state = GroupState::default();
        self.log.iter().flatten().cloned().for_each(|record| state.apply(record));
        for k in 0..CLIENTS {
            self.break_link(k, false);
        }
        self.epochs.clear();
        let (group, effects) =
            ConsumerGroup::restore(GroupConfig::default(), Arc::clone(&self.topics), state, at(self.now));
        self.group = group;
        self.perform(None, effects);
    }

    fn check(&mut self) {
        self.check_log();
        self.check_value();
        self.check_consumers();
    }

    /// The records of all effects are the state.
    fn check_log(&self) {
        let mut state = GroupState::default();
        self.log.iter().flatten().cloned().for_each(|record| state.apply(record));
        assert_eq!(state, self.group.state);
        // So is the newest of each key, in any order: what compaction leaves of the log, tombstones or not.
        let newest: BTreeMap<_, _> = self.log.iter().flatten().map(|record| (record.key(), record)).collect();
        let mut compacted = GroupState::default();
        let left = newest.into_values().rev().filter(|record| !record.is_tombstone());
        left.cloned().for_each(|record| compacted.apply(record));
        assert_eq!(compacted, state);
        assert_eq!(self.group.draft, Draft::default());
    }

    fn check_value(&mut self) {
        let state = &self.group.state;
        let ids: Vec<_> = state.members.keys().collect();
        assert_eq!(ids, state.targets.keys().collect::<Vec<_>>());
        assert_eq!(ids, state.currents.keys().collect::<Vec<_>>());
        assert_eq!(ids, self.group.live.keys().collect::<Vec<_>>());
        assert_eq!(ids.len(), self.group.deadlines.len());
        let mut owners = BTreeMap::new();
        let mut targeted = BTreeMap::new();
        for id in ids {
            let (current, target) = (&state.currents[id], &state.targets[id]);
            for partition in current.held() {
                assert_eq!(owners.insert(partition, id.clone()), None, "{partition} has two owners");
            }
            for partition in target {
                assert_eq!(targeted.insert(*partition, id.clone()), None, "{partition} is to have two");
            }
            assert!(current.epoch <= state.meta.epoch && current.previous_epoch <= current.epoch);
            if current.revoking.is_empty() && current.epoch == state.meta.epoch {
                assert!(current.assigned.is_subset(target), "{id} is stable beside its target");
            }
            let before = self.epochs.insert(id.clone(), current.epoch);
            assert!(before.is_none_or(|before| before <= current.epoch), "{id} went back");
        }
        self.epochs.retain(|id, _| state.members.contains_key(id));
        assert_eq!((&owners, &targeted), (&self.group.owners, &self.group.targeted));
        // Every partition that somebody subscribes to is somebody's who does.
        for (topic, view) in &self.topics.by_name {
            let wanted = state.members.values().any(|m| m.subscription.names.contains(topic));
            let count = targeted.keys().filter(|partition| partition.topic == view.id).count();
            assert_eq!(count, if wanted { view.shape.partitions.len() } else { 0 });
            for (_, id) in targeted.iter().filter(|(partition, _)| partition.topic == view.id) {
                assert!(state.members[id].subscription.names.contains(topic));
            }
        }
    }

    fn check_consumers(&mut self) {
        for k in 0..CLIENTS {
            let (instance, client) = (self.instance(k), &self.clients[k]);
            let Some(epoch) = client.epoch else { continue };
            let who = Committer {
                member: Some(client.member.clone()),
                instance: instance.clone(),
                epoch: Some(epoch),
            };
            let accepted = self.group.check_commit(&who).is_ok();
            for partition in &client.owned {
                self.licences.insert((*partition, client.member.clone(), instance.clone(), epoch));
                assert!(
                    !accepted || self.group.owners.get(partition) == Some(&client.member),
                    "{} may commit for {partition}, which is not its own",
                    client.member
                );
            }
        }
        for (partition, member, instance, epoch) in &self.licences {
            if self.group.owners.get(partition).is_none_or(|owner| owner == member) {
                continue;
            }
            for instance in [None, instance.clone()] {
                let who = Committer { member: Some(member.clone()), instance, epoch: Some(*epoch) };
                assert!(self.group.check_commit(&who).is_err(), "{member} at {epoch} overwrites {partition}");
            }
        }
    }

    /// Everything works again: who runs is heard, who does not is put out, and all is assigned.
    fn heal(&mut self) {
        let mut epochs = Vec::new();
        for _ in 0..12 {
            epochs.push(self.group.state.meta.epoch);
            for k in 0..CLIENTS {
                self.send(k);
                while !self.clients[k].link.to_server.is_empty() {
                    self.serve(k);
                }
            }
            while !self.tickets.is_empty() {
                self.commit_log();
            }
            self.commit_log();
            for k in 0..CLIENTS {
                while !self.clients[k].link.to_client.is_empty() {
                    self.hear(k);
                }
                self.reconcile(k);
            }
            self.pass(2_000);
            self.check();
        }
        // The silent are out after their sessions; from then on nothing moves.
        assert_eq!(epochs[8], self.group.state.meta.epoch, "the group does not come to rest");
        assert!(self.group.is_settled(), "{:?}", self.group);
        for client in self.clients.iter().filter(|client| client.running) {
            let current = self.group.state.currents.get(&client.member);
            assert_eq!(current.map(|current| &current.assigned), Some(&client.owned), "{}", client.member);
        }
        let running = self.clients.iter().filter(|client| client.running).count();
        assert_eq!(running, self.group.state.members.len());
    }
}

proptest! {
    #[test]
    fn no_history_breaks_the_rules_of_a_group(
        history in proptest::collection::vec((0..34_u8, 0..CLIENTS, any::<u16>()), 0..250),
    ) {
        let mut world = World::new();
        for (op, k, param) in history {
            world.act(op, k, param);
            world.check();
        }
        world.heal();
    }
}
