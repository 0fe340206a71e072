//! One error enum per operation.

use std::time::Duration;

use millrace_metadata::{ApplyError, Refusal};

use crate::log_store::StoreError;
use crate::network::Peer;
use crate::{FileError, QuorumRole};

/// Why a node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What it has on its disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its snapshot.
    #[error(transparent)]
    Snapshot(#[from] FileError),
    /// The times contradict each other.
    #[error("the pace of the quorum: {0}")]
    Pace(String),
    /// It stopped while it started.
    #[error("the quorum stopped: {0}")]
    Stopped(String),
}

/// Why a quorum was not founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// It has entries or votes already. A quorum is founded once.
    #[error("the quorum was founded before")]
    Founded,
    /// The founder is not among the voters.
    #[error("the founder is not one of the voters")]
    NotAVoter,
    /// It stopped.
    #[error("the quorum stopped: {0}")]
    Stopped(String),
}

/// Why a proposal was not carried out, or why nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Definite: nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Definite: what was decided does not fold, and was not written. A bug.
    #[error("a decision contradicts its own image: {0}")]
    Contradiction(#[from] ApplyError),
    /// Definite: this node does not lead. Another one may.
    #[error("this node does not lead the quorum")]
    NotLeader(Option<Peer>),
    /// Definite: there is nothing to write, or nothing may be written, but only if the image is the newest, and that could
    /// not be made sure of.
    #[error("the image could not be confirmed: {0}")]
    Unconfirmed(#[source] ReadError),
    /// Definite: others were quicker each time. To be tried again.
    #[error("the image changed each time before the proposal was written")]
    Busy,
    /// Indefinite: this node led when it took the proposal, and does not any more.
    #[error("this node does not lead the quorum any more")]
    Deposed(Option<Peer>),
    /// Indefinite: no answer in time; it may yet be carried out.
    #[error("no answer of the quorum within {0:?}")]
    TimedOut(Duration),
    /// Indefinite: this node has stopped.
    #[error("the quorum stopped: {0}")]
    Stopped(String),
}

/// Why the members were not changed, or why nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// Definite: this node does not lead.
    #[error("this node does not lead the quorum")]
    NotLeader(Option<Peer>),
    /// Definite: the change cannot be made now, or never.
    #[error("the members cannot be changed: {0}")]
    Refused(String),
    /// Indefinite: no answer in time.
    #[error("no answer of the quorum within {0:?}")]
    TimedOut(Duration),
    /// Indefinite: this node has stopped.
    #[error("the quorum stopped: {0}")]
    Stopped(String),
}

/// Why there is no image that is certainly the newest.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// This node does not lead.
    #[error("this node does not lead the quorum")]
    NotLeader(Option<Peer>),
    /// A majority cannot be reached.
    #[error("a majority of the quorum cannot be reached")]
    NoMajority,
    /// No answer in time.
    #[error("no answer of the quorum within {0:?}")]
    TimedOut(Duration),
    /// This node has stopped.
    #[error("the quorum stopped: {0}")]
    Stopped(String),
}

impl std::fmt::Display for QuorumRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            QuorumRole::Learner => "learner",
            QuorumRole::Follower => "follower",
            QuorumRole::Candidate => "candidate",
            QuorumRole::Leader => "leader",
            QuorumRole::Stopped => "stopped",
        })
    }
}
