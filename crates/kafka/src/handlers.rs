//! The operations, one file each: the listing is what is served.

mod alter_configs;
pub(crate) mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
pub(crate) mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_topic_partitions;
pub(crate) mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
pub(crate) mod list_offsets;
mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
mod sync_group;

use std::ops::RangeInclusive;
use std::sync::Arc;

use millrace_broker::{ApiError, Broker, Context, TopicLayout, TopicRef};
use millrace_env::Env;
use millrace_kafka_wire::{
    AlterConfigsRequest, ApiMessage, ApiRequest, ApiVersionsRequest, ConsumerGroupDescribeRequest,
    ConsumerGroupHeartbeatRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeGroupsRequest, DescribeLogDirsRequest, DescribeProducersRequest, DescribeTopicPartitionsRequest,
    FetchRequest, FindCoordinatorRequest, HeartbeatRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest,
    Message, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, SyncGroupRequest, WireError,
};
use tokio_util::sync::CancellationToken;

use crate::answer::{Records, encode};
use crate::answers::{Pending, Reply};
use crate::door::{Endpoint, Settings};
use crate::fetch_session::{SessionRoom, Sessions};
use crate::metrics::{Requests, Traffic};
use crate::parts;
use crate::reach::Visit;
use crate::request::Request;
use crate::request_memory::{RequestMemory, Unanswered};

macro_rules! operations {
    ($($name:ident($request:ident), $text:literal;)*) => {
        /// An operation of the protocol that is served.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub(crate) enum Operation {
            $($name,)*
        }

        impl Operation {
            /// Every operation, in the order of its number.
            pub(crate) const ALL: &'static [Operation] = &[$(Operation::$name,)*];

            /// The number of the operation.
            pub(crate) const fn key(self) -> i16 {
                match self { $(Operation::$name => <$request as ApiMessage>::API_KEY,)* }
            }

            /// The versions that are served.
            pub(crate) const fn versions(self) -> RangeInclusive<i16> {
                match self { $(Operation::$name => <$request as Message>::VERSIONS,)* }
            }

            /// The version of the header in front of the request.
            pub(crate) fn request_header_version(self, version: i16) -> i16 {
                match self { $(Operation::$name => <$request as ApiRequest>::request_header_version(version),)* }
            }

            /// The name in metrics.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Operation::$name => $text,)* }
            }
        }
    };
}

operations! {
    Produce(ProduceRequest), "produce";
    Fetch(FetchRequest), "fetch";
    ListOffsets(ListOffsetsRequest), "list_offsets";
    Metadata(MetadataRequest), "metadata";
    OffsetCommit(OffsetCommitRequest), "offset_commit";
    OffsetFetch(OffsetFetchRequest), "offset_fetch";
    FindCoordinator(FindCoordinatorRequest), "find_coordinator";
    JoinGroup(JoinGroupRequest), "join_group";
    Heartbeat(HeartbeatRequest), "heartbeat";
    LeaveGroup(LeaveGroupRequest), "leave_group";
    SyncGroup(SyncGroupRequest), "sync_group";
    DescribeGroups(DescribeGroupsRequest), "describe_groups";
    ListGroups(ListGroupsRequest), "list_groups";
    ApiVersions(ApiVersionsRequest), "api_versions";
    CreateTopics(CreateTopicsRequest), "create_topics";
    DeleteTopics(DeleteTopicsRequest), "delete_topics";
    DeleteRecords(DeleteRecordsRequest), "delete_records";
    InitProducerId(InitProducerIdRequest), "init_producer_id";
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest), "offset_for_leader_epoch";
    DescribeConfigs(DescribeConfigsRequest), "describe_configs";
    AlterConfigs(AlterConfigsRequest), "alter_configs";
    DescribeLogDirs(DescribeLogDirsRequest), "describe_log_dirs";
    CreatePartitions(CreatePartitionsRequest), "create_partitions";
    DeleteGroups(DeleteGroupsRequest), "delete_groups";
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest), "incremental_alter_configs";
    OffsetDelete(OffsetDeleteRequest), "offset_delete";
    DescribeCluster(DescribeClusterRequest), "describe_cluster";
    DescribeProducers(DescribeProducersRequest), "describe_producers";
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest), "consumer_group_heartbeat";
    ConsumerGroupDescribe(ConsumerGroupDescribeRequest), "consumer_group_describe";
    DescribeTopicPartitions(DescribeTopicPartitionsRequest), "describe_topic_partitions";
}

impl Operation {
    /// The operation of a number.
    pub(crate) fn of(key: i16) -> Option<Operation> {
        Operation::ALL.iter().copied().find(|api| api.key() == key)
    }

    /// Whether it may wait for something that is not the broker's own work, and is given up if its client goes.
    pub(crate) fn waits(self) -> bool {
        matches!(self, Operation::Fetch | Operation::JoinGroup | Operation::SyncGroup)
    }

    /// Whether it is that by which a member of a group shows that it is there.
    pub(crate) fn is_sign_of_life(self) -> bool {
        matches!(self, Operation::Heartbeat | Operation::ConsumerGroupHeartbeat)
    }
}

/// Who asks, and where they have reached us.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) context: Context,
    /// From where, for people.
    pub(crate) host: Arc<str>,
    /// What this client is told to connect to.
    pub(crate) advertised: Endpoint,
    /// What it fetches again and again.
    pub(crate) sessions: Arc<Sessions>,
    /// What it has asked so far.
    pub(crate) visit: Arc<Visit>,
}

/// What the handlers hold.
#[derive(Clone, Debug)]
pub(crate) struct Handlers {
    pub(crate) broker: Arc<Broker>,
    pub(crate) env: Env,
    pub(crate) settings: Arc<Settings>,
    pub(crate) draining: CancellationToken,
    pub(crate) requests: Requests,
    pub(crate) traffic: Traffic,
    /// The room for what clients fetch again and again.
    pub(crate) sessions: Arc<SessionRoom>,
}

/// Which request is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) version: i16,
    pub(crate) correlation: i32,
}

impl Asked {
    /// The frame that answers a request of type `R`.
    pub(crate) fn reply<R: ApiRequest>(self, response: &R::Response) -> Result<Reply, WireError> {
        let rope = encode::<R>(self.correlation, self.version, response, Records::default())?;
        Ok(Reply { rope, permit: None })
    }
}

impl Handlers {
    /// Where the partitions of one topic live.
    pub(crate) fn layout(&self, caller: &Caller, topic: TopicRef) -> Result<TopicLayout, ApiError> {
        let mut found = self.broker.topic_layouts(&caller.context, Some(&[topic]))?;
        found.pop().unwrap_or_else(parts::unanswered)
    }

    /// Handles a request; `None` if it wants no answer.
    ///
    /// # Errors
    /// [`Unanswered`]: the body is not what the header says, or there is no memory for it. Nothing can be answered to that.
    pub(crate) async fn handle(
        &self,
        api: Operation,
        caller: &Caller,
        request: Request,
        memory: &mut RequestMemory,
    ) -> Result<Option<Pending>, Unanswered> {
        let Request { version, correlation, body, .. } = request;
        let asked = Asked { version, correlation };
        let this = self;
        // Most operations take all there is to be had.
        macro_rules! answer {
            ($operation:ident) => {{
                let request = memory.decode(body, version).await?;
                $operation::handle(this, caller, asked, request, memory).await?
            }};
        }
        let reply = match api {
            Operation::Produce => {
                return Ok(produce::handle(self, caller, asked, memory.decode(body, version).await?).await?);
            }
            Operation::Fetch => answer!(fetch),
            Operation::ListOffsets => {
                list_offsets::handle(self, caller, asked, memory.decode(body, version).await?).await?
            }
            Operation::Metadata => answer!(metadata),
            Operation::OffsetCommit => {
                offset_commit::handle(self, caller, asked, memory.decode(body, version).await?).await?
            }
            Operation::OffsetFetch => answer!(offset_fetch),
            Operation::FindCoordinator => {
                find_coordinator::handle(self, caller, asked, memory.decode(body, version).await?)?
            }
            Operation::DescribeGroups => answer!(describe_groups),
            Operation::ListGroups => answer!(list_groups),
            Operation::DeleteGroups => {
                delete_groups::handle(self, caller, asked, memory.decode(body, version).await?).await?
            }
            Operation::OffsetDelete => {
                offset_delete::handle(self, caller, asked, memory.decode(body, version).await?).await?
            }
            Operation::ConsumerGroupHeartbeat => answer!(consumer_group_heartbeat),
            Operation::ConsumerGroupDescribe => answer!(consumer_group_describe),
            Operation::JoinGroup => answer!(join_group),
            Operation::Heartbeat => {
                heartbeat::handle(self, caller, asked, &memory.decode(body, version).await?).await?
            }
            Operation::LeaveGroup => {
                leave_group::handle(self, caller, asked, memory.decode(body, version).await?).await?
            }
            Operation::SyncGroup => answer!(sync_group),
            Operation::ApiVersions => {
                api_versions::handle(self, asked, &memory.decode(body, version).await?)?
            }
            Operation::CreateTopics => answer!(create_topics),
            Operation::DeleteTopics => answer!(delete_topics),
            Operation::DeleteRecords => answer!(delete_records),
            Operation::OffsetForLeaderEpoch => answer!(offset_for_leader_epoch),
            Operation::DescribeConfigs => answer!(describe_configs),
            Operation::AlterConfigs => answer!(alter_configs),
            Operation::DescribeLogDirs => answer!(describe_log_dirs),
            Operation::CreatePartitions => answer!(create_partitions),
            Operation::IncrementalAlterConfigs => answer!(incremental_alter_configs),
            Operation::DescribeCluster => answer!(describe_cluster),
            Operation::DescribeProducers => answer!(describe_producers),
            Operation::DescribeTopicPartitions => answer!(describe_topic_partitions),
            Operation::InitProducerId => {
                init_producer_id::handle(self, caller, asked, &memory.decode(body, version).await?).await?
            }
        };
        Ok(Some(Pending::Now(reply)))
    }
}
