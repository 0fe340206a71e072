//! Fetch sessions (KIP-227): a client with a session sees what a client without one sees.

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_kafka::{KafkaError, NewTopics, Settings};
use millrace_kafka_wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use millrace_kafka_wire::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use millrace_kafka_wire::fetch_response::PartitionData;
use millrace_kafka_wire::produce_request::{PartitionProduceData, TopicProduceData};
use millrace_kafka_wire::{DeleteRecordsRequest, FetchRequest, FetchResponse, ProduceRequest, Uuid};
use millrace_types::limits::KAFKA_SESSION_PARTITIONS_MAX;

use crate::world::{Client, World, batch, settings};

/// Topic and partition.
type Place = (usize, i32);

const TOPICS: usize = 3;
const PARTITIONS: i32 = 4;
const ROUNDS: usize = 150;

/// Numbers that look drawn and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

struct Topics {
    ids: Vec<Uuid>,
    version: i16,
}

fn name(topic: usize) -> String {
    format!("t{topic}")
}

impl Topics {
    fn named(&self, topic: usize) -> (String, Uuid) {
        if self.version >= 13 { (String::new(), self.ids[topic]) } else { (name(topic), [0; 16]) }
    }

    fn fetch(&self, session: (i32, i32), wanted: &BTreeMap<Place, i64>) -> FetchRequest {
        let topics = wanted.iter().map(|((topic, partition), offset)| {
            let (topic, topic_id) = self.named(*topic);
            let partition = FetchPartition {
                partition: *partition,
                fetch_offset: *offset,
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            };
            FetchTopic { topic, topic_id, partitions: vec![partition], ..FetchTopic::default() }
        });
        FetchRequest {
            min_bytes: 1,
            max_bytes: 1 << 24,
            session_id: session.0,
            session_epoch: session.1,
            topics: topics.collect(),
            ..FetchRequest::default()
        }
    }

    fn answered(&self, response: FetchResponse) -> BTreeMap<Place, PartitionData> {
        let place = |name: &str, id: Uuid| {
            (0..TOPICS).find(|topic| self.named(*topic) == (name.to_owned(), id)).unwrap()
        };
        let topics = response.responses.into_iter();
        let parts = topics.flat_map(|topic| {
            let number = place(&topic.topic, topic.topic_id);
            topic.partitions.into_iter().map(move |part| ((number, part.partition_index), part))
        });
        parts.collect()
    }
}

/// A client as Kafka's own is: it names what has changed since it last asked.
struct Remembering {
    session: (i32, i32),
    /// What the broker remembers of it.
    remembered: BTreeMap<Place, i64>,
    /// What it was told last.
    told: BTreeMap<Place, PartitionData>,
}

impl Remembering {
    async fn fetch(
        &mut self,
        client: &mut Client,
        topics: &Topics,
        wanted: &BTreeMap<Place, i64>,
    ) -> BTreeMap<Place, PartitionData> {
        let known = self.session.1 > 0;
        let changed =
            wanted.iter().filter(|(place, offset)| !known || self.remembered.get(place) != Some(offset));
        let mut request =
            topics.fetch(self.session, &changed.map(|(place, offset)| (*place, *offset)).collect());
        let gone = self.remembered.keys().filter(|place| known && !wanted.contains_key(place));
        request.forgotten_topics_data = gone
            .map(|(topic, partition)| {
                let (topic, topic_id) = topics.named(*topic);
                ForgottenTopic { topic, topic_id, partitions: vec![*partition], ..ForgottenTopic::default() }
            })
            .collect();
        let response = client.call(topics.version, &request).await;
        assert_eq!(response.error_code, 0);
        let emptied = known && wanted.is_empty();
        assert_eq!(response.session_id != 0, !wanted.is_empty());
        self.session = if emptied || response.session_id == 0 {
            (0, 0)
        } else {
            (response.session_id, self.session.1 + 1)
        };
        self.remembered = wanted.clone();
        let news = topics.answered(response);
        if !known {
            assert_eq!(news.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
        }
        self.told.retain(|place, _| wanted.contains_key(place));
        // Of what is not told nothing has changed, and there are no records.
        let before = self
            .told
            .iter()
            .map(|(place, data)| (*place, PartitionData { records: Some(Bytes::new()), ..data.clone() }));
        let mut now: BTreeMap<Place, PartitionData> = before.collect();
        now.extend(news);
        self.told.clone_from(&now);
        now
    }
}

async fn disturb(client: &mut Client, dice: &mut Dice, ends: &mut BTreeMap<Place, i64>) {
    let topic = usize::try_from(dice.roll(TOPICS as u64)).unwrap();
    let partition = i32::try_from(dice.roll(4)).unwrap();
    let end = ends.entry((topic, partition)).or_default();
    if dice.roll(4) > 0 {
        let value = format!("{topic}-{partition}-{end}");
        let partition_data = PartitionProduceData {
            index: partition,
            records: Some(batch(&[value.as_bytes()])),
            ..PartitionProduceData::default()
        };
        let data = TopicProduceData {
            name: name(topic),
            partition_data: vec![partition_data],
            ..Default::default()
        };
        let request =
            ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![data], ..Default::default() };
        let answer = client.call(9, &request).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        *end += 1;
    } else {
        let before = i64::try_from(dice.roll(u64::try_from(*end).unwrap() + 1)).unwrap();
        let partition =
            DeleteRecordsPartition { partition_index: partition, offset: before, ..Default::default() };
        let topic =
            DeleteRecordsTopic { name: name(topic), partitions: vec![partition], ..Default::default() };
        let request = DeleteRecordsRequest { topics: vec![topic], ..DeleteRecordsRequest::default() };
        let answer = client.call(2, &request).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    }
}

async fn topics(client: &mut Client, version: i16) -> Topics {
    let mut ids = Vec::new();
    for topic in 0..TOPICS {
        ids.push(client.topic(&name(topic)).await.topic_id);
    }
    Topics { ids, version }
}

async fn world() -> World {
    let new_topics = NewTopics { auto_create: true, partitions: u32::try_from(PARTITIONS).unwrap() };
    World::with(Settings { new_topics, ..settings() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_session_sees_what_a_client_without_one_sees() {
    for version in [7, 11, 12, 13, 18] {
        let world = world().await;
        let (mut one, mut other) = (world.client().await, world.client().await);
        let topics = topics(&mut one, version).await;
        let mut dice = Dice(u64::from(version.unsigned_abs()));
        let mut reader = Remembering { session: (0, 0), remembered: BTreeMap::new(), told: BTreeMap::new() };
        let (mut wanted, mut ends) = (BTreeMap::new(), BTreeMap::new());
        for round in 0..ROUNDS {
            for _ in 0..dice.roll(3) {
                disturb(&mut other, &mut dice, &mut ends).await;
            }
            // Partitions come and go, a reader jumps, or it goes on where it is. One of them does not exist.
            let place =
                (usize::try_from(dice.roll(TOPICS as u64)).unwrap(), i32::try_from(dice.roll(5)).unwrap());
            match dice.roll(6) {
                0 => drop(wanted.remove(&place)),
                1 | 2 => drop(wanted.insert(place, i64::try_from(dice.roll(12)).unwrap())),
                3 if dice.roll(10) == 0 => reader.session = (reader.session.0, 0),
                _ => {}
            }
            let whole = topics.answered(other.call(version, &topics.fetch((0, -1), &wanted)).await);
            let seen = reader.fetch(&mut one, &topics, &wanted).await;
            assert_eq!(seen, whole, "version {version}, round {round}");
            for (place, data) in &whole {
                if data.records.as_ref().is_some_and(|records| !records.is_empty()) {
                    wanted.insert(*place, data.high_watermark);
                }
            }
        }
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_connection_and_holds_no_memory_behind_it() {
    let world = world().await;
    let (mut one, mut other) = (world.client().await, world.client().await);
    let topics = topics(&mut one, 12).await;
    let wanted = BTreeMap::from([((0, 0), 0), ((1, 1), 0)]);
    let id = one.call(12, &topics.fetch((0, 0), &wanted)).await.session_id;
    assert!(id > 0 && world.broker.memory().in_use() > 0);
    let nothing = BTreeMap::new();
    let stranger = other.call(12, &topics.fetch((id, 1), &nothing)).await;
    assert_eq!(
        (stranger.error_code, stranger.session_id, stranger.responses.len()),
        (KafkaError::FetchSessionIdNotFound.code(), 0, 0)
    );
    let late = one.call(12, &topics.fetch((id, 7), &nothing)).await;
    assert_eq!(late.error_code, KafkaError::InvalidFetchSessionEpoch.code());
    let silent = one.call(12, &topics.fetch((id, 1), &nothing)).await;
    assert_eq!((silent.error_code, silent.session_id, silent.responses.len()), (0, id, 0));
    let ids = Topics { version: 13, ..topics };
    let by_id = one.call(13, &ids.fetch((id, 2), &nothing)).await;
    assert_eq!(by_id.error_code, KafkaError::FetchSessionTopicIdError.code());
    drop(one);
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_take_bounded_room_and_who_finds_none_is_answered_without() {
    let world = world().await;
    let mut client = world.client().await;
    let topics = topics(&mut client, 12).await;
    let wanted: BTreeMap<Place, i64> = (0..2000).map(|partition| ((0, partition), 0)).collect();
    let (mut clients, mut sessions) = (Vec::new(), 0);
    for _ in 0..KAFKA_SESSION_PARTITIONS_MAX / wanted.len() + 2 {
        let mut client = world.client().await;
        let answer = client.call(12, &topics.fetch((0, 0), &wanted)).await;
        assert_eq!((answer.error_code, answer.responses.len()), (0, wanted.len()));
        sessions += usize::from(answer.session_id > 0);
        clients.push(client);
    }
    assert!(sessions > 0 && sessions * wanted.len() <= KAFKA_SESSION_PARTITIONS_MAX, "{sessions} sessions");
    drop(clients);
    world.until_nothing_is_held().await;
    let answer = client.call(12, &topics.fetch((0, 0), &wanted)).await;
    assert!(answer.session_id > 0, "the room has come back");
    world.stop().await;
}
