//! Committed offsets: kept over restarts, forgotten with their topic.

use std::path::PathBuf;

use millrace_env::OpenMode;
use millrace_log::names::partition_dir;
use millrace_types::{GroupId, LeaderEpoch, TopicPartition, limits};

use super::*;
use crate::OffsetCommit;

fn group() -> GroupId {
    GroupId::new("readers").unwrap()
}

fn at(topic: &str, partition: u32, offset: u64) -> OffsetCommit {
    OffsetCommit {
        topic: by_name(topic),
        partition: PartitionIndex(partition),
        offset: Offset::from_count(offset),
        leader_epoch: Some(LeaderEpoch(4)),
        metadata: format!("at {offset}"),
    }
}

async fn commit(world: &World, offsets: Vec<OffsetCommit>) -> Vec<Option<ErrorCode>> {
    let request = CommitOffsetsRequest { group: group(), offsets, member: None };
    world.broker.commit_offsets(&ctx(), request).await.unwrap().into_iter().map(code).collect()
}

async fn all(world: &World) -> Vec<(u32, Option<i64>)> {
    let request = FetchOffsetsRequest { group: group(), partitions: None, member: None };
    let found = world.broker.fetch_offsets(&ctx(), request).await.unwrap();
    found
        .into_iter()
        .map(|one| one.map(|one| (one.partition.0, one.offset.map(Offset::get))).unwrap())
        .collect()
}

/// Bytes of the log that holds the commits of the group.
async fn log_bytes(world: &World) -> u64 {
    let topic = world.broker.describe_topic(&ctx(), by_name("__consumer_offsets")).await.unwrap();
    let partition = TopicPartition { topic: topic.id, partition: millrace_group::partition_of(&group()) };
    let dir = PathBuf::from("/data").join(partition_dir(partition));
    let fs = world.sim.env().fs;
    let names = fs.read_dir(&dir).unwrap().into_iter().map(|entry| entry.name);
    let logs = names.filter(|name| name.ends_with(".log"));
    logs.map(|name| fs.open(&dir.join(name), OpenMode::Read).unwrap().size().unwrap()).sum()
}

#[tokio::test]
async fn commits_outlive_the_compaction_of_their_log() {
    let world = World::new(7).await;
    world.create("a", 3).await;
    world.create("gone", 1).await;
    for offset in 1..=50 {
        let commits = vec![at("a", 0, offset), at("a", 2, 2 * offset), at("gone", 0, offset)];
        assert_eq!(commit(&world, commits).await, [None; 3]);
    }
    world.broker.delete_topic(&ctx(), by_name("gone")).await.unwrap();
    let kept = vec![(0, Some(50)), (2, Some(100))];
    assert_eq!(all(&world).await, kept);
    let before = log_bytes(&world).await;
    // Older than segments of the log grow, so that it is sealed.
    world.sim.clock().advance(Duration::from_secs(8 * 86_400));
    for _ in 0..2 {
        world.broker.core.dir.janitor_step();
    }
    let after = log_bytes(&world).await;
    assert!(after < before / 4, "{before} bytes became {after}");
    assert_eq!(all(&world).await, kept);
    let world = world.cut(Survival::Nothing).await;
    assert_eq!(all(&world).await, kept);
    assert_eq!(commit(&world, vec![at("a", 0, 51)]).await, [None]);
    let world = world.restart().await.kill().await;
    assert_eq!(all(&world).await, [(0, Some(51)), (2, Some(100))]);
}

#[tokio::test]
async fn commits_outlive_kills_clean_stops_and_power_cuts() {
    let world = World::new(1).await;
    world.create("a", 3).await;
    assert_eq!(commit(&world, vec![at("a", 0, 5), at("a", 2, 7)]).await, [None, None]);
    let world = world.kill().await;
    assert_eq!(all(&world).await, [(0, Some(5)), (2, Some(7))]);
    assert_eq!(commit(&world, vec![at("a", 0, 6)]).await, [None]);
    let world = world.restart().await.cut(Survival::Nothing).await;
    assert_eq!(all(&world).await, [(0, Some(6)), (2, Some(7))]);
    let asked = vec![
        (by_name("a"), PartitionIndex(2)),
        (by_name("a"), PartitionIndex(1)),
        (by_name("b"), PartitionIndex(0)),
    ];
    let request = FetchOffsetsRequest { group: group(), partitions: Some(asked), member: None };
    let found = world.broker.fetch_offsets(&ctx(), request).await.unwrap();
    let first = found[0].as_ref().unwrap();
    assert_eq!(
        (first.offset.map(Offset::get), first.leader_epoch, first.metadata.as_str()),
        (Some(7), Some(LeaderEpoch(4)), "at 7")
    );
    assert!(first.commit_time.is_some());
    assert_eq!(found[1].as_ref().unwrap().offset, None);
    assert_eq!(found[2].as_ref().unwrap_err().code, ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test]
async fn what_cannot_be_committed_is_refused_alone() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let long = OffsetCommit { metadata: "x".repeat(limits::OFFSET_METADATA_BYTES_MAX + 1), ..at("a", 0, 1) };
    let codes = commit(&world, vec![long, at("nope", 0, 1), at("a", 1, 1), at("a", 0, 9)]).await;
    let expected = [
        Some(ErrorCode::OffsetMetadataTooLarge),
        Some(ErrorCode::UnknownTopicOrPartition),
        Some(ErrorCode::UnknownTopicOrPartition),
        None,
    ];
    assert_eq!(codes, expected);
    assert_eq!(all(&world).await, [(0, Some(9))]);
}

#[tokio::test]
async fn offsets_go_with_their_topic_and_do_not_come_back_with_its_name() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    world.create("b", 1).await;
    commit(&world, vec![at("a", 0, 5), at("b", 0, 8)]).await;
    world.broker.delete_topic(&ctx(), by_name("a")).await.unwrap();
    world.create("a", 1).await;
    assert_eq!(all(&world).await, [(0, Some(8))]);
    let world = world.kill().await;
    assert_eq!(all(&world).await, [(0, Some(8))]);
}

#[tokio::test]
async fn one_commit_is_one_batch() {
    let world = World::new(1).await;
    world.create("a", 50).await;
    world.sim.calls().reset();
    commit(&world, (0..50).map(|partition| at("a", partition, 1)).collect()).await;
    assert_eq!(world.sim.calls().count(millrace_env::counting::CallKind::Write), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_groups_commit_side_by_side() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let commits = (0..200).map(|number| {
        let broker = Arc::clone(&world.broker);
        tokio::spawn(async move {
            let group = GroupId::new(&format!("g{number}")).unwrap();
            let request = CommitOffsetsRequest { group, offsets: vec![at("a", 0, number)], member: None };
            broker.commit_offsets(&ctx(), request).await.unwrap().remove(0)
        })
    });
    for commit in commits.collect::<Vec<_>>() {
        commit.await.unwrap().unwrap();
    }
    let world = world.kill().await;
    for number in 0..200 {
        let group = GroupId::new(&format!("g{number}")).unwrap();
        let request = FetchOffsetsRequest { group, partitions: None, member: None };
        let found = world.broker.fetch_offsets(&ctx(), request).await.unwrap();
        assert_eq!(found[0].as_ref().unwrap().offset, Some(Offset::from_count(number)));
    }
}
