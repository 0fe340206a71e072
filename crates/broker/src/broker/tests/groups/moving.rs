//! Groups whose coordinator moves: to another broker and back, while members come, commit and wait.

use millrace_group::classic::{ClassicMember, ClassicProtocol};
use millrace_group::partition_of;
use millrace_types::LeaderEpoch;

use super::*;
use crate::groups::Groups;
use crate::led_log::LedLog;
use crate::metrics::GroupCounters;
use crate::partitions::Held;
use crate::{ClassicIdentity, JoinClassicRequest};

const OTHER: &str = "other:7070";

impl World {
    /// What the log of a partition of the offsets is to whoever leads it.
    fn led(&self, partition: PartitionIndex) -> LedLog {
        let image = self.broker.core.metadata.image();
        let topic = image.topic_by_name(&TopicName::new("__consumer_offsets").unwrap()).unwrap().id;
        match self.broker.core.partitions.get(TopicPartition { topic, partition }) {
            Some(Held::Open(log)) => LedLog::alone(log),
            other => panic!("{other:?}"),
        }
    }

    /// Another broker leads the group's partition.
    fn depose(&self) {
        self.broker.core.groups.follow(partition_of(&group()), Some(OTHER.to_owned()));
    }

    /// This one does, with that log.
    fn lead(&self, log: LedLog, epoch: i32) -> impl Future<Output = ()> + use<> {
        let core = &self.broker.core;
        core.groups.lead(partition_of(&group()), (log, LeaderEpoch(epoch)), &core.metadata.image())
    }

    fn own_log(&self) -> LedLog {
        self.led(partition_of(&group()))
    }

    /// The log of other groups, in which this one has committed nothing.
    fn another_log(&self) -> LedLog {
        self.led(PartitionIndex((partition_of(&group()).0 + 1) % limits::CONSUMER_OFFSETS_PARTITIONS))
    }

    /// What fetching the offsets answers: the position, or what was wrong.
    async fn fetched(&self) -> Result<Option<i64>, ErrorCode> {
        let request = FetchOffsetsRequest { group: group(), partitions: None, member: None };
        let found = self.broker.fetch_offsets(&ctx(), request).await.map_err(|error| error.code)?;
        Ok(found.first().and_then(|one| one.as_ref().unwrap().offset).map(Offset::get))
    }
}

fn is_sent_away<T>(result: Result<T, ApiError>) {
    let error = result.map(|_| "done").unwrap_err();
    assert_eq!((error.code, error.leader.as_deref()), (ErrorCode::NotCoordinator, Some(OTHER)), "{error}");
}

#[tokio::test]
async fn members_epochs_and_commits_survive_a_coordinator_that_moves() {
    let world = World::new(1).await;
    world.create("a", 4).await;
    let (mut first, mut second) = (world.join("first", &["a"]).await, world.join("second", &["a"]).await);
    settle(&mut [&mut first, &mut second]).await;
    assert_eq!(world.commit_as(Some(first.committer()), 5).await, None);
    world.depose();
    is_sent_away(first.listen().await);
    is_sent_away(second.beat().await);
    let who = first.committer();
    assert_eq!(world.commit_as(Some(who.clone()), 6).await, Some(ErrorCode::NotCoordinator));
    assert_eq!(world.fetched().await, Err(ErrorCode::NotCoordinator));
    is_sent_away(world.join_as("third", profile(names(&["a"]))).await);
    is_sent_away(world.broker.describe_group(&ctx(), &group()).await);
    is_sent_away(world.broker.delete_group(&ctx(), &group()).await);
    assert_eq!(world.broker.list_groups(&ctx()).await.unwrap(), [], "it lists what it coordinates");
    assert_eq!(world.broker.core.groups.census().members, 0);
    assert_eq!(world.broker.core.groups.next_deadline(), None);
    let (one, two) = (first.progress(), second.progress());
    drop((first, second));
    world.lead(world.own_log(), 1).await;
    assert_eq!(world.fetched().await, Ok(Some(5)));
    assert_eq!(world.commit_as(Some(who), 7).await, None, "the coordinator knows the member");
    let asked = profile(names(&["a"]));
    let first = world.join_with("first", asked.clone(), Some(one.clone())).await.unwrap();
    let second = world.join_with("second", asked, Some(two.clone())).await.unwrap();
    assert_eq!((first.told.epoch, second.told.epoch), (one.epoch, two.epoch), "nothing was rebalanced");
    assert_eq!((Some(first.owned.clone()), Some(second.owned.clone())), (one.owned, two.owned));
    assert_eq!(world.fetched().await, Ok(Some(7)));
    assert_eq!(world.broker.list_groups(&ctx()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_member_has_its_whole_session_after_a_take_over_and_no_more() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let member = world.join("one", &["a"]).await;
    let progress = member.progress();
    world.pass(8).await;
    world.depose();
    drop(member);
    world.lead(world.own_log(), 1).await;
    world.pass(8).await;
    let resume = async || world.join_with("one", profile(names(&["a"])), Some(progress.clone())).await;
    let member = resume().await.unwrap();
    assert_eq!(member.told.epoch, progress.epoch);
    world.depose();
    drop(member);
    world.lead(world.own_log(), 2).await;
    world.pass(12).await;
    assert_eq!(code(resume().await.map(|_| ())), Some(ErrorCode::UnknownMember));
}

#[tokio::test]
async fn patterns_are_resolved_again_where_the_group_goes() {
    let world = World::new(1).await;
    world.create("orders.eu", 1).await;
    let member = world.join_as("one", profile(pattern("orders\\..*"))).await.unwrap();
    let progress = member.progress();
    let groups = Groups::elsewhere(&world.sim.env(), &GroupSettings::default(), GroupCounters::default());
    let image = world.broker.core.metadata.image();
    world.depose();
    groups.lead(partition_of(&group()), (world.own_log(), LeaderEpoch(1)), &image).await;
    let state = groups.look(partition_of(&group()), |look| look.group(&group()).cloned()).unwrap().unwrap();
    let current = &state.currents[&member_id("one")];
    assert_eq!((current.epoch, Some(&current.assigned)), (progress.epoch, progress.owned.as_ref()));
}

#[tokio::test]
async fn what_is_in_flight_is_told_as_done_only_if_it_is_in_the_log() {
    let world = World::new(1).await;
    world.create("a", 2).await;
    let mut commit = Box::pin(world.commit_as(None, 5));
    assert!(futures::poll!(&mut commit).is_pending());
    world.depose();
    assert_eq!(commit.await, None);
    world.lead(world.own_log(), 1).await;
    assert_eq!(world.fetched().await, Ok(Some(5)));
    world.sim.disk().inject(Fault::no_space(CallKind::Write));
    let mut commit = Box::pin(world.commit_as(None, 6));
    assert!(futures::poll!(&mut commit).is_pending());
    world.depose();
    assert_eq!(commit.await, Some(ErrorCode::StorageFull));
    world.lead(world.own_log(), 2).await;
    assert_eq!(world.fetched().await, Ok(Some(5)));
    // Stored, but what it is to own is said by another.
    let mut join = Box::pin(world.join_as("one", profile(names(&["a"]))));
    assert!(futures::poll!(&mut join).is_pending());
    world.depose();
    let error = join.await.map(|_| ()).unwrap_err();
    assert_eq!((error.code, error.leader.as_deref()), (ErrorCode::OutcomeUnknown, Some(OTHER)));
    world.lead(world.own_log(), 3).await;
    let members = world.broker.describe_group(&ctx(), &group()).await.unwrap().members;
    assert_eq!(members.len(), 1);
}

#[tokio::test]
async fn who_waits_for_a_generation_is_sent_to_the_new_coordinator() {
    let world = World::new(1).await;
    let protocols = vec![ClassicProtocol { name: "range".to_owned(), metadata: Bytes::new() }];
    let profile = ClassicMember {
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        protocols,
        ..ClassicMember::default()
    };
    let request = JoinClassicRequest {
        group: group(),
        identity: ClassicIdentity::Fresh,
        profile,
        protocol_type: "consumer".to_owned(),
    };
    let pending = world.broker.join_classic(&ctx(), request.clone()).await.unwrap();
    world.depose();
    is_sent_away(pending.joined().await);
    is_sent_away(world.broker.join_classic(&ctx(), request).await);
    assert_eq!(world.broker.list_classic(&ctx()).await.unwrap(), []);
}

#[tokio::test]
async fn whatever_comes_late_loses() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    assert_eq!(world.commit_as(None, 5).await, None);
    world.lead(world.own_log(), 7).await;
    world.lead(world.another_log(), 5).await;
    world.lead(world.another_log(), 7).await;
    assert_eq!(world.fetched().await, Ok(Some(5)));
    // Two replays at once.
    let older = world.lead(world.another_log(), 8);
    let newer = world.lead(world.own_log(), 9);
    assert_eq!(world.fetched().await, Err(ErrorCode::CoordinatorLoading), "nothing before it was read");
    futures::future::join(older, newer).await;
    assert_eq!(world.fetched().await, Ok(Some(5)));
    // Deposed while it reads.
    let read = world.lead(world.own_log(), 10);
    world.depose();
    read.await;
    world.lead(world.own_log(), 9).await;
    assert_eq!(world.fetched().await, Err(ErrorCode::NotCoordinator));
    world.broker.core.groups.lead_soon(partition_of(&group()), LeaderEpoch(11));
    assert_eq!(world.fetched().await, Err(ErrorCode::CoordinatorLoading));
    world.lead(world.own_log(), 10).await;
    assert_eq!(
        world.fetched().await,
        Err(ErrorCode::CoordinatorLoading),
        "it has led in that one, not in this one"
    );
    world.lead(world.own_log(), 11).await;
    assert_eq!(world.fetched().await, Ok(Some(5)));
}

#[tokio::test]
async fn offsets_of_a_topic_that_went_while_others_coordinated_are_forgotten() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let core = &world.broker.core;
    assert_eq!(world.commit_as(None, 5).await, None);
    world.depose();
    world.broker.delete_topic(&ctx(), by_name("a")).await.unwrap();
    assert_eq!(core.groups.topic_ids().len(), 0, "it is not here");
    world.lead(world.own_log(), 1).await;
    assert_eq!(core.groups.missing_topics(|| core.metadata.image()).len(), 1);
    core.forget_missed_offsets().await;
    assert_eq!(core.groups.topic_ids().len(), 0);
}
