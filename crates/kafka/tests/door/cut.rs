//! Requests cut at every byte: the door answers or closes, keeps nothing, and serves the next client.

use bytes::Bytes;
use millrace_kafka_wire::describe_topic_partitions_request::{Cursor, TopicRequest};
use millrace_kafka_wire::{
    ApiRequest, ApiVersionsRequest, ConsumerGroupDescribeRequest, CreateTopicsRequest, DeleteGroupsRequest,
    DescribeClusterRequest, DescribeGroupsRequest, DescribeLogDirsRequest, DescribeTopicPartitionsRequest,
    FindCoordinatorRequest, InitProducerIdRequest, JoinGroupResponse, ListGroupsRequest, ListOffsetsRequest,
    MetadataRequest, OffsetDeleteRequest, OffsetFetchRequest,
};

use crate::administration::delete;
use crate::classic::{beat, join, leave, sync};
use crate::configs::{alter, describe, of, replace};
use crate::members;
use crate::offsets::{commit, position};
use crate::world::{World, batch, fetch, frame, framed, metadata, produce};

fn newest<R: ApiRequest>(request: &R) -> Bytes {
    frame(1, *R::VERSIONS.end(), request)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_may_be_cut_anywhere() {
    let world = World::new().await;
    let requests = [
        newest(&ApiVersionsRequest::default()),
        newest(&metadata(&["a"])),
        newest(&MetadataRequest::default()),
        newest(&produce("", batch(&[b"value"]))),
        newest(&fetch("", 0)),
        newest(&ListOffsetsRequest { replica_id: -1, ..Default::default() }),
        newest(&InitProducerIdRequest { transactional_id: Some("t".to_owned()), ..Default::default() }),
        newest(&CreateTopicsRequest::default()),
        newest(&join("")),
        newest(&sync(&JoinGroupResponse::default(), 5)),
        newest(&beat(&JoinGroupResponse::default())),
        newest(&leave(&["nobody"])),
        newest(&FindCoordinatorRequest { coordinator_keys: vec!["g".to_owned()], ..Default::default() }),
        newest(&commit("g", "a", vec![position(0, 1)])),
        newest(&OffsetFetchRequest { groups: vec![Default::default()], ..Default::default() }),
        newest(&OffsetDeleteRequest { group_id: "g".to_owned(), ..Default::default() }),
        newest(&ListGroupsRequest { states_filter: vec!["Empty".to_owned()], ..Default::default() }),
        newest(&DescribeGroupsRequest { groups: vec!["g".to_owned()], ..Default::default() }),
        newest(&DeleteGroupsRequest { groups_names: vec!["g".to_owned()], ..Default::default() }),
        newest(&ConsumerGroupDescribeRequest { group_ids: vec!["g".to_owned()], ..Default::default() }),
        newest(&members::join("g", "m", &["a"])),
        newest(&delete(6, &["a", "b"])),
        newest(&alter(2, "a", &[("retention.ms", 0, Some("1"))])),
        newest(&replace("a", &[("retention.ms", Some("1"))])),
        newest(&describe(vec![of(2, "a", Some(&["retention.ms"]))])),
        newest(&DescribeClusterRequest::default()),
        newest(&DescribeLogDirsRequest::default()),
        newest(&DescribeTopicPartitionsRequest {
            topics: vec![TopicRequest { name: "a".to_owned(), ..TopicRequest::default() }],
            cursor: Some(Cursor::default()),
            ..DescribeTopicPartitionsRequest::default()
        }),
        frame(1, 3, &produce("a", batch(&[b"value"]))),
        frame(1, 4, &fetch("a", 0)),
    ];
    for request in &requests {
        let body = &request[4..];
        for end in 0..body.len() {
            let mut client = world.client().await;
            // A frame that is whole, of a request that is not; then one that the client leaves in its middle.
            client.send(&framed(&body[..end])).await;
            if end % 2 == 0 {
                client.send(&request[..end]).await;
            }
            drop(client);
        }
    }
    let mut client = world.client().await;
    assert_eq!(client.call(0, &ApiVersionsRequest::default()).await.error_code, 0);
    drop(client);
    world.until_nothing_is_held().await;
    world.stop().await;
}
