//! The service that is generated from the API, method by method handed to its handler.

use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{ApiError, Broker, Permit};
use millrace_env::Env;
use millrace_proto::v1;
use millrace_proto::v1::millrace_server::Millrace;
use millrace_types::ErrorCode;
use millrace_types::limits::MEMORY_WAIT_MS_MAX;
use prost::Message;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::error_map::{refuse, status_of};
use crate::handlers;

/// What the handlers hold.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) broker: Arc<Broker>,
    pub(crate) env: Env,
    pub(crate) draining: CancellationToken,
}

impl Api {
    /// The memory of an answer that is decoded here. The wait is bounded: calls that hold what they read and wait for
    /// room to decode it could wait for each other for ever.
    pub(crate) async fn memory_for(&self, bytes: usize) -> Result<Permit, ApiError> {
        tokio::select! {
            biased;
            permit = self.broker.memory().acquire(bytes) => permit,
            () = self.env.clock.sleep(Duration::from_millis(MEMORY_WAIT_MS_MAX)) => {
                let message = format!("no {bytes} bytes came free for the answer");
                Err(ApiError::new(ErrorCode::Throttled, message))
            }
        }
    }

    /// Pays for an answer, or one of those of a stream, until its client has taken it.
    pub(crate) async fn pay_for(&self, caller: &Caller, answer: &impl Message) -> Result<(), Status> {
        let permit = self.memory_for(answer.encoded_len()).await.map_err(status_of)?;
        caller.permits.pay_answer(permit);
        Ok(())
    }

    /// Runs `work` to its end even if the client goes away in the middle: for what must not be left half done.
    pub(crate) async fn complete<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, Status> {
        let (sender, receiver) = oneshot::channel();
        let _runs_on = self.env.tasks.spawn(
            name,
            Box::pin(async move {
                // Nobody listens any more if the client went away.
                let _unheard = sender.send(work.await);
            }),
        );
        match receiver.await {
            Ok(done) => done.map_err(status_of),
            Err(_dropped) => {
                Err(refuse(ErrorCode::Internal, "the broker failed on this call; its log says where"))
            }
        }
    }
}

/// Takes a request apart into its caller and its message.
pub(crate) fn open<T>(request: Request<T>) -> Result<(Caller, T), Status> {
    match request.extensions().get::<Caller>() {
        Some(caller) => Ok((caller.clone(), request.into_inner())),
        None => Err(refuse(ErrorCode::Internal, "a request without a caller")),
    }
}

/// A method with one message each way.
macro_rules! unary {
    ($($method:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl Millrace for Api {
            type ProduceStreamStream = handlers::produce_stream::Answers;
            type SubscribeStream = handlers::subscribe::Messages;
            type GroupMemberStream = handlers::group_member::Answers;

            async fn group_member(
                &self,
                request: Request<tonic::Streaming<v1::GroupMemberRequest>>,
            ) -> Result<Response<Self::GroupMemberStream>, Status> {
                let (caller, requests) = open(request)?;
                Ok(Response::new(handlers::group_member::handle(self.clone(), caller, requests)))
            }

            async fn subscribe(
                &self,
                request: Request<v1::SubscribeRequest>,
            ) -> Result<Response<Self::SubscribeStream>, Status> {
                let (caller, request) = open(request)?;
                handlers::subscribe::handle(self.clone(), caller, request).await.map(Response::new)
            }

            async fn produce_stream(
                &self,
                request: Request<tonic::Streaming<v1::ProduceRequest>>,
            ) -> Result<Response<Self::ProduceStreamStream>, Status> {
                let (caller, requests) = open(request)?;
                Ok(Response::new(handlers::produce_stream::handle(self.clone(), caller, requests)))
            }

            $(async fn $method(
                &self,
                request: Request<v1::$request>,
            ) -> Result<Response<v1::$response>, Status> {
                let (caller, request) = open(request)?;
                handlers::$method::handle(self, &caller, request).await.map(Response::new)
            })*
        }
    };
}

unary! {
    init_producer(InitProducerRequest) -> InitProducerResponse;
    produce(ProduceRequest) -> ProduceResponse;
    fetch(FetchRequest) -> FetchResponse;
    list_offsets(ListOffsetsRequest) -> ListOffsetsResponse;
    commit_offsets(CommitOffsetsRequest) -> CommitOffsetsResponse;
    fetch_offsets(FetchOffsetsRequest) -> FetchOffsetsResponse;
    create_topic(CreateTopicRequest) -> CreateTopicResponse;
    delete_topic(DeleteTopicRequest) -> DeleteTopicResponse;
    alter_topic(AlterTopicRequest) -> AlterTopicResponse;
    create_partitions(CreatePartitionsRequest) -> CreatePartitionsResponse;
    delete_records(DeleteRecordsRequest) -> DeleteRecordsResponse;
    list_topics(ListTopicsRequest) -> ListTopicsResponse;
    describe_topic(DescribeTopicRequest) -> DescribeTopicResponse;
    describe_cluster(DescribeClusterRequest) -> DescribeClusterResponse;
    cluster_status(ClusterStatusRequest) -> ClusterStatusResponse;
    plan_moves(PlanMovesRequest) -> PlanMovesResponse;
    reassign_partitions(ReassignPartitionsRequest) -> ReassignPartitionsResponse;
    elect_leader(ElectLeaderRequest) -> ElectLeaderResponse;
    remove_broker(RemoveBrokerRequest) -> RemoveBrokerResponse;
    list_groups(ListGroupsRequest) -> ListGroupsResponse;
    describe_group(DescribeGroupRequest) -> DescribeGroupResponse;
    delete_group(DeleteGroupRequest) -> DeleteGroupResponse;
    reset_group_offsets(ResetGroupOffsetsRequest) -> ResetGroupOffsetsResponse;
    group_lag(GroupLagRequest) -> GroupLagResponse;
}
