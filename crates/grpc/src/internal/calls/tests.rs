//! Calls and answers there and back, cut at every byte, and wrong.

use millrace_broker::{ApiError, QuorumVoter};
use millrace_proto::check_shape;
use millrace_types::limits::{MESSAGE_ELEMENTS_MAX, PEER_ERROR_TEXT_BYTES_MAX};
use millrace_types::{BrokerEpoch, ErrorCode, LeaderEpoch, NodeId, Offset, OffsetRange, TopicId};
use prost::Message as _;

use super::super::commands::tests::{at, every_command};
use super::*;

const CLUSTER: ClusterId = ClusterId([9; 16]);

fn calls() -> Vec<PeerCall> {
    let node = NodeId(3);
    let voter = Some(QuorumVoter { node, incarnation: u64::MAX - 1 });
    let heartbeat = PeerHeartbeat { node, epoch: BrokerEpoch(12), applied: 5, draining: true };
    let call = |request| PeerCall { cluster: Some(CLUSTER), from: node, request };
    let stranger = Greeting { voter: None, internal: "[::1]:7072".to_owned() };
    vec![
        call(PeerRequest::Greet(Greeting { voter, internal: "a:7072".to_owned() })),
        PeerCall { cluster: None, ..call(PeerRequest::Greet(stranger)) },
        call(PeerRequest::Propose(every_command())),
        call(PeerRequest::Heartbeat(heartbeat)),
        call(PeerRequest::Tails(vec![at(0), at(4)])),
    ]
}

fn decide(call: PeerCall) -> internal::DecideCall {
    match Message::from(call) {
        Message::Decide(message) => message,
        Message::Fetch(_) | Message::Records(_) => unreachable!("not a fetch"),
    }
}

fn answers() -> Vec<PeerAnswer> {
    let deleted = MetadataRecord::TopicDeleted { id: TopicId([7; 16]) };
    let removed = MetadataRecord::BrokerRemoved { node: NodeId(8) };
    let moved = ApiError {
        leader: Some("b:7070".to_owned()),
        corrupt: Some(OffsetRange { start: Offset::from_count(3), end: Offset::from_count(9) }),
        ..ApiError::new(ErrorCode::NotLeader, "it leads nothing")
    };
    let outcomes = vec![Ok(vec![deleted, removed]), Err(moved), Ok(vec![])];
    let tail = ReplicaTail { at: at(4), last_epoch: LeaderEpoch::NONE, end: Offset::from_count(u64::MAX) };
    vec![
        PeerAnswer::Greeted(Greeted { cluster: CLUSTER, leader: Some((NodeId(1), "b:7072".to_owned())) }),
        PeerAnswer::Greeted(Greeted { cluster: CLUSTER, leader: None }),
        PeerAnswer::Proposed(Proposed { version: 40, outcomes }),
        PeerAnswer::Heartbeat(HeartbeatAnswer { registered: true, active: false, may_stop: true }),
        PeerAnswer::Tails(vec![tail, ReplicaTail { last_epoch: LeaderEpoch(2), ..tail }]),
    ]
}

#[test]
fn every_call_comes_back() {
    for told in calls() {
        let bytes = decide(told.clone()).encode_to_vec();
        check_shape::<internal::DecideCall>(&bytes).unwrap();
        let heard = internal::DecideCall::decode(bytes.as_slice()).unwrap();
        assert_eq!(decide_call(heard).unwrap(), told);
    }
}

#[test]
fn every_answer_comes_back() {
    for told in answers() {
        let bytes = to_decide_answer(told.clone()).unwrap().encode_to_vec();
        check_shape::<internal::DecideAnswer>(&bytes).unwrap();
        let heard = internal::DecideAnswer::decode(bytes.as_slice()).unwrap();
        assert_eq!(decide_answer(heard).unwrap(), told);
    }
    assert_eq!(to_decide_answer(PeerAnswer::Fetched(vec![])), None);
}

#[test]
fn what_is_cut_anywhere_is_an_error_or_something_else() {
    for told in calls() {
        let bytes = decide(told.clone()).encode_to_vec();
        for length in 0..bytes.len() {
            let Ok(message) = internal::DecideCall::decode(&bytes[..length]) else { continue };
            assert_ne!(decide_call(message), Ok(told.clone()), "at {length}");
        }
    }
    for told in answers() {
        let bytes = to_decide_answer(told.clone()).unwrap().encode_to_vec();
        for length in 0..bytes.len() {
            let Ok(message) = internal::DecideAnswer::decode(&bytes[..length]) else { continue };
            assert_ne!(decide_answer(message), Ok(told.clone()), "at {length}");
        }
    }
}

#[test]
fn only_a_greeting_may_name_no_cluster() {
    for call in calls() {
        let message = internal::DecideCall { cluster: Bytes::new(), ..decide(call.clone()) };
        let heard = decide_call(message);
        match call.request {
            PeerRequest::Greet(_) => assert_eq!(heard, Ok(PeerCall { cluster: None, ..call })),
            _ => assert_eq!(heard.unwrap_err().to_string(), "cluster: 0 bytes, not 16"),
        }
    }
}

#[test]
fn more_elements_than_a_message_may_have_are_not_decoded() {
    let partitions = vec![internal::PartitionRef::default(); MESSAGE_ELEMENTS_MAX];
    let request = Some(Request::Tails(internal::TailsQuestion { partitions }));
    let bytes = internal::DecideCall { request, ..Default::default() }.encode_to_vec();
    assert!(check_shape::<internal::DecideCall>(&bytes).is_err());
    let damaged = vec![internal::PartitionRef::default(); MESSAGE_ELEMENTS_MAX];
    let start = internal::StartBroker { damaged, ..Default::default() };
    let command = internal::command::Command::StartBroker(start);
    let commands = vec![internal::Command { command: Some(command) }];
    let request = Some(Request::Proposals(internal::Proposals { commands }));
    let bytes = internal::DecideCall { request, ..Default::default() }.encode_to_vec();
    assert!(check_shape::<internal::DecideCall>(&bytes).is_err());
}

#[test]
fn a_record_that_is_none_is_named() {
    let records = internal::MetadataRecords { records: vec![Bytes::from_static(b"xyz")] };
    let outcome = internal::ProposalOutcome { outcome: Some(Outcome::Records(records)) };
    let said = super::outcome(outcome).unwrap_err().to_string();
    assert_eq!(said, "records: an internal record of 3 bytes has no room for its kind and version");
}

#[test]
fn an_error_too_long_for_headers_is_cut_between_characters() {
    let error = shortened(ApiError::new(ErrorCode::Internal, "é".repeat(PEER_ERROR_TEXT_BYTES_MAX)));
    assert_eq!(error.message.len(), PEER_ERROR_TEXT_BYTES_MAX);
    let odd =
        shortened(ApiError::new(ErrorCode::Internal, format!("x{}", "é".repeat(PEER_ERROR_TEXT_BYTES_MAX))));
    assert_eq!(odd.message.len(), PEER_ERROR_TEXT_BYTES_MAX - 1);
}

#[test]
fn a_code_of_a_newer_broker_says_what_is_certain() {
    let of = |outcome: millrace_proto::v1::Outcome| {
        api_error(millrace_proto::v1::Error { code: 9999, outcome: outcome.into(), ..Default::default() })
            .code
    };
    assert_eq!(of(millrace_proto::v1::Outcome::Definite), ErrorCode::Unsupported);
    assert_eq!(of(millrace_proto::v1::Outcome::Indefinite), ErrorCode::OutcomeUnknown);
}
