//! What brokers say to each other. How it travels is the internal door's business (`grpc::internal`).

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_env::{BoxFuture, Tasks};
use millrace_metadata::{Command, MetadataRecord};
use millrace_quorum::{CallError, QuorumAnswer, QuorumNetwork, QuorumRequest, QuorumVoter};
use millrace_replication::{Fetch, Fetched};
use millrace_types::{BrokerEpoch, ClusterId, LeaderEpoch, NodeId, Offset, OffsetRange, TopicPartition};

use crate::ApiError;

/// One broker asks another.
#[derive(Clone, PartialEq, Debug)]
pub struct PeerCall {
    /// The cluster that both are of; `None` while a node that is new here does not know it yet, which only
    /// [`PeerRequest::Greet`] may be.
    pub cluster: Option<ClusterId>,
    /// Who asks.
    pub from: NodeId,
    /// What.
    pub request: PeerRequest,
}

/// What a broker asks of another.
#[derive(Clone, PartialEq, Debug)]
pub enum PeerRequest {
    /// Here I am; who leads?
    Greet(Greeting),
    /// Carry these commands out, in this order. Answered by whoever leads the quorum.
    Propose(Vec<Command>),
    /// I live. Answered by whoever leads the quorum.
    Heartbeat(PeerHeartbeat),
    /// What comes next in these partitions? Answered by their leader.
    Fetch(ReplicaFetch),
    /// How far are your logs of these partitions?
    Tails(Vec<TopicPartition>),
    /// Mine are damaged: how do you have these records stored? Answered by whoever has a replica.
    Records(RecordsQuestion),
}

/// What it is answered: the variant of the request's name.
#[derive(Clone, PartialEq, Debug)]
pub enum PeerAnswer {
    /// To [`PeerRequest::Greet`].
    Greeted(Greeted),
    /// To [`PeerRequest::Propose`].
    Proposed(Proposed),
    /// To [`PeerRequest::Heartbeat`].
    Heartbeat(HeartbeatAnswer),
    /// To [`PeerRequest::Fetch`]: one for each partition of which there is news, in any order.
    Fetched(Vec<ReplicaFetched>),
    /// To [`PeerRequest::Tails`]: one for each partition that this broker has.
    Tails(Vec<ReplicaTail>),
    /// To [`PeerRequest::Records`]: whole batches as it has stored them, from the one that holds the first offset; none if it does
    /// not know of them as committed yet.
    Records(Bytes),
}

/// A node says who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Greeting {
    /// Its voice in the quorum; `None` while it does not know which cluster it belongs to, and asks only that.
    pub voter: Option<QuorumVoter>,
    /// Where its internal listener is, as `host:port`.
    pub internal: String,
}

/// What a greeting is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Greeted {
    /// The cluster.
    pub cluster: ClusterId,
    /// Who leads the quorum and where, if that is known here.
    pub leader: Option<(NodeId, String)>,
}

/// What became of proposals.
#[derive(Clone, PartialEq, Debug)]
pub struct Proposed {
    /// The version of the image that has all of it.
    pub version: u64,
    /// For each command, in order.
    pub outcomes: Vec<ProposalOutcome>,
}

/// What became of one command: the records that it became, or why it was refused.
pub type ProposalOutcome = Result<Vec<MetadataRecord>, ApiError>;

/// A broker lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerHeartbeat {
    /// Who.
    pub node: NodeId,
    /// Under which registration.
    pub epoch: BrokerEpoch,
    /// The version of the image that it has applied.
    pub applied: u64,
    /// It wants to stop, and asks that others lead what it leads.
    pub draining: bool,
}

/// What a heartbeat is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeartbeatAnswer {
    /// The registration is the newest of this node. If not, it must register anew.
    pub registered: bool,
    /// It may lead and be in sync.
    pub active: bool,
    /// It wanted to stop, and leads nothing any more.
    pub may_stop: bool,
}

/// A follower asks a leader for what comes next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaFetch {
    /// How long the leader may wait until it has something to say.
    pub wait: Duration,
    /// Bytes of records that are wanted at most, of all partitions together; the first batch comes even if it is larger.
    pub bytes_max: usize,
    /// One for each partition. At most [`millrace_types::limits::PARTITIONS_PER_REQUEST_MAX`].
    pub fetches: Vec<Fetch>,
}

/// What a leader says of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaFetched {
    /// Its answer.
    pub answer: Fetched,
    /// Whole batches as it has stored them, from the offset that was asked for; empty without news, and if the answer is none
    /// of records.
    pub batches: Bytes,
}

/// Which committed records a broker wants whose own are damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordsQuestion {
    /// Whose.
    pub at: TopicPartition,
    /// Which.
    pub offsets: OffsetRange,
    /// Bytes that are wanted at most; the first batch comes even if it is larger.
    pub bytes_max: usize,
}

/// How far a log is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaTail {
    /// Whose.
    pub at: TopicPartition,
    /// The epoch of its last record; [`LeaderEpoch::NONE`] without one.
    pub last_epoch: LeaderEpoch,
    /// Where it ends, as far as it is held.
    pub end: Offset,
}

/// Why a broker has no answer of another.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum PeerError {
    /// Definite: nobody was there who could have heard it.
    #[error("{address} cannot be reached: {why}")]
    Unreachable {
        /// Where it was sought.
        address: String,
        /// What the network said.
        why: String,
    },
    /// Indefinite: it may have been heard. The connection broke, or the time was over.
    #[error("no answer of {address}: {why}")]
    NoAnswer {
        /// Who was asked.
        address: String,
        /// What happened.
        why: String,
    },
    /// It was heard, and refused.
    #[error(transparent)]
    Refused(#[from] ApiError),
}

/// The way to other brokers. A call may be lost, late or repeated; it is dropped when its time is over. Requests that decide
/// (all but fetches) never wait behind data.
pub trait Peers: QuorumNetwork {
    /// Asks the broker whose internal listener is at `address` (`host:port`).
    fn ask(
        &self,
        address: &str,
        call: PeerCall,
        within: Duration,
    ) -> BoxFuture<Result<PeerAnswer, PeerError>>;

    /// Where what decides runs, if not among everything else: who is busy with records must not seem dead.
    fn tasks(&self) -> Option<Arc<dyn Tasks>> {
        None
    }
}

/// Who answers other brokers.
pub trait PeerService: Send + Sync + Debug + 'static {
    /// Answers a broker.
    fn answer(&self, call: PeerCall) -> BoxFuture<Result<PeerAnswer, ApiError>>;

    /// Answers a member of the metadata quorum.
    fn answer_quorum(&self, request: QuorumRequest) -> BoxFuture<Result<QuorumAnswer, CallError>>;
}
