//! Administration: topics that go and grow, records that are deleted, and what is told of cluster, directory and partitions.

use millrace_kafka::{KafkaError, NewTopics, Settings};
use millrace_kafka_wire::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use millrace_kafka_wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use millrace_kafka_wire::delete_topics_request::DeleteTopicState;
use millrace_kafka_wire::describe_log_dirs_request::DescribableLogDirTopic;
use millrace_kafka_wire::describe_producers_request::TopicRequest as ProducersOf;
use millrace_kafka_wire::describe_topic_partitions_request::{Cursor, TopicRequest};
use millrace_kafka_wire::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use millrace_kafka_wire::{
    CreatePartitionsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeLogDirsRequest, DescribeProducersRequest, DescribeTopicPartitionsRequest, Message,
    OffsetForLeaderEpochRequest,
};
use millrace_record::{Compression, ProducerStamp};
use millrace_types::{ProducerEpoch, ProducerId};

use crate::world::{Client, World, batch, build, settings, values};

pub(crate) fn delete(version: i16, names: &[&str]) -> DeleteTopicsRequest {
    let topic = |name: &&str| DeleteTopicState { name: Some((*name).to_owned()), ..Default::default() };
    let (topics, topic_names) = match version {
        6.. => (names.iter().map(topic).collect(), Vec::new()),
        _ => (Vec::new(), names.iter().map(|name| (*name).to_owned()).collect()),
    };
    DeleteTopicsRequest { topics, topic_names, timeout_ms: 1000, ..DeleteTopicsRequest::default() }
}

async fn names(client: &mut Client) -> Vec<String> {
    let all = client.call(0, &DescribeTopicPartitionsRequest::default()).await;
    let names = all.topics.into_iter().filter(|topic| !topic.is_internal).map(|topic| topic.name);
    names.map(Option::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_deleted_in_every_version() {
    let world = World::new().await;
    let mut client = world.client().await;
    for version in DeleteTopicsRequest::VERSIONS {
        client.topic("goes").await;
        client.topic("stays").await;
        let results = client.call(version, &delete(version, &["goes", "none", "a b"])).await.responses;
        let codes: Vec<_> = results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [0, 3, 3], "version {version}");
        assert_eq!(results[0].topic_id != [0; 16], version >= 6);
        assert_eq!(results[1].error_message.is_some(), version >= 5);
        assert_eq!(names(&mut client).await, ["stays"]);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_deleted_by_id_and_no_topic_may_be_named_twice() {
    let world = World::new().await;
    let mut client = world.client().await;
    let ids = [client.topic("a").await.topic_id, client.topic("b").await.topic_id];
    client.topic("c").await;
    let by_id = |topic_id| DeleteTopicState { topic_id, name: None, ..DeleteTopicState::default() };
    let by_name = |name: &str| DeleteTopicState { name: Some(name.to_owned()), ..Default::default() };
    let topics = vec![
        by_id(ids[0]),
        by_name("b"),
        by_id(ids[1]),
        by_name("c"),
        by_name("c"),
        by_id([9; 16]),
        by_id([0; 16]),
        DeleteTopicState { topic_id: ids[0], ..by_name("a") },
    ];
    let request = DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() };
    let results = client.call(6, &request).await.responses;
    let told: Vec<_> = results.iter().map(|result| (result.name.as_deref(), result.error_code)).collect();
    // `a` is named by its id and, in a way that is wrong by itself, by both.
    let expected = [
        (Some("a"), 0),
        (Some("b"), 42),
        (None, 42),
        (Some("c"), 42),
        (None, 100),
        (None, 42),
        (Some("a"), 42),
    ];
    assert_eq!(told, expected);
    assert_eq!(names(&mut client).await, ["b", "c"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topics_of_the_product_are_not_deleted() {
    let world = World::new().await;
    let mut client = world.client().await;
    let refused = client.call(6, &delete(6, &["__consumer_offsets"])).await.responses.remove(0);
    assert_ne!(refused.error_code, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_grow_in_every_version_and_never_shrink() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("t").await;
    let topic = |name: &str, count| CreatePartitionsTopic {
        name: name.to_owned(),
        count,
        assignments: None,
        ..CreatePartitionsTopic::default()
    };
    let mut count = 1;
    for version in CreatePartitionsRequest::VERSIONS {
        count += 2;
        let topics = vec![topic("t", count), topic("none", 2), topic("twice", 1), topic("twice", 2)];
        let request = CreatePartitionsRequest { topics, ..CreatePartitionsRequest::default() };
        let check = CreatePartitionsRequest { validate_only: true, ..request.clone() };
        for (request, partitions) in [(check, count - 2), (request, count)] {
            let results = client.call(version, &request).await.results;
            let codes: Vec<_> = results.iter().map(|result| result.error_code).collect();
            assert_eq!(codes, [0, 3, 42, 42], "version {version}");
            assert_eq!(client.topic("t").await.partitions.len(), usize::try_from(partitions).unwrap());
        }
    }
    let by_hand =
        |broker| Some(vec![CreatePartitionsAssignment { broker_ids: vec![broker], ..Default::default() }]);
    let grown = CreatePartitionsTopic { assignments: by_hand(1), ..topic("t", count + 1) };
    let request = CreatePartitionsRequest { topics: vec![grown], ..Default::default() };
    assert_eq!(client.call(3, &request).await.results[0].error_code, 0, "where the cluster would put it too");
    count += 1;
    for (refused, code) in [
        (topic("t", count), KafkaError::InvalidPartitions),
        (topic("t", 1), KafkaError::InvalidPartitions),
        (topic("t", -1), KafkaError::InvalidPartitions),
        (topic("t", i32::MAX), KafkaError::InvalidPartitions),
        (topic("__consumer_offsets", 100), KafkaError::InvalidRequest),
        (
            CreatePartitionsTopic { assignments: by_hand(7), ..topic("t", count + 1) },
            KafkaError::InvalidReplicaAssignment,
        ),
        (
            CreatePartitionsTopic { assignments: by_hand(1), ..topic("t", count + 2) },
            KafkaError::InvalidReplicaAssignment,
        ),
    ] {
        let request = CreatePartitionsRequest { topics: vec![refused], ..Default::default() };
        let result = client.call(3, &request).await.results.remove(0);
        assert_eq!(result.error_code, code.code(), "{:?}", result.error_message);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_up_to_an_offset() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("t").await;
    let delete = |offset| {
        let partition = DeleteRecordsPartition { partition_index: 0, offset, ..Default::default() };
        let topic =
            DeleteRecordsTopic { name: "t".to_owned(), partitions: vec![partition], ..Default::default() };
        DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() }
    };
    for version in DeleteRecordsRequest::VERSIONS {
        for value in [b"a", b"b", b"c"] {
            assert_eq!(client.produce("t", batch(&[value])).await.error_code, 0);
        }
        let start = i64::from(version) * 3;
        for (offset, log_start, code) in [
            (start + 1, start + 1, 0),
            (start + 4, -1, KafkaError::OffsetOutOfRange.code()),
            (-2, -1, KafkaError::OffsetOutOfRange.code()),
            (i64::MAX, -1, KafkaError::OffsetOutOfRange.code()),
        ] {
            let mut topics = client.call(version, &delete(offset)).await.topics;
            let answer = topics.remove(0).partitions.remove(0);
            assert_eq!((answer.low_watermark, answer.error_code), (log_start, code), "{version}: {offset}");
        }
        assert_eq!(values(&client.fetch("t", start + 1).await), ["b", "c"]);
        let answer = client.call(version, &delete(-1)).await.topics.remove(0).partitions.remove(0);
        assert_eq!((answer.low_watermark, answer.error_code), (start + 3, 0));
    }
    let fetched = client.fetch("t", 0).await;
    assert_eq!(fetched.error_code, KafkaError::OffsetOutOfRange.code());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_this_broker_at_the_address_that_was_reached() {
    let world = World::new().await;
    let mut client = world.client().await;
    for version in DescribeClusterRequest::VERSIONS {
        let cluster = client.call(version, &DescribeClusterRequest::default()).await;
        assert_eq!((cluster.error_code, cluster.controller_id, cluster.brokers.len()), (0, 1, 1));
        let broker = &cluster.brokers[0];
        assert_eq!((broker.broker_id, broker.host.as_str()), (1, "127.0.0.1"));
        assert_eq!(broker.port, i32::from(world.addr.port()));
        assert!(!cluster.cluster_id.is_empty());
    }
    for (endpoint_type, error) in
        [(2, KafkaError::MismatchedEndpointType), (7, KafkaError::UnsupportedEndpointType)]
    {
        let request = DescribeClusterRequest { endpoint_type, ..DescribeClusterRequest::default() };
        assert_eq!(client.call(2, &request).await.error_code, error.code());
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_ends_where_the_log_does_until_there_is_another() {
    let world = World::new().await;
    let mut client = world.client().await;
    let epoch = client.topic("t").await.partitions[0].leader_epoch;
    client.produce("t", batch(&[b"a", b"b"])).await;
    let ask = |partition, current_leader_epoch, leader_epoch| {
        let partition =
            OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch, ..Default::default() };
        let topic =
            OffsetForLeaderTopic { topic: "t".to_owned(), partitions: vec![partition], ..Default::default() };
        OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
    };
    for version in OffsetForLeaderEpochRequest::VERSIONS {
        for (request, answer) in [
            (ask(0, -1, epoch), (0, epoch, 2)),
            (ask(0, epoch, epoch), (0, epoch, 2)),
            (ask(0, -1, epoch + 1), (0, -1, -1)),
            (ask(0, -1, -1), (0, -1, -1)),
            (ask(0, epoch + 1, epoch), (KafkaError::UnknownLeaderEpoch.code(), -1, -1)),
            (ask(1, -1, epoch), (KafkaError::UnknownTopicOrPartition.code(), -1, -1)),
            (ask(-1, -1, epoch), (KafkaError::UnknownTopicOrPartition.code(), -1, -1)),
        ] {
            let found = client.call(version, &request).await.topics.remove(0).partitions.remove(0);
            assert_eq!((found.error_code, found.leader_epoch, found.end_offset), answer);
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_described_a_few_partitions_at_a_time() {
    let new_topics = NewTopics { auto_create: true, partitions: 3 };
    let world = World::with(Settings { new_topics, ..settings() }).await;
    let mut client = world.client().await;
    for name in ["a", "b", "c"] {
        client.topic(name).await;
    }
    let named: Vec<_> = ["c", "a", "b", "a", "none"]
        .map(|name| TopicRequest { name: name.to_owned(), ..Default::default() })
        .into();
    for limit in [i32::MIN, 0, 1, 2, 3, 4, 100, i32::MAX] {
        let (mut told, mut cursor, mut unknown) = (Vec::new(), None, 0);
        loop {
            let request = DescribeTopicPartitionsRequest {
                topics: named.clone(),
                response_partition_limit: limit,
                cursor,
                ..DescribeTopicPartitionsRequest::default()
            };
            let answer = client.call(0, &request).await;
            let mut count = 0;
            for topic in answer.topics {
                unknown += usize::from(topic.error_code == KafkaError::UnknownTopicOrPartition.code());
                for partition in topic.partitions {
                    count += 1;
                    told.push((topic.name.clone().unwrap(), partition.partition_index));
                }
            }
            assert!(count <= limit.max(1), "{count} with a limit of {limit}");
            let Some(next) = answer.next_cursor else { break };
            let (topic_name, partition_index) = (next.topic_name, next.partition_index);
            cursor = Some(Cursor { topic_name, partition_index, ..Cursor::default() });
        }
        let all =
            ["a", "b", "c"].into_iter().flat_map(|name| (0..3).map(move |part| (name.to_owned(), part)));
        assert_eq!((told, unknown), (all.collect(), 1), "limit {limit}");
    }
    let behind = Cursor { topic_name: "b".to_owned(), partition_index: -5, ..Cursor::default() };
    let request = DescribeTopicPartitionsRequest { cursor: Some(behind), ..Default::default() };
    let topics = client.call(0, &request).await.topics;
    let names: Vec<_> = topics.iter().filter_map(|topic| topic.name.as_deref()).collect();
    assert_eq!(names, ["b", "c"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotent_producers_are_told_of() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("t").await;
    for (id, sequence) in [(7, 0), (5, 0), (5, 2)] {
        let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(3), base_sequence: sequence };
        let produced = client.produce("t", build(&[b"a", b"b"], Compression::None, Some(stamp))).await;
        assert_eq!(produced.error_code, 0);
    }
    let of = |name: &str, partition_indexes| ProducersOf {
        name: name.to_owned(),
        partition_indexes,
        ..ProducersOf::default()
    };
    let topics = vec![of("t", vec![0, 1, -1]), of("none", vec![0]), of("a b", vec![0])];
    let request = DescribeProducersRequest { topics, ..DescribeProducersRequest::default() };
    let topics = client.call(0, &request).await.topics;
    let codes: Vec<_> =
        topics.iter().flat_map(|topic| topic.partitions.iter().map(|part| part.error_code)).collect();
    assert_eq!(codes, [0, 3, 3, 3, 3]);
    let told = topics[0].partitions[0].active_producers.iter();
    let told: Vec<_> = told
        .map(|producer| (producer.producer_id, producer.producer_epoch, producer.last_sequence))
        .collect();
    assert_eq!(told, [(5, 3, 3), (7, 3, 1)]);
    assert_eq!(topics[0].partitions[0].active_producers[0].last_timestamp, 1_700_000_000_000);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_told_of_with_what_its_partitions_take() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("t").await;
    let records = batch(&[b"a"]);
    let size = i64::try_from(records.len()).unwrap();
    client.produce("t", records).await;
    let of = |topic: &str, partitions| DescribableLogDirTopic {
        topic: topic.to_owned(),
        partitions,
        ..DescribableLogDirTopic::default()
    };
    let named = vec![of("t", vec![0, 1, -1, i32::MAX]), of("none", vec![0]), of("", vec![0])];
    for version in DescribeLogDirsRequest::VERSIONS {
        let request = DescribeLogDirsRequest { topics: Some(named.clone()), ..Default::default() };
        let answer = client.call(version, &request).await;
        let directory = &answer.results[0];
        assert_eq!((answer.error_code, directory.error_code, answer.results.len()), (0, 0, 1));
        assert!(directory.log_dir.ends_with("data"));
        assert_eq!(directory.total_bytes > 0 && directory.usable_bytes > 0, version >= 4);
        let told: Vec<_> = directory
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.as_str(), p.partition_size)))
            .collect();
        assert_eq!(told, [("t", size)]);
        let all = DescribeLogDirsRequest { topics: None, ..DescribeLogDirsRequest::default() };
        let directory = client.call(version, &all).await.results.remove(0);
        assert!(directory.topics.iter().any(|topic| topic.name == "__consumer_offsets"));
    }
    world.stop().await;
}
