//! What members say, whole, cut and wrong.

use std::sync::Arc;

use http::HeaderMap;
use millrace_broker::ConnectionId;
use millrace_env::Monotonic;
use millrace_proto::check_shape;
use millrace_types::limits::{MEMBER_ID_BYTES_MAX, PARTITIONS_PER_REQUEST_MAX, PATTERN_BYTES_MAX};
use prost::Message;

use super::*;
use crate::caller::Peer;

fn caller() -> Caller {
    let mut headers = HeaderMap::new();
    headers.insert("millrace-client-id", "reader".parse().unwrap());
    let peer = Peer { connection: ConnectionId(1), host: Arc::from("10.0.0.7") };
    Caller::of(&headers, &peer, Monotonic::default())
}

fn owned(partitions: Vec<i32>) -> v1::MemberProgress {
    let topic = Some(v1::TopicRef::by_id(TopicId([7; 16])));
    let topics = vec![v1::TopicPartitions { topic, partitions }];
    v1::MemberProgress { epoch: 5, heard: 9, owned: Some(v1::OwnedPartitions { topics }) }
}

fn whole() -> v1::JoinGroup {
    v1::JoinGroup {
        group: "workers".to_owned(),
        member: "w-1".to_owned(),
        instance: Some("desk-1".to_owned()),
        rack: Some("cellar".to_owned()),
        subscription: Some(v1::GroupSubscription {
            topics: vec!["orders".to_owned(), "orders".to_owned()],
            pattern: Some("pay.*".to_owned()),
        }),
        assignor: Some("rack".to_owned()),
        rebalance_timeout_ms: 0,
        resume: Some(owned(vec![1, 0])),
    }
}

#[test]
fn a_join_comes_out_as_it_went_in() {
    let request = join(whole(), &caller()).unwrap();
    assert_eq!((request.group.as_str(), request.member.unwrap().as_str()), ("workers", "w-1"));
    let profile = request.profile;
    assert_eq!((profile.client_id.as_str(), profile.client_host.as_str()), ("reader", "10.0.0.7"));
    assert_eq!((profile.assignor, profile.rebalance_timeout_ms), (Some(Assignor::Rack), 300_000));
    assert_eq!(subscription_to_wire(&profile.subscription).topics, ["orders"]);
    let resume = request.resume.unwrap();
    assert_eq!((resume.epoch, resume.heard, resume.owned.unwrap().len()), (GroupEpoch(5), 9, 2));
}

#[test]
fn what_is_wrong_with_a_join_is_said() {
    let refused = |change: fn(&mut v1::JoinGroup)| {
        let mut wire = whole();
        change(&mut wire);
        join(wire, &caller()).unwrap_err().code
    };
    assert_eq!(refused(|wire| wire.group.clear()), ErrorCode::GroupIdInvalid);
    assert_eq!(refused(|wire| wire.member.clear()), ErrorCode::InvalidRequest);
    assert_eq!(refused(|wire| wire.member = "x".repeat(MEMBER_ID_BYTES_MAX + 1)), ErrorCode::InvalidRequest);
    assert_eq!(refused(|wire| wire.instance = Some(String::new())), ErrorCode::InvalidRequest);
    assert_eq!(refused(|wire| wire.assignor = Some("best".repeat(1000))), ErrorCode::InvalidRequest);
    let name = refused(|wire| wire.subscription.as_mut().unwrap().topics.push("../etc".to_owned()));
    assert_eq!(name, ErrorCode::InvalidTopicName);
    let pattern = |wire: &mut v1::JoinGroup| {
        wire.subscription.as_mut().unwrap().pattern = Some("a".repeat(PATTERN_BYTES_MAX + 1));
    };
    assert_eq!(refused(pattern), ErrorCode::InvalidPattern);
}

#[test]
fn what_is_wrong_with_what_a_member_owns_is_said() {
    let refused = |wire: v1::MemberProgress| progress(wire).unwrap_err().code;
    assert_eq!(refused(owned(vec![-1])), ErrorCode::InvalidRequest);
    let most = i32::try_from(PARTITIONS_PER_REQUEST_MAX).unwrap();
    assert_eq!(
        progress(owned((0..most).collect())).unwrap().owned.unwrap().len(),
        PARTITIONS_PER_REQUEST_MAX
    );
    assert_eq!(refused(owned((0..=most).collect())), ErrorCode::InvalidRequest);
    let mut by_name = owned(vec![0]);
    by_name.owned.as_mut().unwrap().topics[0].topic =
        Some(v1::TopicRef::by_name(&TopicName::new("orders").unwrap()));
    assert_eq!(refused(by_name), ErrorCode::InvalidRequest);
    let mut unnamed = owned(vec![0]);
    unnamed.owned.as_mut().unwrap().topics[0].topic = None;
    assert_eq!(refused(unnamed), ErrorCode::InvalidRequest);
    let silent = v1::MemberProgress { epoch: -7, heard: 0, owned: None };
    assert_eq!(progress(silent).unwrap().owned, None);
}

#[test]
fn a_message_cut_at_any_byte_is_refused_or_read_and_never_more() {
    use v1::group_member_request::Request;
    let heartbeat = v1::GroupHeartbeat { progress: Some(owned(vec![0, 300])), subscription: None };
    for request in [Request::Join(whole()), Request::Heartbeat(heartbeat)] {
        let message = v1::GroupMemberRequest { request: Some(request) }.encode_to_vec();
        for length in 0..=message.len() {
            let cut = &message[..length];
            let Ok(decoded) = v1::GroupMemberRequest::decode(cut) else { continue };
            assert_eq!(check_shape::<v1::GroupMemberRequest>(cut), Ok(()), "cut at {length}");
            match decoded.request {
                Some(Request::Join(wire)) => drop(join(wire, &caller())),
                Some(Request::Heartbeat(wire)) => drop(wire.progress.map(progress)),
                _ => {}
            }
        }
    }
}

#[test]
fn who_commits_says_all_of_it_or_nothing() {
    assert_eq!(committer(None).unwrap(), None);
    let wire = v1::MemberRef { member: "w-1".to_owned(), instance: None, epoch: 3 };
    let read = committer(Some(wire.clone())).unwrap().unwrap();
    assert_eq!((read.member.unwrap().as_str(), read.epoch), ("w-1", Some(GroupEpoch(3))));
    let unnamed = v1::MemberRef { member: String::new(), ..wire };
    assert_eq!(committer(Some(unnamed)).unwrap_err().code, ErrorCode::InvalidRequest);
}
