//! ListGroups, DescribeGroups, DeleteGroups and ConsumerGroupDescribe.

use millrace_broker::Leaving;
use millrace_kafka::KafkaError;
use millrace_kafka_wire::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest, Message,
};

use crate::offsets::{commit, committed, fetched, native_member, position, world};

fn list(states: &[&str], types: &[&str]) -> ListGroupsRequest {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    ListGroupsRequest { states_filter: owned(states), types_filter: owned(types), ..Default::default() }
}

fn describe(groups: &[&str]) -> DescribeGroupsRequest {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    DescribeGroupsRequest { groups, ..Default::default() }
}

fn describe_consumers(groups: &[&str]) -> ConsumerGroupDescribeRequest {
    let group_ids = groups.iter().map(|group| (*group).to_owned()).collect();
    ConsumerGroupDescribeRequest { group_ids, ..Default::default() }
}

fn delete(groups: &[&str]) -> DeleteGroupsRequest {
    let groups_names = groups.iter().map(|group| (*group).to_owned()).collect();
    DeleteGroupsRequest { groups_names, ..Default::default() }
}

/// The version, the states and types that are asked for, and the groups that are answered.
type Filtered = (i16, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_every_kind_are_listed_by_state_and_type() {
    let world = world().await;
    let mut client = world.client().await;
    client.topic("a").await;
    assert_eq!(committed(&mut client, 9, &commit("offsets", "a", vec![position(0, 1)])).await, [0]);
    let (membership, _) = native_member(&world, "read", "a").await;
    for version in ListGroupsRequest::VERSIONS {
        let listed = client.call(version, &list(&[], &[])).await;
        assert_eq!(listed.error_code, 0);
        let groups = listed.groups.iter().map(|group| {
            let (state, kind) = (group.group_state.as_str(), group.group_type.as_str());
            (group.group_id.as_str(), group.protocol_type.as_str(), state, kind)
        });
        let state = |name| if version >= 4 { name } else { "" };
        let kind = |name| if version >= 5 { name } else { "" };
        let expected = [
            ("offsets", "", state("Empty"), kind("classic")),
            ("read", "consumer", state("Stable"), kind("consumer")),
        ];
        assert_eq!(groups.collect::<Vec<_>>(), expected, "version {version}");
    }
    let cases: [Filtered; 7] = [
        (4, &["Stable"], &[], &["read"]),
        (4, &["empty"], &[], &["offsets"]),
        (4, &["Empty", "STABLE"], &[], &["offsets", "read"]),
        (4, &["Dead", "PreparingRebalance"], &[], &[]),
        (5, &[], &["Consumer"], &["read"]),
        (5, &[], &["classic"], &["offsets"]),
        (5, &["Stable"], &["classic", "no-such"], &[]),
    ];
    for (version, states, types, expected) in cases {
        let listed = client.call(version, &list(states, types)).await.groups;
        let names: Vec<_> = listed.iter().map(|group| group.group_id.as_str()).collect();
        assert_eq!(names, expected, "{states:?} {types:?}");
    }
    membership.leave(Leaving::ForGood).await.unwrap();
    let empty = client.call(5, &list(&["Empty"], &["consumer"])).await.groups;
    assert_eq!(empty.iter().map(|group| group.group_id.as_str()).collect::<Vec<_>>(), ["read"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_group_is_described_by_its_own_request() {
    let world = world().await;
    let mut client = world.client().await;
    let topic = client.topic("a").await;
    assert_eq!(committed(&mut client, 9, &commit("offsets", "a", vec![position(0, 1)])).await, [0]);
    let (membership, epoch) = native_member(&world, "read", "a").await;
    let not_found = KafkaError::GroupIdNotFound.code();
    for version in DescribeGroupsRequest::VERSIONS {
        let groups = client.call(version, &describe(&["offsets", "read", "nobody", ""])).await.groups;
        let told: Vec<_> =
            groups.iter().map(|group| (group.error_code, group.group_state.as_str())).collect();
        let missing = if version >= 6 { not_found } else { 0 };
        let invalid = KafkaError::InvalidGroupId.code();
        assert_eq!(told, [(0, "Empty"), (missing, "Dead"), (missing, "Dead"), (invalid, "")]);
        assert_eq!(groups[1].error_message.is_some(), version >= 6);
        assert!(groups.iter().all(|group| group.authorized_operations == i32::MIN));
    }
    for version in ConsumerGroupDescribeRequest::VERSIONS {
        let groups = client.call(version, &describe_consumers(&["read", "offsets", "nobody"])).await.groups;
        let codes: Vec<_> = groups.iter().map(|group| group.error_code).collect();
        assert_eq!(codes, [0, not_found, not_found]);
        let group = &groups[0];
        assert_eq!((group.group_state.as_str(), group.assignor_name.as_str()), ("Stable", "uniform"));
        assert_eq!((group.group_epoch, group.assignment_epoch), (epoch, epoch));
        let member = &group.members[0];
        assert_eq!(member.member_id, membership.member().to_string());
        assert_eq!((member.member_epoch, member.client_id.as_str()), (epoch, "test"));
        assert_eq!(member.subscribed_topic_names, ["a"]);
        assert_eq!(member.member_type, if version >= 1 { 1 } else { -1 });
        for assignment in [&member.assignment, &member.target_assignment] {
            let of_topic = &assignment.topic_partitions[0];
            assert_eq!((of_topic.topic_id, of_topic.topic_name.as_str()), (topic.topic_id, "a"));
            assert_eq!(of_topic.partitions, [0, 1, 2, 3]);
        }
    }
    membership.leave(Leaving::ForGood).await.unwrap();
    let group = client.call(1, &describe_consumers(&["read"])).await.groups.remove(0);
    assert_eq!((group.error_code, group.group_state.as_str(), group.members.len()), (0, "Empty", 0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_nobody_is_in_are_deleted() {
    let world = world().await;
    let mut client = world.client().await;
    client.topic("a").await;
    for version in DeleteGroupsRequest::VERSIONS {
        assert_eq!(committed(&mut client, 9, &commit("offsets", "a", vec![position(0, 1)])).await, [0]);
        let (membership, _) = native_member(&world, "read", "a").await;
        let codes = |answer: millrace_kafka_wire::DeleteGroupsResponse| {
            answer.results.into_iter().map(|result| result.error_code).collect::<Vec<_>>()
        };
        let deleted = client.call(version, &delete(&["offsets", "read", "nobody", ""])).await;
        let (busy, missing) = (KafkaError::NonEmptyGroup.code(), KafkaError::GroupIdNotFound.code());
        assert_eq!(codes(deleted), [0, busy, missing, KafkaError::InvalidGroupId.code()]);
        let (error, left) = fetched(&mut client, 9, "offsets", None).await;
        assert_eq!((error, left.len()), (0, 0));
        membership.leave(Leaving::ForGood).await.unwrap();
        assert_eq!(codes(client.call(version, &delete(&["read"])).await), [0]);
        assert!(client.call(5, &list(&[], &[])).await.groups.is_empty());
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_group_again_and_again_is_paid_for() {
    let world = world().await;
    let mut client = world.client().await;
    client.topic("a").await;
    let (membership, _) = native_member(&world, "read", "a").await;
    let groups = client.call(1, &describe_consumers(&["read"; 10_000])).await.groups;
    assert_eq!(groups.len(), 10_000);
    let groups = client.call(6, &describe(&["read"; 10_000])).await.groups;
    assert_eq!(groups.len(), 10_000);
    client.ask(6, &describe(&["read"; 25_000])).await;
    client.closed().await;
    membership.leave(Leaving::ForGood).await.unwrap();
    world.until_nothing_is_held().await;
    world.stop().await;
}
