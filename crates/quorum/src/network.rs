//! What voters say to each other, as values. Whoever carries them (gRPC, a channel in a test) knows nothing of consensus.
//!
//! A request names the *voter* that it is for, not just the node: a node that has lost its files is another voter, and what
//! was meant for the one that it was must not count for it.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use millrace_env::BoxFuture;
use millrace_schema::{QuorumBallot, QuorumEntry, QuorumPosition, QuorumVoter};

/// Another voter (or learner), and where its internal listener is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Who.
    pub voter: QuorumVoter,
    /// `host:port`.
    pub address: String,
}

/// A request of one voter to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumRequest {
    /// Who is asked. Anybody else refuses.
    pub to: QuorumVoter,
    /// What.
    pub ask: QuorumAsk,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QuorumAsk {
    /// Take these entries; a heartbeat if there are none.
    Append {
        /// Who leads.
        ballot: QuorumBallot,
        /// The entry before the first one.
        previous: Option<QuorumPosition>,
        /// In order, without gaps.
        entries: Vec<QuorumEntry>,
        /// Up to where entries are committed, as far as the leader knows.
        commit: Option<QuorumPosition>,
    },
    /// Vote for a candidate.
    Vote {
        /// Who wants to lead.
        ballot: QuorumBallot,
        /// The candidate's last entry.
        last: Option<QuorumPosition>,
    },
    /// Take everything up to an entry.
    Snapshot {
        /// Who leads.
        ballot: QuorumBallot,
        /// The bytes of a [`QuorumSnapshot`](millrace_schema::QuorumSnapshot).
        snapshot: Bytes,
    },
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QuorumAnswer {
    /// To an append: all of it is synced.
    Appended,
    /// To an append: what is up to here is synced.
    AppendedUpTo(Option<QuorumPosition>),
    /// To an append: another entry is in the place of `previous`, or none.
    Conflict,
    /// To an append: somebody newer has a promise of this voter.
    Newer(QuorumBallot),
    /// To a vote.
    Voted {
        /// The newest vote of the voter.
        ballot: QuorumBallot,
        /// Whether it is for who asked.
        granted: bool,
        /// The voter's last entry.
        last: Option<QuorumPosition>,
    },
    /// To a snapshot: the newest vote of the voter; the snapshot is in place if it is that of who sent it.
    Installed(QuorumBallot),
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody is there, or the way is cut: not to be tried again at once.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// The node is another voter by now.
    #[error("is voter {found} now")]
    OtherVoter {
        /// Who is there.
        found: QuorumVoter,
    },
    /// Its quorum has stopped.
    #[error("its quorum has stopped: {0}")]
    Stopped(String),
    /// What was asked or answered makes no sense.
    #[error("does not follow the protocol: {0}")]
    Protocol(String),
}

/// Carries requests. A call may be repeated, lost or late; it is dropped when its time is over.
pub trait QuorumNetwork: Send + Sync + Debug + 'static {
    /// Asks a peer. `within` is how long the answer is of use.
    fn call(
        &self,
        to: &Peer,
        request: QuorumRequest,
        within: Duration,
    ) -> BoxFuture<Result<QuorumAnswer, CallError>>;
}
