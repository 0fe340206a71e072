//! A full disk: refusals are definite, reads go on, and nothing is half done when there is room again.

use millrace_env::counting::CallKind;
use millrace_env::sim::Fault;
use millrace_types::{GroupId, Outcome, TopicId};

use super::*;

fn group() -> GroupId {
    GroupId::new("g").unwrap()
}

async fn committed(world: &World) -> Option<i64> {
    let request = FetchOffsetsRequest { group: group(), partitions: None, member: None };
    let found = world.broker.fetch_offsets(&ctx(), request).await.unwrap();
    found.first().and_then(|one| one.as_ref().unwrap().offset).map(Offset::get)
}

#[tokio::test]
async fn records_and_commits_are_refused_definitely_and_taken_again_when_there_is_room() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    world.produce("a", &["1"]).await.unwrap();
    assert_eq!(world.commit(&group(), 1).await, None);
    world.sim.disk().inject(Fault::no_space(CallKind::Write).for_ever());
    world.sim.disk().inject(Fault::no_space(CallKind::Allocate).for_ever());
    let refused = code(world.produce("a", &["2"]).await).unwrap();
    assert_eq!((refused, refused.outcome()), (ErrorCode::StorageFull, Outcome::Definite));
    assert_eq!(world.commit(&group(), 2).await, Some(ErrorCode::StorageFull));
    assert_eq!(world.values("a", 0).await.unwrap(), ["1"]);
    assert_eq!(committed(&world).await, Some(1));
    world.sim.disk().heal();
    world.produce("a", &["3"]).await.unwrap();
    assert_eq!(world.commit(&group(), 3).await, None);
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
                let request = CommitOffsetsRequest { group: group(), offsets: vec![commit], member: None };
                let _taken_or_refused = broker.commit_offsets(&ctx(), request).await;
            })
        });
        for task in crowd.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        world.sim.disk().heal();
        // The value may be on its way back from its log.
        while world.commit(&group(), round * 100 + 50).await.is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(committed(&world).await, Some(i64::try_from(round).unwrap() * 100 + 50));
    }
    let before = committed(&world).await;
    let world = world.kill().await;
    assert_eq!(committed(&world).await, before);
}

/// Produces until the broker says that the disk is full; answers how many records it took.
async fn fill(world: &World) -> usize {
    let value = "x".repeat(200_000);
    let mut taken = 0;
    loop {
        match code(world.produce("a", &[&value]).await) {
            None => taken += 1,
            Some(ErrorCode::StorageFull) => return taken,
            Some(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_refuses_users_and_goes_on_with_the_rest_until_a_deletion_makes_room() {
    let sim = Sim::new(4);
    sim.disk().set_space_left(64 * 1024 * 1024);
    let world = World { broker: start(sim.env()).await, sim };
    world.create("a", 1).await;
    world.create("b", 1).await;
    world.produce("b", &["kept"]).await.unwrap();
    let taken = fill(&world).await;
    assert!(taken > 200, "{taken} records");
    let refused = world.broker.create_topic(&ctx(), new_topic("c", 1)).await;
    assert_eq!(code(refused), Some(ErrorCode::StorageFull));
    // Commits, producer ids, reads and deletions go on.
    for offset in 1..200 {
        assert_eq!(world.commit(&group(), offset).await, None);
    }
    world.broker.init_producer(&ctx()).await.unwrap();
    assert_eq!(world.values("b", 0).await.unwrap(), ["kept"]);
    assert_eq!(world.sim.calls().tally(CallKind::Write).failed, 0, "nothing met the end of the disk");
    world.broker.delete_topic(&ctx(), by_name("a")).await.unwrap();
    world.broker.core.dir.janitor_step();
    // A real file system gives the room of unlinked files back by itself, some seconds later.
    world.sim.env().fs.sync_fs("/".as_ref()).unwrap();
    world.produce("b", &["room again"]).await.unwrap();
    world.create("c", 1).await;
    let world = world.restart().await;
    assert!(world.broker.start_report().clean);
    assert_eq!(world.values("b", 0).await.unwrap(), ["kept", "room again"]);
}

#[tokio::test]
async fn a_deletion_that_is_decided_is_answered_and_finished_when_there_is_room() {
    let world = World::new(5).await;
    world.create("a", 2).await;
    world.produce("a", &["1"]).await.unwrap();
    assert_eq!(world.commit(&group(), 1).await, None);
    // The record of it is written, and then nothing finds room any more.
    world.sim.disk().inject(Fault::no_space(CallKind::Write).after(1).for_ever());
    world.sim.disk().inject(Fault::no_space(CallKind::Rename).for_ever());
    world.broker.delete_topic(&ctx(), by_name("a")).await.unwrap();
    let described = world.broker.describe_topic(&ctx(), by_name("a")).await;
    assert_eq!(code(described), Some(ErrorCode::UnknownTopicOrPartition));
    world.broker.core.finish().await;
    world.sim.disk().heal();
    world.broker.core.finish().await;
    world.create("a", 2).await;
    assert_eq!(world.values("a", 0).await.unwrap(), [""; 0]);
    let world = world.restart().await;
    assert_eq!((world.broker.orphans(), world.broker.start_report().damaged), (&[][..], Vec::new()));
    assert_eq!(committed(&world).await, None);
}

#[tokio::test]
async fn a_topic_that_cannot_even_be_taken_back_is_taken_back_later_or_at_the_stop() {
    for stops in [false, true] {
        let world = World::new(6).await;
        world.sim.disk().inject(Fault::no_space(CallKind::CreateDir).after(1).for_ever());
        // The record that makes it is written, the one that takes it back is not.
        world.sim.disk().inject(Fault::no_space(CallKind::Write).on(&metadata_folder()).after(1).for_ever());
        let refused = code(world.broker.create_topic(&ctx(), new_topic("a", 3)).await).unwrap();
        assert_eq!((refused, refused.outcome()), (ErrorCode::OutcomeUnknown, Outcome::Indefinite));
        world.broker.core.finish().await;
        assert!(world.broker.describe_topic(&ctx(), by_name("a")).await.is_ok());
        world.sim.disk().heal();
        let world = if stops {
            world.restart().await
        } else {
            world.broker.core.finish().await;
            world
        };
        let described = world.broker.describe_topic(&ctx(), by_name("a")).await;
        assert_eq!(code(described), Some(ErrorCode::UnknownTopicOrPartition));
        world.create("a", 3).await;
        world.produce("a", &["1"]).await.unwrap();
        let world = world.kill().await;
        assert_eq!(world.values("a", 0).await.unwrap(), ["1"]);
        assert_eq!((world.broker.orphans(), world.broker.start_report().damaged), (&[][..], Vec::new()));
    }
}

fn metadata_folder() -> String {
    TopicId::CLUSTER_METADATA.to_string()
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
