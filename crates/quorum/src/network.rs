//! The way from voter to voter. What they say ([`QuorumRequest`], [`QuorumAnswer`]) are values with bytes of their own:
//! whoever carries them (gRPC, a channel in a test) knows nothing of consensus.

use std::fmt::Debug;
use std::time::Duration;

use millrace_env::BoxFuture;
use millrace_schema::{QuorumAnswer, QuorumRequest, QuorumVoter};

/// Another voter (or learner), and where its internal listener is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Who.
    pub voter: QuorumVoter,
    /// `host:port`.
    pub address: String,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody is there, or the way is cut: not to be tried again at once.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// Somebody is there and has not answered in time, or the way broke under the answer: to be tried again at once.
    #[error("does not answer: {0}")]
    NoAnswer(String),
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
