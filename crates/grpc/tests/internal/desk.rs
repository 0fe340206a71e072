//! Who answers, and the way there.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use millrace_broker::{
    ApiError, CallError, Command, Fetch, FetchAnswer, FetchId, FollowerFetched, Greeted, HeartbeatAnswer,
    MetadataRecord, Peer, PeerAnswer, PeerCall, PeerRequest, PeerService, Proposed, QuorumAnswer, QuorumAsk,
    QuorumRequest, QuorumVoter, ReplicaFetched, ReplicaTail,
};
use millrace_env::{BoxFuture, Env};
use millrace_grpc::{InternalDoor, InternalPeers};
use millrace_quorum::{QuorumBallot, QuorumEntry, QuorumPayload, QuorumPosition};
use millrace_types::limits::BATCH_BYTES_MAX;
use millrace_types::{
    BrokerEpoch, ClusterId, ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicPartition,
};
use tokio::sync::watch;

pub(crate) const CLUSTER: ClusterId = ClusterId([9; 16]);
/// A heartbeat of this node waits until the gate is opened.
pub(crate) const WAITS_FOR_THE_GATE: i32 = 100_000;
/// A heartbeat of this node is refused in many words.
pub(crate) const REFUSED_AT_LENGTH: i32 = 100_001;

/// Answers.
#[derive(Debug)]
pub(crate) struct Desk {
    gate: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
}

impl Desk {
    pub(crate) fn new() -> Arc<Desk> {
        Arc::new(Desk { gate: watch::Sender::new(false), waiting: watch::Sender::new(0) })
    }

    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Until somebody waits for the gate.
    pub(crate) async fn until_waiting(&self) {
        self.waiting.subscribe().wait_for(|waiting| *waiting > 0).await.unwrap();
    }

    async fn heartbeat(self: Arc<Desk>, node: i32) -> Result<PeerAnswer, ApiError> {
        match node {
            WAITS_FOR_THE_GATE => {
                self.waiting.send_modify(|waiting| *waiting += 1);
                self.gate.subscribe().wait_for(|open| *open).await.unwrap();
            }
            REFUSED_AT_LENGTH => return Err(ApiError::new(ErrorCode::Internal, "no ".repeat(10_000))),
            _ => {}
        }
        let answer = HeartbeatAnswer { registered: true, active: true, may_stop: false };
        Ok(PeerAnswer::Heartbeat(answer))
    }
}

/// The desk as the door knows it.
#[derive(Clone, Debug)]
struct Behind(Arc<Desk>);

impl PeerService for Behind {
    fn answer(&self, call: PeerCall) -> BoxFuture<Result<PeerAnswer, ApiError>> {
        let desk = Arc::clone(&self.0);
        Box::pin(async move {
            Ok(match call.request {
                PeerRequest::Heartbeat(heartbeat) => return desk.heartbeat(heartbeat.node.0).await,
                PeerRequest::Greet(greeting) => {
                    let leader = Some((NodeId(1), greeting.internal));
                    PeerAnswer::Greeted(Greeted { cluster: CLUSTER, leader })
                }
                PeerRequest::Propose(commands) => {
                    let version = commands.len() as u64;
                    let outcomes = commands.into_iter().map(|command| match command {
                        Command::RemoveBroker { node } => Ok(vec![MetadataRecord::BrokerRemoved { node }]),
                        _ => Err(not_leader()),
                    });
                    PeerAnswer::Proposed(Proposed { version, outcomes: outcomes.collect() })
                }
                PeerRequest::Fetch(fetch) => PeerAnswer::Fetched(fetched(fetch.bytes_max)),
                PeerRequest::Records(question) => PeerAnswer::Records(vec![7; question.bytes_max].into()),
                PeerRequest::Tails(partitions) if partitions.is_empty() => return Err(not_leader()),
                PeerRequest::Tails(partitions) => {
                    let tail = |at: TopicPartition| {
                        let end = Offset::from_count(u64::from(at.partition.0));
                        ReplicaTail { at, last_epoch: LeaderEpoch(1), end }
                    };
                    PeerAnswer::Tails(partitions.into_iter().map(tail).collect())
                }
            })
        })
    }

    fn answer_quorum(&self, request: QuorumRequest) -> BoxFuture<Result<QuorumAnswer, CallError>> {
        Box::pin(async move {
            if request.to != voter(7) {
                return Err(CallError::OtherVoter { found: voter(7) });
            }
            Ok(match request.ask {
                QuorumAsk::Append { .. } => QuorumAnswer::Appended,
                QuorumAsk::Vote { last } => {
                    QuorumAnswer::Voted { ballot: request.ballot, granted: true, last }
                }
                QuorumAsk::Snapshot(bytes) => QuorumAnswer::Installed(ballot(sum(&bytes))),
            })
        })
    }
}

/// A desk behind a door on a free port, and the way there.
pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) peers: InternalPeers,
    pub(crate) desk: Arc<Desk>,
    pub(crate) door: InternalDoor,
    pub(crate) addr: SocketAddr,
    pub(crate) address: String,
}

impl World {
    pub(crate) async fn new() -> World {
        let env = millrace_env::real::env();
        let desk = Desk::new();
        let door = open(&env, &desk, "127.0.0.1:0".parse().unwrap()).await;
        let addr = door.addrs()[0];
        let peers = InternalPeers::new(env.clone());
        World { env, peers, desk, door, addr, address: addr.to_string() }
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer { voter: voter(7), address: self.address.clone() }
    }
}

pub(crate) async fn open(env: &Env, desk: &Arc<Desk>, addr: SocketAddr) -> InternalDoor {
    let listener = env.net.listen(addr).await.unwrap();
    InternalDoor::open(env, Arc::clone(&env.tasks), Arc::new(Behind(Arc::clone(desk))), vec![listener])
        .unwrap()
}

pub(crate) fn ask(request: PeerRequest) -> PeerCall {
    PeerCall { cluster: Some(CLUSTER), from: NodeId(3), request }
}

pub(crate) fn not_leader() -> ApiError {
    let leader = Some("127.0.0.1:2".to_owned());
    ApiError { leader, ..ApiError::new(ErrorCode::NotLeader, "node 2 leads") }
}

pub(crate) fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(partition) }
}

pub(crate) fn fetch() -> Fetch {
    Fetch {
        id: FetchId(6),
        partition: at(2),
        replica: NodeId(3),
        broker_epoch: BrokerEpoch(12),
        leader_epoch: LeaderEpoch(8),
        next: Offset::from_count(100),
        last_epoch: LeaderEpoch(7),
        held: Offset::from_count(90),
    }
}

/// One batch more than is wanted, as large as one may be.
pub(crate) fn fetched(bytes_max: usize) -> Vec<ReplicaFetched> {
    let (from, high_watermark) = (Offset::from_count(100), Offset::from_count(95));
    let answer = FollowerFetched {
        id: FetchId(6),
        partition: at(2),
        leader_epoch: LeaderEpoch(8),
        answer: FetchAnswer::Records { from, high_watermark, log_start: Offset::ZERO },
    };
    let large = if bytes_max > 1024 * 1024 { BATCH_BYTES_MAX } else { 0 };
    vec![ReplicaFetched { answer, batches: Bytes::from(vec![7; bytes_max + large]) }]
}

pub(crate) fn voter(node: i32) -> QuorumVoter {
    QuorumVoter { node: NodeId(node), incarnation: 77 }
}

pub(crate) fn ballot(term: u64) -> QuorumBallot {
    QuorumBallot { term, candidate: voter(3), elected: true }
}

/// An append with an entry of about so many bytes.
pub(crate) fn append(bytes: usize) -> QuorumRequest {
    let at = QuorumPosition { term: 4, leader: voter(3), index: 5 };
    let record = MetadataRecord::TopicDeleted { id: TopicId([7; 16]) };
    let records = vec![record; bytes.div_ceil(20)];
    let entry = QuorumEntry { at, payload: QuorumPayload::Proposal { base: 3, records } };
    let ask = QuorumAsk::Append { previous: None, entries: vec![entry], commit: Some(at) };
    QuorumRequest { to: voter(7), ballot: ballot(4), ask }
}

pub(crate) fn snapshot(bytes: Bytes) -> QuorumRequest {
    QuorumRequest { to: voter(7), ballot: ballot(4), ask: QuorumAsk::Snapshot(bytes) }
}

/// Says of bytes whether they are the same in the same order.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(17, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}
