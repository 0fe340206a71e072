//! The floor of gRPC: a tonic server that takes the same messages as the broker, stores nothing and answers at once.
//!
//! What the broker costs above this is ours: checks, the log, syncs, answers. What this costs above the raw server is
//! HTTP/2, protobuf and tonic.

use std::io::Write as _;
use std::pin::Pin;
use std::process::Command;

use anyhow::Result;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use millrace_proto::v1;
use millrace_proto::v1::millrace_server::{Millrace, MillraceServer};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::child::Process;

const FRAME_BYTES: u32 = 256 * 1024;
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const MESSAGE_BYTES_MAX: usize = 80 << 20;
const FETCHED_BYTES_MAX: usize = 8 << 20;

/// A running floor.
#[derive(Debug)]
pub struct BareRpc {
    /// The process.
    pub process: Process,
    /// Where it listens, `host:port`.
    pub addr: String,
}

impl BareRpc {
    /// Starts this binary again as the floor; the binary hands `--bare-rpc` to [`serve`].
    ///
    /// # Errors
    /// It does not come up.
    pub fn start() -> Result<BareRpc> {
        let mut command = Command::new(std::env::current_exe()?);
        let (process, line) = Process::start(command.arg("--bare-rpc"))?;
        Ok(BareRpc { process, addr: line.trim().to_owned() })
    }
}

/// Serves until killed.
///
/// # Errors
/// The operating system's.
pub fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let mut output = std::io::stdout();
        writeln!(output, "{}", listener.local_addr()?)?;
        output.flush()?;
        let service = MillraceServer::new(Floor { fetched: vec![7; FETCHED_BYTES_MAX].into() })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Server::builder()
            .max_frame_size(FRAME_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
            .await?;
        Ok(())
    })
}

#[derive(Debug)]
struct Floor {
    fetched: Bytes,
}

fn answer(request: v1::ProduceRequest) -> v1::ProduceResponse {
    let partitions = request.partitions.into_iter().map(|part| {
        std::hint::black_box(&part.data);
        v1::PartitionProduced { topic: part.topic, partition: part.partition, ..Default::default() }
    });
    v1::ProduceResponse { partitions: partitions.collect(), correlation_id: request.correlation_id }
}

/// As long as the broker's to a member with one partition, and the same each time.
fn assignment(_: v1::GroupMemberRequest) -> v1::GroupMemberResponse {
    let topic = v1::TopicRef { name: "measured".to_owned(), id: Bytes::from_static(&[7; 16]) };
    let assignment = v1::GroupAssignment {
        member: "00000000-0000-0000-0000-000000000000".to_owned(),
        epoch: 2,
        revision: 2,
        assigned: vec![v1::TopicPartitions { topic: Some(topic), partitions: vec![0] }],
        waiting: 0,
        heartbeat_interval_ms: 3_000,
        session_timeout_ms: 10_000,
    };
    let response = v1::group_member_response::Response::Assignment(assignment);
    v1::GroupMemberResponse { response: Some(response) }
}

fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this server only sets a floor"))
}

/// The floor's service: what is measured, and the methods that only say that they are not there.
macro_rules! floor {
    ($($method:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl Millrace for Floor {
            type SubscribeStream = Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;
            type GroupMemberStream = Pin<Box<dyn Stream<Item = Result<v1::GroupMemberResponse, Status>> + Send>>;
            type ProduceStreamStream = Pin<Box<dyn Stream<Item = Result<v1::ProduceResponse, Status>> + Send>>;

            async fn produce(
                &self,
                request: Request<v1::ProduceRequest>,
            ) -> Result<Response<v1::ProduceResponse>, Status> {
                Ok(Response::new(answer(request.into_inner())))
            }

            async fn produce_stream(
                &self,
                requests: Request<Streaming<v1::ProduceRequest>>,
            ) -> Result<Response<Self::ProduceStreamStream>, Status> {
                let answers = requests.into_inner().map(|request| request.map(answer));
                Ok(Response::new(Box::pin(answers)))
            }

            async fn fetch(&self, request: Request<v1::FetchRequest>) -> Result<Response<v1::FetchResponse>, Status> {
                let request = request.into_inner();
                let bytes = usize::try_from(request.max_bytes).unwrap_or(FETCHED_BYTES_MAX).min(FETCHED_BYTES_MAX);
                let batches = self.fetched.slice(..bytes);
                let partitions = vec![v1::PartitionFetched { batches, ..Default::default() }];
                Ok(Response::new(v1::FetchResponse { partitions }))
            }

            async fn subscribe(
                &self,
                request: Request<v1::SubscribeRequest>,
            ) -> Result<Response<Self::SubscribeStream>, Status> {
                let bytes = usize::try_from(request.into_inner().max_message_bytes).unwrap_or(FETCHED_BYTES_MAX);
                let batches = self.fetched.slice(..bytes.min(FETCHED_BYTES_MAX));
                // Without an end: whoever measures goes away.
                let messages = futures::stream::repeat_with(move || {
                    let fetched = v1::PartitionFetched { batches: batches.clone(), ..Default::default() };
                    let part = v1::PartitionSubscribed { fetched: Some(fetched), ..Default::default() };
                    Ok(v1::SubscribeResponse { partitions: vec![part] })
                });
                Ok(Response::new(Box::pin(messages)))
            }

            async fn group_member(
                &self,
                requests: Request<Streaming<v1::GroupMemberRequest>>,
            ) -> Result<Response<Self::GroupMemberStream>, Status> {
                let answers = requests.into_inner().map(|request| request.map(assignment));
                Ok(Response::new(Box::pin(answers)))
            }

            async fn commit_offsets(
                &self,
                request: Request<v1::CommitOffsetsRequest>,
            ) -> Result<Response<v1::CommitOffsetsResponse>, Status> {
                let offsets = request.into_inner().offsets.into_iter().map(|commit| v1::OffsetCommitted {
                    topic: commit.topic,
                    partition: commit.partition,
                    error: None,
                });
                Ok(Response::new(v1::CommitOffsetsResponse { offsets: offsets.collect() }))
            }

            $(async fn $method(&self, _: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                absent()
            })*
        }
    };
}

floor! {
    init_producer(InitProducerRequest) -> InitProducerResponse;
    alter_topic(AlterTopicRequest) -> AlterTopicResponse;
    create_partitions(CreatePartitionsRequest) -> CreatePartitionsResponse;
    delete_records(DeleteRecordsRequest) -> DeleteRecordsResponse;
    list_offsets(ListOffsetsRequest) -> ListOffsetsResponse;
    fetch_offsets(FetchOffsetsRequest) -> FetchOffsetsResponse;
    create_topic(CreateTopicRequest) -> CreateTopicResponse;
    delete_topic(DeleteTopicRequest) -> DeleteTopicResponse;
    list_topics(ListTopicsRequest) -> ListTopicsResponse;
    describe_topic(DescribeTopicRequest) -> DescribeTopicResponse;
    describe_cluster(DescribeClusterRequest) -> DescribeClusterResponse;
    list_groups(ListGroupsRequest) -> ListGroupsResponse;
    describe_group(DescribeGroupRequest) -> DescribeGroupResponse;
    delete_group(DeleteGroupRequest) -> DeleteGroupResponse;
    reset_group_offsets(ResetGroupOffsetsRequest) -> ResetGroupOffsetsResponse;
    group_lag(GroupLagRequest) -> GroupLagResponse;
    cluster_status(ClusterStatusRequest) -> ClusterStatusResponse;
    plan_moves(PlanMovesRequest) -> PlanMovesResponse;
    reassign_partitions(ReassignPartitionsRequest) -> ReassignPartitionsResponse;
    elect_leader(ElectLeaderRequest) -> ElectLeaderResponse;
    remove_broker(RemoveBrokerRequest) -> RemoveBrokerResponse;
}
