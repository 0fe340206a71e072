//! Groups of the other kind as offsets and tools see them, members whose time is up, and heartbeats while there is no memory.

use bytes::Bytes;
use millrace_broker::GroupSettings;
use millrace_kafka::KafkaError;
use millrace_kafka_wire::offset_fetch_request::OffsetFetchRequestGroup;
use millrace_kafka_wire::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    JoinGroupResponse, ListGroupsRequest, Message, OffsetCommitRequest, OffsetFetchRequest,
};

use crate::classic;
use crate::members::{Member, join};
use crate::offsets::{codes, commit, committed, forget, position};
use crate::world::{Client, World, metadata};

const CONSUMER: i16 = 1;

/// Nobody waits for more members than are there.
fn at_once() -> GroupSettings {
    GroupSettings { classic_initial_delay_ms: 0, ..GroupSettings::default() }
}

/// A group `g` of one member that assigns itself.
async fn classic_member(client: &mut Client) -> JoinGroupResponse {
    let refused = client.call(9, &classic::join("")).await;
    let joined = client.call(9, &classic::join(&refused.member_id)).await;
    assert_eq!(joined.error_code, 0);
    joined
}

async fn listed(client: &mut Client) -> Vec<(String, String, String, String)> {
    let groups = client.call(5, &ListGroupsRequest::default()).await.groups.into_iter();
    groups.map(|g| (g.group_id, g.protocol_type, g.group_state, g.group_type)).collect()
}

fn owned(words: [&str; 4]) -> (String, String, String, String) {
    let [a, b, c, d] = words.map(str::to_owned);
    (a, b, c, d)
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_see_a_group_whose_members_assign_each_other() {
    let world = World::with_groups(at_once()).await;
    let mut client = world.client().await;
    let joined = classic_member(&mut client).await;
    assert_eq!(listed(&mut client).await, [owned(["g", "consumer", "CompletingRebalance", "classic"])]);
    let describe = DescribeGroupsRequest { groups: vec!["g".to_owned()], ..Default::default() };
    let group = client.call(6, &describe).await.groups.remove(0);
    assert_eq!((group.group_state.as_str(), group.protocol_data.as_str()), ("CompletingRebalance", ""));
    assert_eq!(group.members[0].member_metadata, Bytes::new(), "not before all have it");
    assert_eq!(client.call(5, &classic::sync(&joined, 5)).await.error_code, 0);
    assert_eq!(listed(&mut client).await, [owned(["g", "consumer", "Stable", "classic"])]);
    for version in DescribeGroupsRequest::VERSIONS {
        let group = client.call(version, &describe).await.groups.remove(0);
        assert_eq!((group.error_code, group.group_state.as_str()), (0, "Stable"));
        assert_eq!((group.protocol_type.as_str(), group.protocol_data.as_str()), ("consumer", "range"));
        let member = &group.members[0];
        assert_eq!((member.member_id.as_str(), member.client_id.as_str()), (&*joined.member_id, "test"));
        assert_eq!(member.client_host, "127.0.0.1");
        assert_eq!(member.member_metadata, format!("range of {}", joined.member_id));
        assert_eq!(member.member_assignment, format!("share of {}", joined.member_id));
    }
    let describe = ConsumerGroupDescribeRequest { group_ids: vec!["g".to_owned()], ..Default::default() };
    let group = client.call(1, &describe).await.groups.remove(0);
    assert_eq!(group.error_code, KafkaError::GroupIdNotFound.code());
    let delete = DeleteGroupsRequest { groups_names: vec!["g".to_owned()], ..Default::default() };
    let busy = KafkaError::NonEmptyGroup.code();
    assert_eq!(client.call(2, &delete).await.results[0].error_code, busy);
    assert_eq!(client.call(5, &classic::leave(&[&joined.member_id])).await.error_code, 0);
    assert_eq!(listed(&mut client).await, [owned(["g", "consumer", "Empty", "classic"])]);
    assert_eq!(client.call(2, &delete).await.results[0].error_code, 0);
    assert_eq!(listed(&mut client).await, []);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_commits_until_it_is_over() {
    let world = World::with_groups(at_once()).await;
    let mut client = world.client().await;
    client.topic("a").await;
    let joined = classic_member(&mut client).await;
    assert_eq!(client.call(5, &classic::sync(&joined, 5)).await.error_code, 0);
    let by = |member_id: &str, generation: i32| OffsetCommitRequest {
        member_id: member_id.to_owned(),
        generation_id_or_member_epoch: generation,
        ..commit("g", "a", vec![position(0, 5)])
    };
    let (unknown, stale) = (KafkaError::UnknownMemberId.code(), KafkaError::IllegalGeneration.code());
    let (member, generation) = (joined.member_id.as_str(), joined.generation_id);
    for version in OffsetCommitRequest::VERSIONS {
        assert_eq!(committed(&mut client, version, &by("", -1)).await, [unknown]);
        assert_eq!(committed(&mut client, version, &by("somebody", generation)).await, [unknown]);
        assert_eq!(committed(&mut client, version, &by(member, generation + 1)).await, [stale]);
        assert_eq!(committed(&mut client, version, &by(member, generation)).await, [0]);
    }
    // Whoever asks may know, whatever it says it is.
    let group = OffsetFetchRequestGroup {
        group_id: "g".to_owned(),
        member_id: Some("somebody".to_owned()),
        member_epoch: 99,
        topics: None,
        ..Default::default()
    };
    let found = client.call(9, &OffsetFetchRequest { groups: vec![group], ..Default::default() }).await;
    assert_eq!(found.groups[0].topics[0].partitions[0].committed_offset, 5);
    let subscribed = KafkaError::GroupSubscribedToTopic.code();
    assert_eq!(codes(client.call(0, &forget("g", "a", &[0])).await), [subscribed]);
    assert_eq!(client.call(5, &classic::leave(&[member])).await.error_code, 0);
    assert_eq!(committed(&mut client, 9, &by(member, generation)).await, [unknown]);
    assert_eq!(codes(client.call(0, &forget("g", "a", &[0])).await), [0]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_changes_its_kind_only_while_nobody_is_in_it() {
    let world = World::with_groups(at_once()).await;
    let mut client = world.client().await;
    client.topic("a").await;
    let joined = classic_member(&mut client).await;
    let refused = client.call(CONSUMER, &join("g", "m", &["a"])).await;
    assert_eq!(refused.error_code, KafkaError::InconsistentGroupProtocol.code());
    assert_eq!(client.call(5, &classic::leave(&[&joined.member_id])).await.error_code, 0);
    let mut member = Member::joined(&world, CONSUMER, join("g", "m", &["a"])).await;
    assert!(member.epoch > joined.generation_id, "epochs go on where generations ended");
    assert_eq!(listed(&mut client).await[0].3, "consumer");
    let refused = client.call(9, &classic::join("")).await;
    assert_eq!(refused.error_code, KafkaError::InconsistentGroupProtocol.code());
    let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..member.beat() };
    assert_eq!(member.say(&leave).await.error_code, 0);
    classic_member(&mut client).await;
    assert_eq!(listed(&mut client).await[0].3, "classic");
    world.stop().await;
}

async fn members_of(client: &mut Client, group: &str) -> Vec<String> {
    let describe = ConsumerGroupDescribeRequest { group_ids: vec![group.to_owned()], ..Default::default() };
    let members = client.call(1, &describe).await.groups.remove(0).members;
    members.into_iter().map(|member| member.member_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_member_is_put_out_after_its_session() {
    let world = World::with_groups(GroupSettings { session_timeout_ms: 1_000, ..at_once() }).await;
    let mut member = Member::joined(&world, CONSUMER, join("g", "m", &["a"])).await;
    let mut client = world.client().await;
    while !members_of(&mut client, "g").await.is_empty() {
        tokio::task::yield_now().await;
    }
    let beat = member.beat();
    assert_eq!(member.refused(&beat).await, KafkaError::UnknownMemberId.code());
    let anew = member.say(&join("g", "m", &["a"])).await;
    assert_eq!(anew.error_code, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_never_lets_go_is_put_out_after_its_rebalance_timeout() {
    let world = crate::offsets::world().await;
    let hasty = ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: 200, ..join("g", "first", &["a"]) };
    let mut first = Member::joined(&world, CONSUMER, hasty).await;
    let mut second = Member::joined(&world, CONSUMER, join("g", "second", &["a"])).await;
    // It is heard of all the time, and never says that it has let go.
    loop {
        let beat = first.beat();
        match first.say(&beat).await.error_code {
            0 => tokio::task::yield_now().await,
            error => break assert_eq!(error, KafkaError::UnknownMemberId.code()),
        }
    }
    second.live().await;
    assert_eq!(second.owned.len(), 4);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_does_not_wait_in_the_line_for_memory() {
    let world = World::with_groups(at_once()).await;
    let mut member = Member::joined(&world, CONSUMER, join("h", "m", &["a"])).await;
    let mut client = world.client().await;
    let mut other = world.client().await;
    let joined = classic_member(&mut other).await;
    world.until_nothing_is_held().await;
    let memory = world.broker.memory();
    let all = memory.acquire(memory.bytes_max()).await.unwrap();
    client.ask(12, &metadata(&["a"])).await;
    while memory.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!member.live().await);
    let beat = classic::beat(&joined);
    assert_ne!(other.call(4, &beat).await.error_code, KafkaError::UnknownMemberId.code());
    drop(all);
    let (_, answer) = client.answer::<millrace_kafka_wire::MetadataRequest>(12).await;
    assert_eq!(answer.topics[0].error_code, 0);
    world.stop().await;
}
