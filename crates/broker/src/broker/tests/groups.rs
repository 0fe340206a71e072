//! Groups: who is in them, what each owns, and whose commits are taken.

mod moving;

use std::collections::{BTreeMap, BTreeSet};

use millrace_env::counting::CallKind;
use millrace_env::sim::Fault;
use millrace_group::consumer::Leaving;
use millrace_group::{Committer, GroupEpoch, InstanceId, MemberId, Pattern, Profile, Subscription};
use millrace_types::limits;

use super::*;
use crate::{GroupAssignment, GroupMembership, JoinGroupRequest, MemberProgress, OffsetCommit};

/// A member as its client would be.
pub(super) struct Member {
    pub(super) membership: GroupMembership,
    pub(super) told: GroupAssignment,
    owned: BTreeSet<TopicPartition>,
}

pub(super) fn group() -> GroupId {
    GroupId::new("workers").unwrap()
}

pub(super) fn member_id(name: &str) -> MemberId {
    MemberId::new(name).unwrap()
}

fn names(topics: &[&str]) -> Subscription {
    Subscription { names: topics.iter().map(|name| TopicName::new(name).unwrap()).collect(), pattern: None }
}

fn pattern(text: &str) -> Subscription {
    Subscription { names: BTreeSet::new(), pattern: Some(Pattern::new(text).unwrap()) }
}

pub(super) fn profile(subscription: Subscription) -> Profile {
    Profile {
        client_id: "test".to_owned(),
        client_host: "here".to_owned(),
        subscription,
        rebalance_timeout_ms: limits::REBALANCE_TIMEOUT_MS_DEFAULT,
        ..Profile::default()
    }
}

fn partitions(assignment: &GroupAssignment) -> BTreeSet<TopicPartition> {
    let one = |(topic, partitions): &(TopicRef, Vec<PartitionIndex>)| {
        let (TopicRef::Both(_, topic) | TopicRef::Id(topic)) = topic else {
            panic!("a topic without its id")
        };
        let topic = *topic;
        partitions.iter().map(move |partition| TopicPartition { topic, partition: *partition }).collect()
    };
    let all: Vec<BTreeSet<TopicPartition>> = assignment.assigned.iter().map(one).collect();
    all.into_iter().flatten().collect()
}

impl World {
    async fn join_as(&self, name: &str, profile: Profile) -> Result<Member, ApiError> {
        self.join_with(name, profile, None).await
    }

    async fn join_with(
        &self,
        name: &str,
        profile: Profile,
        resume: Option<MemberProgress>,
    ) -> Result<Member, ApiError> {
        let member = Some(member_id(name));
        let request = JoinGroupRequest { group: group(), member, profile, resume };
        let (membership, told) = self.broker.join_group(&ctx(), request).await?;
        let owned = partitions(&told);
        Ok(Member { membership, told, owned })
    }

    pub(super) async fn join(&self, name: &str, topics: &[&str]) -> Member {
        self.join_as(name, profile(names(topics))).await.unwrap()
    }

    /// Lets time pass as it does: a second at a time, in which everybody who waits for it does something.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            // The janitor sleeps, and the timer of the groups if there are members.
            let timed = self.broker.core.groups.next_deadline().is_some();
            self.sim.clock().wait_for_sleepers(1 + usize::from(timed)).await;
            self.sim.clock().advance(Duration::from_secs(1));
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
    }

    pub(super) async fn commit_as(&self, who: Option<Committer>, offset: u64) -> Option<ErrorCode> {
        let commit = OffsetCommit {
            topic: by_name("a"),
            partition: PartitionIndex(0),
            offset: Offset::from_count(offset),
            leader_epoch: None,
            metadata: String::new(),
        };
        let request = CommitOffsetsRequest { group: group(), offsets: vec![commit], member: who };
        match self.broker.commit_offsets(&ctx(), request).await {
            Ok(mut answers) => code(answers.remove(0)),
            Err(error) => Some(error.code),
        }
    }

    async fn committed(&self) -> Option<i64> {
        let request = FetchOffsetsRequest { group: group(), partitions: None, member: None };
        let found = self.broker.fetch_offsets(&ctx(), request).await.unwrap();
        found.first().and_then(|one| one.as_ref().unwrap().offset).map(Offset::get)
    }
}

impl Member {
    fn progress(&self) -> MemberProgress {
        MemberProgress { epoch: self.told.epoch, heard: self.told.revision, owned: Some(self.owned.clone()) }
    }

    pub(super) fn committer(&self) -> Committer {
        let member = Some(self.told.member.clone());
        Committer { member, instance: None, epoch: Some(self.told.epoch) }
    }

    fn hear(&mut self, told: GroupAssignment) {
        self.owned = partitions(&told);
        self.told = told;
    }

    /// Says what it owns, and does as it is told.
    pub(super) async fn beat(&mut self) -> Result<(), ApiError> {
        let told = self.membership.heartbeat(self.progress(), None).await?;
        self.hear(told);
        Ok(())
    }

    /// Waits for news, and does as it is told.
    async fn listen(&mut self) -> Result<(), ApiError> {
        let told = self.membership.news().await?;
        self.hear(told);
        Ok(())
    }
}

/// Lets all do what they are told until nobody has to change anything.
async fn settle(members: &mut [&mut Member]) {
    for _ in 0..2 * members.len() + 2 {
        for member in members.iter_mut() {
            member.beat().await.unwrap();
        }
    }
}

fn counts(members: &[&Member]) -> Vec<usize> {
    let mut seen = BTreeMap::new();
    for member in members {
        for partition in &member.owned {
            assert_eq!(seen.insert(*partition, &member.told.member), None, "{partition} is owned twice");
        }
    }
    let mut counts: Vec<usize> = members.iter().map(|member| member.owned.len()).collect();
    counts.sort_unstable();
    counts
}

#[tokio::test]
async fn members_share_the_partitions_and_only_what_must_move_moves() {
    let world = World::new(1).await;
    world.create("a", 6).await;
    let mut first = world.join("first", &["a"]).await;
    assert_eq!(first.owned.len(), 6);
    let before = first.owned.clone();
    let mut second = world.join("second", &["a"]).await;
    assert_eq!((second.owned.len(), second.told.waiting), (0, 3));
    // It hears of it without asking.
    first.listen().await.unwrap();
    assert_eq!(first.owned.len(), 3);
    assert!(first.owned.is_subset(&before));
    first.beat().await.unwrap();
    second.listen().await.unwrap();
    assert_eq!(counts(&[&first, &second]), [3, 3]);
    assert_eq!((first.told.epoch, second.told.epoch), (GroupEpoch(2), GroupEpoch(2)));
    let kept = first.owned.clone();
    second.membership.leave(Leaving::ForGood).await.unwrap();
    first.listen().await.unwrap();
    assert_eq!(first.owned.len(), 6);
    assert!(kept.is_subset(&first.owned));
}

#[tokio::test]
async fn a_commit_of_an_old_epoch_is_refused_however_late_it_comes() {
    let world = World::new(1).await;
    world.create("a", 2).await;
    let mut first = world.join("first", &["a"]).await;
    assert_eq!(world.commit_as(Some(first.committer()), 1).await, None);
    assert_eq!(world.commit_as(None, 7).await, Some(ErrorCode::UnknownMember), "from outside");
    let late = first.committer();
    let second = world.join("second", &["a"]).await;
    first.listen().await.unwrap();
    first.beat().await.unwrap();
    assert_eq!(world.commit_as(Some(late.clone()), 2).await, Some(ErrorCode::StaleMemberEpoch));
    assert_eq!(world.commit_as(Some(first.committer()), 3).await, None);
    let stranger = Committer { member: Some(member_id("nobody")), ..late.clone() };
    assert_eq!(world.commit_as(Some(stranger), 4).await, Some(ErrorCode::UnknownMember));
    let gone = first.committer();
    first.membership.leave(Leaving::ForGood).await.unwrap();
    second.membership.leave(Leaving::ForGood).await.unwrap();
    assert_eq!(world.commit_as(Some(gone.clone()), 5).await, Some(ErrorCode::UnknownMember));
    assert_eq!(world.committed().await, Some(3));
    // Nobody is in it: it is committed from outside again.
    assert_eq!(world.commit_as(None, 6).await, None);
    let world = world.kill().await;
    assert_eq!(world.commit_as(Some(gone), 7).await, Some(ErrorCode::UnknownMember));
    assert_eq!(world.committed().await, Some(6));
}

#[tokio::test]
async fn a_heartbeat_that_crosses_several_raises_of_the_epoch_fences_nobody() {
    let world = World::new(1).await;
    world.create("a", 6).await;
    let mut first = world.join("first", &["a"]).await;
    let said = first.progress();
    // Others come, and each time the first one hears of it; what it said before all that arrives last.
    let mut others = Vec::new();
    for name in ["second", "third", "fourth"] {
        others.push(world.join(name, &["a"]).await);
        first.beat().await.unwrap();
        first.beat().await.unwrap();
    }
    assert!(first.told.epoch.0 > said.epoch.0 + 1);
    let owned = first.owned.clone();
    let told = first.membership.heartbeat(said.clone(), None).await.unwrap();
    assert!(partitions(&told).is_subset(&owned), "a list of before acknowledges nothing and gains nothing");
    // By another way than its stream it is as old as it is.
    let resumed = world.join_with("first", profile(names(&["a"])), Some(said)).await;
    assert_eq!(code(resumed.map(|_| ())), Some(ErrorCode::FencedMemberEpoch));
    first.hear(told);
    first.beat().await.unwrap();
}

#[tokio::test]
async fn a_fetch_with_an_old_epoch_is_refused() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let first = world.join("first", &["a"]).await;
    let ask = async |who: Committer| {
        let request = FetchOffsetsRequest { group: group(), partitions: None, member: Some(who) };
        code(world.broker.fetch_offsets(&ctx(), request).await)
    };
    assert_eq!(ask(first.committer()).await, None);
    let old = Committer { epoch: Some(GroupEpoch(0)), ..first.committer() };
    assert_eq!(ask(old).await, Some(ErrorCode::StaleMemberEpoch));
}

#[tokio::test]
async fn members_and_epochs_outlive_kills_clean_stops_and_power_cuts() {
    let mut world = World::new(3).await;
    world.create("a", 4).await;
    let (mut first, mut second) = (world.join("first", &["a"]).await, world.join("second", &["a"]).await);
    settle(&mut [&mut first, &mut second]).await;
    assert_eq!(counts(&[&first, &second]), [2, 2]);
    for round in 0..3 {
        let (one, two) = (first.progress(), second.progress());
        let who = first.committer();
        drop((first, second));
        world = match round {
            0 => world.kill().await,
            1 => world.restart().await,
            _ => world.cut(Survival::Nothing).await,
        };
        assert_eq!(world.commit_as(Some(who), round).await, None, "the coordinator knows the member");
        let asked = profile(names(&["a"]));
        first = world.join_with("first", asked.clone(), Some(one.clone())).await.unwrap();
        second = world.join_with("second", asked, Some(two.clone())).await.unwrap();
        assert_eq!((first.told.epoch, second.told.epoch), (one.epoch, two.epoch));
        assert_eq!((Some(first.owned.clone()), Some(second.owned.clone())), (one.owned, two.owned));
    }
}

#[tokio::test]
async fn a_topic_that_comes_grows_or_goes_reaches_the_members() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let mut named = world.join("named", &["a", "later"]).await;
    assert_eq!(named.owned.len(), 1);
    world.create("later", 2).await;
    named.listen().await.unwrap();
    assert_eq!(named.owned.len(), 3);
    let more = crate::NewPartitions { topic: by_name("a"), count: 4 };
    let request = CreatePartitionsRequest { topics: vec![more], validate_only: false };
    world.broker.create_partitions(&ctx(), request).await.unwrap().remove(0).unwrap();
    named.listen().await.unwrap();
    assert_eq!(named.owned.len(), 6);
    world.broker.delete_topic(&ctx(), by_name("later")).await.unwrap();
    named.listen().await.unwrap();
    assert_eq!(named.owned.len(), 4);
}

#[tokio::test]
async fn a_pattern_covers_topics_that_come_later_and_a_hostile_one_is_refused() {
    let world = World::new(1).await;
    world.create("orders.eu", 1).await;
    let mut member = world.join_as("one", profile(pattern("orders\\..*"))).await.unwrap();
    assert_eq!(member.owned.len(), 1);
    world.create("orders.us", 2).await;
    member.listen().await.unwrap();
    assert_eq!(member.owned.len(), 3);
    world.create("no-orders.us", 2).await;
    let refused = world.join_as("two", profile(pattern("(a{1000}){1000}"))).await;
    assert_eq!(code(refused.map(|_| ())), Some(ErrorCode::InvalidPattern));
    let told = member.membership.heartbeat(member.progress(), Some(pattern("no-.*"))).await.unwrap();
    member.hear(told);
    member.beat().await.unwrap();
    assert_eq!(member.owned.len(), 2);
    let world = world.kill().await;
    let mut other = world.join_as("other", profile(pattern("no-.*"))).await.unwrap();
    world.pass(12).await;
    other.beat().await.unwrap_err();
}

#[tokio::test]
async fn a_silent_member_is_out_after_its_session_and_one_that_was_cut_off_after_five_seconds() {
    let world = World::new(1).await;
    world.create("a", 2).await;
    let mut stays = world.join("stays", &["a"]).await;
    let mut silent = world.join("silent", &["a"]).await;
    settle(&mut [&mut stays, &mut silent]).await;
    for _ in 0..3 {
        world.pass(3).await;
        stays.beat().await.unwrap();
    }
    silent.beat().await.unwrap();
    for _ in 0..4 {
        world.pass(3).await;
        stays.beat().await.unwrap();
    }
    assert_eq!(code(silent.listen().await), Some(ErrorCode::UnknownMember));
    assert_eq!(stays.owned.len(), 2);
    let mut cut = world.join("cut", &["a"]).await;
    settle(&mut [&mut stays, &mut cut]).await;
    let progress = cut.progress();
    drop(cut);
    world.pass(3).await;
    let cut = world.join_with("cut", profile(names(&["a"])), Some(progress.clone())).await.unwrap();
    assert_eq!(cut.told.epoch, progress.epoch, "it has come back in time");
    drop(cut);
    stays.beat().await.unwrap();
    world.pass(7).await;
    stays.beat().await.unwrap();
    let late = world.join_with("cut", profile(names(&["a"])), Some(progress)).await;
    assert_eq!(code(late.map(|_| ())), Some(ErrorCode::UnknownMember));
    assert_eq!(stays.owned.len(), 2);
}

#[tokio::test]
async fn a_pause_of_the_broker_and_a_clock_that_was_set_evict_nobody() {
    let world = World::new(1).await;
    world.create("a", 2).await;
    let mut one = world.join("one", &["a"]).await;
    world.pass(1).await;
    // The process stood still for an hour.
    world.sim.clock().advance(Duration::from_secs(3600));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    one.beat().await.unwrap();
    world.sim.clock().set_wall(millrace_types::TimestampMs(4_000_000_000_000));
    world.pass(3).await;
    one.beat().await.unwrap();
    assert_eq!(one.owned.len(), 2);
}

#[tokio::test]
async fn what_could_not_be_persisted_is_not_answered() {
    let world = World::new(1).await;
    world.create("a", 2).await;
    let mut one = world.join("one", &["a"]).await;
    world.sim.disk().inject(Fault::no_space(CallKind::Write).for_ever());
    world.sim.disk().inject(Fault::no_space(CallKind::Allocate).for_ever());
    let refused = world.join_as("two", profile(names(&["a"]))).await;
    assert_eq!(code(refused.map(|_| ())), Some(ErrorCode::StorageFull));
    world.sim.disk().heal();
    // The partition is on its way back from its log.
    while one.beat().await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!((one.told.epoch, one.owned.len()), (GroupEpoch(1), 2), "nobody else was ever there");
    let mut two = world.join("two", &["a"]).await;
    settle(&mut [&mut one, &mut two]).await;
    assert_eq!(counts(&[&one, &two]), [1, 1]);
}

#[tokio::test]
async fn a_new_life_of_a_static_member_takes_the_place_of_the_old_one() {
    let world = World::new(1).await;
    world.create("a", 3).await;
    let asked = Profile { instance: Some(InstanceId::new("i").unwrap()), ..profile(names(&["a"])) };
    let mut old = world.join_as("old", asked.clone()).await.unwrap();
    let who = old.committer();
    let new = world.join_as("new", asked).await.unwrap();
    assert_eq!((new.owned.clone(), new.told.epoch), (old.owned.clone(), old.told.epoch));
    assert_eq!(code(old.listen().await), Some(ErrorCode::FencedInstance));
    assert_eq!(world.commit_as(Some(who), 1).await, Some(ErrorCode::UnknownMember));
    assert_eq!(world.commit_as(Some(new.committer()), 2).await, None);
}

#[tokio::test]
async fn a_static_member_has_its_session_to_come_back() {
    let world = World::new(1).await;
    world.create("a", 2).await;
    let asked = Profile { instance: Some(InstanceId::new("i").unwrap()), ..profile(names(&["a"])) };
    let mut other = world.join("other", &["a"]).await;
    let mut fixed = world.join_as("first life", asked.clone()).await.unwrap();
    settle(&mut [&mut other, &mut fixed]).await;
    let (owned, epoch) = (fixed.owned.clone(), other.told.epoch);
    drop(fixed);
    world.pass(6).await;
    other.beat().await.unwrap();
    world.pass(2).await;
    let fixed = world.join_as("second life", asked).await.unwrap();
    other.beat().await.unwrap();
    assert_eq!((fixed.owned, other.told.epoch), (owned, epoch), "nobody else hears of it");
}

#[tokio::test]
async fn offsets_expire_once_nobody_reads_by_them_and_the_group_goes_with_them() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let day = Duration::from_secs(86_400);
    let member = world.join("one", &["a"]).await;
    assert_eq!(world.commit_as(Some(member.committer()), 5).await, None);
    let progress = member.progress();
    // Long ago, but there are members: nothing expires.
    world.sim.clock().advance(8 * day);
    world.pass(2).await;
    member.membership.heartbeat(progress, None).await.unwrap();
    assert_eq!(world.committed().await, Some(5));
    member.membership.leave(Leaving::ForGood).await.unwrap();
    world.sim.clock().advance(6 * day);
    world.pass(2).await;
    assert_eq!(world.committed().await, Some(5));
    world.sim.clock().advance(2 * day);
    world.pass(2).await;
    assert_eq!(world.committed().await, None);
    assert_eq!(world.broker.core.groups.census().groups.values().sum::<usize>(), 0);
    let world = world.kill().await;
    assert_eq!(world.committed().await, None);
}
