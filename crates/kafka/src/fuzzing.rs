//! What the fuzz targets call: a door on one frame, from its bytes to what the broker would be asked, and back for what the
//! door answers by itself.
//!
//! Compiled only where the fuzzer builds (`cfg(fuzzing)`), so that no handler need be public.

use bytes::Bytes;
use millrace_kafka_wire::{
    AlterConfigsRequest, ApiRequest, ApiVersionsRequest, ConsumerGroupDescribeRequest,
    ConsumerGroupHeartbeatRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeGroupsRequest, DescribeLogDirsRequest, DescribeProducersRequest, DescribeTopicPartitionsRequest,
    FetchRequest, FindCoordinatorRequest, HeartbeatRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, Reader, SyncGroupRequest,
};
use millrace_types::limits::KAFKA_REQUEST_ELEMENTS_MAX;

use crate::handlers::{
    Asked, Operation, delete_records, fetch, list_offsets, offset_commit, offset_delete, offset_fetch,
    offset_for_leader_epoch, produce,
};
use crate::metrics::Requests;
use crate::parts::Naming;
use crate::request::Request;

/// Takes a frame (without its length) apart; how many partitions or topics the broker would be asked about, `None` if
/// the connection would be closed.
pub fn frame(bytes: Bytes) -> Option<usize> {
    let request = Request::read(bytes).ok()?;
    let asked = Asked { version: request.version, correlation: request.correlation };
    let body = request.body;
    match request.api? {
        Operation::Produce => {
            let request = decode::<ProduceRequest>(body, asked)?;
            Some(produce::take(asked, request, Requests::default()).partitions.len())
        }
        Operation::Fetch => {
            let request = decode::<FetchRequest>(body, asked)?;
            let parts =
                request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
            let naming = Naming::ids_from(fetch::IDS_FROM, asked.version);
            Some(parts.flat_map(|(topic, part)| fetch::question(naming, topic, part)).count())
        }
        Operation::ListOffsets => {
            let request = decode::<ListOffsetsRequest>(body, asked)?;
            let parts =
                request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
            Some(parts.flat_map(|(topic, part)| list_offsets::query(topic, part, asked.version)).count())
        }
        Operation::Metadata => {
            Some(decode::<MetadataRequest>(body, asked)?.topics.map_or(0, |topics| topics.len()))
        }
        Operation::OffsetCommit => {
            Some(offset_commit::questions(&mut decode::<OffsetCommitRequest>(body, asked)?).len())
        }
        Operation::OffsetFetch => {
            Some(offset_fetch::questions(decode::<OffsetFetchRequest>(body, asked)?, asked.version).len())
        }
        Operation::OffsetDelete => {
            let request = decode::<OffsetDeleteRequest>(body, asked)?;
            Some(request.topics.iter().flat_map(offset_delete::questions).count())
        }
        Operation::FindCoordinator => {
            Some(decode::<FindCoordinatorRequest>(body, asked)?.coordinator_keys.len())
        }
        Operation::JoinGroup => Some(decode::<JoinGroupRequest>(body, asked)?.protocols.len()),
        Operation::SyncGroup => Some(decode::<SyncGroupRequest>(body, asked)?.assignments.len()),
        Operation::Heartbeat => decode::<HeartbeatRequest>(body, asked).map(|_| 0),
        Operation::LeaveGroup => Some(decode::<LeaveGroupRequest>(body, asked)?.members.len()),
        Operation::DescribeGroups => Some(decode::<DescribeGroupsRequest>(body, asked)?.groups.len()),
        Operation::DeleteGroups => Some(decode::<DeleteGroupsRequest>(body, asked)?.groups_names.len()),
        Operation::ConsumerGroupHeartbeat => decode::<ConsumerGroupHeartbeatRequest>(body, asked).map(|_| 0),
        Operation::ConsumerGroupDescribe => {
            Some(decode::<ConsumerGroupDescribeRequest>(body, asked)?.group_ids.len())
        }
        Operation::ListGroups => Some(decode::<ListGroupsRequest>(body, asked)?.states_filter.len()),
        Operation::ApiVersions => decode::<ApiVersionsRequest>(body, asked).map(|_| 0),
        Operation::CreateTopics => Some(decode::<CreateTopicsRequest>(body, asked)?.topics.len()),
        Operation::InitProducerId => decode::<InitProducerIdRequest>(body, asked).map(|_| 0),
        Operation::DeleteTopics => {
            let request = decode::<DeleteTopicsRequest>(body, asked)?;
            Some(request.topics.len() + request.topic_names.len())
        }
        Operation::DeleteRecords => {
            let request = decode::<DeleteRecordsRequest>(body, asked)?;
            let parts =
                request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
            Some(parts.flat_map(|(topic, part)| delete_records::question(topic, part)).count())
        }
        Operation::OffsetForLeaderEpoch => {
            let request = decode::<OffsetForLeaderEpochRequest>(body, asked)?;
            let parts =
                request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
            Some(parts.flat_map(|(topic, part)| offset_for_leader_epoch::query(topic, part)).count())
        }
        Operation::DescribeConfigs => Some(decode::<DescribeConfigsRequest>(body, asked)?.resources.len()),
        Operation::AlterConfigs => Some(decode::<AlterConfigsRequest>(body, asked)?.resources.len()),
        Operation::DescribeLogDirs => {
            Some(decode::<DescribeLogDirsRequest>(body, asked)?.topics.map_or(0, |topics| topics.len()))
        }
        Operation::CreatePartitions => Some(decode::<CreatePartitionsRequest>(body, asked)?.topics.len()),
        Operation::IncrementalAlterConfigs => {
            Some(decode::<IncrementalAlterConfigsRequest>(body, asked)?.resources.len())
        }
        Operation::DescribeCluster => decode::<DescribeClusterRequest>(body, asked).map(|_| 0),
        Operation::DescribeProducers => Some(decode::<DescribeProducersRequest>(body, asked)?.topics.len()),
        Operation::DescribeTopicPartitions => {
            Some(decode::<DescribeTopicPartitionsRequest>(body, asked)?.topics.len())
        }
    }
}

fn decode<R: ApiRequest>(body: Bytes, asked: Asked) -> Option<R> {
    R::read(&mut Reader::bounded(body, KAFKA_REQUEST_ELEMENTS_MAX), asked.version).ok()
}
