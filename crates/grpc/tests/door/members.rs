//! Members of groups: a stream each, real sockets, the real coordinator.

use futures::channel::mpsc::{UnboundedSender, unbounded};
use millrace_proto::v1;
use millrace_proto::v1::group_member_request::Request;
use millrace_proto::v1::group_member_response::Response;
use millrace_proto::v1::millrace_client::MillraceClient;
use millrace_types::ErrorCode;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::world::{World, code, code_of, topic};

pub(crate) type Client = MillraceClient<Channel>;

/// One stream of a member.
pub(crate) struct Member {
    says: UnboundedSender<v1::GroupMemberRequest>,
    hears: Streaming<v1::GroupMemberResponse>,
    /// The newest that it has heard.
    pub(crate) told: v1::GroupAssignment,
}

/// A join by one topic.
pub(crate) fn join_of(group: &str, topic: &str) -> v1::JoinGroup {
    let subscription = Some(v1::GroupSubscription { topics: vec![topic.to_owned()], pattern: None });
    v1::JoinGroup { group: group.to_owned(), subscription, ..Default::default() }
}

pub(crate) fn message(request: Request) -> v1::GroupMemberRequest {
    v1::GroupMemberRequest { request: Some(request) }
}

impl Member {
    /// Opens a stream and says something, whatever it is.
    pub(crate) async fn open(client: &mut Client, first: v1::GroupMemberRequest) -> Member {
        let (says, requests) = unbounded();
        says.unbounded_send(first).unwrap();
        let hears = client.group_member(requests).await.unwrap().into_inner();
        Member { says, hears, told: v1::GroupAssignment::default() }
    }

    /// Joins and hears the first assignment.
    pub(crate) async fn join(client: &mut Client, join: v1::JoinGroup) -> Member {
        let mut member = Member::open(client, message(Request::Join(join))).await;
        member.hear().await.unwrap();
        member
    }

    pub(crate) fn say(&self, request: Request) {
        self.says.unbounded_send(message(request)).unwrap();
    }

    /// The next assignment.
    pub(crate) async fn hear(&mut self) -> Result<(), Status> {
        match self.hears.message().await? {
            Some(v1::GroupMemberResponse { response: Some(Response::Assignment(told)) }) => {
                self.told = told;
                Ok(())
            }
            other => panic!("no assignment: {other:?}"),
        }
    }

    /// How the stream ends.
    pub(crate) async fn end(&mut self) -> Result<(), Status> {
        while self.hears.message().await?.is_some() {}
        Ok(())
    }

    /// What it says of itself if it has done as it was told.
    pub(crate) fn progress(&self) -> v1::MemberProgress {
        let topics = self.told.assigned.clone();
        let owned = Some(v1::OwnedPartitions { topics });
        v1::MemberProgress { epoch: self.told.epoch, heard: self.told.revision, owned }
    }

    /// Says that it has done as it was told.
    pub(crate) fn acknowledge(&self) {
        let progress = Some(self.progress());
        self.say(Request::Heartbeat(v1::GroupHeartbeat { progress, subscription: None }));
    }

    /// The partitions that it is to own, of its one topic.
    pub(crate) fn partitions(&self) -> Vec<i32> {
        let mut all: Vec<i32> =
            self.told.assigned.iter().flat_map(|topic| topic.partitions.clone()).collect();
        all.sort_unstable();
        all
    }

    pub(crate) fn committer(&self) -> Option<v1::MemberRef> {
        Some(v1::MemberRef { member: self.told.member.clone(), instance: None, epoch: self.told.epoch })
    }

    pub(crate) async fn leave(mut self) {
        self.say(Request::Leave(v1::LeaveGroup { for_now: false }));
        loop {
            match self.hears.message().await.unwrap().unwrap().response {
                Some(Response::Left(_)) => break,
                _told_meanwhile => {}
            }
        }
        assert_eq!(self.hears.message().await.unwrap(), None, "nothing follows");
    }
}

pub(crate) async fn client_with_partitions(world: &World, name: &str, partitions: u32) -> Client {
    let mut client = world.client().await;
    let request = v1::CreateTopicRequest { name: name.to_owned(), partitions, ..Default::default() };
    client.create_topic(request).await.unwrap();
    client
}

/// A commit of partition 0 of a topic.
pub(crate) fn commit(
    group: &str,
    name: &str,
    offset: i64,
    member: Option<v1::MemberRef>,
) -> v1::CommitOffsetsRequest {
    let commit = v1::OffsetCommit { topic: topic(name), offset, ..Default::default() };
    v1::CommitOffsetsRequest { group: group.to_owned(), offsets: vec![commit], member }
}

/// How a commit of one partition ended, as a whole or for its partition.
pub(crate) async fn committed(client: &mut Client, request: v1::CommitOffsetsRequest) -> Option<ErrorCode> {
    match client.commit_offsets(request).await {
        Ok(answer) => code(answer.into_inner().offsets[0].error.as_ref()),
        Err(status) => Some(code_of(&status)),
    }
}

/// Two members of a topic of four partitions, two each. The second joined later.
pub(crate) async fn two_members(client: &mut Client, group: &str) -> (Member, Member) {
    let mut first = Member::join(client, join_of(group, "orders")).await;
    assert_eq!(first.partitions(), [0, 1, 2, 3]);
    let mut second = Member::join(client, join_of(group, "orders")).await;
    assert_eq!((second.partitions().len(), second.told.waiting), (0, 2));
    first.hear().await.unwrap();
    assert_eq!(first.partitions().len(), 2, "it is to let two go");
    first.acknowledge();
    first.hear().await.unwrap();
    second.hear().await.unwrap();
    assert_eq!((second.partitions().len(), second.told.waiting), (2, 0));
    (first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_joins_is_told_everything_and_leaves() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 4).await;
    let mut member = Member::join(&mut client, join_of("workers", "orders")).await;
    assert_eq!((member.partitions(), member.told.waiting), (vec![0, 1, 2, 3], 0));
    assert!(!member.told.member.is_empty() && member.told.epoch > 0);
    assert!(member.told.heartbeat_interval_ms > 0);
    assert!(member.told.session_timeout_ms > member.told.heartbeat_interval_ms);
    let topic = member.told.assigned[0].topic.clone().unwrap();
    assert_eq!((topic.name.as_str(), topic.id.len()), ("orders", 16));
    let before = member.told.clone();
    member.acknowledge();
    member.hear().await.unwrap();
    assert_eq!(member.told, before, "nothing has changed");
    member.leave().await;
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_and_what_one_lets_go_the_other_is_told_of() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 4).await;
    let (first, second) = two_members(&mut client, "workers").await;
    let mut all = [first.partitions(), second.partitions()].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    let mut second = second;
    first.leave().await;
    while second.partitions().len() < 4 {
        second.hear().await.unwrap();
    }
    second.leave().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_stream_breaks_comes_back_as_who_it_was() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 4).await;
    let (first, mut second) = two_members(&mut client, "workers").await;
    let (told, progress) = (first.told.clone(), first.progress());
    drop(first);
    let resume =
        v1::JoinGroup { member: told.member.clone(), resume: Some(progress), ..join_of("workers", "orders") };
    let first = Member::join(&mut world.client().await, resume).await;
    assert_eq!((&first.told.member, first.told.epoch), (&told.member, told.epoch));
    assert_eq!(first.told.assigned, told.assigned, "nothing has moved");
    second.acknowledge();
    second.hear().await.unwrap();
    assert_eq!(second.partitions().len(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_come_back_loses_its_partitions() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 4).await;
    let (first, mut second) = two_members(&mut client, "workers").await;
    let zombie = first.committer();
    drop(first);
    // It goes on being there: five seconds are more than one heartbeat interval.
    while second.partitions().len() < 4 {
        second.acknowledge();
        second.hear().await.unwrap();
        tokio::task::yield_now().await;
    }
    let late = commit("workers", "orders", 1, zombie);
    assert_eq!(committed(&mut client, late).await, Some(ErrorCode::UnknownMember));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_and_fetches_are_fenced_by_the_members_epoch_on_any_connection() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 4).await;
    let mut first = Member::join(&mut client, join_of("workers", "orders")).await;
    let old = first.committer();
    assert_eq!(committed(&mut client, commit("workers", "orders", 3, old.clone())).await, None);
    let mut second = Member::join(&mut client, join_of("workers", "orders")).await;
    while second.partitions().len() < 2 {
        first.hear().await.unwrap();
        first.acknowledge();
        second.hear().await.unwrap();
    }
    let mut other = world.client().await;
    let stale = commit("workers", "orders", 4, old.clone());
    assert_eq!(committed(&mut other, stale).await, Some(ErrorCode::StaleMemberEpoch));
    let nobody = commit("workers", "orders", 5, None);
    assert_eq!(committed(&mut other, nobody).await, Some(ErrorCode::UnknownMember));
    let asked =
        |member| v1::FetchOffsetsRequest { group: "workers".to_owned(), partitions: Vec::new(), member };
    let refused = other.fetch_offsets(asked(old)).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::StaleMemberEpoch);
    let known = other.fetch_offsets(asked(second.committer())).await.unwrap().into_inner();
    assert_eq!(known.offsets[0].offset, Some(3), "what was refused is not there");
    assert_eq!(committed(&mut other, commit("workers", "orders", 6, second.committer())).await, None);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_earlier_life_of_a_static_member_is_fenced() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 4).await;
    let life = || v1::JoinGroup { instance: Some("desk-1".to_owned()), ..join_of("workers", "orders") };
    let mut zombie = Member::join(&mut client, life()).await;
    let instance = Some("desk-1".to_owned());
    let before = zombie.committer().map(|member| v1::MemberRef { instance: instance.clone(), ..member });
    assert_eq!(committed(&mut client, commit("workers", "orders", 1, before.clone())).await, None);
    let newer = Member::join(&mut client, life()).await;
    assert_eq!(newer.partitions(), [0, 1, 2, 3], "all of it at once");
    assert_eq!(code_of(&zombie.end().await.unwrap_err()), ErrorCode::FencedInstance);
    let late = commit("workers", "orders", 9, before);
    assert_eq!(committed(&mut client, late).await, Some(ErrorCode::FencedInstance));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_never_lets_go_is_put_out_after_its_rebalance_timeout() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 4).await;
    let greedy = v1::JoinGroup { rebalance_timeout_ms: 1_500, ..join_of("workers", "orders") };
    let mut greedy = Member::join(&mut client, greedy).await;
    let kept = greedy.told.clone();
    let mut other = Member::join(&mut client, join_of("workers", "orders")).await;
    let holds_on = async {
        // It is there, and says that it still has everything.
        let owned = Some(v1::OwnedPartitions { topics: kept.assigned.clone() });
        loop {
            if let Err(status) = greedy.hear().await {
                return status;
            }
            let progress = v1::MemberProgress {
                epoch: greedy.told.epoch,
                heard: greedy.told.revision,
                owned: owned.clone(),
            };
            let progress = Some(progress);
            greedy.say(Request::Heartbeat(v1::GroupHeartbeat { progress, subscription: None }));
        }
    };
    assert_eq!(code_of(&holds_on.await), ErrorCode::UnknownMember);
    while other.partitions().len() < 4 {
        other.hear().await.unwrap();
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_the_streams_and_says_why() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 4).await;
    let mut member = Member::join(&mut client, join_of("workers", "orders")).await;
    let (ended, answered) = tokio::join!(member.end(), world.door.drain(std::time::Duration::from_secs(60)));
    assert_eq!(code_of(&ended.unwrap_err()), ErrorCode::ShuttingDown);
    assert!(answered);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_follows_the_topics_that_its_pattern_matches() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders-eu", 1).await;
    let subscription =
        Some(v1::GroupSubscription { topics: Vec::new(), pattern: Some("orders-.*".to_owned()) });
    let by_pattern = v1::JoinGroup { subscription, ..join_of("workers", "") };
    let mut member = Member::join(&mut client, by_pattern).await;
    assert_eq!(member.told.assigned.len(), 1);
    client_with_partitions(&world, "orders-us", 2).await;
    client_with_partitions(&world, "payments", 2).await;
    while member.partitions().len() < 3 {
        member.hear().await.unwrap();
        member.acknowledge();
    }
    assert_eq!(member.told.assigned.len(), 2);
    world.stop().await;
}
