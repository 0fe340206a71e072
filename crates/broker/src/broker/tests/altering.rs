//! Topics that are altered, that grow, and records that are deleted: in force when it is answered, and kept.

use millrace_env::counting::CallKind;
use millrace_env::sim::Fault;
use millrace_types::Outcome;

use super::*;
use crate::{
    AlterTopicsRequest, Alteration, ConfigChange, CreatePartitionsRequest, NewPartitions, RecordsToDelete,
    TopicChanges,
};

fn set(key: &str, value: &str) -> ConfigChange {
    ConfigChange::Set { key: key.to_owned(), value: value.to_owned() }
}

fn unset(key: &str) -> ConfigChange {
    ConfigChange::Unset { key: key.to_owned() }
}

fn altering(topic: &str, changes: Vec<ConfigChange>) -> AlterTopicsRequest {
    let topics = vec![TopicChanges { topic: by_name(topic), changes: Alteration::Keys(changes) }];
    AlterTopicsRequest { topics, validate_only: false }
}

fn growing(topic: &str, count: u32) -> CreatePartitionsRequest {
    let topics = vec![NewPartitions { topic: by_name(topic), count }];
    CreatePartitionsRequest { topics, validate_only: false }
}

fn before(topic: &str, partition: u32, before: Option<u64>) -> RecordsToDelete {
    let (topic, partition) = (by_name(topic), PartitionIndex(partition));
    RecordsToDelete { topic, partition, before: before.map(Offset::from_count) }
}

impl World {
    async fn alter(&self, topic: &str, changes: Vec<ConfigChange>) -> Result<TopicDescription, ApiError> {
        self.broker.alter_topics(&ctx(), altering(topic, changes)).await.unwrap().remove(0)
    }

    async fn grow(&self, topic: &str, count: u32) -> Result<TopicDescription, ApiError> {
        self.broker.create_partitions(&ctx(), growing(topic, count)).await?.remove(0)
    }

    async fn delete_records(&self, wanted: RecordsToDelete) -> Result<Offset, ApiError> {
        self.broker.delete_records(&ctx(), vec![wanted]).await.unwrap().remove(0)
    }

    async fn config(&self, topic: &str, key: &str) -> (String, bool) {
        let described = self.broker.describe_topic(&ctx(), by_name(topic)).await.unwrap();
        let entry = described.configs.into_iter().find(|entry| entry.key == key).unwrap();
        (entry.value, entry.is_set)
    }

    async fn partitions(&self, topic: &str) -> usize {
        self.broker.describe_topic(&ctx(), by_name(topic)).await.unwrap().partitions.len()
    }
}

#[tokio::test]
async fn a_changed_configuration_is_in_force_at_once_and_stays_after_a_power_cut() {
    let world = World::new(1).await;
    world.create("a", 2).await;
    let large = "x".repeat(5_000);
    world.produce("a", &[&large]).await.unwrap();
    let described = world.alter("a", vec![set("max.message.bytes", "1000"), set("sync.mode", "os")]).await;
    assert_eq!(described.unwrap(), world.broker.describe_topic(&ctx(), by_name("a")).await.unwrap());
    assert_eq!(code(world.produce("a", &[&large]).await), Some(ErrorCode::BatchTooLarge));
    world.produce("a", &["small"]).await.unwrap();
    let world = world.cut(Survival::Nothing).await;
    assert_eq!(world.config("a", "max.message.bytes").await, ("1000".to_owned(), true));
    assert_eq!(world.config("a", "sync.mode").await, ("os".to_owned(), true));
    assert_eq!(code(world.produce("a", &[&large]).await), Some(ErrorCode::BatchTooLarge));
    world.alter("a", vec![unset("max.message.bytes"), set("sync.mode", "always")]).await.unwrap();
    world.produce("a", &[&large]).await.unwrap();
    let world = world.cut(Survival::Nothing).await;
    assert!(!world.config("a", "max.message.bytes").await.1);
    assert_eq!(world.values("a", 0).await.unwrap().last(), Some(&large));
}

#[tokio::test]
async fn retention_that_is_set_later_takes_what_is_there() {
    let world = World::new(2).await;
    world.create("a", 1).await;
    world.produce("a", &["old"]).await.unwrap();
    world.sim.clock().advance(Duration::from_secs(7200));
    world.broker.core.dir.janitor_step();
    assert_eq!(world.values("a", 0).await.unwrap(), ["old"]);
    world.alter("a", vec![set("retention.ms", "3600000")]).await.unwrap();
    for _ in 0..3 {
        world.broker.core.dir.janitor_step();
    }
    assert_eq!(code(world.values("a", 0).await), Some(ErrorCode::OffsetOutOfRange));
    assert_eq!(world.values("a", 1).await, Ok(Vec::new()));
}

#[tokio::test]
async fn many_topics_are_altered_by_one_request_and_each_is_answered_for_itself() {
    let world = World::new(3).await;
    world.create("a", 1).await;
    world.create("b", 1).await;
    let of =
        |topic: &str, changes| TopicChanges { topic: by_name(topic), changes: Alteration::Keys(changes) };
    let topics = vec![
        of("a", vec![set("retention.ms", "5")]),
        of("nope", vec![set("retention.ms", "5")]),
        of("b", vec![set("retention.ms", "5"), set("no.such.key", "5")]),
        of("__consumer_offsets", vec![set("retention.ms", "5")]),
        of("b", vec![set("retention.bytes", "7")]),
    ];
    let check = AlterTopicsRequest { topics, validate_only: true };
    let codes = [
        None,
        Some(ErrorCode::UnknownTopicOrPartition),
        Some(ErrorCode::InvalidConfig),
        Some(ErrorCode::InvalidRequest),
        None,
    ];
    let checked = world.broker.alter_topics(&ctx(), check.clone()).await.unwrap();
    assert_eq!(checked.into_iter().map(code).collect::<Vec<_>>(), codes);
    assert!(!world.config("a", "retention.ms").await.1, "it was only checked");
    let request = AlterTopicsRequest { validate_only: false, ..check };
    let altered = world.broker.alter_topics(&ctx(), request).await.unwrap();
    assert_eq!(altered.into_iter().map(code).collect::<Vec<_>>(), codes);
    let world = world.cut(Survival::Nothing).await;
    assert_eq!(world.config("a", "retention.ms").await, ("5".to_owned(), true));
    assert!(!world.config("b", "retention.ms").await.1);
    assert_eq!(world.config("b", "retention.bytes").await, ("7".to_owned(), true));
}

#[tokio::test]
async fn new_partitions_take_records_when_they_are_answered_and_stay_after_a_power_cut() {
    let world = World::new(4).await;
    world.create("a", 1).await;
    world.produce("a", &["first"]).await.unwrap();
    assert_eq!(world.grow("a", 3).await.unwrap().partitions.len(), 3);
    let sent = world.send(produce_request(vec![plain("a", 2, &["new"], None)])).await.partitions.remove(0);
    sent.unwrap();
    for count in [0, 1, 3] {
        assert_eq!(code(world.grow("a", count).await), Some(ErrorCode::InvalidPartitionCount), "{count}");
    }
    assert_eq!(code(world.grow("__consumer_offsets", 99).await), Some(ErrorCode::InvalidRequest));
    let world = world.cut(Survival::Nothing).await;
    assert_eq!(world.partitions("a").await, 3);
    let request = fetch_request(vec![from("a", 2, 0)], Duration::ZERO);
    let fetched = world.broker.fetch(&ctx(), request).await.unwrap().partitions.remove(0).unwrap();
    assert_eq!(decoded(fetched.extents), ["new"]);
    assert_eq!(world.values("a", 0).await.unwrap(), ["first"]);
    let world = world.restart().await;
    assert!(world.broker.start_report().clean && world.broker.start_report().damaged.is_empty());
    world.broker.delete_topic(&ctx(), by_name("a")).await.unwrap();
    assert!(world.restart().await.broker.orphans().is_empty());
}

#[tokio::test]
async fn a_power_cut_at_any_call_leaves_a_topic_as_it_was_or_as_it_was_to_be() {
    let mut landed = [0, 0];
    for number in 0..60 {
        let world = World::new(500 + number).await;
        world.create("a", 1).await;
        world.produce("a", &["kept"]).await.unwrap();
        // From this call on nothing reaches the medium.
        let survival = if number % 2 == 0 { Survival::Random } else { Survival::Nothing };
        let kinds =
            [CallKind::SyncData, CallKind::SyncDir, CallKind::Create, CallKind::Rename, CallKind::Write];
        let kind = kinds[usize::try_from(number % 5).unwrap()];
        world.sim.disk().inject(Fault::io(kind).after(number / 5).for_ever());
        let altered = world.alter_if_it_lives().await;
        let grown = world.broker.create_partitions(&ctx(), growing("a", 3)).await;
        let grown = grown.and_then(|mut answers| answers.remove(0));
        world.sim.disk().heal();
        let world = world.cut(survival).await;
        let (is_set, partitions) = (world.config("a", "retention.ms").await.1, world.partitions("a").await);
        assert!(is_set || altered.is_err(), "{number}: it was acknowledged");
        assert!(partitions == 3 || (partitions == 1 && grown.is_err()), "{number}: {partitions} partitions");
        landed[usize::from(partitions == 3)] += 1;
        // Whatever came of it, the topic is whole: every partition takes records.
        for partition in 0..u32::try_from(partitions).unwrap() {
            let request = produce_request(vec![plain("a", partition, &["after"], None)]);
            world.send(request).await.partitions.remove(0).unwrap();
        }
        assert_eq!(world.values("a", 0).await.unwrap(), ["kept", "after"]);
        assert!(world.broker.start_report().damaged.is_empty());
    }
    assert!(landed[0] > 0 && landed[1] > 0, "{landed:?}");
}

impl World {
    async fn alter_if_it_lives(&self) -> Result<TopicDescription, ApiError> {
        let changes = vec![set("retention.ms", "86400000")];
        self.broker.alter_topics(&ctx(), altering("a", changes)).await?.remove(0)
    }
}

#[tokio::test]
async fn partitions_whose_logs_find_no_room_are_made_later() {
    let world = World::new(6).await;
    world.create("a", 1).await;
    let disk = world.sim.disk();
    disk.inject(Fault::no_space(CallKind::CreateDir).after(1));
    let error = world.grow("a", 4).await.unwrap_err();
    assert_eq!((error.code, error.code.outcome()), (ErrorCode::OutcomeUnknown, Outcome::Indefinite));
    assert_eq!(world.partitions("a").await, 4);
    world.broker.core.finish().await;
    for partition in 0..4 {
        let request = produce_request(vec![plain("a", partition, &["x"], None)]);
        world.send(request).await.partitions.remove(0).unwrap();
    }
    let world = world.restart().await;
    assert!(world.broker.start_report().clean && world.broker.start_report().damaged.is_empty());
}

#[tokio::test]
async fn deleted_records_are_gone_for_good_and_no_others() {
    let world = World::new(7).await;
    world.create("a", 2).await;
    for value in ["0", "1", "2", "3"] {
        world.produce("a", &[value]).await.unwrap();
    }
    assert_eq!(world.delete_records(before("a", 0, Some(2))).await, Ok(Offset::from_count(2)));
    assert_eq!(world.delete_records(before("a", 0, Some(1))).await, Ok(Offset::from_count(2)), "never back");
    let world = world.cut(Survival::Nothing).await;
    assert_eq!(code(world.values("a", 1).await), Some(ErrorCode::OffsetOutOfRange));
    assert_eq!(world.values("a", 2).await.unwrap(), ["2", "3"]);
    let wanted = vec![
        before("a", 0, Some(5)),
        before("a", 9, None),
        before("nope", 0, None),
        before("__consumer_offsets", 0, None),
        before("a", 1, None),
        before("a", 0, None),
    ];
    let answers = world.broker.delete_records(&ctx(), wanted).await.unwrap();
    let starts: Vec<_> =
        answers.into_iter().map(|answer| answer.map(Offset::get).map_err(|error| error.code)).collect();
    assert_eq!(
        starts,
        [
            Err(ErrorCode::OffsetOutOfRange),
            Err(ErrorCode::UnknownTopicOrPartition),
            Err(ErrorCode::UnknownTopicOrPartition),
            Err(ErrorCode::InvalidRequest),
            Ok(0),
            Ok(4),
        ]
    );
    let world = world.cut(Survival::Nothing).await;
    assert_eq!(world.values("a", 4).await, Ok(Vec::new()));
    assert_eq!(world.produce("a", &["next"]).await.unwrap().base_offset, Offset::from_count(4));
}
