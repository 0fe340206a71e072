//! Frames that are none, and going away politely.

use std::time::Duration;

use millrace_kafka::{Patience, Settings};
use millrace_kafka_wire::{ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest};
use millrace_types::limits::{KAFKA_FIRST_FRAME_BYTES_MAX, REQUEST_BYTES_MAX};
use tokio::io::AsyncWriteExt;

use crate::world::{World, batch, fetch, framed, produce, settings};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_frame_ends_the_connection_and_costs_nothing() {
    let world = World::new().await;
    let too_large = u32::try_from(KAFKA_FIRST_FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
    let starts: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 3, 1, 0, 0],
        &[0, 0, 0, 0],
        &[0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7],
        &[0xff, 0xff, 0xff, 0xff],
        &too_large,
    ];
    for start in starts {
        let mut client = world.client().await;
        client.send(start).await;
        client.closed().await;
    }
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_understood_may_send_larger_frames() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.call(0, &ApiVersionsRequest::default()).await;
    let large = framed(&vec![0xee; KAFKA_FIRST_FRAME_BYTES_MAX + 1]);
    // It is read, and only then found to be no request.
    let _either_way = client.stream.write_all(&large).await;
    client.closed().await;
    let mut client = world.client().await;
    client.call(0, &ApiVersionsRequest::default()).await;
    client.send(&u32::try_from(REQUEST_BYTES_MAX + 1).unwrap().to_be_bytes()).await;
    client.closed().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_behind_a_request_are_left_as_kafka_leaves_them() {
    let world = World::new().await;
    let mut client = world.client().await;
    // What librdkafka sends for all topics: the length of no list takes four bytes where one is meant.
    let header = [0, 3, 0, 12, 0, 0, 0, 5, 0xff, 0xff, 0];
    let body = [0, 0, 0, 0, 1, 0, 0];
    client.send(&framed(&[&header[..], &body].concat())).await;
    let (correlation, answer) = client.answer::<MetadataRequest>(12).await;
    assert_eq!((correlation, answer.brokers.len()), (5, 1));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_stands_still_is_given_up() {
    let patience = Patience { frame: Duration::from_millis(1), ..Patience::default() };
    let world = World::with(Settings { patience, ..settings() }).await;
    let mut client = world.client().await;
    client.send(&[0, 0, 0, 100, 0, 18]).await;
    client.closed().await;
    world.until_nothing_is_held().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_closed() {
    let patience = Patience { idle: Duration::from_millis(1), ..Patience::default() };
    let world = World::with(Settings { patience, ..settings() }).await;
    world.client().await.closed().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_closed_and_others_go_on() {
    let patience = Patience { answer: Duration::from_millis(1), ..Patience::default() };
    let world = World::with(Settings { patience, ..settings() }).await;
    let (mut slow, mut other) = (world.client().await, world.client().await);
    other.topic("a").await;
    other.produce("a", batch(&[&vec![7; 100_000]])).await;
    // More answers than the sockets between us take.
    for _ in 0..400 {
        let bytes = crate::world::frame(1, 12, &fetch("a", 0));
        // It may be closed before it has asked for all of them.
        if slow.stream.write_all(&bytes).await.is_err() {
            break;
        }
    }
    while world.door.connections() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(other.fetch("a", 0).await.error_code, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_the_produces_under_way_and_gives_up_what_waits() {
    let world = World::new().await;
    let (mut writer, mut reader) = (world.client().await, world.client().await);
    writer.topic("a").await;
    writer.produce("a", batch(&[b"x"])).await;
    reader.ask(12, &FetchRequest { max_wait_ms: 60_000, ..fetch("a", 1) }).await;
    while world.broker.memory().in_use() == 0 {
        tokio::task::yield_now().await;
    }
    writer.ask(9, &produce("a", batch(&[b"y"]))).await;
    let (_, answered) = writer.answer::<ProduceRequest>(9).await;
    assert_eq!(answered.responses[0].partition_responses[0].base_offset, 1);
    assert!(world.door.drain(Duration::from_secs(60)).await);
    writer.closed().await;
    world.stop().await;
}
