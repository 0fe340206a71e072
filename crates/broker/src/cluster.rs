//! What makes a broker one of several.

mod peers;

pub use peers::{
    Greeted, Greeting, HeartbeatAnswer, PeerAnswer, PeerCall, PeerError, PeerHeartbeat, PeerRequest,
    PeerService, Peers, ProposalOutcome, Proposed, ReplicaFetch, ReplicaFetched, ReplicaTail,
};
