//! What makes a broker one of several.

mod outbox;
mod peers;
mod replica;

pub use peers::{
    Greeted, Greeting, HeartbeatAnswer, PeerAnswer, PeerCall, PeerError, PeerHeartbeat, PeerRequest,
    PeerService, Peers, ProposalOutcome, Proposed, ReplicaFetch, ReplicaFetched, ReplicaTail,
};

pub(crate) use replica::{LedBy, PartitionReplica};
