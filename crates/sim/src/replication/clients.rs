//! Clients: producers that send one record at a time, idempotent or not, and consumers that read wherever they please.

use millrace_replication::reads::{Position, Served};
use millrace_types::{LeaderEpoch, NodeId, Offset, TopicId};

use super::more::More;
use super::truth::place;
use super::weather::Weather;
use super::wire::{Answer, Message, Place, Produced, RequestNo, Value};
use super::world::World;

/// How long a client waits for an answer.
const PATIENCE_MS: u64 = 900;

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) kind: Kind,
    /// What it waits for.
    waits: Option<RequestNo>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Producer(Producer),
    Consumer(Consumer),
}

#[derive(Debug)]
pub(crate) struct Producer {
    /// Its producer id, if it is idempotent: then it sends a record until it is acknowledged.
    id: Option<i64>,
    acks_all: bool,
    topic: Option<TopicId>,
    sequence: i32,
    /// The record that is not done with.
    pub(crate) pending: Option<Value>,
    /// How often it was sent.
    times: u32,
    /// Whether it will begin another when it is done with this one.
    pub(crate) goes_on: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Consumer {
    topic: Option<TopicId>,
    pub(crate) position: Offset,
    last_epoch: Option<LeaderEpoch>,
}

impl Client {
    pub(crate) fn all(weather: &Weather, more: More) -> Vec<Client> {
        let producers = (0..weather.producers).map(|number| {
            // The first is idempotent, the second is not, the third does not wait for other replicas.
            let id = (number == 0 && more != More::Deletions).then_some(1_000);
            Kind::Producer(Producer {
                id,
                acks_all: number < 2,
                topic: None,
                sequence: 0,
                pending: None,
                times: 0,
                goes_on: true,
            })
        });
        let consumers = (0..weather.consumers).map(|_| Kind::Consumer(Consumer::default()));
        producers.chain(consumers).map(|kind| Client { kind, waits: None }).collect()
    }
}

impl World {
    /// Some broker: the leader as the controller knows it, or any.
    fn some_broker(&self, leader_of_ten: u64) -> NodeId {
        let leader = self.helm.partition.view.leader.filter(|_| self.rng.chance(leader_of_ten, 10));
        let brokers = u64::try_from(self.nodes.len()).unwrap_or(1);
        let any = 1 + i32::try_from(self.rng.below(brokers)).unwrap_or_default();
        leader.unwrap_or(NodeId(any))
    }

    /// A client does what it does next.
    pub(crate) fn turn(&mut self, number: usize) {
        let think = 1 + self.weather.think_ms / 2 + self.rng.below(self.weather.think_ms);
        self.later(think, super::world::Happening::Turn(number));
        let topic = self.helm.topic();
        self.requests += 1;
        let request = RequestNo(self.requests);
        let Some(client) = self.clients.get_mut(number).filter(|client| client.waits.is_none()) else {
            return;
        };
        client.waits = Some(request);
        let message = match &mut client.kind {
            Kind::Producer(producer) => {
                if producer.topic != Some(topic) {
                    (producer.topic, producer.sequence, producer.pending) = (Some(topic), 0, None);
                }
                if producer.pending.is_none() {
                    if !producer.goes_on {
                        client.waits = None;
                        return;
                    }
                    self.values += 1;
                    (producer.pending, producer.times) = (Some(self.values), 0);
                    self.truth.sent.insert(self.values);
                }
                producer.times += 1;
                self.marks.retried += u64::from(producer.times > 1);
                let batch = Produced {
                    value: producer.pending.unwrap_or_default(),
                    stamp: producer.id.map(|id| (id, producer.sequence)),
                    acks_all: producer.acks_all,
                };
                Message::Produce { from: number, request, topic, batch }
            }
            Kind::Consumer(consumer) => {
                if consumer.topic != Some(topic) {
                    *consumer = Consumer { topic: Some(topic), ..Consumer::default() };
                }
                if self.rng.chance(1, 4) {
                    Message::Latest { from: number, request, topic }
                } else {
                    let (next, last_epoch) = (consumer.position, consumer.last_epoch);
                    let position = Position { next, leader_epoch: None, last_epoch };
                    Message::Read { from: number, request, topic, position }
                }
            }
        };
        let to = match message {
            Message::Produce { .. } => self.some_broker(8),
            _ => self.some_broker(4),
        };
        self.send(Place::Client(number), Place::Node(to), message);
        self.later(PATIENCE_MS, super::world::Happening::Overdue(number, request));
    }

    pub(crate) fn overdue(&mut self, number: usize, request: RequestNo) {
        let waits = self.clients.get(number).is_some_and(|client| client.waits == Some(request));
        if waits {
            self.hear(number, request, &Answer::InDoubt);
        }
    }

    /// A client has its answer.
    pub(crate) fn hear(&mut self, number: usize, request: RequestNo, answer: &Answer) {
        let topic = self.helm.topic();
        let Some(client) = self.clients.get_mut(number).filter(|client| client.waits == Some(request)) else {
            return;
        };
        client.waits = None;
        match &mut client.kind {
            Kind::Producer(producer) => {
                let Some(value) = producer.pending.filter(|_| producer.topic == Some(topic)) else { return };
                match answer {
                    Answer::Committed(offset) => {
                        if producer.acks_all {
                            self.truth.acked.insert(value, *offset);
                        }
                        producer.pending = None;
                        producer.sequence += 1;
                    }
                    // Said of the only time that it was sent, it is certain.
                    Answer::No if producer.id.is_none() => {
                        self.truth.refused.insert(value);
                        producer.pending = None;
                    }
                    _ if producer.id.is_none() => producer.pending = None,
                    _ => {}
                }
            }
            Kind::Consumer(consumer) => {
                let Answer::Read { asked, entries, served } = answer else { return };
                if consumer.topic == Some(topic) && asked.next == consumer.position {
                    if *served == Served::OutOfRange && place(consumer.position) < self.truth.deleted_to {
                        // It asks where the partition begins, and hears of which epoch that is.
                        let before = self.truth.deleted_to.saturating_sub(1);
                        let entry = self.truth.committed.get(before);
                        consumer.position = Offset::from_count(self.truth.deleted_to as u64);
                        consumer.last_epoch = entry.map(|entry| LeaderEpoch(entry.epoch));
                        return;
                    }
                    consumer.position = consumer.position.saturating_add(entries.len() as u64);
                    let last = entries.last().map(|entry| LeaderEpoch(entry.epoch));
                    consumer.last_epoch = last.or(consumer.last_epoch);
                }
            }
        }
    }

    /// A broker is asked by a consumer.
    pub(crate) fn serve(&mut self, id: NodeId, message: &Message) {
        let Some(node) = self.nodes.get(&id) else { return };
        let (client, request, topic, answer) = match message {
            Message::Read { from, request, topic, position } => {
                let (served, entries) = node.read(*topic, *position);
                let leads = self.helm.partition.view.leader == Some(id);
                match served {
                    Served::UpTo(_) if leads => self.marks.read_at_leaders += 1,
                    Served::UpTo(_) => self.marks.read_at_followers += 1,
                    Served::NotAvailable => self.marks.not_available += 1,
                    _ => {}
                }
                (*from, *request, *topic, Answer::Read { asked: *position, served, entries })
            }
            Message::Latest { from, request, topic } => {
                let answer = node.latest(*topic).unwrap_or(Answer::No);
                match answer {
                    Answer::Latest { .. } => self.marks.latest += 1,
                    Answer::LatestUnknown => self.marks.latest_unknown += 1,
                    _ => self.marks.not_leading += 1,
                }
                (*from, *request, *topic, answer)
            }
            _ => return,
        };
        let answer = Message::Answer { client, request, topic, node: id, answer };
        self.send(Place::Node(id), Place::Client(client), answer);
    }
}
