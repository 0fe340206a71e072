//! Clients that send nonsense, too much, half of it, or read nothing. Nothing leaks, and the next client is served.

use std::time::Duration;

use millrace_grpc::Patience;
use millrace_proto::v1;
use prost::Message;
use tokio::io::AsyncWriteExt;

use crate::raw::{ENDED, End, PREFACE, body, call, call_with, prefix};
use crate::world::{World, fetch, produce};

async fn still_serves(world: World) {
    world.until_nothing_is_held().await;
    world.client().await.describe_cluster(v1::DescribeClusterRequest {}).await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_two_is_closed() {
    let world = World::new().await;
    let bad_frame = [PREFACE, &[0xff; 64]].concat();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0; 100],
        &[0xff; 100],
        b"PRI * HTTP/3.0\r\n\r\n        ",
        &bad_frame,
    ] {
        world.send_until_closed(bytes).await;
    }
    still_serves(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_is_not_waited_for() {
    let preface = Duration::from_millis(1);
    let world = World::with(Patience { preface, ..Patience::default() }).await;
    world.send_until_closed(b"").await;
    world.send_until_closed(&PREFACE[..10]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_too_large_is_refused_before_anything_is_read() {
    let world = World::new().await;
    for length in [u32::MAX, 100 * 1024 * 1024 + 1] {
        for method in ["Produce", "ProduceStream", "Fetch"] {
            let bytes = [call(method), body(&prefix(length), End::Later)].concat();
            world.send_and_find(&bytes, ENDED).await;
        }
    }
    still_serves(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_protobuf_is_an_error_of_ours() {
    let world = World::new().await;
    for method in ["Produce", "ProduceStream", "Fetch", "CreateTopic"] {
        let bytes = [call(method), body(&prefix(3), End::Later), body(&[0xff; 3], End::Here)].concat();
        world.send_and_find(&bytes, ENDED).await;
    }
    still_serves(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_drop_at_any_byte() {
    let world = World::new().await;
    world.client_with_topic("orders").await;
    let message = produce("orders", b"value").encode_to_vec();
    let length = prefix(u32::try_from(message.len()).unwrap());
    for method in ["Produce", "ProduceStream"] {
        let bytes = [call(method), body(&[length.clone(), message.clone()].concat(), End::Here)].concat();
        for cut in 0..=bytes.len() {
            world.send_and_drop(&bytes[..cut]).await;
        }
    }
    still_serves(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_message_holds_memory_only_as_long_as_its_client() {
    let world = World::new().await;
    let mut half = world.dial().await;
    half.write_all(&[call("Produce"), body(&prefix(50 << 20), End::Later)].concat()).await.unwrap();
    while world.broker.memory().in_use() < 50 << 20 {
        tokio::task::yield_now().await;
    }
    drop(half);
    still_serves(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stalls_in_a_message_loses_its_memory() {
    let message = Duration::from_millis(1);
    let world = World::with(Patience { message, ..Patience::default() }).await;
    let bytes = [call("Produce"), body(&prefix(1000), End::Later), body(&[0; 999], End::Later)].concat();
    world.send_and_find(&bytes, ENDED).await;
    still_serves(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answer_is_closed() {
    let answer = Duration::from_millis(1);
    let world = World::with(Patience { answer, ..Patience::default() }).await;
    world.client_with_topic("orders").await.produce(produce("orders", &[1; 20_000])).await.unwrap();
    let message = fetch("orders", 0, v1::FetchFormat::Batches).encode_to_vec();
    let length = prefix(u32::try_from(message.len()).unwrap());
    // SETTINGS_INITIAL_WINDOW_SIZE = 10: the client takes ten bytes of the answer and no more.
    let call = call_with("Fetch", Some((4, 10)), None);
    let bytes = [call, body(&[length, message].concat(), End::Here)].concat();
    world.send_until_closed(&bytes).await;
    still_serves(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_waiting_fetch() {
    let world = World::new().await;
    world.client_with_topic("orders").await;
    let request = v1::FetchRequest { max_wait_ms: 60_000, ..fetch("orders", 0, v1::FetchFormat::Batches) };
    let message = request.encode_to_vec();
    let length = prefix(u32::try_from(message.len()).unwrap());
    let call = call_with("Fetch", None, Some(("grpc-timeout", "5m")));
    world.send_and_find(&[call, body(&[length, message].concat(), End::Here)].concat(), ENDED).await;
    still_serves(world).await;
}
