//! Topics: asked for, made on the way, made on purpose.

use millrace_kafka::{KafkaError, NewTopics, Settings};
use millrace_kafka_wire::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use millrace_kafka_wire::metadata_request::MetadataRequestTopic;
use millrace_kafka_wire::{CreateTopicsRequest, Message, MetadataRequest};
use millrace_record::{BatchBuilder, BatchOptions, NO_HEADERS};
use millrace_types::TimestampMs;

use crate::world::{World, metadata, settings};

fn wanted(name: &str) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions: -1,
        replication_factor: -1,
        ..CreatableTopic::default()
    }
}

fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest { topics, timeout_ms: 1000, ..CreateTopicsRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_asked_for_is_made() {
    let new_topics = NewTopics { auto_create: true, partitions: 3 };
    let world = World::with(Settings { new_topics, ..settings() }).await;
    let mut client = world.client().await;
    for version in MetadataRequest::VERSIONS {
        let name = format!("made-by-{version}");
        let made = client.call(version, &metadata(&[&name])).await.topics.remove(0);
        assert_eq!((made.error_code, made.name.as_deref()), (0, Some(name.as_str())));
        assert_eq!(made.partitions.len(), 3);
        assert_eq!(made.topic_id != [0; 16], version >= 10);
        let leaders: Vec<_> = made.partitions.iter().map(|partition| partition.leader_id).collect();
        assert_eq!(leaders, [1; 3]);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_topic_is_made_unless_client_and_broker_are_for_it() {
    let world = World::new().await;
    let mut client = world.client().await;
    let unwanted = MetadataRequest { allow_auto_topic_creation: false, ..metadata(&["a"]) };
    let unknown = KafkaError::UnknownTopicOrPartition.code();
    assert_eq!(client.call(12, &unwanted).await.topics[0].error_code, unknown);
    world.stop().await;
    let new_topics = NewTopics { auto_create: false, partitions: 1 };
    let world = World::with(Settings { new_topics, ..settings() }).await;
    let mut client = world.client().await;
    assert_eq!(client.call(1, &metadata(&["a"])).await.topics[0].error_code, unknown);
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    assert!(client.call(1, &all).await.topics.iter().all(|topic| topic.is_internal));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_nobody_may_have_are_refused() {
    let world = World::new().await;
    let mut client = world.client().await;
    for name in ["", ".", "a b", "__millrace_no_such"] {
        let refused = client.call(9, &metadata(&[name])).await.topics.remove(0);
        assert_ne!(refused.error_code, 0, "{name:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_found_by_id() {
    let world = World::new().await;
    let mut client = world.client().await;
    let id = client.topic("a").await.topic_id;
    let by_id = |topic_id| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { topic_id, name: None, ..Default::default() }]),
        ..MetadataRequest::default()
    };
    let found = client.call(12, &by_id(id)).await.topics.remove(0);
    assert_eq!((found.error_code, found.name.as_deref()), (0, Some("a")));
    let unknown = client.call(12, &by_id([9; 16])).await.topics.remove(0);
    assert_eq!((unknown.error_code, unknown.name), (KafkaError::UnknownTopicId.code(), None));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_with_what_is_asked_for() {
    let world = World::new().await;
    let mut client = world.client().await;
    for version in CreateTopicsRequest::VERSIONS {
        let config = CreatableTopicConfig {
            name: "max.message.bytes".to_owned(),
            value: Some("4096".to_owned()),
            ..CreatableTopicConfig::default()
        };
        let topic = CreatableTopic {
            num_partitions: 2,
            replication_factor: 1,
            configs: vec![config],
            ..wanted(&format!("t{version}"))
        };
        let check = CreateTopicsRequest { validate_only: true, ..create(vec![topic.clone()]) };
        assert_eq!(client.call(version, &check).await.topics[0].error_code, 0);
        let made = client.call(version, &create(vec![topic.clone()])).await.topics.remove(0);
        assert_eq!(made.error_code, 0, "version {version}: {:?}", made.error_message);
        assert_eq!(made.topic_id != [0; 16], version >= 7);
        if version >= 5 {
            assert_eq!((made.num_partitions, made.replication_factor), (2, 1));
            let configs = made.configs.unwrap();
            let config = configs.iter().find(|config| config.name == "max.message.bytes").unwrap();
            assert_eq!((config.value.as_deref(), config.config_source), (Some("4096"), 1));
        }
        let again = client.call(version, &create(vec![topic])).await.topics.remove(0);
        assert_eq!(again.error_code, KafkaError::TopicAlreadyExists.code());
        assert!(again.error_message.is_some());
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_takes_no_record_without_a_key() {
    let world = World::new().await;
    let mut client = world.client().await;
    let compact = CreatableTopicConfig {
        name: "cleanup.policy".to_owned(),
        value: Some("compact".to_owned()),
        ..CreatableTopicConfig::default()
    };
    let topic = CreatableTopic { configs: vec![compact], ..wanted("kept") };
    assert_eq!(client.call(7, &create(vec![topic])).await.topics[0].error_code, 0);
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for key in [None, Some(&b"k"[..]), None, Some(b"")] {
        builder.append(TimestampMs(0), key, Some(b"v"), NO_HEADERS).unwrap();
    }
    let refused = client.produce("kept", builder.build().unwrap().into_bytes()).await;
    assert_eq!(refused.error_code, KafkaError::InvalidRecord.code(), "{:?}", refused.error_message);
    let blamed: Vec<i32> = refused.record_errors.iter().map(|record| record.batch_index).collect();
    assert_eq!(blamed, [0, 2], "whoever sent the batch may send the others again");
    assert_eq!(client.fetch("kept", 0).await.high_watermark, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_topic_of_a_request_is_refused_for_its_own_reason() {
    let world = World::new().await;
    let mut client = world.client().await;
    let config = |value: Option<&str>| CreatableTopicConfig {
        name: "no.such.config".to_owned(),
        value: value.map(str::to_owned),
        ..CreatableTopicConfig::default()
    };
    let topics = vec![
        wanted("good"),
        wanted("twice"),
        wanted("twice"),
        wanted("a b"),
        CreatableTopic { num_partitions: 0, ..wanted("c") },
        CreatableTopic { num_partitions: -2, ..wanted("d") },
        CreatableTopic { replication_factor: 2, ..wanted("e") },
        CreatableTopic { replication_factor: -2, ..wanted("f") },
        CreatableTopic { configs: vec![config(Some("1"))], ..wanted("g") },
        CreatableTopic { configs: vec![config(None)], ..wanted("h") },
        CreatableTopic { assignments: assigned(&[(0, &[7])]), ..wanted("i") },
        CreatableTopic { assignments: assigned(&[(0, &[])]), ..wanted("j") },
        CreatableTopic { assignments: assigned(&[(0, &[1, 1])]), ..wanted("k") },
        CreatableTopic { assignments: assigned(&[(0, &[1]), (2, &[1])]), ..wanted("l") },
        CreatableTopic { assignments: assigned(&[(0, &[1])]), num_partitions: 1, ..wanted("m") },
    ];
    let results = client.call(7, &create(topics)).await.topics;
    let codes: Vec<_> = results.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [0, 42, 42, 17, 37, 37, 38, 38, 40, 40, 39, 39, 39, 39, 42]);
    world.stop().await;
}

fn assigned(partitions: &[(i32, &[i32])]) -> Vec<CreatableReplicaAssignment> {
    let one = |(number, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index: *number,
        broker_ids: brokers.to_vec(),
        ..CreatableReplicaAssignment::default()
    };
    partitions.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_by_hand_to_the_broker_that_there_is_makes_the_topic() {
    let world = World::new().await;
    let mut client = world.client().await;
    for version in CreateTopicsRequest::VERSIONS {
        let name = format!("t{version}");
        let topic = CreatableTopic { assignments: assigned(&[(1, &[1]), (0, &[1])]), ..wanted(&name) };
        assert_eq!(client.call(version, &create(vec![topic])).await.topics[0].error_code, 0, "{version}");
        let made = client.topic(&name).await;
        assert_eq!(made.partitions.len(), 2);
        assert!(made.partitions.iter().all(|partition| partition.replica_nodes == [1]));
    }
    world.stop().await;
}
