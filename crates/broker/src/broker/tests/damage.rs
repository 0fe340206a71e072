//! Damage in the product's own logs: what it touches is answered as such, and the rest is served.

use std::path::PathBuf;

use millrace_env::OpenMode;
use millrace_log::names::partition_dir;
use millrace_types::{GroupId, TopicPartition};

use super::*;

/// The groups of these tests, each in a partition of its own.
fn groups() -> [GroupId; 2] {
    let group = |name: &str| GroupId::new(name).unwrap();
    let first = group("g");
    let other = (0..).map(|number| group(&format!("g{number}")));
    let of = millrace_group::partition_of;
    let other = other.into_iter().find(|other| of(other) != of(&first)).unwrap();
    [first, other]
}

/// The offset of partition 0 of topic a, asked for by name and among all.
async fn committed(world: &World, group: &GroupId) -> [Result<Option<i64>, ErrorCode>; 2] {
    let one = Some(vec![(by_name("a"), PartitionIndex(0))]);
    let mut answers = Vec::new();
    for partitions in [one, None] {
        let request = FetchOffsetsRequest { group: group.clone(), partitions, member: None };
        let found = world.broker.fetch_offsets(&ctx(), request).await.map_err(|error| error.code);
        let found = found.and_then(|found| found.into_iter().next().transpose().map_err(|error| error.code));
        answers.push(found.map(|found| found.and_then(|found| found.offset).map(Offset::get)));
    }
    answers.try_into().unwrap()
}

async fn dir_of(world: &World, group: &GroupId) -> PathBuf {
    let topic = world.broker.describe_topic(&ctx(), by_name("__consumer_offsets")).await.unwrap();
    let partition = millrace_group::partition_of(group);
    PathBuf::from("/data").join(partition_dir(TopicPartition { topic: topic.id, partition }))
}

/// A broker that was stopped in order, whose groups have committed 1 and 2.
async fn stopped() -> (World, [GroupId; 2], PathBuf) {
    let world = World::new(1).await;
    world.create("a", 1).await;
    world.produce("a", &["1"]).await.unwrap();
    let groups = groups();
    for group in &groups {
        for offset in 1..3 {
            assert_eq!(world.commit(group, offset).await, None);
        }
    }
    let dir = dir_of(&world, &groups[0]).await;
    world.broker.shut_down(Duration::from_secs(5)).await.unwrap();
    (world, groups, dir)
}

async fn again(world: World) -> World {
    let World { sim, broker } = world;
    drop(broker);
    World { broker: start(sim.kill()).await, sim }
}

#[tokio::test]
async fn a_lost_partition_of_the_committed_offsets_keeps_nobody_else_from_being_served() {
    let (world, [lost, whole], dir) = stopped().await;
    let fs = world.sim.env().fs;
    for entry in fs.read_dir(&dir).unwrap() {
        fs.unlink(&dir.join(entry.name)).unwrap();
    }
    fs.remove_dir(&dir).unwrap();
    let world = again(world).await;
    assert_eq!(world.values("a", 0).await.unwrap(), ["1"]);
    assert_eq!(committed(&world, &lost).await, [Err(ErrorCode::Corrupt); 2]);
    assert_eq!(world.commit(&lost, 5).await, Some(ErrorCode::Corrupt));
    assert_eq!(committed(&world, &whole).await, [Ok(Some(2)); 2]);
    assert_eq!(world.commit(&whole, 3).await, None);
    assert_eq!(world.broker.start_report().damaged.len(), 1);
    world.broker.delete_topic(&ctx(), by_name("a")).await.unwrap();
}

#[tokio::test]
async fn a_damaged_commit_is_answered_as_such_and_never_by_an_older_one() {
    let (world, [damaged, whole], dir) = stopped().await;
    let log = dir.join("00000000000000000000.log");
    let file = world.sim.env().fs.open(&log, OpenMode::ReadWrite).unwrap();
    let last = file.size().unwrap() - 3;
    let mut byte = [0];
    file.read_exact_at(&mut byte, last).unwrap();
    file.write_all_at(&[byte[0] ^ 1], last).unwrap();
    file.sync_data().unwrap();
    let world = again(world).await;
    assert_eq!(committed(&world, &damaged).await, [Err(ErrorCode::Corrupt); 2]);
    assert_eq!(committed(&world, &whole).await, [Ok(Some(2)); 2]);
    // What is committed anew is certainly the newest; whether there was more nobody knows.
    assert_eq!(world.commit(&damaged, 3).await, None);
    assert_eq!(committed(&world, &damaged).await, [Ok(Some(3)), Err(ErrorCode::Corrupt)]);
    let world = world.restart().await;
    assert_eq!(committed(&world, &damaged).await, [Ok(Some(3)), Err(ErrorCode::Corrupt)]);
}

#[tokio::test]
async fn a_fetch_of_damage_says_where_to_read_on() {
    let world = World::new(2).await;
    world.create("a", 1).await;
    for value in ["1", "2", "3"] {
        world.produce("a", &[value]).await.unwrap();
    }
    let topic = world.broker.describe_topic(&ctx(), by_name("a")).await.unwrap();
    let id = TopicPartition { topic: topic.id, partition: PartitionIndex(0) };
    let log = PathBuf::from("/data").join(partition_dir(id)).join("00000000000000000000.log");
    world.broker.shut_down(Duration::from_secs(5)).await.unwrap();
    let file = world.sim.env().fs.open(&log, OpenMode::ReadWrite).unwrap();
    let middle = file.size().unwrap() / 2;
    file.write_all_at(&[0xff; 4], middle).unwrap();
    let world = again(world).await;
    assert_eq!(world.values("a", 0).await.unwrap(), ["1"]);
    let error = world.values("a", 1).await.unwrap_err();
    let range = error.corrupt.unwrap();
    assert_eq!(
        (error.code, range.start, range.end),
        (ErrorCode::Corrupt, Offset::from_count(1), Offset::from_count(2))
    );
    assert_eq!(world.values("a", 2).await.unwrap(), ["3"]);
    assert_eq!(world.broker.damaged_ranges(), 1);
    let described = world.broker.describe_topic(&ctx(), by_name("a")).await.unwrap().partitions.remove(0);
    assert_eq!(described.damage.ranges, 1);
    assert!((4..described.size_bytes).contains(&described.damage.bytes), "{:?}", described.damage);
}

#[tokio::test]
async fn members_in_doubt_join_again_with_an_epoch_that_was_never_given() {
    let world = World::new(1).await;
    world.create("a", 2).await;
    let group = super::groups::group();
    let mut last = None;
    for life in 0..5 {
        let member = world.join(&format!("m{life}"), &["a"]).await;
        member.membership.leave(millrace_group::consumer::Leaving::ForGood).await.unwrap();
    }
    for _ in 0..2 {
        // A join whose answer nobody has heard is the same join; one behind a heartbeat is a new beginning.
        let mut member = world.join("member", &["a"]).await;
        member.beat().await.unwrap();
        last = Some(member.committer());
    }
    let old = last.unwrap();
    let dir = dir_of(&world, &group).await;
    world.broker.shut_down(Duration::from_secs(5)).await.unwrap();
    let file = world.sim.env().fs.open(&dir.join("00000000000000000000.log"), OpenMode::ReadWrite).unwrap();
    let near_the_end = file.size().unwrap() - 40;
    let mut byte = [0];
    file.read_exact_at(&mut byte, near_the_end).unwrap();
    file.write_all_at(&[byte[0] ^ 1], near_the_end).unwrap();
    file.sync_data().unwrap();
    let world = again(world).await;
    assert_eq!(world.commit_as(Some(old.clone()), 1).await, Some(ErrorCode::UnknownMember));
    let member = world.join("member", &["a"]).await;
    assert!(Some(member.told.epoch) > old.epoch, "{:?} behind {old:?}", member.told.epoch);
    assert_eq!(world.commit_as(Some(old.clone()), 2).await, Some(ErrorCode::StaleMemberEpoch));
    assert_eq!(world.commit_as(Some(member.committer()), 3).await, None);
    // The damage is still there, and what was written behind it counts.
    let new = member.committer();
    drop(member);
    let world = world.restart().await;
    assert_eq!(world.commit_as(Some(old), 4).await, Some(ErrorCode::StaleMemberEpoch));
    assert_eq!(world.commit_as(Some(new), 5).await, None);
}
