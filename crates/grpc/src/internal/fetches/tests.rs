//! Fetches and their answers there and back, cut at every byte, and wrong.

use bytes::Bytes;
use millrace_proto::check_shape;
use millrace_types::{BrokerEpoch, LeaderEpoch, Offset};
use prost::Message as _;

use super::super::calls::Message;
use super::super::commands::tests::at;
use super::*;

fn call() -> PeerCall {
    let fetch = Fetch {
        id: FetchId(u64::MAX),
        partition: at(4),
        replica: NodeId(3),
        broker_epoch: BrokerEpoch(12),
        leader_epoch: LeaderEpoch(8),
        next: Offset::from_count(100),
        last_epoch: LeaderEpoch(7),
        held: Offset::from_count(90),
    };
    let fresh = Fetch { next: Offset::ZERO, last_epoch: LeaderEpoch::NONE, held: Offset::ZERO, ..fetch };
    let request = ReplicaFetch {
        wait: Duration::from_millis(500),
        bytes_max: 1024 * 1024,
        fetches: vec![fetch, fresh],
    };
    let cluster = Some(ClusterId([9; 16]));
    PeerCall { cluster, from: NodeId(3), request: PeerRequest::Fetch(request) }
}

fn message(call: PeerCall) -> internal::FetchCall {
    match Message::from(call) {
        Message::Fetch(message) => message,
        Message::Decide(_) | Message::Records(_) => unreachable!("a fetch"),
    }
}

fn question() -> PeerCall {
    let offsets = OffsetRange { start: Offset::from_count(70), end: Offset::from_count(1_000) };
    let request = PeerRequest::Records(RecordsQuestion { at: at(4), offsets, bytes_max: 4096 });
    PeerCall { cluster: Some(ClusterId([9; 16])), from: NodeId(3), request }
}

fn records_message(call: PeerCall) -> internal::RecordsCall {
    match Message::from(call) {
        Message::Records(message) => message,
        Message::Decide(_) | Message::Fetch(_) => unreachable!("a question for records"),
    }
}

#[test]
fn a_question_for_records_comes_back_and_is_named_where_it_makes_no_sense() {
    let bytes = records_message(question()).encode_to_vec();
    check_shape::<internal::RecordsCall>(&bytes).unwrap();
    assert_eq!(records_call(internal::RecordsCall::decode(bytes.as_slice()).unwrap()), Ok(question()));
    for length in 0..bytes.len() {
        let Ok(message) = internal::RecordsCall::decode(&bytes[..length]) else { continue };
        assert_ne!(records_call(message), Ok(question()), "at {length}");
    }
    let said = |message| records_call(message).unwrap_err().to_string();
    let good = || records_message(question());
    assert_eq!(said(internal::RecordsCall { start: -1, ..good() }), "start: negative");
    assert_eq!(said(internal::RecordsCall { end: -1, ..good() }), "end: negative");
    assert_eq!(said(internal::RecordsCall { partition: None, ..good() }), "partition: missing");
    assert_eq!(
        said(internal::RecordsCall { bytes_max: u64::MAX, ..good() }),
        format!("bytes_max: {}, 67108864 at most", u64::MAX)
    );
}

fn answers() -> Vec<ReplicaFetched> {
    let offset = Offset::from_count;
    let fetched = |answer, batches: &'static [u8]| ReplicaFetched {
        answer: FollowerFetched { id: FetchId(6), partition: at(4), leader_epoch: LeaderEpoch(8), answer },
        batches: Bytes::from_static(batches),
    };
    let refused = |refusal| fetched(FetchAnswer::Refused(refusal), b"");
    let records =
        FetchAnswer::Records { from: offset(100), high_watermark: offset(95), log_start: offset(20) };
    let end = FollowerEpochEnd { epoch: LeaderEpoch::NONE, end: Offset::ZERO };
    vec![
        fetched(records, b"whole batches"),
        fetched(records, b""),
        fetched(FetchAnswer::Diverging(end), b""),
        fetched(FetchAnswer::Diverging(FollowerEpochEnd { epoch: LeaderEpoch(6), end: offset(80) }), b""),
        fetched(FetchAnswer::BelowStart { log_start: Offset::ZERO }, b""),
        refused(FetchRefusal::OtherTopic),
        refused(FetchRefusal::FencedLeaderEpoch),
        refused(FetchRefusal::UnknownLeaderEpoch),
        refused(FetchRefusal::StaleBrokerEpoch),
        refused(FetchRefusal::NotAReplica),
        refused(FetchRefusal::NotLeader),
    ]
}

#[test]
fn a_fetch_comes_back() {
    let bytes = message(call()).encode_to_vec();
    check_shape::<internal::FetchCall>(&bytes).unwrap();
    assert_eq!(fetch_call(internal::FetchCall::decode(bytes.as_slice()).unwrap()), Ok(call()));
}

#[test]
fn every_answer_comes_back() {
    let bytes = to_fetch_answer(answers()).encode_to_vec();
    check_shape::<internal::FetchAnswer>(&bytes).unwrap();
    assert_eq!(fetch_answer(internal::FetchAnswer::decode(bytes.as_slice()).unwrap()), Ok(answers()));
}

#[test]
fn records_are_not_copied_out_of_the_message() {
    let bytes = Bytes::from(to_fetch_answer(answers()).encode_to_vec());
    let heard = fetch_answer(internal::FetchAnswer::decode(bytes.clone()).unwrap()).unwrap();
    assert!(bytes.as_ptr_range().contains(&heard[0].batches.as_ptr()));
}

#[test]
fn what_is_cut_anywhere_is_an_error_or_something_else() {
    let bytes = message(call()).encode_to_vec();
    for length in 0..bytes.len() {
        let Ok(message) = internal::FetchCall::decode(&bytes[..length]) else { continue };
        assert_ne!(fetch_call(message), Ok(call()), "at {length}");
    }
    for told in answers() {
        let bytes = to_fetch_answer(vec![told.clone()]).encode_to_vec();
        for length in 0..bytes.len() {
            let Ok(message) = internal::FetchAnswer::decode(&bytes[..length]) else { continue };
            assert_ne!(fetch_answer(message), Ok(vec![told.clone()]), "at {length}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    let said = |message| fetch_call(message).unwrap_err().to_string();
    let good = || message(call());
    assert_eq!(said(internal::FetchCall { wait_ms: 10_001, ..good() }), "wait_ms: 10001, 10000 at most");
    assert_eq!(
        said(internal::FetchCall { bytes_max: u64::MAX, ..good() }),
        format!("bytes_max: {}, 67108864 at most", u64::MAX)
    );
    assert_eq!(said(internal::FetchCall { from: -1, ..good() }), "from: negative");
    let fetches = vec![internal::ReplicaFetch::default(); PARTITIONS_PER_REQUEST_MAX + 1];
    let many = internal::FetchCall { fetches, ..good() };
    assert!(check_shape::<internal::FetchCall>(&many.encode_to_vec()).is_err());
    assert_eq!(said(many), "partitions: 10001, 10000 at most");
    let mut negative = good();
    negative.fetches[1].next = -1;
    assert_eq!(said(negative), "next: negative");
    let mut answer = to_fetch_answer(answers());
    answer.fetched[5].answer = Some(Answer::Refused(77));
    assert_eq!(fetch_answer(answer).unwrap_err().to_string(), "refused: 77, which has no meaning");
}
