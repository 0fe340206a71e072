//! Creating, listing, describing and deleting topics.

use millrace_types::TopicId;

use super::*;

async fn refused(world: &World, request: CreateTopicRequest) -> Option<ErrorCode> {
    code(world.broker.create_topic(&ctx(), request).await)
}

fn with_config(key: &str, value: &str) -> CreateTopicRequest {
    CreateTopicRequest { configs: [(key.to_owned(), value.to_owned())].into(), ..new_topic("x", 1) }
}

#[tokio::test]
async fn a_created_topic_is_described_and_listed() {
    let world = World::new(1).await;
    let made = world.create("orders", 3).await;
    assert_eq!((made.partitions.len(), made.replication_factor), (3, 1));
    assert!(made.partitions.iter().all(|partition| partition.leader == Some(NodeId(1))));
    let described = world.broker.describe_topic(&ctx(), TopicRef::Id(made.id)).await.unwrap();
    assert_eq!(described, made);
    let listed = world.broker.list_topics(&ctx()).await.unwrap();
    let names: Vec<_> = listed.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect();
    assert_eq!(names, [("__consumer_offsets", 16), ("orders", 3)]);
}

#[tokio::test]
async fn what_is_set_is_in_force_and_marked() {
    let world = World::new(1).await;
    let made = world.broker.create_topic(&ctx(), with_config("segment.bytes", "1048576")).await.unwrap();
    let entry = |key: &str| made.configs.iter().find(|entry| entry.key == key).unwrap();
    assert_eq!((entry("segment.bytes").value.as_str(), entry("segment.bytes").is_set), ("1048576", true));
    assert_eq!((entry("retention.ms").value.as_str(), entry("retention.ms").is_set), ("-1", false));
    assert!(made.configs.windows(2).all(|pair| pair[0].key < pair[1].key));
}

#[tokio::test]
async fn hostile_and_impossible_topics_are_refused_and_leave_nothing() {
    let world = World::new(1).await;
    world.create("taken", 1).await;
    for (name, expected) in [
        ("", ErrorCode::InvalidTopicName),
        ("..", ErrorCode::InvalidTopicName),
        ("../../etc/passwd", ErrorCode::InvalidTopicName),
        ("a\0b", ErrorCode::InvalidTopicName),
        ("__millrace_mine", ErrorCode::InvalidTopicName),
        ("taken", ErrorCode::TopicAlreadyExists),
        ("TAKEN", ErrorCode::TopicAlreadyExists),
    ] {
        assert_eq!(refused(&world, new_topic(name, 1)).await, Some(expected), "{name:?}");
    }
    assert_eq!(refused(&world, new_topic("x", 0)).await, Some(ErrorCode::InvalidPartitionCount));
    assert_eq!(refused(&world, new_topic("x", 10_001)).await, Some(ErrorCode::InvalidPartitionCount));
    let factor = CreateTopicRequest { replication_factor: Some(2), ..new_topic("x", 1) };
    assert_eq!(refused(&world, factor).await, Some(ErrorCode::InvalidReplicationFactor));
    assert_eq!(refused(&world, with_config("compression.type", "zstd")).await, Some(ErrorCode::Unsupported));
    assert_eq!(refused(&world, with_config("sync.mode", "interval=1")).await, Some(ErrorCode::InvalidConfig));
    assert_eq!(refused(&world, with_config("no.such.key", "1")).await, Some(ErrorCode::InvalidConfig));
    assert_eq!(world.broker.list_topics(&ctx()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_topic_that_is_only_validated_is_not_there() {
    let world = World::new(1).await;
    let request = CreateTopicRequest { validate_only: true, ..new_topic("x", 2) };
    let would_be = world.broker.create_topic(&ctx(), request).await.unwrap();
    assert_eq!(would_be.partitions.len(), 2);
    let described = world.broker.describe_topic(&ctx(), by_name("x")).await;
    assert_eq!(code(described), Some(ErrorCode::UnknownTopicOrPartition));
}

#[tokio::test]
async fn name_and_id_must_agree() {
    let world = World::new(1).await;
    let made = world.create("a", 1).await;
    let other = world.create("b", 1).await;
    let ctx = ctx();
    let ask = |topic| world.broker.describe_topic(&ctx, topic);
    assert!(ask(TopicRef::Both(made.name.clone(), made.id)).await.is_ok());
    let crossed = ask(TopicRef::Both(made.name.clone(), other.id)).await;
    assert_eq!(code(crossed), Some(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(code(ask(TopicRef::Id(TopicId([9; 16]))).await), Some(ErrorCode::UnknownTopicOrPartition));
}

#[tokio::test]
async fn a_name_made_again_is_another_topic_without_the_old_records() {
    let world = World::new(1).await;
    let old = world.create("a", 1).await;
    world.produce("a", &["old"]).await.unwrap();
    world.broker.delete_topic(&ctx(), by_name("a")).await.unwrap();
    assert_eq!(code(world.produce("a", &["late"]).await), Some(ErrorCode::UnknownTopicOrPartition));
    let new = world.create("a", 1).await;
    assert_ne!(old.id, new.id);
    assert_eq!(world.values("a", 0).await, Ok(Vec::new()));
    let to_the_old = PartitionProduce { topic: TopicRef::Id(old.id), ..plain("a", 0, &["stale"], None) };
    let refused = world.send(produce_request(vec![to_the_old])).await.partitions.remove(0);
    assert_eq!(code(refused), Some(ErrorCode::UnknownTopicOrPartition));
    let world = world.kill().await;
    assert_eq!(world.values("a", 0).await, Ok(Vec::new()));
    let described = world.broker.describe_topic(&ctx(), by_name("a")).await.unwrap();
    assert_eq!(described.id, new.id);
}

#[tokio::test]
async fn topics_of_the_product_take_no_records_and_stay() {
    let world = World::new(1).await;
    let refused = world.produce("__consumer_offsets", &["x"]).await;
    assert_eq!(code(refused), Some(ErrorCode::InvalidRequest));
    let deleted = world.broker.delete_topic(&ctx(), by_name("__consumer_offsets")).await;
    assert_eq!(code(deleted), Some(ErrorCode::InvalidRequest));
}

#[tokio::test]
async fn the_cluster_tells_who_it_is_and_stays_itself() {
    let world = World::new(1).await;
    let before = world.broker.describe_cluster(&ctx()).await.unwrap();
    assert_eq!((before.controller, before.feature_level), (Some(NodeId(1)), 2));
    assert_eq!(before.brokers.len(), 1);
    let world = world.restart().await;
    assert_eq!(world.broker.describe_cluster(&ctx()).await.unwrap(), before);
}
