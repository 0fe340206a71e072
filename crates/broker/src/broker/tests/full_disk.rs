//! A full disk: refusals are definite, reads go on, and nothing is half done when there is room again.

use millrace_env::counting::CallKind;
use millrace_env::sim::Fault;
use millrace_types::{GroupId, Outcome};

use super::*;
use crate::OffsetCommit;

async fn commit(world: &World, offset: u64) -> Option<ErrorCode> {
    let commit = OffsetCommit {
        topic: by_name("a"),
        partition: PartitionIndex(0),
        offset: Offset::from_count(offset),
        leader_epoch: None,
        metadata: String::new(),
    };
    let request = CommitOffsetsRequest { group: GroupId::new("g").unwrap(), offsets: vec![commit] };
    match world.broker.commit_offsets(&ctx(), request).await {
        Ok(mut answers) => code(answers.remove(0)),
        Err(error) => Some(error.code),
    }
}

async fn committed(world: &World) -> Option<i64> {
    let request = FetchOffsetsRequest { group: GroupId::new("g").unwrap(), partitions: None };
    let found = world.broker.fetch_offsets(&ctx(), request).await.unwrap();
    found.first().and_then(|one| one.as_ref().unwrap().offset).map(Offset::get)
}

#[tokio::test]
async fn records_and_commits_are_refused_definitely_and_taken_again_when_there_is_room() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    world.produce("a", &["1"]).await.unwrap();
    assert_eq!(commit(&world, 1).await, None);
    world.sim.disk().inject(Fault::no_space(CallKind::Write).for_ever());
    world.sim.disk().inject(Fault::no_space(CallKind::Allocate).for_ever());
    let refused = code(world.produce("a", &["2"]).await).unwrap();
    assert_eq!((refused, refused.outcome()), (ErrorCode::StorageFull, Outcome::Definite));
    assert_eq!(commit(&world, 2).await, Some(ErrorCode::StorageFull));
    assert_eq!(world.values("a", 0).await.unwrap(), ["1"]);
    assert_eq!(committed(&world).await, Some(1));
    world.sim.disk().heal();
    world.produce("a", &["3"]).await.unwrap();
    assert_eq!(commit(&world, 3).await, None);
    assert_eq!(
        (world.values("a", 0).await.unwrap(), committed(&world).await),
        (vec!["1".to_owned(), "3".to_owned()], Some(3))
    );
    let world = world.kill().await;
    assert_eq!(
        (world.values("a", 0).await.unwrap(), committed(&world).await),
        (vec!["1".to_owned(), "3".to_owned()], Some(3))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_fail_in_a_crowd_leave_what_the_log_says() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    for round in 0..20 {
        world.sim.disk().inject(Fault::no_space(CallKind::Write).after(2).times(3));
        let crowd = (0..16).map(|number| {
            let broker = Arc::clone(&world.broker);
            tokio::spawn(async move {
                let commit = OffsetCommit {
                    topic: by_name("a"),
                    partition: PartitionIndex(0),
                    offset: Offset::from_count(round * 100 + number),
                    leader_epoch: None,
                    metadata: String::new(),
                };
                let request =
                    CommitOffsetsRequest { group: GroupId::new("g").unwrap(), offsets: vec![commit] };
                let _taken_or_refused = broker.commit_offsets(&ctx(), request).await;
            })
        });
        for task in crowd.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        world.sim.disk().heal();
        // The value may be on its way back from its log.
        while commit(&world, round * 100 + 50).await.is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(committed(&world).await, Some(i64::try_from(round).unwrap() * 100 + 50));
    }
    let before = committed(&world).await;
    let world = world.kill().await;
    assert_eq!(committed(&world).await, before);
}

#[tokio::test]
async fn a_topic_whose_logs_cannot_be_made_is_taken_back() {
    let world = World::new(1).await;
    world.sim.disk().inject(Fault::no_space(CallKind::CreateDir).after(1).for_ever());
    let refused = world.broker.create_topic(&ctx(), new_topic("a", 3)).await;
    assert_eq!(code(refused), Some(ErrorCode::StorageFull));
    let described = world.broker.describe_topic(&ctx(), by_name("a")).await;
    assert_eq!(code(described), Some(ErrorCode::UnknownTopicOrPartition));
    world.sim.disk().heal();
    world.create("a", 3).await;
    world.produce("a", &["1"]).await.unwrap();
    let world = world.kill().await;
    assert_eq!(world.values("a", 0).await.unwrap(), ["1"]);
    assert_eq!(world.broker.orphans(), []);
}
