//! FindCoordinator, OffsetCommit, OffsetFetch and OffsetDelete.

use std::collections::BTreeSet;

use millrace_broker::{
    CommitOffsetsRequest, FetchOffsetsRequest, GroupMembership, GroupSubscription, JoinGroupRequest, Leaving,
    OffsetCommit, Profile, TopicRef,
};
use millrace_kafka::{KafkaError, NewTopics, Settings};
use millrace_kafka_wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use millrace_kafka_wire::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use millrace_kafka_wire::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use millrace_kafka_wire::{
    FindCoordinatorRequest, Message, OffsetCommitRequest, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest,
};
use millrace_types::{GroupId, LeaderEpoch, Offset, PartitionIndex, TopicName};

use crate::world::{Client, World, context, settings};

/// Position, epoch of the leader, metadata and error of a partition.
type Position = (i64, i32, Option<String>, i16);

const NONE: (i64, i32, &str, i16) = (-1, -1, "", 0);

fn is(position: &Position, (offset, epoch, metadata, error): (i64, i32, &str, i16)) {
    let expected = (offset, epoch, Some(metadata.to_owned()), error);
    assert_eq!(*position, expected);
}

pub(crate) async fn world() -> World {
    let new_topics = NewTopics { auto_create: true, partitions: 4 };
    World::with(Settings { new_topics, ..settings() }).await
}

pub(crate) fn position(partition_index: i32, committed_offset: i64) -> OffsetCommitRequestPartition {
    OffsetCommitRequestPartition { partition_index, committed_offset, ..Default::default() }
}

pub(crate) fn commit(
    group: &str,
    topic: &str,
    partitions: Vec<OffsetCommitRequestPartition>,
) -> OffsetCommitRequest {
    let topic = OffsetCommitRequestTopic { name: topic.to_owned(), partitions, ..Default::default() };
    OffsetCommitRequest { group_id: group.to_owned(), topics: vec![topic], ..Default::default() }
}

/// The errors of a commit, partition by partition.
pub(crate) async fn committed(client: &mut Client, version: i16, request: &OffsetCommitRequest) -> Vec<i16> {
    let answer = client.call(version, request).await;
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

fn wanted(topic: &str, partitions: &[i32]) -> OffsetFetchRequestTopics {
    OffsetFetchRequestTopics {
        name: topic.to_owned(),
        partition_indexes: partitions.to_vec(),
        ..Default::default()
    }
}

/// What was committed, in the words of that version.
pub(crate) async fn fetched(
    client: &mut Client,
    version: i16,
    group: &str,
    topics: Option<Vec<OffsetFetchRequestTopics>>,
) -> (i16, Vec<(String, i32, Position)>) {
    if version >= 8 {
        let group = OffsetFetchRequestGroup { group_id: group.to_owned(), topics, ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
        let answer = client.call(version, &request).await.groups.remove(0);
        let of_topic = |topic: &millrace_kafka_wire::offset_fetch_response::OffsetFetchResponseTopics| {
            let name = topic.name.clone();
            let found = topic.partitions.iter().map(move |p| {
                let position =
                    (p.committed_offset, p.committed_leader_epoch, p.metadata.clone(), p.error_code);
                (name.clone(), p.partition_index, position)
            });
            found.collect::<Vec<_>>()
        };
        return (answer.error_code, answer.topics.iter().flat_map(of_topic).collect());
    }
    let before = |topic: OffsetFetchRequestTopics| OffsetFetchRequestTopic {
        name: topic.name,
        partition_indexes: topic.partition_indexes,
        ..Default::default()
    };
    let topics = topics.map(|topics| topics.into_iter().map(before).collect());
    let request = OffsetFetchRequest { group_id: group.to_owned(), topics, ..Default::default() };
    let answer = client.call(version, &request).await;
    let of_topic = |topic: &millrace_kafka_wire::offset_fetch_response::OffsetFetchResponseTopic| {
        let name = topic.name.clone();
        let found = topic.partitions.iter().map(move |p| {
            let position = (p.committed_offset, p.committed_leader_epoch, p.metadata.clone(), p.error_code);
            (name.clone(), p.partition_index, position)
        });
        found.collect::<Vec<_>>()
    };
    (answer.error_code, answer.topics.iter().flat_map(of_topic).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn this_node_coordinates_every_group() {
    let world = World::new().await;
    let mut client = world.client().await;
    let here = (1, world.addr.ip().to_string(), i32::from(world.addr.port()), 0);
    for version in FindCoordinatorRequest::VERSIONS {
        let keys = vec!["g".to_owned(), "h".to_owned()];
        let request = FindCoordinatorRequest {
            key: if version < 4 { "g".to_owned() } else { String::new() },
            coordinator_keys: if version < 4 { Vec::new() } else { keys.clone() },
            ..Default::default()
        };
        let found = client.call(version, &request).await;
        if version < 4 {
            assert_eq!((found.node_id, found.host, found.port, found.error_code), here);
            continue;
        }
        let answered: Vec<_> = found.coordinators.iter().map(|found| found.key.clone()).collect();
        assert_eq!(answered, keys);
        for found in found.coordinators {
            assert_eq!((found.node_id, found.host, found.port, found.error_code), here);
        }
    }
    let brokers = client.call(12, &crate::world::metadata(&[])).await.brokers;
    let told: Vec<_> = brokers.into_iter().map(|told| (told.node_id, told.host, told.port, 0)).collect();
    assert_eq!(told, [here]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_coordinator_of_transactions_or_share_groups() {
    let world = World::new().await;
    let mut client = world.client().await;
    let unsupported = KafkaError::UnsupportedVersion.code();
    let cases = [
        (1, "t", unsupported),
        (2, "s", unsupported),
        (3, "x", KafkaError::InvalidRequest.code()),
        (0, "", KafkaError::InvalidGroupId.code()),
    ];
    for (key_type, key, error) in cases {
        let single = FindCoordinatorRequest { key: key.to_owned(), key_type, ..Default::default() };
        let refused = client.call(3, &single).await;
        assert_eq!((refused.error_code, refused.node_id), (error, -1), "{key:?}");
        assert!(refused.error_message.is_some());
        let coordinator_keys = vec![key.to_owned()];
        let several = FindCoordinatorRequest { coordinator_keys, key_type, ..Default::default() };
        let refused = client.call(6, &several).await.coordinators.remove(0);
        assert_eq!((refused.error_code, refused.node_id), (error, -1), "{key:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_version_commits_every_version_fetches() {
    let world = world().await;
    let mut client = world.client().await;
    client.topic("a").await;
    for version in OffsetCommitRequest::VERSIONS {
        let group = format!("g{version}");
        let noted = OffsetCommitRequestPartition {
            committed_leader_epoch: 0,
            committed_metadata: Some("note".to_owned()),
            ..position(2, 0)
        };
        let partitions = vec![position(0, 40 + i64::from(version)), noted];
        assert_eq!(committed(&mut client, version, &commit(&group, "a", partitions)).await, [0, 0]);
        for fetching in OffsetFetchRequest::VERSIONS {
            let epoch = if version >= 6 && fetching >= 5 { 0 } else { -1 };
            let topics = Some(vec![wanted("a", &[2, 0, 1, 9, -1]), wanted("b", &[0]), wanted("a b", &[0])]);
            let (error, found) = fetched(&mut client, fetching, &group, topics).await;
            assert_eq!((error, found.len()), (0, 7));
            is(&found[0].2, (0, epoch, "note", 0));
            is(&found[1].2, (40 + i64::from(version), -1, "", 0));
            found[2..].iter().for_each(|(_, _, position)| is(position, NONE));
            if fetching >= 2 {
                let (error, all) = fetched(&mut client, fetching, &group, None).await;
                let all: Vec<_> = all.into_iter().map(|(topic, at, found)| (topic, at, found.0)).collect();
                let expected = [("a".to_owned(), 0, 40 + i64::from(version)), ("a".to_owned(), 2, 0)];
                assert_eq!((error, all), (0, expected.to_vec()));
            }
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_the_same_at_every_door() {
    let world = world().await;
    let mut client = world.client().await;
    client.topic("a").await;
    let group = GroupId::new("g").unwrap();
    let topic = TopicRef::Name(TopicName::new("a").unwrap());
    let by_the_native_door = OffsetCommit {
        topic: topic.clone(),
        partition: PartitionIndex(1),
        offset: Offset::new(7).unwrap(),
        leader_epoch: Some(LeaderEpoch(0)),
        metadata: "native".to_owned(),
    };
    let request =
        CommitOffsetsRequest { group: group.clone(), offsets: vec![by_the_native_door], member: None };
    assert_eq!(world.broker.commit_offsets(&context(), request).await.unwrap(), [Ok(())]);
    let (_, found) = fetched(&mut client, 9, "g", None).await;
    assert_eq!(found.len(), 1);
    is(&found[0].2, (7, 0, "native", 0));
    assert_eq!(committed(&mut client, 9, &commit("g", "a", vec![position(1, 8)])).await, [0]);
    let partitions = Some(vec![(topic, PartitionIndex(1))]);
    let request = FetchOffsetsRequest { group, partitions, member: None };
    let found = world.broker.fetch_offsets(&context(), request).await.unwrap().remove(0).unwrap();
    assert_eq!((found.offset, found.leader_epoch), (Offset::new(8), None));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_position_is_refused_for_its_own_reason() {
    let world = world().await;
    let mut client = world.client().await;
    client.topic("a").await;
    let noted = |length: usize| Some("x".repeat(length));
    let partitions = vec![
        position(0, 1),
        position(4, 1),
        position(-1, 1),
        position(1, -1),
        OffsetCommitRequestPartition { committed_metadata: noted(4096), ..position(2, 5) },
        OffsetCommitRequestPartition { committed_metadata: noted(4097), ..position(3, 5) },
    ];
    for version in OffsetCommitRequest::VERSIONS {
        let mut request = commit("g", "a", partitions.clone());
        request.topics.push(commit("g", "no-such", vec![position(0, 1)]).topics.remove(0));
        assert_eq!(committed(&mut client, version, &request).await, [0, 3, 3, 1, 0, 12, 3]);
    }
    let topics = Some(vec![wanted("a", &[0, 1, 2, 3])]);
    let (_, found) = fetched(&mut client, 9, "g", topics).await;
    let offsets: Vec<_> = found.iter().map(|(_, _, position)| position.0).collect();
    assert_eq!(offsets, [1, -1, 5, -1]);
    for group in ["", "a\u{7}b"] {
        let refused = committed(&mut client, 9, &commit(group, "a", vec![position(0, 1)])).await;
        assert_eq!(refused, [KafkaError::InvalidGroupId.code()]);
        let (error, found) = fetched(&mut client, 9, group, None).await;
        assert_eq!((error, found.len()), (KafkaError::InvalidGroupId.code(), 0));
        let (error, found) = fetched(&mut client, 1, group, Some(vec![wanted("a", &[0])])).await;
        assert_eq!((error, found[0].2.3), (0, KafkaError::InvalidGroupId.code()));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_groups_are_answered_at_once_and_each_for_itself() {
    let world = world().await;
    let mut client = world.client().await;
    client.topic("a").await;
    for (group, offset) in [("g", 3), ("h", 4)] {
        assert_eq!(committed(&mut client, 8, &commit(group, "a", vec![position(0, offset)])).await, [0]);
    }
    let of = |group: &str| OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics: Some(vec![wanted("a", &[0])]),
        ..Default::default()
    };
    for version in [8, 9] {
        let groups = vec![of("g"), of(""), of("nobody"), of("h")];
        let answer = client.call(version, &OffsetFetchRequest { groups, ..Default::default() }).await;
        let found = answer.groups.iter().map(|group| {
            let offset = group.topics.first().map(|topic| topic.partitions[0].committed_offset);
            (group.group_id.as_str(), group.error_code, offset)
        });
        let invalid = KafkaError::InvalidGroupId.code();
        let expected = [("g", 0, Some(3)), ("", invalid, None), ("nobody", 0, Some(-1)), ("h", 0, Some(4))];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
    world.stop().await;
}

/// A member by the native door that reads `topic`, and its epoch.
pub(crate) async fn native_member(world: &World, group: &str, topic: &str) -> (GroupMembership, i32) {
    let names = BTreeSet::from([TopicName::new(topic).unwrap()]);
    let profile = Profile {
        client_id: "test".to_owned(),
        subscription: GroupSubscription { names, pattern: None },
        rebalance_timeout_ms: 60_000,
        ..Profile::default()
    };
    let group = GroupId::new(group).unwrap();
    let request = JoinGroupRequest { group, member: None, profile, resume: None };
    let (membership, assignment) = world.broker.join_group(&context(), request).await.unwrap();
    (membership, assignment.epoch.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_member_with_its_epoch_commits_for_a_group_that_has_members() {
    let world = world().await;
    let mut client = world.client().await;
    client.topic("a").await;
    let (membership, epoch) = native_member(&world, "g", "a").await;
    let member = membership.member().to_string();
    let by = |member_id: &str, epoch: i32| OffsetCommitRequest {
        member_id: member_id.to_owned(),
        generation_id_or_member_epoch: epoch,
        ..commit("g", "a", vec![position(0, 5)])
    };
    let unknown = KafkaError::UnknownMemberId.code();
    for version in OffsetCommitRequest::VERSIONS {
        let stale = if version >= 9 { KafkaError::StaleMemberEpoch } else { KafkaError::IllegalGeneration };
        assert_eq!(committed(&mut client, version, &by("", -1)).await, [unknown]);
        assert_eq!(committed(&mut client, version, &by("somebody", epoch)).await, [unknown]);
        assert_eq!(committed(&mut client, version, &by(&member, epoch + 1)).await, [stale.code()]);
        assert_eq!(committed(&mut client, version, &by(&member, epoch)).await, [0]);
    }
    let ask = |member_id: Option<&str>, member_epoch| OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".to_owned(),
            member_id: member_id.map(str::to_owned),
            member_epoch,
            ..Default::default()
        }],
        ..Default::default()
    };
    let cases = [
        (None, -1, 0),
        (Some(""), -1, 0),
        (Some(member.as_str()), epoch, 0),
        (Some(member.as_str()), epoch + 1, KafkaError::StaleMemberEpoch.code()),
        (Some("somebody"), epoch, unknown),
    ];
    for (member_id, epoch, error) in cases {
        let answer = client.call(9, &ask(member_id, epoch)).await;
        assert_eq!(answer.groups[0].error_code, error, "{member_id:?} of {epoch}");
    }
    membership.leave(Leaving::ForGood).await.unwrap();
    assert_eq!(committed(&mut client, 9, &by("", -1)).await, [0]);
    world.stop().await;
}

pub(crate) fn forget(group: &str, topic: &str, partitions: &[i32]) -> OffsetDeleteRequest {
    let partition =
        |partition_index: &i32| OffsetDeleteRequestPartition { partition_index: *partition_index };
    let partitions = partitions.iter().map(partition).collect();
    let topics = vec![OffsetDeleteRequestTopic { name: topic.to_owned(), partitions }];
    OffsetDeleteRequest { group_id: group.to_owned(), topics }
}

/// The errors of an answer, partition by partition.
pub(crate) fn codes(answer: OffsetDeleteResponse) -> Vec<i16> {
    assert_eq!(answer.error_code, 0);
    let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_forgotten_where_no_member_reads() {
    let world = world().await;
    let mut client = world.client().await;
    client.topic("a").await;
    client.topic("b").await;
    let missing = client.call(0, &forget("g", "a", &[0])).await;
    assert_eq!((missing.error_code, missing.topics.len()), (KafkaError::GroupIdNotFound.code(), 0));
    for topic in ["a", "b"] {
        let request = commit("g", topic, vec![position(0, 1), position(1, 2)]);
        assert_eq!(committed(&mut client, 9, &request).await, [0, 0]);
    }
    assert_eq!(codes(client.call(0, &forget("g", "a", &[0, 3, 4, -1])).await), [0, 0, 3, 3]);
    let (membership, _) = native_member(&world, "g", "a").await;
    let subscribed = KafkaError::GroupSubscribedToTopic.code();
    assert_eq!(codes(client.call(0, &forget("g", "a", &[1])).await), [subscribed]);
    assert_eq!(codes(client.call(0, &forget("g", "b", &[1])).await), [0]);
    membership.leave(Leaving::ForGood).await.unwrap();
    let (_, left) = fetched(&mut client, 9, "g", None).await;
    let left: Vec<_> = left.into_iter().map(|(topic, partition, _)| (topic, partition)).collect();
    assert_eq!(left, [("a".to_owned(), 1), ("b".to_owned(), 0)]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_pays_for_all_the_metadata_that_it_carries() {
    let world = world().await;
    let mut client = world.client().await;
    client.topic("a").await;
    let noted = OffsetCommitRequestPartition { committed_metadata: Some("x".repeat(4096)), ..position(0, 1) };
    let request = commit("g", "a", vec![noted; 500]);
    assert_eq!(committed(&mut client, 9, &request).await, [0; 500]);
    // The same partition again and again: more metadata than the elements of the request pay for.
    let (error, found) = fetched(&mut client, 9, "g", Some(vec![wanted("a", &[0; 3000])])).await;
    assert_eq!((error, found.len()), (0, 3000));
    let group = OffsetFetchRequestGroup { group_id: "g".to_owned(), topics: None, ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group; 5000], ..Default::default() };
    assert_eq!(client.call(8, &request).await.groups.len(), 5000);
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_questions_than_a_request_may_have_end_the_connection() {
    let world = world().await;
    let mut client = world.client().await;
    client.ask(9, &commit("g", "a", vec![position(0, 1); 25_000])).await;
    client.closed().await;
    let mut client = world.client().await;
    let refused = committed(&mut client, 9, &commit("g", "a", vec![position(0, 1); 10_001])).await;
    assert_eq!(refused, [KafkaError::InvalidRequest.code(); 10_001]);
    world.until_nothing_is_held().await;
    world.stop().await;
}
