//! Health, reflection, and going away politely.

use std::time::Duration;

use futures::{StreamExt, stream};
use millrace_proto::v1;
use millrace_types::ErrorCode;
use millrace_types::limits::REQUEST_OVERHEAD_BYTES;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::world::{World, code_of, fetch, produce};

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_door() {
    let world = World::new().await;
    let mut health = HealthClient::new(world.channel().await);
    for (announced, expected) in [(false, ServingStatus::Serving), (true, ServingStatus::NotServing)] {
        if announced {
            world.door.announce_draining().await;
        }
        for service in ["", "millrace.v1.Millrace"] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let answer = health.check(request).await.unwrap().into_inner();
            assert_eq!(answer.status(), expected, "{service:?}");
        }
    }
    world.stop().await;
}

macro_rules! reflection_test {
    ($name:ident, $version:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            use tonic_reflection::pb::$version as pb;
            let world = World::new().await;
            let channel = world.channel().await;
            let mut client = pb::server_reflection_client::ServerReflectionClient::new(channel);
            let ask = pb::server_reflection_request::MessageRequest::ListServices(String::new());
            let request = pb::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
            let mut answers =
                client.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
            let answer = answers.message().await.unwrap().unwrap().message_response;
            let Some(pb::server_reflection_response::MessageResponse::ListServicesResponse(list)) = answer
            else {
                panic!("{answer:?}");
            };
            let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
            assert!(
                names.contains(&"millrace.v1.Millrace") && names.contains(&"grpc.health.v1.Health"),
                "{names:?}"
            );
            world.stop().await;
        }
    };
}

reflection_test!(reflection_answers_in_its_first_version, v1);
reflection_test!(reflection_answers_in_its_alpha_version, v1alpha);

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_what_waits_and_loses_nothing() {
    let world = World::new().await;
    let mut client = world.client_with_topic("orders").await;
    let mut health = HealthClient::new(world.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let open = stream::iter([produce("orders", b"a")]).chain(stream::pending());
    let mut answers = client.produce_stream(open).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().partitions[0].base_offset, 0);
    // What is held now is held by the watch alone.
    let watching = REQUEST_OVERHEAD_BYTES as u64;
    while world.broker.memory().in_use() > watching {
        tokio::task::yield_now().await;
    }
    let request = v1::FetchRequest { max_wait_ms: 60_000, ..fetch("orders", 1, v1::FetchFormat::Batches) };
    let waits = client.fetch(request);
    let drains = async {
        // The fetch waits in the broker as soon as its memory is taken.
        while world.broker.memory().in_use() == watching {
            tokio::task::yield_now().await;
        }
        world.door.drain(Duration::from_secs(60)).await
    };
    let (waited, everything_was_answered) = tokio::join!(waits, drains);
    assert!(everything_was_answered);
    assert_eq!(code_of(&waited.unwrap_err()), ErrorCode::ShuttingDown);
    assert_eq!(code_of(&answers.message().await.unwrap_err()), ErrorCode::ShuttingDown);
    let last = loop {
        match watch.message().await {
            Ok(Some(_status)) => {}
            other => break other,
        }
    };
    assert_eq!(code_of(&last.unwrap_err()), ErrorCode::ShuttingDown);
    assert_eq!(world.broker.memory().in_use(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_with_clients_that_do_not_go_away_has_an_end() {
    let world = World::new().await;
    let mut silent = world.dial().await;
    let mut byte = [0; 1];
    // The server speaks first: its settings. From then on it is known that it serves us.
    tokio::io::AsyncWriteExt::write_all(&mut silent, b"PRI * HTTP/2.0\r\n").await.unwrap();
    while world.door.connections() == 0 {
        tokio::task::yield_now().await;
    }
    world.door.drain(Duration::ZERO).await;
    let ended = tokio::io::AsyncReadExt::read(&mut silent, &mut byte).await;
    assert!(matches!(ended, Ok(_) | Err(_)), "the connection is closed, not left open");
    assert_eq!(world.door.connections(), 0);
    world.stop().await;
}
