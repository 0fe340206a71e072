//! The broker: what the doors hold.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::Env;
use millrace_log::{Fatal, StartReport};
use millrace_types::{ErrorCode, NodeId};

use crate::{
    ApiError, ClusterDescription, CommitOffsetsRequest, CommittedOffset, Context, CreateTopicRequest,
    FetchOffsetsRequest, FetchRequest, FetchResponse, MemoryBudget, OffsetAnswer, OffsetQuery,
    PendingProduce, ProduceRequest, ProduceResponse, ProducerIdentity, TopicDescription, TopicRef,
    TopicSummary,
};

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// The data directory.
    pub data_dir: PathBuf,
    /// This node's id.
    pub node: NodeId,
    /// Bytes that requests, answers and caches may hold together.
    pub memory_budget_bytes: u64,
    /// The gRPC address to tell clients, as `host:port`.
    pub grpc_advertised: String,
}

/// One broker. Shared by the doors; every operation may be called at any time from any task.
#[derive(Debug)]
pub struct Broker {}

fn unbuilt() -> ApiError {
    ApiError::new(ErrorCode::Unsupported, "not there yet")
}

impl Broker {
    /// Opens the data directory, recovers it, replays metadata and committed offsets, and opens every partition.
    ///
    /// # Errors
    /// What keeps it from starting, as text for the operator.
    pub async fn start(_env: Env, _config: BrokerConfig) -> Result<Arc<Broker>, ApiError> {
        Err(unbuilt())
    }

    /// The memory budget, for doors to take permits from before they read a body.
    #[must_use]
    pub fn memory(&self) -> &Arc<MemoryBudget> {
        unimplemented!()
    }

    /// What the start found.
    #[must_use]
    pub fn start_report(&self) -> StartReport {
        unimplemented!()
    }

    /// Completes when the data directory has failed and the process must end (exit code 74).
    pub async fn failed(&self) -> Fatal {
        unimplemented!()
    }

    /// Refuses new requests, waits up to `patience` for those in flight, syncs, and leaves the clean mark.
    ///
    /// # Errors
    /// If the clean mark could not be written.
    pub async fn shut_down(&self, _patience: Duration) -> Result<(), ApiError> {
        Err(unbuilt())
    }

    /// See [`crate::ops::init_producer`].
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn init_producer(&self, _ctx: &Context) -> Result<ProducerIdentity, ApiError> {
        Err(unbuilt())
    }

    /// Checks and appends the batches, in the order of the request, before its first wait for a sync. Waits only
    /// while an append queue is full.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn produce(
        &self,
        _ctx: &Context,
        _request: ProduceRequest,
    ) -> Result<PendingProduce, ApiError> {
        Err(unbuilt())
    }

    /// See [`FetchRequest`].
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn fetch(&self, _ctx: &Context, _request: FetchRequest) -> Result<FetchResponse, ApiError> {
        Err(unbuilt())
    }

    /// Answers each query, in order.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn list_offsets(
        &self,
        _ctx: &Context,
        _queries: Vec<OffsetQuery>,
    ) -> Result<Vec<Result<OffsetAnswer, ApiError>>, ApiError> {
        Err(unbuilt())
    }

    /// Stores the commits as one batch; answers each, in order, when they are synced.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn commit_offsets(
        &self,
        _ctx: &Context,
        _request: CommitOffsetsRequest,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        Err(unbuilt())
    }

    /// The committed offsets: in the order asked for, or sorted by topic name and partition.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn fetch_offsets(
        &self,
        _ctx: &Context,
        _request: FetchOffsetsRequest,
    ) -> Result<Vec<Result<CommittedOffset, ApiError>>, ApiError> {
        Err(unbuilt())
    }

    /// Creates a topic; answers when its metadata and its logs are durable.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn create_topic(
        &self,
        _ctx: &Context,
        _request: CreateTopicRequest,
    ) -> Result<TopicDescription, ApiError> {
        Err(unbuilt())
    }

    /// Deletes a topic and the offsets committed for it; answers when that is durable.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn delete_topic(&self, _ctx: &Context, _topic: TopicRef) -> Result<(), ApiError> {
        Err(unbuilt())
    }

    /// All topics, sorted by name, those of the product included.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn list_topics(&self, _ctx: &Context) -> Result<Vec<TopicSummary>, ApiError> {
        Err(unbuilt())
    }

    /// One topic.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn describe_topic(
        &self,
        _ctx: &Context,
        _topic: TopicRef,
    ) -> Result<TopicDescription, ApiError> {
        Err(unbuilt())
    }

    /// The cluster.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn describe_cluster(&self, _ctx: &Context) -> Result<ClusterDescription, ApiError> {
        Err(unbuilt())
    }
}

impl PendingProduce {
    /// Waits until the request's durability is reached, or its timeout has passed.
    pub async fn acknowledged(self) -> ProduceResponse {
        unimplemented!()
    }
}
