//! Messages that Kafka's own client library wrote, in every version: read, written again, cut and damaged.
//!
//! A line of the fixture is `name version hex`, written by Kafka 4.1.1's generated classes from values that fill every
//! field of a version: all set, all nullable ones null and no tagged field, some of each.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use millrace_kafka_wire::{
    AlterConfigsRequest, AlterConfigsResponse, ApiVersionsRequest, ApiVersionsResponse,
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteGroupsRequest, DeleteGroupsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse, DescribeClusterRequest,
    DescribeClusterResponse, DescribeConfigsRequest, DescribeConfigsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeProducersRequest,
    DescribeProducersResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, FetchRequest,
    FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, InitProducerIdRequest,
    InitProducerIdResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    ListGroupsRequest, ListGroupsResponse, ListOffsetsRequest, ListOffsetsResponse, Message, MetadataRequest,
    MetadataResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, SyncGroupRequest, SyncGroupResponse,
    WireError,
};

const WRITTEN_BY_KAFKA: &str = include_str!("../fixtures/kafka_4_1_1.txt");

/// Reads a message and answers what it is when it is written again.
type Again = fn(Bytes, i16) -> Result<Vec<u8>, WireError>;

fn again<M: Message>(bytes: Bytes, version: i16) -> Result<Vec<u8>, WireError> {
    Ok(M::decode(bytes, version)?.encode(version)?.concat())
}

macro_rules! codecs {
    ($($message:ident)*) => {
        fn codec(name: &str) -> Again {
            match name {
                $(stringify!($message) => again::<$message>,)*
                other => panic!("no message {other}"),
            }
        }
    };
}

codecs! {
    AlterConfigsRequest
    AlterConfigsResponse
    ApiVersionsRequest
    ApiVersionsResponse
    ConsumerGroupDescribeRequest
    ConsumerGroupDescribeResponse
    ConsumerGroupHeartbeatRequest
    ConsumerGroupHeartbeatResponse
    CreatePartitionsRequest
    CreatePartitionsResponse
    CreateTopicsRequest
    CreateTopicsResponse
    DeleteGroupsRequest
    DeleteGroupsResponse
    DeleteRecordsRequest
    DeleteRecordsResponse
    DeleteTopicsRequest
    DeleteTopicsResponse
    DescribeClusterRequest
    DescribeClusterResponse
    DescribeConfigsRequest
    DescribeConfigsResponse
    DescribeGroupsRequest
    DescribeGroupsResponse
    DescribeLogDirsRequest
    DescribeLogDirsResponse
    DescribeProducersRequest
    DescribeProducersResponse
    DescribeTopicPartitionsRequest
    DescribeTopicPartitionsResponse
    FetchRequest
    FetchResponse
    FindCoordinatorRequest
    FindCoordinatorResponse
    HeartbeatRequest
    HeartbeatResponse
    IncrementalAlterConfigsRequest
    IncrementalAlterConfigsResponse
    InitProducerIdRequest
    InitProducerIdResponse
    JoinGroupRequest
    JoinGroupResponse
    LeaveGroupRequest
    LeaveGroupResponse
    ListGroupsRequest
    ListGroupsResponse
    ListOffsetsRequest
    ListOffsetsResponse
    MetadataRequest
    MetadataResponse
    OffsetCommitRequest
    OffsetCommitResponse
    OffsetDeleteRequest
    OffsetDeleteResponse
    OffsetFetchRequest
    OffsetFetchResponse
    OffsetForLeaderEpochRequest
    OffsetForLeaderEpochResponse
    ProduceRequest
    ProduceResponse
    SyncGroupRequest
    SyncGroupResponse
    RequestHeader
    ResponseHeader
}

fn messages() -> impl Iterator<Item = (&'static str, i16, Vec<u8>)> {
    WRITTEN_BY_KAFKA.lines().map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
        let digits = words.next().unwrap_or_default().as_bytes().chunks(2);
        let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        (name, version, bytes.collect())
    })
}

#[test]
fn what_kafka_writes_is_read_and_written_again_to_the_same_bytes() {
    let mut count = 0;
    for (name, version, bytes) in messages() {
        let written = codec(name)(bytes.clone().into(), version);
        assert_eq!(written, Ok(bytes), "{name} version {version}");
        count += 1;
    }
    assert_eq!(count, 1059);
}

#[test]
fn a_message_cut_at_any_byte_or_followed_by_one_is_refused() {
    for (name, version, bytes) in messages() {
        for cut in 0..bytes.len() {
            let answer = codec(name)(Bytes::copy_from_slice(&bytes[..cut]), version);
            assert!(answer.is_err(), "{name} version {version} cut at {cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(codec(name)(longer.into(), version).is_err(), "{name} version {version} and a byte");
    }
}

#[test]
fn damage_is_refused_or_read_as_something_that_can_be_written() {
    for (name, version, bytes) in messages() {
        for position in 0..bytes.len() {
            for damage in [0x80, 0xff, 0x01] {
                let mut damaged = bytes.clone();
                damaged[position] ^= damage;
                if let Ok(written) = codec(name)(damaged.into(), version) {
                    // A boolean other than 0 and 1 and a longer form of a small number are written in the usual form.
                    assert!(written.len() <= bytes.len(), "{name} version {version} byte {position}");
                }
            }
        }
    }
}

#[test]
fn counts_that_the_input_does_not_bear_out_allocate_nothing() {
    let refused = |bytes: &'static [u8], version| {
        let error = MetadataRequest::decode(Bytes::from_static(bytes), version).unwrap_err();
        assert_eq!(error.field, "Topics");
        error.to_string()
    };
    let plain = refused(&[0x7f, 0xff, 0xff, 0xff], 0);
    assert!(plain.contains("2147483647 elements are announced, at most 0 are possible"), "{plain}");
    let compact = refused(&[0xff, 0xff, 0xff, 0xff, 0x0f], 12);
    assert!(compact.contains("elements are announced"), "{compact}");
}

#[test]
fn a_version_that_there_is_not_and_a_field_that_it_cannot_say_are_named() {
    assert!(MetadataRequest::decode(Bytes::new(), 99).unwrap_err().to_string().contains("no version 99"));
    let request =
        MetadataRequest { include_cluster_authorized_operations: true, ..MetadataRequest::default() };
    let error = request.encode(11).unwrap_err();
    assert_eq!(error.to_string(), "IncludeClusterAuthorizedOperations: is set, which version 11 cannot say");
}

#[test]
fn record_bytes_are_slices_of_the_request_and_are_passed_on_as_they_are() {
    use millrace_kafka_wire::produce_request::{PartitionProduceData, TopicProduceData};
    let records = Bytes::from(vec![7; 5000]);
    let partition = PartitionProduceData { records: Some(records.clone()), ..Default::default() };
    let topic = TopicProduceData { partition_data: vec![partition], ..Default::default() };
    let request = ProduceRequest { topic_data: vec![topic], ..Default::default() };
    let runs = request.encode(9).unwrap();
    assert!(runs.iter().any(|run| run.as_ptr() == records.as_ptr()), "not copied on the way out");
    let frame = Bytes::from(runs.concat());
    let read = ProduceRequest::decode(frame.clone(), 9).unwrap();
    let stored = read.topic_data[0].partition_data[0].records.clone().unwrap();
    assert_eq!(stored, records);
    assert!(frame.as_ptr_range().contains(&stored.as_ptr()), "not copied on the way in");
}
