//! ConsumerGroupHeartbeat: members of a group that the coordinator assigns, alone, with others, and with members of the native
//! door.

use std::collections::{BTreeMap, BTreeSet};

use millrace_broker::{Leaving, MemberProgress};
use millrace_kafka::KafkaError;
use millrace_kafka_wire::consumer_group_heartbeat_request::TopicPartitions;
use millrace_kafka_wire::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, Message,
    OffsetCommitRequest,
};
use millrace_types::{TopicId, TopicPartition};

use crate::offsets::{commit, committed, native_member, position, world};
use crate::world::{Client, World};

const ALL: [i32; 4] = [0, 1, 2, 3];

/// A member, as a client of Kafka goes about it.
pub(crate) struct Member {
    client: Client,
    version: i16,
    group: String,
    id: String,
    pub(crate) epoch: i32,
    topic: [u8; 16],
    pub(crate) owned: BTreeSet<i32>,
}

/// A join as clients send it.
pub(crate) fn join(group: &str, id: &str, names: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id: id.to_owned(),
        member_epoch: 0,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

impl Member {
    pub(crate) async fn joined(
        world: &World,
        version: i16,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Member {
        let mut client = world.client().await;
        let topic = client.topic("a").await.topic_id;
        let answer = client.call(version, &request).await;
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        let mut member = Member {
            client,
            version,
            group: request.group_id,
            id: answer.member_id.clone().unwrap(),
            epoch: 0,
            topic,
            owned: BTreeSet::new(),
        };
        assert!(answer.assignment.is_some(), "who joins is told");
        member.hear(&answer);
        member
    }

    pub(crate) fn beat(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: self.group.clone(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            ..Default::default()
        }
    }

    fn list(&self, partitions: &BTreeSet<i32>) -> Option<Vec<TopicPartitions>> {
        let partitions = partitions.iter().copied().collect();
        Some(vec![TopicPartitions { topic_id: self.topic, partitions, ..Default::default() }])
    }

    pub(crate) async fn say(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        self.client.call(self.version, request).await
    }

    fn hear(&mut self, answer: &ConsumerGroupHeartbeatResponse) {
        self.epoch = answer.member_epoch;
        if let Some(assignment) = &answer.assignment {
            let partitions = assignment.topic_partitions.iter().flat_map(|topic| {
                assert_eq!(topic.topic_id, self.topic);
                topic.partitions.iter().copied()
            });
            self.owned = partitions.collect();
        }
    }

    /// A heartbeat; what it owns is said if it has changed with the answer before, as clients do.
    pub(crate) async fn live(&mut self) -> bool {
        let before = self.owned.clone();
        let beat = self.beat();
        let answer = self.say(&beat).await;
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        self.hear(&answer);
        if self.owned != before {
            let beat =
                ConsumerGroupHeartbeatRequest { topic_partitions: self.list(&self.owned), ..self.beat() };
            let answer = self.say(&beat).await;
            assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
            self.hear(&answer);
        }
        answer.assignment.is_some()
    }

    pub(crate) async fn refused(&mut self, request: &ConsumerGroupHeartbeatRequest) -> i16 {
        let answer = self.say(request).await;
        assert!(answer.error_message.is_some() && answer.assignment.is_none());
        answer.error_code
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_joins_lives_commits_and_leaves() {
    let world = world().await;
    for version in ConsumerGroupHeartbeatRequest::VERSIONS {
        let group = format!("g{version}");
        let id = if version == 0 { "" } else { "m" };
        let mut member = Member::joined(&world, version, join(&group, id, &["a"])).await;
        assert_eq!(member.id == "m", version == 1, "{}", member.id);
        assert!(member.epoch > 0);
        assert_eq!(member.owned, BTreeSet::from(ALL));
        let owned = member.list(&member.owned);
        let beat = ConsumerGroupHeartbeatRequest { topic_partitions: owned.clone(), ..member.beat() };
        let answer = member.say(&beat).await;
        assert_eq!((answer.error_code, answer.member_epoch), (0, member.epoch));
        assert_eq!((answer.assignment, answer.heartbeat_interval_ms), (None, 3000), "nothing has changed");
        assert!(!member.live().await);
        // Who says all of itself may have missed something.
        let all = ConsumerGroupHeartbeatRequest {
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec!["a".to_owned()]),
            topic_partitions: owned,
            ..member.beat()
        };
        assert!(member.say(&all).await.assignment.is_some());
        let by = OffsetCommitRequest {
            member_id: member.id.clone(),
            generation_id_or_member_epoch: member.epoch,
            ..commit(&group, "a", vec![position(0, 5)])
        };
        assert_eq!(committed(&mut member.client, 9, &by).await, [0]);
        let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..member.beat() };
        let left = member.say(&leave).await;
        assert_eq!((left.error_code, left.member_epoch), (0, -1));
        assert_eq!(left.member_id.as_deref(), Some(member.id.as_str()));
        let beat = member.beat();
        assert_eq!(member.refused(&beat).await, KafkaError::UnknownMemberId.code());
        assert_eq!(member.refused(&leave).await, KafkaError::UnknownMemberId.code());
        assert_eq!(committed(&mut member.client, 9, &by).await, [KafkaError::UnknownMemberId.code()]);
    }
    world.stop().await;
}

/// Lets the members live until each partition has one owner and nothing changes any more.
async fn settle(members: &mut [&mut Member]) {
    loop {
        let mut changed = false;
        for member in members.iter_mut() {
            let before = (member.epoch, member.owned.clone());
            member.live().await;
            changed |= before != (member.epoch, member.owned.clone());
        }
        if !changed {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_shared_and_never_owned_twice() {
    let world = world().await;
    let mut first = Member::joined(&world, 1, join("g", "first", &["a"])).await;
    assert_eq!(first.owned.len(), 4);
    let mut second = Member::joined(&world, 1, join("g", "second", &["a"])).await;
    assert_eq!(second.owned.len(), 0, "the first has not let go of anything");
    // The first is told to let go, and has its partitions until it says that it did.
    let beat = first.beat();
    let told = first.say(&beat).await;
    let epoch = first.epoch;
    first.hear(&told);
    assert_eq!((first.owned.len(), first.epoch), (2, epoch));
    assert!(!second.live().await);
    assert_eq!(second.owned.len(), 0);
    let beat = ConsumerGroupHeartbeatRequest { topic_partitions: first.list(&first.owned), ..first.beat() };
    let told = first.say(&beat).await;
    assert_eq!((told.error_code, told.assignment), (0, None));
    first.epoch = told.member_epoch;
    assert!(first.epoch > epoch);
    settle(&mut [&mut first, &mut second]).await;
    assert_eq!((first.owned.len(), second.owned.len()), (2, 2));
    assert!(first.owned.is_disjoint(&second.owned));
    // One goes, and the other has all.
    let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..second.beat() };
    assert_eq!(second.say(&leave).await.error_code, 0);
    settle(&mut [&mut first]).await;
    assert_eq!(first.owned, BTreeSet::from(ALL));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_native_door_and_one_of_kafka_share_a_group() {
    let world = world().await;
    let mut kafka = Member::joined(&world, 1, join("g", "kafka", &["a"])).await;
    let (mut native, _) = native_member(&world, "g", "a").await;
    let beat = kafka.beat();
    let told = kafka.say(&beat).await;
    kafka.hear(&told);
    assert_eq!(kafka.owned.len(), 2);
    let beat = ConsumerGroupHeartbeatRequest { topic_partitions: kafka.list(&kafka.owned), ..kafka.beat() };
    let told = kafka.say(&beat).await;
    kafka.hear(&told);
    // What the one has let go the other hears of on its stream.
    let mut assignment = native.news().await.unwrap();
    while assignment.waiting > 0 {
        assignment = native.news().await.unwrap();
    }
    let theirs: BTreeMap<_, _> =
        assignment.assigned.iter().cloned().map(|(t, p)| (format!("{t:?}"), p)).collect();
    let theirs: BTreeSet<i32> = theirs.values().flatten().map(|partition| partition.get()).collect();
    assert_eq!(theirs.len(), 2);
    assert_eq!(kafka.owned.union(&theirs).copied().collect::<BTreeSet<_>>(), BTreeSet::from(ALL));
    let describe = ConsumerGroupDescribeRequest { group_ids: vec!["g".to_owned()], ..Default::default() };
    let group = kafka.client.call(1, &describe).await.groups.remove(0);
    assert_eq!((group.group_state.as_str(), group.members.len()), ("Stable", 2));
    // The one of Kafka goes; the native one has everything.
    let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..kafka.beat() };
    assert_eq!(kafka.say(&leave).await.error_code, 0);
    let assignment = native.news().await.unwrap();
    let owned: usize = assignment.assigned.iter().map(|(_, partitions)| partitions.len()).sum();
    assert_eq!(owned, 4);
    // It comes back, and the native one lets go.
    let mut kafka = Member::joined(&world, 1, join("g", "again", &["a"])).await;
    let told = native.news().await.unwrap();
    let kept = told.assigned.iter().flat_map(|(topic, partitions)| {
        let id = match topic {
            millrace_broker::TopicRef::Both(_, id) | millrace_broker::TopicRef::Id(id) => *id,
            millrace_broker::TopicRef::Name(_) => TopicId::ZERO,
        };
        partitions.iter().map(move |partition| TopicPartition { topic: id, partition: *partition })
    });
    let owned: BTreeSet<TopicPartition> = kept.collect();
    assert_eq!(owned.len(), 2);
    let progress = MemberProgress { epoch: told.epoch, heard: told.revision, owned: Some(owned) };
    native.heartbeat(progress, None).await.unwrap();
    settle(&mut [&mut kafka]).await;
    assert_eq!(kafka.owned.len(), 2);
    native.leave(Leaving::ForGood).await.unwrap();
    settle(&mut [&mut kafka]).await;
    assert_eq!(kafka.owned, BTreeSet::from(ALL));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_whose_answer_was_lost_is_answered_again() {
    let world = world().await;
    let mut first = Member::joined(&world, 1, join("g", "first", &["a"])).await;
    // The join again: the same epoch, the same partitions.
    let again = first.say(&join("g", "first", &["a"])).await;
    assert_eq!((again.error_code, again.member_epoch), (0, first.epoch));
    assert!(again.assignment.is_some());
    let mut second = Member::joined(&world, 1, join("g", "second", &["a"])).await;
    first.live().await;
    settle(&mut [&mut first, &mut second]).await;
    let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..second.beat() };
    second.say(&leave).await;
    // The answer that raises the epoch gets lost: the heartbeat comes again as it was.
    let owned = first.list(&first.owned);
    let beat = ConsumerGroupHeartbeatRequest { topic_partitions: owned, ..first.beat() };
    let lost = first.say(&beat).await;
    assert!(lost.member_epoch > first.epoch && lost.assignment.is_some());
    let again = first.say(&beat).await;
    assert_eq!((again.error_code, again.member_epoch), (0, lost.member_epoch));
    assert_eq!(again.assignment, lost.assignment);
    // But not if it does not say what it owns, nor of an epoch before that.
    let fenced = KafkaError::FencedMemberEpoch.code();
    let silent = first.beat();
    assert_eq!(first.refused(&silent).await, fenced);
    first.hear(&again);
    for epoch in [first.epoch + 1, first.epoch - 2] {
        let beat = ConsumerGroupHeartbeatRequest { member_epoch: epoch, ..beat.clone() };
        assert_eq!(first.refused(&beat).await, fenced);
    }
    // Who was fenced begins anew.
    let anew = first.say(&join("g", "first", &["a"])).await;
    assert_eq!(anew.error_code, 0);
    first.hear(&anew);
    settle(&mut [&mut first]).await;
    assert_eq!(first.owned, BTreeSet::from(ALL));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_changes_by_names_and_by_pattern() {
    let world = world().await;
    let mut member = Member::joined(&world, 1, join("g", "m", &["no-such"])).await;
    assert_eq!(member.owned.len(), 0);
    let by_pattern = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: Some(Vec::new()),
        subscribed_topic_regex: Some("a|b.*".to_owned()),
        ..member.beat()
    };
    let told = member.say(&by_pattern).await;
    assert_eq!(told.error_code, 0, "{:?}", told.error_message);
    member.hear(&told);
    assert_eq!(member.owned, BTreeSet::from(ALL));
    let broken =
        ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("(".to_owned()), ..member.beat() };
    assert_eq!(member.refused(&broken).await, KafkaError::InvalidRegularExpression.code());
    let none = ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some(String::new()), ..member.beat() };
    let told = member.say(&none).await;
    member.hear(&told);
    assert_eq!(member.owned.len(), 0);
    let by_name = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: Some(vec!["a".to_owned(), "not a name".to_owned()]),
        topic_partitions: Some(Vec::new()),
        server_assignor: Some("range".to_owned()),
        ..member.beat()
    };
    let told = member.say(&by_name).await;
    member.hear(&told);
    assert_eq!(member.owned, BTreeSet::from(ALL));
    let describe = ConsumerGroupDescribeRequest { group_ids: vec!["g".to_owned()], ..Default::default() };
    let group = member.client.call(1, &describe).await.groups.remove(0);
    assert_eq!(group.assignor_name, "range");
    assert_eq!(group.members[0].client_host, "127.0.0.1");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_keeps_its_place_while_it_is_away() {
    let world = world().await;
    let fixed = |id: &str| ConsumerGroupHeartbeatRequest {
        instance_id: Some("one".to_owned()),
        ..join("g", id, &["a"])
    };
    let mut member = Member::joined(&world, 1, fixed("m")).await;
    assert_eq!(member.owned, BTreeSet::from(ALL));
    let mut other = Member::joined(&world, 1, join("h", "m", &["a"])).await;
    assert_eq!(other.refused(&fixed("n")).await, KafkaError::UnreleasedInstanceId.code());
    let away = ConsumerGroupHeartbeatRequest {
        member_epoch: -2,
        instance_id: Some("one".to_owned()),
        ..member.beat()
    };
    let nameless = ConsumerGroupHeartbeatRequest { instance_id: None, ..away.clone() };
    assert_eq!(member.refused(&nameless).await, KafkaError::InvalidRequest.code());
    let left = member.say(&away).await;
    assert_eq!((left.error_code, left.member_epoch), (0, -2));
    let beat = member.beat();
    assert_eq!(member.refused(&beat).await, KafkaError::FencedMemberEpoch.code());
    // Its next life has its place, and the last one is fenced.
    let next = Member::joined(&world, 1, fixed("n")).await;
    assert_eq!(next.owned, BTreeSet::from(ALL));
    let late = ConsumerGroupHeartbeatRequest { instance_id: Some("one".to_owned()), ..member.beat() };
    assert_eq!(member.refused(&late).await, KafkaError::FencedInstanceId.code());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_itself_is_refused() {
    let world = world().await;
    let mut client = world.client().await;
    client.topic("a").await;
    let good = join("g", "m", &["a"]);
    let invalid = KafkaError::InvalidRequest;
    let one = TopicPartitions { topic_id: [1; 16], partitions: vec![0], ..Default::default() };
    let negative = TopicPartitions { partitions: vec![-1], ..one.clone() };
    let cases = [
        (
            ConsumerGroupHeartbeatRequest { group_id: String::new(), ..good.clone() },
            KafkaError::InvalidGroupId,
        ),
        (ConsumerGroupHeartbeatRequest { member_id: String::new(), ..good.clone() }, invalid),
        (ConsumerGroupHeartbeatRequest { member_id: "x".repeat(1000), ..good.clone() }, invalid),
        (ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..good.clone() }, invalid),
        (ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..good.clone() }, invalid),
        (ConsumerGroupHeartbeatRequest { topic_partitions: None, ..good.clone() }, invalid),
        (ConsumerGroupHeartbeatRequest { topic_partitions: Some(vec![one]), ..good.clone() }, invalid),
        (ConsumerGroupHeartbeatRequest { instance_id: Some(String::new()), ..good.clone() }, invalid),
        (ConsumerGroupHeartbeatRequest { rack_id: Some(String::new()), ..good.clone() }, invalid),
        (ConsumerGroupHeartbeatRequest { member_epoch: -3, ..good.clone() }, invalid),
        (
            ConsumerGroupHeartbeatRequest {
                member_epoch: 1,
                topic_partitions: Some(vec![negative]),
                ..good.clone()
            },
            invalid,
        ),
        (ConsumerGroupHeartbeatRequest { member_epoch: 1, ..good.clone() }, KafkaError::UnknownMemberId),
        (ConsumerGroupHeartbeatRequest { member_epoch: -1, ..good.clone() }, KafkaError::UnknownMemberId),
        (
            ConsumerGroupHeartbeatRequest { server_assignor: Some("own".to_owned()), ..good.clone() },
            KafkaError::UnsupportedAssignor,
        ),
        (
            ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("(".to_owned()), ..good.clone() },
            KafkaError::InvalidRegularExpression,
        ),
        (
            ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("x".repeat(2000)), ..good.clone() },
            KafkaError::InvalidRegularExpression,
        ),
        (
            ConsumerGroupHeartbeatRequest {
                subscribed_topic_names: Some((0..1001).map(|n| format!("t{n}")).collect()),
                ..good.clone()
            },
            invalid,
        ),
    ];
    for (place, (request, error)) in cases.into_iter().enumerate() {
        let answer = client.call(1, &request).await;
        assert_eq!(answer.error_code, error.code(), "case {place}: {:?}", answer.error_message);
    }
    // A rebalance timeout without end is the longest that may be.
    let endless = ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: i32::MAX, ..good };
    assert_eq!(client.call(1, &endless).await.error_code, 0);
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_lists_of_partitions_are_bounded_and_paid_for() {
    let world = world().await;
    let mut member = Member::joined(&world, 1, join("g", "m", &["a"])).await;
    let all = |count: i32| {
        let partitions = (0..count).collect();
        Some(vec![TopicPartitions { topic_id: [7; 16], partitions, ..Default::default() }])
    };
    let beat = ConsumerGroupHeartbeatRequest { topic_partitions: all(10_000), ..member.beat() };
    assert_eq!(member.say(&beat).await.error_code, 0, "whatever it claims, it owns what it was given");
    let beat = ConsumerGroupHeartbeatRequest { topic_partitions: all(10_001), ..member.beat() };
    assert_eq!(member.refused(&beat).await, KafkaError::InvalidRequest.code());
    let topic = TopicPartitions { topic_id: [7; 16], ..Default::default() };
    let beat = ConsumerGroupHeartbeatRequest { topic_partitions: Some(vec![topic; 25_000]), ..member.beat() };
    member.client.ask(1, &beat).await;
    member.client.closed().await;
    world.until_nothing_is_held().await;
    world.stop().await;
}
