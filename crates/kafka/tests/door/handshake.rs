//! What a client hears first: what is served, and where.

use millrace_kafka::{Endpoint, KafkaError, Settings};
use millrace_kafka_wire::{
    ApiMessage, ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, Message, MetadataRequest,
    ProduceRequest,
};

use crate::world::{World, framed, metadata, settings};

fn hello() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "test-client".to_owned(),
        client_software_version: "1.0.0".to_owned(),
        ..ApiVersionsRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_hears_what_is_served() {
    let world = World::new().await;
    let mut client = world.client().await;
    for version in ApiVersionsRequest::VERSIONS {
        let request = if version >= 3 { hello() } else { ApiVersionsRequest::default() };
        let served = client.call(version, &request).await;
        assert_eq!(served.error_code, 0, "version {version}");
        let versions: Vec<_> =
            served.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        let expected = [
            (0, 0, 13),
            (1, 4, 18),
            (2, 1, 10),
            (3, 0, 13),
            (8, 2, 9),
            (9, 1, 9),
            (10, 0, 6),
            (11, 0, 9),
            (12, 0, 4),
            (13, 0, 5),
            (14, 0, 5),
            (15, 0, 6),
            (16, 0, 5),
            (18, 0, 4),
            (19, 2, 7),
            (20, 1, 6),
            (21, 0, 2),
            (22, 0, 5),
            (23, 2, 4),
            (32, 1, 4),
            (33, 0, 2),
            (35, 1, 4),
            (37, 0, 3),
            (42, 0, 2),
            (44, 0, 1),
            (47, 0, 0),
            (60, 0, 2),
            (61, 0, 0),
            (68, 0, 1),
            (69, 0, 1),
            (75, 0, 0),
        ];
        assert_eq!(versions, expected);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_known_is_answered_in_the_first_with_the_list() {
    let world = World::new().await;
    let mut client = world.client().await;
    // Key 18, version 9, correlation id 5, and a header that only its own version could read.
    client.send(&framed(&[0, 18, 0, 9, 0, 0, 0, 5, 0xff, 0xff, 1, 2, 3])).await;
    let (correlation, served) = client.answer::<ApiVersionsRequest>(0).await;
    assert_eq!((correlation, served.error_code), (5, KafkaError::UnsupportedVersion.code()));
    assert!(served.api_keys.iter().any(|api| api.api_key == ApiVersionsResponse::API_KEY));
    // The connection goes on.
    assert_eq!(client.call(4, &hello()).await.error_code, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_proper_name_is_refused() {
    let world = World::new().await;
    let mut client = world.client().await;
    for name in ["", "-a", "a b", "a\n"] {
        let request = ApiVersionsRequest { client_software_name: name.to_owned(), ..hello() };
        let refused = client.call(3, &request).await;
        assert_eq!(refused.error_code, KafkaError::InvalidRequest.code(), "{name:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_and_versions_that_are_not_served_end_the_connection() {
    let world = World::new().await;
    for (key, version) in [(0_u8, 2_u8), (0, 14), (1, 3), (10, 0), (11, 0), (99, 0)] {
        let mut client = world.client().await;
        client.send(&framed(&[0, key, 0, version, 0, 0, 0, 5, 0xff, 0xff])).await;
        client.closed().await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_either_family_the_address_that_was_reached_is_told() {
    let world = World::new().await;
    for host in ["127.0.0.1", "::1"] {
        let addr = std::net::SocketAddr::new(host.parse().unwrap(), 0).to_string();
        let (door, mut client) = world.another_door(&addr).await;
        let reached = (host, i32::from(door.addrs()[0].port()));
        let told = client.call(12, &metadata(&["a"])).await.brokers.remove(0);
        assert_eq!((told.host.as_str(), told.port), reached);
        let told = client.call(0, &DescribeClusterRequest::default()).await.brokers.remove(0);
        assert_eq!((told.host.as_str(), told.port), reached);
        drop(client);
        assert!(door.drain(std::time::Duration::from_secs(60)).await);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_the_address_that_they_have_reached() {
    let world = World::new().await;
    let mut client = world.client().await;
    for version in MetadataRequest::VERSIONS {
        let request = MetadataRequest { topics: (version >= 1).then(Vec::new), ..metadata(&[]) };
        let request = if version == 0 { metadata(&[]) } else { request };
        let cluster = client.call(version, &request).await;
        let broker = &cluster.brokers[0];
        assert_eq!((broker.node_id, broker.host.as_str()), (1, "127.0.0.1"));
        assert_eq!(broker.port, i32::from(world.addr.port()));
        assert_eq!(cluster.controller_id, if version >= 1 { 1 } else { -1 });
        assert_eq!(cluster.cluster_id.is_some(), version >= 2);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_the_advertised_address_where_there_is_one() {
    let advertised = Some(Endpoint { host: "broker.example.org".to_owned(), port: 19_092 });
    let world = World::with(Settings { advertised, ..settings() }).await;
    let cluster = world.client().await.call(13, &metadata(&[])).await;
    assert_eq!((cluster.brokers[0].host.as_str(), cluster.brokers[0].port), ("broker.example.org", 19_092));
    world.stop().await;
}

#[test]
fn what_the_decoder_reads_is_what_is_advertised() {
    assert_eq!(ProduceRequest::VERSIONS, 3..=13);
}
