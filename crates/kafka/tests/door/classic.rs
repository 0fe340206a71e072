//! Groups whose members assign each other: joins that wait, generations, leaders, sessions; commits that come too late.

use bytes::Bytes;
use millrace_broker::{ClassicStage, Committer, GroupEpoch, GroupSettings, MemberId};
use millrace_kafka::KafkaError;
use millrace_kafka_wire::join_group_request::JoinGroupRequestProtocol;
use millrace_kafka_wire::leave_group_request::MemberIdentity;
use millrace_kafka_wire::sync_group_request::SyncGroupRequestAssignment;
use millrace_kafka_wire::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, Message,
    SyncGroupRequest, SyncGroupResponse,
};
use millrace_types::{ErrorCode, GroupId};

use crate::world::{Client, World, frame};

const NEWEST: i16 = 9;

/// Nobody waits for more members than are there.
fn at_once() -> GroupSettings {
    GroupSettings {
        classic_initial_delay_ms: 0,
        classic_session_timeout_ms_min: 1_000,
        ..GroupSettings::default()
    }
}

pub(crate) fn join(member: &str) -> JoinGroupRequest {
    let protocol = |name: &str| JoinGroupRequestProtocol {
        name: name.to_owned(),
        metadata: Bytes::from(format!("{name} of {member}")),
        ..JoinGroupRequestProtocol::default()
    };
    JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        member_id: member.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range"), protocol("roundrobin")],
        ..JoinGroupRequest::default()
    }
}

pub(crate) fn sync(joined: &JoinGroupResponse, version: i16) -> SyncGroupRequest {
    let share = |member: &str| SyncGroupRequestAssignment {
        member_id: member.to_owned(),
        assignment: Bytes::from(format!("share of {member}")),
        ..SyncGroupRequestAssignment::default()
    };
    let named = version >= 5;
    SyncGroupRequest {
        group_id: "g".to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: named.then(|| "consumer".to_owned()),
        protocol_name: named.then(|| joined.protocol_name.clone().unwrap_or_default()),
        assignments: joined.members.iter().map(|member| share(&member.member_id)).collect(),
        ..SyncGroupRequest::default()
    }
}

pub(crate) fn beat(joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: "g".to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..HeartbeatRequest::default()
    }
}

pub(crate) fn leave(members: &[&str]) -> LeaveGroupRequest {
    let one = |id: &&str| MemberIdentity { member_id: (*id).to_owned(), ..MemberIdentity::default() };
    LeaveGroupRequest {
        group_id: "g".to_owned(),
        members: members.iter().map(one).collect(),
        ..LeaveGroupRequest::default()
    }
}

impl Client {
    /// Joins as somebody new, and brings back the id that it is given.
    async fn join(&mut self) {
        let refused = self.call(NEWEST, &join("")).await;
        assert_eq!(refused.error_code, KafkaError::MemberIdRequired.code());
        assert!(refused.member_id.starts_with("test-"), "{}", refused.member_id);
        self.ask(NEWEST, &join(&refused.member_id)).await;
    }

    async fn join_again(&mut self, joined: &JoinGroupResponse) {
        self.ask(NEWEST, &join(&joined.member_id)).await;
    }

    async fn joined(&mut self) -> JoinGroupResponse {
        let (_, joined) = self.answer::<JoinGroupRequest>(NEWEST).await;
        assert_eq!(joined.error_code, 0, "{joined:?}");
        joined
    }

    async fn sync(&mut self, joined: &JoinGroupResponse) {
        self.ask(5, &sync(joined, 5)).await;
    }

    async fn synced(&mut self) -> SyncGroupResponse {
        let (_, synced) = self.answer::<SyncGroupRequest>(5).await;
        synced
    }

    async fn beat(&mut self, joined: &JoinGroupResponse) -> i16 {
        self.call(4, &beat(joined)).await.error_code
    }

    /// Is told that it must join again; asks until then.
    async fn until_rebalance(&mut self, joined: &JoinGroupResponse) {
        loop {
            match self.beat(joined).await {
                0 => tokio::task::yield_now().await,
                error => return assert_eq!(error, KafkaError::RebalanceInProgress.code()),
            }
        }
    }
}

fn group() -> GroupId {
    GroupId::new("g").unwrap()
}

impl World {
    async fn stage(&self) -> Option<ClassicStage> {
        let described = self.broker.describe_classic(&crate::world::context(), &group()).await.unwrap();
        described.map(|described| described.stage)
    }

    /// Commits in the name of a member; answers what was wrong with it.
    async fn commit(&self, member: &str, generation: i32) -> Option<ErrorCode> {
        let who = Committer {
            member: Some(MemberId::new(member).unwrap()),
            instance: None,
            epoch: Some(GroupEpoch(generation)),
        };
        let request =
            millrace_broker::CommitOffsetsRequest { group: group(), offsets: Vec::new(), member: Some(who) };
        self.broker.commit_offsets(&crate::world::context(), request).await.err().map(|error| error.code)
    }
}

/// Two members in generation 2, both synced; the first leads.
async fn two(world: &World) -> (Client, JoinGroupResponse, Client, JoinGroupResponse) {
    let (mut one, mut other) = (world.client().await, world.client().await);
    one.join().await;
    let alone = one.joined().await;
    assert_eq!((alone.generation_id, alone.members.len()), (1, 1));
    one.sync(&alone).await;
    assert_eq!(one.synced().await.error_code, 0);
    other.join().await;
    one.until_rebalance(&alone).await;
    one.join_again(&alone).await;
    let (first, second) = (one.joined().await, other.joined().await);
    assert_eq!((first.generation_id, second.generation_id), (2, 2));
    // The follower waits for the leader.
    other.sync(&second).await;
    one.sync(&first).await;
    for (client, joined) in [(&mut one, &first), (&mut other, &second)] {
        let synced = client.synced().await;
        assert_eq!(synced.error_code, 0);
        assert_eq!(synced.assignment, format!("share of {}", joined.member_id));
        assert_eq!(synced.protocol_name.as_deref(), Some("range"));
    }
    (one, first, other, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_a_generation_and_a_third_begins_the_next() {
    let world = World::with_groups(at_once()).await;
    let (mut one, first, mut other, second) = two(&world).await;
    assert_eq!(first.leader, first.member_id);
    assert_eq!((first.leader.as_str(), first.protocol_type.as_deref()), (&*second.leader, Some("consumer")));
    assert_eq!((first.members.len(), second.members.len()), (2, 0));
    let told = first.members.iter().find(|member| member.member_id == second.member_id).unwrap();
    assert_eq!(told.metadata, format!("range of {}", second.member_id));
    assert_eq!(world.commit(&first.member_id, 2).await, None);
    let mut third = world.client().await;
    third.join().await;
    one.until_rebalance(&first).await;
    assert_eq!(world.stage().await, Some(ClassicStage::Joining));
    one.join_again(&first).await;
    other.until_rebalance(&second).await;
    // The members of the last generation commit what they have done until the next is formed.
    assert_eq!(world.commit(&second.member_id, 2).await, None);
    other.join_again(&second).await;
    for client in [&mut one, &mut other, &mut third] {
        assert_eq!(client.joined().await.generation_id, 3);
    }
    assert_eq!(world.stage().await, Some(ClassicStage::Syncing));
    assert_eq!(world.commit(&first.member_id, 2).await, Some(ErrorCode::StaleGeneration));
    assert_eq!(one.beat(&first).await, KafkaError::IllegalGeneration.code());
    for client in [one, other, third] {
        drop(client);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_not_waited_for() {
    let world = World::with_groups(at_once()).await;
    let (mut one, first, mut other, second) = two(&world).await;
    let left: LeaveGroupResponse = other.call(5, &leave(&[&second.member_id, "nobody"])).await;
    let codes: Vec<_> = left.members.iter().map(|left| left.error_code).collect();
    assert_eq!((left.error_code, codes), (0, vec![0, KafkaError::UnknownMemberId.code()]));
    assert_eq!(world.commit(&second.member_id, 2).await, Some(ErrorCode::UnknownMember));
    assert_eq!(other.beat(&second).await, KafkaError::UnknownMemberId.code());
    one.until_rebalance(&first).await;
    one.join_again(&first).await;
    assert_eq!(one.joined().await.generation_id, 3);
    // The last leaves an empty group, in the way of the oldest clients.
    let last = LeaveGroupRequest {
        group_id: "g".to_owned(),
        member_id: first.member_id.clone(),
        ..LeaveGroupRequest::default()
    };
    assert_eq!(one.call(0, &last).await.error_code, 0);
    assert_eq!(world.stage().await, Some(ClassicStage::Empty));
    assert_eq!(one.call(2, &last).await.error_code, KafkaError::UnknownMemberId.code());
    drop((one, other));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_member_is_out_when_its_session_ends() {
    let world = World::with_groups(at_once()).await;
    let mut silent = world.client().await;
    let mut request = join("");
    request.session_timeout_ms = 1_000;
    request.member_id = silent.call(NEWEST, &request).await.member_id;
    let alone = silent.call(NEWEST, &request).await;
    assert_eq!(silent.call(5, &sync(&alone, 5)).await.error_code, 0);
    // Somebody new comes and waits for it in vain.
    let mut one = world.client().await;
    one.join().await;
    let formed = one.joined().await;
    assert_eq!((formed.generation_id, formed.members.len()), (2, 1));
    assert_eq!(formed.leader, formed.member_id);
    assert_eq!(silent.beat(&alone).await, KafkaError::UnknownMemberId.code());
    assert_eq!(world.commit(&alone.member_id, 1).await, Some(ErrorCode::UnknownMember));
    drop((silent, one));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_joins_syncs_beats_and_leaves() {
    let world = World::with_groups(at_once()).await;
    let mut client = world.client().await;
    for version in JoinGroupRequest::VERSIONS {
        let mut request = join("");
        if version == 0 {
            request.rebalance_timeout_ms = -1;
        }
        let mut joined = client.call(version, &request).await;
        if version >= 4 {
            assert_eq!(joined.error_code, KafkaError::MemberIdRequired.code(), "version {version}");
            request.member_id = joined.member_id;
            joined = client.call(version, &request).await;
        }
        assert_eq!(joined.error_code, 0, "version {version}");
        assert_eq!((joined.leader.as_str(), joined.members.len()), (joined.member_id.as_str(), 1));
        assert_eq!(joined.protocol_type.is_some(), version >= 7);
        let (syncs, beats, leaves) = (version.min(5), version.min(4), version.min(5));
        let synced = client.call(syncs, &sync(&joined, syncs)).await;
        assert_eq!(synced.assignment, format!("share of {}", joined.member_id));
        assert_eq!(synced.protocol_name.is_some(), syncs >= 5);
        assert_eq!(client.call(beats, &beat(&joined)).await.error_code, 0);
        let left = if leaves >= 3 {
            leave(&[&joined.member_id])
        } else {
            LeaveGroupRequest { member_id: joined.member_id.clone(), members: Vec::new(), ..leave(&[]) }
        };
        assert_eq!(client.call(leaves, &left).await.error_code, 0);
        let refused = client.call(version, &JoinGroupRequest { session_timeout_ms: 1, ..join("") }).await;
        assert_eq!(refused.error_code, KafkaError::InvalidSessionTimeout.code());
        assert_eq!(refused.generation_id, -1);
        assert_eq!(refused.protocol_name.is_none(), version >= 7);
    }
    drop(client);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_leader_that_restarts_goes_on_and_is_not_to_assign_anew() {
    let world = World::with_groups(at_once()).await;
    let fixed = || JoinGroupRequest { group_instance_id: Some("one".to_owned()), ..join("") };
    for version in [5, 9] {
        let mut first = world.client().await;
        let joined = first.call(version, &fixed()).await;
        assert_eq!(joined.error_code, 0, "a static member need not come back with an id");
        let named = |joined: &JoinGroupResponse| SyncGroupRequest {
            group_instance_id: Some("one".to_owned()),
            ..sync(joined, 5)
        };
        assert_eq!(first.call(5, &named(&joined)).await.error_code, 0);
        let mut next = world.client().await;
        let again = next.call(version, &fixed()).await;
        assert_eq!((again.error_code, again.generation_id), (0, joined.generation_id));
        assert_ne!(again.member_id, joined.member_id);
        assert_eq!((again.leader == again.member_id, again.skip_assignment), (version == 9, version == 9));
        assert_eq!(again.members.len(), usize::from(version == 9));
        let share = next.call(5, &SyncGroupRequest { assignments: Vec::new(), ..named(&again) }).await;
        assert_eq!(share.assignment, format!("share of {}", joined.member_id));
        // Its old life is fenced.
        let late = HeartbeatRequest { group_instance_id: Some("one".to_owned()), ..beat(&joined) };
        assert_eq!(first.call(4, &late).await.error_code, KafkaError::FencedInstanceId.code());
        // By its lasting name alone an operator takes it out.
        let mut gone = leave(&[""]);
        gone.members[0].group_instance_id = Some("one".to_owned());
        assert_eq!(next.call(5, &gone).await.members[0].error_code, 0);
        drop((first, next));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_outlives_a_restart_and_its_number_never_comes_again() {
    let world = World::with_groups(at_once()).await;
    let (one, first, other, second) = two(&world).await;
    drop((one, other));
    let world = world.restart(at_once()).await;
    let (mut one, mut other) = (world.client().await, world.client().await);
    // They go on as if nothing had happened.
    assert_eq!((one.beat(&first).await, other.beat(&second).await), (0, 0));
    assert_eq!(world.commit(&first.member_id, 2).await, None);
    let share = one.call(5, &SyncGroupRequest { assignments: Vec::new(), ..sync(&first, 5) }).await;
    assert_eq!(share.assignment, format!("share of {}", first.member_id));
    one.call(5, &leave(&[&first.member_id, &second.member_id])).await;
    drop((one, other));
    let world = world.restart(at_once()).await;
    assert_eq!(world.commit(&first.member_id, 2).await, Some(ErrorCode::UnknownMember));
    let mut one = world.client().await;
    one.join().await;
    assert!(one.joined().await.generation_id > 2);
    drop(one);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_waits_holds_no_memory_and_is_given_up_with_its_connection() {
    let world = World::with_groups(GroupSettings { classic_initial_delay_ms: 60_000, ..at_once() }).await;
    let mut client = world.client().await;
    // The oldest way: nobody has told it who it is.
    client.send(&frame(1, 0, &JoinGroupRequest { rebalance_timeout_ms: -1, ..join("") })).await;
    while world.stage().await != Some(ClassicStage::Joining) {
        tokio::task::yield_now().await;
    }
    world.until_nothing_is_held().await;
    drop(client);
    while world.stage().await.is_some_and(|stage| stage != ClassicStage::Empty) {
        tokio::task::yield_now().await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_tells_those_who_wait_to_look_for_another_coordinator() {
    let world = World::with_groups(GroupSettings { classic_initial_delay_ms: 60_000, ..at_once() }).await;
    let mut client = world.client().await;
    client.join().await;
    while world.stage().await != Some(ClassicStage::Joining) {
        tokio::task::yield_now().await;
    }
    let (told, ()) = futures::future::join(client.answer::<JoinGroupRequest>(NEWEST), world.stop()).await;
    assert_eq!(told.1.error_code, KafkaError::NotCoordinator.code());
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_what_they_are() {
    let world = World::with_groups(at_once()).await;
    let (mut one, first, other, _) = two(&world).await;
    let code = |error: KafkaError| error.code();
    let nobody = JoinGroupResponse { member_id: "nobody".to_owned(), ..first.clone() };
    assert_eq!(one.beat(&nobody).await, code(KafkaError::UnknownMemberId));
    let old = JoinGroupResponse { generation_id: 1, ..first.clone() };
    assert_eq!(one.beat(&old).await, code(KafkaError::IllegalGeneration));
    assert_eq!(one.call(5, &sync(&old, 5)).await.error_code, code(KafkaError::IllegalGeneration));
    let unnamed = SyncGroupRequest { protocol_name: None, ..sync(&first, 5) };
    let inconsistent = code(KafkaError::InconsistentGroupProtocol);
    assert_eq!(one.call(5, &unnamed).await.error_code, inconsistent);
    let connect = SyncGroupRequest { protocol_type: Some("connect".to_owned()), ..sync(&first, 5) };
    assert_eq!(one.call(5, &connect).await.error_code, inconsistent);
    for wrong in [
        JoinGroupRequest { protocol_type: "connect".to_owned(), ..join("") },
        JoinGroupRequest { protocols: Vec::new(), ..join("") },
    ] {
        assert_eq!(one.call(3, &wrong).await.error_code, inconsistent);
    }
    let nameless = JoinGroupRequest { group_id: String::new(), ..join("") };
    assert_eq!(one.call(NEWEST, &nameless).await.error_code, code(KafkaError::InvalidGroupId));
    let elsewhere = HeartbeatRequest { group_id: "other".to_owned(), ..beat(&first) };
    assert_eq!(one.call(4, &elsewhere).await.error_code, code(KafkaError::UnknownMemberId));
    drop((one, other));
    world.stop().await;
}
