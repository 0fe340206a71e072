//! Topics that are altered, that grow, and records that are deleted; and why that is refused.

use millrace_proto::v1;
use millrace_types::ErrorCode;
use tonic::Status;
use tonic::transport::Channel;

use crate::world::{World, code, code_of, fetch, produce, topic};

type Client = v1::millrace_client::MillraceClient<Channel>;

fn set(key: &str, value: &str) -> v1::ConfigChange {
    v1::ConfigChange { key: key.to_owned(), value: Some(value.to_owned()) }
}

fn unset(key: &str) -> v1::ConfigChange {
    v1::ConfigChange { key: key.to_owned(), value: None }
}

fn altering(name: &str, changes: Vec<v1::ConfigChange>) -> v1::AlterTopicRequest {
    v1::AlterTopicRequest { topic: topic(name), changes, validate_only: false }
}

fn growing(name: &str, count: u32) -> v1::CreatePartitionsRequest {
    v1::CreatePartitionsRequest { topic: topic(name), count, validate_only: false }
}

fn before(name: &str, partition: i32, before_offset: i64) -> v1::RecordsToDelete {
    v1::RecordsToDelete { topic: topic(name), partition, before_offset }
}

async fn alter(client: &mut Client, request: v1::AlterTopicRequest) -> Result<v1::Topic, Status> {
    Ok(client.alter_topic(request).await?.into_inner().topic.unwrap())
}

async fn grow(client: &mut Client, request: v1::CreatePartitionsRequest) -> Result<v1::Topic, Status> {
    Ok(client.create_partitions(request).await?.into_inner().topic.unwrap())
}

async fn described(client: &mut Client, name: &str) -> v1::Topic {
    let request = v1::DescribeTopicRequest { topic: topic(name) };
    client.describe_topic(request).await.unwrap().into_inner().topic.unwrap()
}

/// The value of a key, and whether the topic sets it itself.
fn config(topic: &v1::Topic, key: &str) -> (String, bool) {
    let entry = topic.configs.iter().find(|entry| entry.key == key).unwrap();
    (entry.value.clone(), entry.is_set)
}

/// A topic reference that is none.
fn half_an_id() -> Option<v1::TopicRef> {
    Some(v1::TopicRef { name: String::new(), id: vec![1; 15].into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_altered_key_by_key_or_not_at_all() {
    let world = World::new().await;
    let mut client = world.client_with_topic("a").await;
    let both = vec![set("retention.ms", "5000"), set("max.message.bytes", "1000")];
    let check = v1::AlterTopicRequest { validate_only: true, ..altering("a", both.clone()) };
    let would_be = alter(&mut client, check).await.unwrap();
    assert_eq!(config(&would_be, "retention.ms"), ("5000".to_owned(), true));
    assert!(!config(&described(&mut client, "a").await, "retention.ms").1, "it was only checked");
    let altered = alter(&mut client, altering("a", both)).await.unwrap();
    assert_eq!(altered.configs, would_be.configs);
    assert_eq!(altered.configs, described(&mut client, "a").await.configs);
    let large = client.produce(produce("a", &[0; 2000])).await.unwrap().into_inner();
    assert_eq!(code(large.partitions[0].error.as_ref()), Some(ErrorCode::BatchTooLarge));
    let altered = alter(&mut client, altering("a", vec![unset("max.message.bytes")])).await.unwrap();
    assert!(!config(&altered, "max.message.bytes").1 && config(&altered, "retention.ms").1);

    let bad_id = v1::AlterTopicRequest { topic: half_an_id(), ..altering("a", Vec::new()) };
    let refusals = [
        (altering("a", vec![set("retention.ms", "7"), set("no.such.key", "1")]), ErrorCode::InvalidConfig),
        (altering("a", vec![set("retention.ms", "soon")]), ErrorCode::InvalidConfig),
        (altering("nope", vec![set("retention.ms", "7")]), ErrorCode::UnknownTopicOrPartition),
        (altering("__consumer_offsets", vec![set("retention.ms", "7")]), ErrorCode::InvalidRequest),
        (altering("a/b", vec![set("retention.ms", "7")]), ErrorCode::InvalidTopicName),
        (bad_id, ErrorCode::InvalidRequest),
        (v1::AlterTopicRequest::default(), ErrorCode::InvalidRequest),
    ];
    for (request, expected) in refusals {
        let refused = alter(&mut client, request.clone()).await.unwrap_err();
        assert_eq!(code_of(&refused), expected, "{request:?}");
    }
    assert_eq!(
        described(&mut client, "a").await.configs,
        altered.configs,
        "nothing of what was refused is made"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_grows_and_never_shrinks() {
    let world = World::new().await;
    let mut client = world.client_with_topic("a").await;
    let check = v1::CreatePartitionsRequest { validate_only: true, ..growing("a", 3) };
    assert_eq!(grow(&mut client, check).await.unwrap().partitions.len(), 3);
    assert_eq!(described(&mut client, "a").await.partitions.len(), 1, "it was only checked");
    let grown = grow(&mut client, growing("a", 3)).await.unwrap();
    assert_eq!(grown.partitions, described(&mut client, "a").await.partitions);
    let mut request = produce("a", b"new");
    request.partitions[0].partition = 2;
    let produced = client.produce(request).await.unwrap().into_inner();
    assert_eq!(code(produced.partitions[0].error.as_ref()), None, "it takes records at once");

    let bad_id = v1::CreatePartitionsRequest { topic: half_an_id(), ..growing("a", 4) };
    let refusals = [
        (growing("a", 0), ErrorCode::InvalidPartitionCount),
        (growing("a", 2), ErrorCode::InvalidPartitionCount),
        (growing("a", 3), ErrorCode::InvalidPartitionCount),
        (growing("a", u32::MAX), ErrorCode::InvalidPartitionCount),
        (growing("nope", 4), ErrorCode::UnknownTopicOrPartition),
        (growing("__consumer_offsets", 99), ErrorCode::InvalidRequest),
        (bad_id, ErrorCode::InvalidRequest),
        (v1::CreatePartitionsRequest::default(), ErrorCode::InvalidRequest),
    ];
    for (request, expected) in refusals {
        let refused = grow(&mut client, request.clone()).await.unwrap_err();
        assert_eq!(code_of(&refused), expected, "{request:?}");
    }
    assert_eq!(described(&mut client, "a").await.partitions.len(), 3);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_up_to_an_offset_and_each_partition_is_answered_for_itself() {
    let world = World::new().await;
    let mut client = world.client_with_topic("a").await;
    for value in [b"0", b"1", b"2", b"3"] {
        client.produce(produce("a", value)).await.unwrap();
    }
    let partitions = vec![
        before("a", 0, 2),
        before("a", 0, 9),
        before("a", 0, -2),
        before("a", -1, 0),
        before("a", 7, 0),
        before("nope", 0, 0),
        before("__consumer_offsets", 0, 0),
        v1::RecordsToDelete { topic: half_an_id(), ..before("a", 0, 0) },
        v1::RecordsToDelete::default(),
        // Behind what is gone already: nothing comes back.
        before("a", 0, 1),
    ];
    let answer = client.delete_records(v1::DeleteRecordsRequest { partitions: partitions.clone() }).await;
    let answers = answer.unwrap().into_inner().partitions;
    let codes: Vec<_> = answers.iter().map(|part| code(part.error.as_ref())).collect();
    let expected = [
        None,
        Some(ErrorCode::OffsetOutOfRange),
        Some(ErrorCode::InvalidRequest),
        Some(ErrorCode::InvalidRequest),
        Some(ErrorCode::UnknownTopicOrPartition),
        Some(ErrorCode::UnknownTopicOrPartition),
        Some(ErrorCode::InvalidRequest),
        Some(ErrorCode::InvalidRequest),
        Some(ErrorCode::InvalidRequest),
        None,
    ];
    assert_eq!(codes, expected);
    assert!(answers.iter().zip(&partitions).all(|(answer, asked)| answer.topic == asked.topic));
    assert_eq!((answers[0].log_start_offset, answers[9].log_start_offset), (2, 2));
    let gone = client.fetch(fetch("a", 1, v1::FetchFormat::Records)).await.unwrap().into_inner();
    assert_eq!(code(gone.partitions[0].error.as_ref()), Some(ErrorCode::OffsetOutOfRange));
    let left = client.fetch(fetch("a", 2, v1::FetchFormat::Records)).await.unwrap().into_inner();
    assert_eq!((left.partitions[0].records.len(), left.partitions[0].log_start_offset), (2, 2));

    let all = v1::DeleteRecordsRequest { partitions: vec![before("a", 0, -1)] };
    let answers = client.delete_records(all).await.unwrap().into_inner().partitions;
    assert_eq!((code(answers[0].error.as_ref()), answers[0].log_start_offset), (None, 4));
    let too_many = v1::DeleteRecordsRequest {
        partitions: vec![before("a", 0, -1); millrace_types::limits::PARTITIONS_PER_REQUEST_MAX + 1],
    };
    let refused = client.delete_records(too_many).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::InvalidRequest);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_takes_no_record_without_a_key() {
    let world = World::new().await;
    let mut client = world.client_with_topic("a").await;
    alter(&mut client, altering("a", vec![set("cleanup.policy", "compact")])).await.unwrap();
    let mut request = produce("a", b"v");
    let refused = client.produce(request.clone()).await.unwrap().into_inner();
    assert_eq!(code(refused.partitions[0].error.as_ref()), Some(ErrorCode::InvalidRecord));
    if let Some(v1::partition_produce::Data::Records(list)) = &mut request.partitions[0].data {
        list.records[0].key = Some("k".into());
    }
    let taken = client.produce(request).await.unwrap().into_inner();
    assert_eq!((code(taken.partitions[0].error.as_ref()), taken.partitions[0].base_offset), (None, 0));
    world.stop().await;
}
