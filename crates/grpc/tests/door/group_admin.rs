//! What an operator asks of groups: list, describe, delete, reset, lag.

use millrace_proto::v1;
use millrace_proto::v1::reset_group_offsets_request::To;
use millrace_types::ErrorCode;

use crate::members::{Client, Member, client_with_partitions, commit, committed, join_of, two_members};
use crate::world::{World, code, code_of, produce, topic};

async fn listed(client: &mut Client) -> Vec<(String, v1::GroupKind, v1::GroupStage, u32)> {
    let answer = client.list_groups(v1::ListGroupsRequest {}).await.unwrap().into_inner();
    let group = |group: v1::GroupListing| {
        let (kind, stage) = (group.kind(), group.stage());
        (group.group, kind, stage, group.members)
    };
    answer.groups.into_iter().map(group).collect()
}

async fn described(client: &mut Client, group: &str) -> Result<v1::DescribeGroupResponse, ErrorCode> {
    let request = v1::DescribeGroupRequest { group: group.to_owned() };
    client.describe_group(request).await.map(tonic::Response::into_inner).map_err(|status| code_of(&status))
}

async fn deleted(client: &mut Client, group: &str) -> Result<(), ErrorCode> {
    let request = v1::DeleteGroupRequest { group: group.to_owned() };
    client.delete_group(request).await.map(|_| ()).map_err(|status| code_of(&status))
}

fn reset(group: &str, to: To) -> v1::ResetGroupOffsetsRequest {
    let topics = vec![v1::TopicPartitions { topic: topic("orders"), partitions: vec![0] }];
    v1::ResetGroupOffsetsRequest { group: group.to_owned(), topics, to: Some(to), ..Default::default() }
}

/// Where one partition was and is.
async fn reset_one(
    client: &mut Client,
    request: v1::ResetGroupOffsetsRequest,
) -> Result<(Option<i64>, Option<i64>), ErrorCode> {
    let answer = client.reset_group_offsets(request).await.map_err(|status| code_of(&status))?.into_inner();
    let [one] = &answer.offsets[..] else { panic!("{answer:?}") };
    code(one.error.as_ref()).map_or(Ok((one.before, one.after)), Err)
}

async fn lag(client: &mut Client, group: &str) -> Result<Vec<v1::PartitionLag>, ErrorCode> {
    let request = v1::GroupLagRequest { group: group.to_owned() };
    let answer = client.group_lag(request).await.map_err(|status| code_of(&status))?;
    Ok(answer.into_inner().partitions)
}

/// Records of partition 0, at times one second apart from `from_ms` on.
async fn fill(client: &mut Client, count: i64, from_ms: i64) {
    for number in 0..count {
        let mut request = produce("orders", b"x");
        if let Some(v1::partition_produce::Data::Records(list)) = &mut request.partitions[0].data {
            list.records[0].timestamp_ms = Some(from_ms + 1000 * number);
        }
        let answer = client.produce(request).await.unwrap().into_inner();
        assert_eq!(code(answer.partitions[0].error.as_ref()), None);
    }
}

fn now_ms() -> i64 {
    millrace_env::real::env().clock.wall().0
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_listed_described_and_deleted() {
    use v1::{GroupKind, GroupStage};
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 4).await;
    assert_eq!(listed(&mut client).await, []);
    assert_eq!(described(&mut client, "workers").await.unwrap_err(), ErrorCode::GroupNotFound);
    assert_eq!(deleted(&mut client, "workers").await, Err(ErrorCode::GroupNotFound));
    assert_eq!(committed(&mut client, commit("by-hand", "orders", 1, None)).await, None);
    let (first, second) = two_members(&mut client, "workers").await;
    first.acknowledge();
    second.acknowledge();
    assert_eq!(
        listed(&mut client).await[0],
        ("by-hand".to_owned(), GroupKind::Offsets, GroupStage::Empty, 0)
    );
    loop {
        let workers = &listed(&mut client).await[1];
        assert_eq!((workers.0.as_str(), workers.1, workers.3), ("workers", GroupKind::Consumer, 2));
        if workers.2 == GroupStage::Stable {
            break;
        }
    }
    let group = described(&mut client, "workers").await.unwrap();
    assert_eq!(group.assignor, "sticky");
    let ids: Vec<&str> = group.members.iter().map(|member| member.member.as_str()).collect();
    let mut expected = [first.told.member.as_str(), second.told.member.as_str()];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    for member in &group.members {
        assert_eq!((member.owned.len(), member.revoking.len()), (1, 0));
        assert_eq!(member.owned, member.target);
        assert_eq!(member.client_host, "127.0.0.1");
        assert_eq!(member.subscription.as_ref().unwrap().topics, ["orders"]);
        assert_eq!(member.epoch, group.epoch);
    }
    assert_eq!(deleted(&mut client, "workers").await, Err(ErrorCode::GroupNotEmpty));
    assert_eq!(committed(&mut client, commit("workers", "orders", 1, first.committer())).await, None);
    first.leave().await;
    second.leave().await;
    assert_eq!(deleted(&mut client, "workers").await, Ok(()));
    assert_eq!(described(&mut client, "workers").await.unwrap_err(), ErrorCode::GroupNotFound);
    let asked = v1::FetchOffsetsRequest { group: "workers".to_owned(), ..Default::default() };
    assert!(client.fetch_offsets(asked).await.unwrap().into_inner().offsets.is_empty(), "its offsets, too");
    assert_eq!(deleted(&mut client, "by-hand").await, Ok(()));
    assert_eq!(listed(&mut client).await, []);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_set_to_any_place_and_never_outside_of_what_there_is() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 3).await;
    fill(&mut client, 10, 1_700_000_000_000).await;
    let earliest = To::Earliest(v1::offset_query::Earliest {});
    let latest = To::Latest(v1::offset_query::Latest {});
    let shifted = reset_one(&mut client, reset("workers", To::Shift(1))).await;
    assert_eq!(shifted, Err(ErrorCode::InvalidRequest), "from nowhere");
    let mut before = None;
    for (to, after) in [
        (latest, 10),
        (earliest, 0),
        (To::Offset(4), 4),
        (To::Offset(1_000_000), 10),
        (To::TimeMs(1_700_000_003_000), 3),
        (To::TimeMs(1_700_000_003_001), 4),
        (To::TimeMs(i64::MAX), 10),
        (To::TimeMs(-5), 0),
        (To::Shift(7), 7),
        (To::Shift(-2), 5),
        (To::Shift(i64::MIN), 0),
        (To::Shift(i64::MAX), 10),
    ] {
        let dry = v1::ResetGroupOffsetsRequest { dry_run: true, ..reset("workers", to) };
        assert_eq!(reset_one(&mut client, dry.clone()).await, Ok((before, Some(after))), "{to:?}");
        let wet = v1::ResetGroupOffsetsRequest { dry_run: false, ..dry };
        assert_eq!(reset_one(&mut client, wet).await, Ok((before, Some(after))), "{to:?}");
        before = Some(after);
    }
    // All partitions of a topic, and one that there is not; then all that was committed.
    let mut all = reset("workers", latest);
    all.topics[0].partitions.clear();
    all.topics.push(v1::TopicPartitions { topic: topic("nowhere"), partitions: vec![3] });
    all.topics.push(v1::TopicPartitions { topic: topic("orders"), partitions: vec![2, 9] });
    let answer = client.reset_group_offsets(all.clone()).await.unwrap().into_inner().offsets;
    let told: Vec<_> =
        answer.iter().map(|one| (one.partition, one.after, code(one.error.as_ref()))).collect();
    let unknown = Some(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(
        told,
        [(0, Some(10), None), (1, Some(0), None), (2, Some(0), None), (9, None, unknown), (3, None, unknown)]
    );
    all.topics.clear();
    let answer = client.reset_group_offsets(all).await.unwrap().into_inner().offsets;
    assert_eq!(answer.len(), 3);
    let nowhere = v1::ResetGroupOffsetsRequest { to: None, ..reset("workers", To::Shift(0)) };
    assert_eq!(reset_one(&mut client, nowhere).await, Err(ErrorCode::InvalidRequest));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_members_is_set_only_by_force() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 1).await;
    fill(&mut client, 10, 1_700_000_000_000).await;
    let member = Member::join(&mut client, join_of("workers", "orders")).await;
    assert_eq!(committed(&mut client, commit("workers", "orders", 9, member.committer())).await, None);
    let back = reset("workers", To::Offset(2));
    for dry_run in [true, false] {
        let request = v1::ResetGroupOffsetsRequest { dry_run, ..back.clone() };
        assert_eq!(reset_one(&mut client, request).await, Err(ErrorCode::GroupNotEmpty));
    }
    let forced = v1::ResetGroupOffsetsRequest { force: true, ..back };
    assert_eq!(reset_one(&mut client, forced).await, Ok((Some(9), Some(2))));
    let distance = &lag(&mut client, "workers").await.unwrap()[0];
    assert_eq!((distance.committed, distance.lag), (Some(2), 8));
    assert_eq!(committed(&mut client, commit("workers", "orders", 3, member.committer())).await, None);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_told_in_records_and_in_seconds_and_by_owner() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 2).await;
    assert_eq!(lag(&mut client, "workers").await, Err(ErrorCode::GroupNotFound));
    // The first of ten records is an hour old.
    fill(&mut client, 10, now_ms() - 3_600_000).await;
    let member = Member::join(&mut client, join_of("workers", "orders")).await;
    let lags = lag(&mut client, "workers").await.unwrap();
    let told: Vec<_> = lags.iter().map(|lag| (lag.partition, lag.committed, lag.lag)).collect();
    assert_eq!(told, [(0, None, 10), (1, None, 0)]);
    assert!((3_590.0..3_700.0).contains(&lags[0].lag_seconds), "{}", lags[0].lag_seconds);
    assert_eq!((lags[1].lag_seconds, lags[1].caught_up_seconds), (0.0, Some(0.0)));
    assert_eq!(lags[0].caught_up_seconds, None, "nothing is known of how it goes");
    for lag in &lags {
        assert_eq!((&lag.member, lag.client_id.as_str()), (&member.told.member, ""));
        assert_eq!(lag.topic.as_ref().unwrap().name, "orders");
    }
    assert_eq!(committed(&mut client, commit("workers", "orders", 9, member.committer())).await, None);
    let one = lag(&mut client, "workers").await.unwrap().remove(0);
    assert_eq!((one.committed, one.log_start, one.high_watermark, one.lag), (Some(9), 0, 10, 1));
    assert!((3_581.0..3_691.0).contains(&one.lag_seconds), "{}", one.lag_seconds);
    assert_eq!(committed(&mut client, commit("workers", "orders", 10, member.committer())).await, None);
    let one = lag(&mut client, "workers").await.unwrap().remove(0);
    assert_eq!((one.lag, one.lag_seconds, one.caught_up_seconds), (0, 0.0, Some(0.0)));
    // Nobody is in it, and its offsets are behind still.
    member.leave().await;
    fill(&mut client, 5, now_ms()).await;
    let one = lag(&mut client, "workers").await.unwrap().remove(0);
    assert_eq!((one.member.as_str(), one.lag), ("", 5));
    world.stop().await;
}
