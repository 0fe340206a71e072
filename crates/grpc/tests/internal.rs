//! What brokers say to each other, over real sockets, in front of a broker that answers as the tests want it.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

#[path = "internal/desk.rs"]
mod desk;
#[path = "internal/faults.rs"]
mod faults;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use desk::{World, append, ask, at, snapshot};
use futures::future::join_all;
use millrace_broker::{
    ApiError, CallError, Command, Greeted, Greeting, HeartbeatAnswer, MetadataRecord, PeerAnswer, PeerError,
    PeerHeartbeat, PeerRequest, Peers, Proposed, QuorumAnswer, QuorumNetwork, RecordsQuestion, ReplicaFetch,
    ReplicaTail,
};
use millrace_types::limits::{BATCH_BYTES_MAX, FETCH_BYTES_MAX, PEER_PARTS_BYTES_MAX};
use millrace_types::{BrokerEpoch, ErrorCode, LeaderEpoch, NodeId, Offset, OffsetRange};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

fn heartbeat(node: i32) -> PeerRequest {
    let (node, epoch) = (NodeId(node), BrokerEpoch(12));
    PeerRequest::Heartbeat(PeerHeartbeat { node, epoch, applied: 5, draining: false })
}

fn fetch(bytes_max: usize) -> PeerRequest {
    PeerRequest::Fetch(ReplicaFetch { wait: Duration::ZERO, bytes_max, fetches: vec![desk::fetch()] })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_answered() {
    let world = World::new().await;
    let ask = |request| world.peers.ask(&world.address, ask(request), LONG);

    let greeting = Greeting { voter: None, internal: "127.0.0.1:1".to_owned() };
    let greeted = Greeted { cluster: desk::CLUSTER, leader: Some((NodeId(1), "127.0.0.1:1".to_owned())) };
    assert_eq!(ask(PeerRequest::Greet(greeting)).await, Ok(PeerAnswer::Greeted(greeted)));

    let removed = Command::RemoveBroker { node: NodeId(4) };
    let raised = Command::RaiseFeatureLevel { level: 9 };
    let outcomes = vec![Ok(vec![MetadataRecord::BrokerRemoved { node: NodeId(4) }]), Err(desk::not_leader())];
    let proposed = PeerAnswer::Proposed(Proposed { version: 2, outcomes });
    assert_eq!(ask(PeerRequest::Propose(vec![removed, raised])).await, Ok(proposed));

    let heard = HeartbeatAnswer { registered: true, active: true, may_stop: false };
    assert_eq!(ask(heartbeat(3)).await, Ok(PeerAnswer::Heartbeat(heard)));

    let tail = ReplicaTail { at: at(2), last_epoch: LeaderEpoch(1), end: Offset::from_count(2) };
    assert_eq!(ask(PeerRequest::Tails(vec![at(2)])).await, Ok(PeerAnswer::Tails(vec![tail])));

    let PeerAnswer::Fetched(fetched) = ask(fetch(1000)).await.unwrap() else { panic!("a fetch") };
    assert_eq!(fetched, desk::fetched(1000));

    let offsets = OffsetRange { start: Offset::ZERO, end: Offset::from_count(9) };
    let question = RecordsQuestion { at: at(2), offsets, bytes_max: 100_000 };
    let records = PeerAnswer::Records(vec![7; 100_000].into());
    assert_eq!(ask(PeerRequest::Records(question)).await, Ok(records));
}

#[tokio::test(flavor = "multi_thread")]
async fn voters_are_answered() {
    let world = World::new().await;
    let to = world.peer();
    assert_eq!(world.peers.call(&to, append(1), LONG).await, Ok(QuorumAnswer::Appended));
    // Entries that are too many for one message.
    assert_eq!(world.peers.call(&to, append(3 * 1024 * 1024), LONG).await, Ok(QuorumAnswer::Appended));
    let found = CallError::OtherVoter { found: desk::voter(7) };
    let mut other = append(1);
    other.to = desk::voter(8);
    assert_eq!(world.peers.call(&to, other, LONG).await, Err(found));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_forty_mebibytes_arrives() {
    let world = World::new().await;
    let bytes: Bytes =
        (0..40 * 1024 * 1024_usize).map(|number| u8::try_from(number % 251).unwrap()).collect();
    let sum = desk::sum(&bytes);
    let answer = world.peers.call(&world.peer(), snapshot(bytes), LONG).await;
    assert_eq!(answer, Ok(QuorumAnswer::Installed(desk::ballot(sum))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_too_large_is_refused_before_it_is_sent() {
    let world = World::new().await;
    let bytes = Bytes::from(vec![0; PEER_PARTS_BYTES_MAX]);
    let answer = world.peers.call(&world.peer(), snapshot(bytes), LONG).await;
    assert!(matches!(answer, Err(CallError::Protocol(why)) if why.contains("at most")));
    assert_eq!(world.door.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_answer_arrives() {
    let world = World::new().await;
    // The desk answers one batch more than it is asked for.
    let answer = world.peers.ask(&world.address, ask(fetch(FETCH_BYTES_MAX)), LONG).await.unwrap();
    let PeerAnswer::Fetched(fetched) = answer else { panic!("a fetch") };
    assert_eq!(fetched[0].batches.len(), FETCH_BYTES_MAX + BATCH_BYTES_MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_its_code_and_the_leader() {
    let world = World::new().await;
    let refused = world.peers.ask(&world.address, ask(PeerRequest::Tails(vec![])), LONG).await;
    assert_eq!(refused, Err(PeerError::Refused(desk::not_leader())));
    // What its texts need is more than headers usually hold.
    let long = world.peers.ask(&world.address, ask(heartbeat(desk::REFUSED_AT_LENGTH)), LONG).await;
    let Err(PeerError::Refused(ApiError { code, message, .. })) = long else { panic!("{long:?}") };
    assert_eq!((code, message.len()), (ErrorCode::Internal, 4096));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_once_go_by_two_connections() {
    let world = World::new().await;
    let calls = (0..1000).map(|number| {
        let request = if number % 2 == 0 { heartbeat(number) } else { fetch(10_000) };
        world.peers.ask(&world.address, ask(request), LONG)
    });
    for answer in join_all(calls).await {
        assert!(answer.is_ok(), "{answer:?}");
    }
    assert_eq!(world.door.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_closes_answers_what_is_under_way() {
    let world = World::new().await;
    let call = world.peers.ask(&world.address, ask(heartbeat(desk::WAITS_FOR_THE_GATE)), LONG);
    let desk = Arc::clone(&world.desk);
    let draining = async {
        desk.until_waiting().await;
        let drain = world.door.drain(LONG);
        let (all_answered, ()) = tokio::join!(biased; drain, async { desk.open_gate() });
        all_answered
    };
    let (answer, all_answered) = tokio::join!(call, draining);
    assert!(answer.is_ok() && all_answered, "{answer:?}");
}
