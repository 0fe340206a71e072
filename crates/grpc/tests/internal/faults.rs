//! Peers that go away, are silent, or are none.

use millrace_proto::internal::internal_client::InternalClient;
use millrace_proto::{error_of, internal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn is_unreachable(answer: &Result<PeerAnswer, PeerError>) -> bool {
    matches!(answer, Err(PeerError::Unreachable { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_goes_away_and_comes_back_is_found_again() {
    let world = World::new().await;
    let ask = || world.peers.ask(&world.address, ask(heartbeat(1)), LONG);
    assert!(ask().await.is_ok());
    world.door.drain(Duration::ZERO).await;
    let gone = ask().await;
    assert!(matches!(gone, Err(PeerError::Unreachable { .. } | PeerError::NoAnswer { .. })), "{gone:?}");
    assert!(is_unreachable(&ask().await));

    let _door = desk::open(&world.env, &world.desk, world.addr).await;
    let answer = loop {
        let answer = ask().await;
        // Only while it is left alone for a moment.
        if !is_unreachable(&answer) {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_call_finds_a_peer_that_has_started_again() {
    let world = World::new().await;
    let ask = || world.peers.ask(&world.address, ask(heartbeat(1)), LONG);
    assert!(ask().await.is_ok());
    world.door.drain(LONG).await;
    let _door = desk::open(&world.env, &world.desk, world.addr).await;
    let answer = ask().await;
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_time_is_over_may_have_been_heard() {
    let world = World::new().await;
    let waits = ask(heartbeat(desk::WAITS_FOR_THE_GATE));
    let late = world.peers.ask(&world.address, waits, Duration::from_millis(200)).await;
    assert!(matches!(&late, Err(PeerError::NoAnswer { why, .. }) if why == "not within 200 ms"), "{late:?}");
    // Nothing is wrong with the connection.
    assert!(world.peers.ask(&world.address, ask(heartbeat(1)), LONG).await.is_ok());
    assert_eq!(world.door.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_ends_its_calls() {
    let world = World::new().await;
    let call = world.peers.ask(&world.address, ask(heartbeat(desk::WAITS_FOR_THE_GATE)), LONG);
    let breaking = async {
        world.desk.until_waiting().await;
        world.door.drain(Duration::ZERO).await
    };
    let (answer, all_answered) = tokio::join!(call, breaking);
    assert!(!all_answered);
    assert!(matches!(answer, Err(PeerError::NoAnswer { .. })), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_falls_silent_is_found_out() {
    let env = millrace_env::real::env();
    let listener = env.net.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let peers = millrace_grpc::InternalPeers::new(env);
    let call = peers.ask(&address, ask(heartbeat(1)), LONG);
    let silence = async {
        let mut stream = listener.accept().await.unwrap();
        // To the end of the connection, which is the caller's doing.
        while stream.read(&mut [0; 1024]).await.is_ok_and(|bytes| bytes > 0) {}
    };
    let (answer, ()) = tokio::join!(call, silence);
    let Err(PeerError::NoAnswer { why, .. }) = answer else { panic!("{answer:?}") };
    assert!(!why.starts_with("not within"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_there() {
    let env = millrace_env::real::env();
    let listener = env.net.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let peers = millrace_grpc::InternalPeers::new(env);
    for address in [address.as_str(), "no port", "", "127.0.0.1:notaport"] {
        assert!(is_unreachable(&peers.ask(address, ask(heartbeat(1)), LONG).await), "{address}");
        let to = millrace_broker::Peer { voter: desk::voter(7), address: address.to_owned() };
        let answer = peers.call(&to, append(1), LONG).await;
        assert!(matches!(answer, Err(CallError::Unreachable(_))), "{address}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_bytes_do_no_harm() {
    let world = World::new().await;
    let http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let kafka =
        [0, 0, 0, 20, 0, 18, 0, 3, 0, 0, 0, 1, 0, 4, b'm', b'i', b'l', b'l', 0, 0, 0, 0, 0, 0].to_vec();
    let preface_and_noise = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), vec![0xff; 70_000]].concat();
    for noise in [http, kafka, preface_and_noise, vec![0; 100_000]] {
        let mut stream = world.env.net.dial(world.addr).await.unwrap();
        // It may be cut off in the middle of it.
        let _cut = stream.write_all(&noise).await;
        let mut answered = Vec::new();
        let _cut = stream.read_to_end(&mut answered).await;
    }
    assert!(world.peers.ask(&world.address, ask(heartbeat(1)), LONG).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_make_no_sense_are_refused_by_name() {
    let world = World::new().await;
    let mut client = InternalClient::connect(format!("http://{}", world.address)).await.unwrap();
    let refused = |status: tonic::Status| {
        let error = error_of(&status).unwrap();
        assert_eq!(error.known_code(), Some(ErrorCode::InvalidRequest));
        error.message
    };
    let decided = client.decide(internal::DecideCall::default()).await.unwrap_err();
    assert_eq!(refused(decided), "request: missing");
    let fetched = client.fetch(internal::FetchCall::default()).await.unwrap_err();
    assert_eq!(refused(fetched), "cluster: 0 bytes, not 16");
    let part = internal::QuorumPart { total: 10, bytes: Bytes::from_static(b"short") };
    let parts = client.quorum_parts(tokio_stream::iter([part])).await.unwrap_err();
    assert_eq!(refused(parts), "bytes: 5 of 10");
    let call = internal::QuorumCall { request: Bytes::from_static(b"abc") };
    let reply = client.quorum(call).await.unwrap().into_inner().reply;
    let Some(internal::quorum_reply::Reply::Protocol(why)) = reply else { panic!("{reply:?}") };
    assert_eq!(why, "an internal record of 3 bytes has no room for its kind and version");
}
