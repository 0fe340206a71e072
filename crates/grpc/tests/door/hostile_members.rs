//! Members that say what they must not, too much of it, or nothing that makes sense.

use bytes::Bytes;
use millrace_broker::GroupSettings;
use millrace_proto::v1;
use millrace_proto::v1::group_member_request::Request;
use millrace_types::ErrorCode;
use millrace_types::limits::{
    MEMBER_ID_BYTES_MAX, OFFSET_METADATA_BYTES_MAX, PARTITIONS_PER_REQUEST_MAX, PATTERN_BYTES_MAX,
    REBALANCE_TIMEOUT_MS_MAX, SUBSCRIBED_NAMES_MAX,
};
use prost::Message;
use tokio::io::AsyncWriteExt;

use crate::members::{Client, Member, client_with_partitions, commit, committed, join_of, message};
use crate::raw::{End, body, call, call_with, prefix};
use crate::world::{World, code, code_of, topic};

/// How a stream ends that begins with this.
async fn refused(client: &mut Client, first: v1::GroupMemberRequest) -> ErrorCode {
    let mut member = Member::open(client, first).await;
    code_of(&member.end().await.unwrap_err())
}

async fn refused_join(client: &mut Client, join: v1::JoinGroup) -> ErrorCode {
    refused(client, message(Request::Join(join))).await
}

fn by_pattern(pattern: &str) -> v1::JoinGroup {
    let subscription = Some(v1::GroupSubscription { topics: Vec::new(), pattern: Some(pattern.to_owned()) });
    v1::JoinGroup { subscription, ..join_of("workers", "orders") }
}

fn owning(partitions: Vec<i32>) -> v1::MemberProgress {
    let topic = Some(v1::TopicRef { name: String::new(), id: Bytes::from(vec![7; 16]) });
    let topics = vec![v1::TopicPartitions { topic, partitions }];
    v1::MemberProgress { epoch: 1, heard: 1, owned: Some(v1::OwnedPartitions { topics }) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_begins_with_anything_but_a_join_is_ended() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 1).await;
    let heartbeat = v1::GroupHeartbeat { progress: Some(owning(vec![0])), subscription: None };
    for first in [
        message(Request::Heartbeat(heartbeat)),
        message(Request::Leave(v1::LeaveGroup::default())),
        v1::GroupMemberRequest { request: None },
    ] {
        assert_eq!(refused(&mut client, first).await, ErrorCode::InvalidRequest);
    }
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_join_and_a_heartbeat_without_an_epoch_end_the_stream() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 1).await;
    let empty = v1::GroupHeartbeat::default();
    for second in [Request::Join(join_of("workers", "orders")), Request::Heartbeat(empty)] {
        let mut member = Member::join(&mut client, join_of("workers", "orders")).await;
        member.say(second);
        assert_eq!(code_of(&member.end().await.unwrap_err()), ErrorCode::InvalidRequest);
    }
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_that_make_no_sense_are_refused() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 1).await;
    let join = || join_of("workers", "orders");
    let invalid = ErrorCode::InvalidRequest;
    let names = (0..=SUBSCRIBED_NAMES_MAX).map(|number| format!("topic-{number}")).collect();
    let too_many = Some(v1::GroupSubscription { topics: names, pattern: None });
    let too_long = u32::try_from(REBALANCE_TIMEOUT_MS_MAX + 1).unwrap();
    for (join, expected) in [
        (join_of("", "orders"), ErrorCode::GroupIdInvalid),
        (join_of("a\nb", "orders"), ErrorCode::GroupIdInvalid),
        (join_of(&"g".repeat(10_000), "orders"), ErrorCode::GroupIdInvalid),
        (join_of("workers", "../etc"), ErrorCode::InvalidTopicName),
        (join_of("workers", ""), ErrorCode::InvalidTopicName),
        (v1::JoinGroup { member: "m".repeat(MEMBER_ID_BYTES_MAX + 1), ..join() }, invalid),
        (v1::JoinGroup { instance: Some(String::new()), ..join() }, invalid),
        (v1::JoinGroup { rack: Some("r".repeat(1000)), ..join() }, invalid),
        (v1::JoinGroup { assignor: Some("mine".to_owned()), ..join() }, invalid),
        (v1::JoinGroup { subscription: too_many, ..join() }, invalid),
        (v1::JoinGroup { rebalance_timeout_ms: too_long, ..join() }, invalid),
        (v1::JoinGroup { resume: Some(owning(vec![0])), ..join() }, invalid),
    ] {
        let said = format!("{:.60}", format!("{join:?}"));
        assert_eq!(refused_join(&mut client, join).await, expected, "{said}");
    }
    let stranger = v1::JoinGroup { member: "ghost".to_owned(), resume: Some(owning(vec![0])), ..join() };
    assert_eq!(refused_join(&mut client, stranger).await, ErrorCode::UnknownMember);
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_patterns_are_refused_and_cost_little() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, &"a".repeat(200), 1).await;
    for hostile in [
        "(".to_owned(),
        "a)(b".to_owned(),
        "(((a{100}){100}){100}){100}".to_owned(),
        r"[\pL--\pN]{1000}{1000}".to_owned(),
        r"(\w{1000}){1000}".to_owned(),
        "(?=a)a".to_owned(),
        r"(a)\1".to_owned(),
        "a".repeat(PATTERN_BYTES_MAX + 1),
        "a".repeat(900_000),
    ] {
        let code = refused_join(&mut client, by_pattern(&hostile)).await;
        assert_eq!(code, ErrorCode::InvalidPattern, "{:.40}", hostile);
    }
    // What hangs a backtracking engine is done in the time of its text.
    let slow_elsewhere = by_pattern("(a*)*(a*)*(a|aa)+b");
    let member = Member::join(&mut client, slow_elsewhere).await;
    assert!(member.told.assigned.is_empty());
    member.leave().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_lists_of_what_a_member_owns_are_refused() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 1).await;
    let most = i32::try_from(PARTITIONS_PER_REQUEST_MAX).unwrap();
    for absurd in [owning((0..=most).collect()), owning(vec![-1]), owning(vec![0; 900_000])] {
        let mut member = Member::join(&mut client, join_of("workers", "orders")).await;
        let progress = Some(absurd);
        member.say(Request::Heartbeat(v1::GroupHeartbeat { progress, subscription: None }));
        assert_eq!(code_of(&member.end().await.unwrap_err()), ErrorCode::InvalidRequest);
    }
    // As many as may be, all of them invented: it owns none of them, and nothing happens.
    let mut member = Member::join(&mut client, join_of("others", "orders")).await;
    let invented = v1::MemberProgress {
        epoch: member.told.epoch,
        heard: member.told.revision,
        ..owning((0..most).collect())
    };
    let progress = Some(invented);
    member.say(Request::Heartbeat(v1::GroupHeartbeat { progress, subscription: None }));
    member.hear().await.unwrap();
    assert_eq!(member.partitions(), [0]);
    // More than a message may have: refused before it is read.
    let mut large = Member::join(&mut client, join_of("workers", "orders")).await;
    let topics = vec![v1::TopicPartitions { topic: topic(&"x".repeat(200)), partitions: vec![0] }; 10_000];
    let owned = Some(v1::OwnedPartitions { topics });
    let progress = Some(v1::MemberProgress { epoch: 1, heard: 1, owned });
    large.say(Request::Heartbeat(v1::GroupHeartbeat { progress, subscription: None }));
    assert_eq!(code_of(&large.end().await.unwrap_err()), ErrorCode::RequestTooLarge);
    member.leave().await;
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_make_no_sense_are_refused_one_by_one() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 2).await;
    let member = Member::join(&mut client, join_of("workers", "orders")).await;
    let mut request = commit("workers", "orders", 1, member.committer());
    let good = request.offsets[0].clone();
    request.offsets = vec![
        v1::OffsetCommit { topic: topic("nowhere"), ..good.clone() },
        v1::OffsetCommit { partition: 9_999, ..good.clone() },
        v1::OffsetCommit { partition: -1, ..good.clone() },
        v1::OffsetCommit { offset: -1, ..good.clone() },
        v1::OffsetCommit { metadata: "m".repeat(OFFSET_METADATA_BYTES_MAX + 1), ..good.clone() },
        v1::OffsetCommit { metadata: "m".repeat(OFFSET_METADATA_BYTES_MAX), ..good.clone() },
    ];
    let answers = client.commit_offsets(request.clone()).await.unwrap().into_inner().offsets;
    let codes: Vec<_> = answers.iter().map(|answer| code(answer.error.as_ref())).collect();
    let (unknown, invalid) = (ErrorCode::UnknownTopicOrPartition, ErrorCode::InvalidRequest);
    let too_large = ErrorCode::OffsetMetadataTooLarge;
    assert_eq!(codes, [Some(unknown), Some(unknown), Some(invalid), Some(invalid), Some(too_large), None]);
    request.offsets = vec![good.clone(); PARTITIONS_PER_REQUEST_MAX + 1];
    let refused = client.commit_offsets(request).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::InvalidRequest);
    for (member, expected) in [
        (v1::MemberRef { member: String::new(), instance: None, epoch: 1 }, invalid),
        (v1::MemberRef { member: "ghost".to_owned(), instance: None, epoch: 1 }, ErrorCode::UnknownMember),
        (
            v1::MemberRef { epoch: member.told.epoch + 1, ..member.committer().unwrap() },
            ErrorCode::StaleMemberEpoch,
        ),
        (v1::MemberRef { epoch: i32::MIN, ..member.committer().unwrap() }, ErrorCode::StaleMemberEpoch),
    ] {
        let request = commit("workers", "orders", 7, Some(member));
        assert_eq!(committed(&mut client, request).await, Some(expected));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_may_be_cut_off_at_any_byte_of_its_join() {
    let world = World::new().await;
    client_with_partitions(&world, "orders", 1).await;
    let join = v1::JoinGroup { member: "cut".to_owned(), ..join_of("workers", "orders") };
    let join = message(Request::Join(join)).encode_to_vec();
    let framed = [prefix(u32::try_from(join.len()).unwrap()), join].concat();
    let bytes = [call("GroupMember"), body(&framed, End::Later)].concat();
    for cut in 0..=bytes.len() {
        world.send_and_drop(&bytes[..cut]).await;
    }
    world.until_nothing_is_held().await;
    let mut client = world.client().await;
    let member = Member::join(&mut client, join_of("others", "orders")).await;
    assert_eq!(member.partitions(), [0]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_members_of_one_connection_are_bounded_by_its_streams_and_served() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 10).await;
    let mut members = Vec::new();
    for _ in 0..50 {
        members.push(Member::join(&mut client, join_of("workers", "orders")).await);
    }
    let described = v1::DescribeGroupRequest { group: "workers".to_owned() };
    let described = client.describe_group(described).await.unwrap().into_inner();
    assert_eq!(described.members.len(), 50);
    drop(members);
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_full_takes_nobody_and_goes_on() {
    let world = World::with_groups(GroupSettings { members_max: 3, ..GroupSettings::default() }).await;
    let mut client = client_with_partitions(&world, "orders", 10).await;
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(Member::join(&mut client, join_of("workers", "orders")).await);
    }
    for _ in 0..20 {
        let code = refused_join(&mut client, join_of("workers", "orders")).await;
        assert_eq!(code, ErrorCode::GroupFull);
    }
    members.pop().unwrap().leave().await;
    let late = Member::join(&mut client, join_of("workers", "orders")).await;
    assert!(late.told.epoch > 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_takes_no_answer_is_not_heard_and_loses_its_place() {
    let world = World::new().await;
    let mut client = client_with_partitions(&world, "orders", 4).await;
    let deaf = v1::JoinGroup { member: "deaf".to_owned(), ..join_of("workers", "orders") };
    let mut said = message(Request::Join(deaf)).encode_to_vec();
    said = [prefix(u32::try_from(said.len()).unwrap()), said].concat();
    // It goes on talking, but its window (SETTINGS_INITIAL_WINDOW_SIZE = 1) lets no answer through.
    let heartbeat = v1::GroupHeartbeat { progress: Some(v1::MemberProgress::default()), subscription: None };
    let heartbeat = message(Request::Heartbeat(heartbeat)).encode_to_vec();
    for _ in 0..10 {
        said.extend(prefix(u32::try_from(heartbeat.len()).unwrap()));
        said.extend(&heartbeat);
    }
    let mut deaf = world.dial().await;
    let bytes = [call_with("GroupMember", Some((4, 1)), None), body(&said, End::Later)].concat();
    deaf.write_all(&bytes).await.unwrap();
    let group = || v1::DescribeGroupRequest { group: "workers".to_owned() };
    while client.describe_group(group()).await.is_err() {
        tokio::task::yield_now().await;
    }
    let mut other = Member::join(&mut client, join_of("workers", "orders")).await;
    assert!(other.partitions().is_empty(), "the deaf one has them");
    while other.partitions().len() < 4 {
        other.acknowledge();
        other.hear().await.unwrap();
    }
    let members = client.describe_group(group()).await.unwrap().into_inner().members;
    assert_eq!(members.len(), 1);
    drop(deaf);
    world.stop().await;
}
