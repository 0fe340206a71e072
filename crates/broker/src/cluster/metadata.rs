//! Decisions of a cluster: taken by whoever leads the quorum, asked for from anywhere.

use std::sync::Arc;
use std::time::Duration;

use millrace_env::{Env, Monotonic};
use millrace_metadata::{Command, Image, MetadataRecord};
use millrace_quorum::{DecidedRecords, MetadataQuorum, Peer, ProposeError, QuorumRole};
use millrace_types::{ClusterId, ErrorCode, NodeId};
use tokio::sync::watch;

use super::network::AddressBook;
use super::peers::{PeerAnswer, PeerCall, PeerError, PeerRequest, Peers, ProposalOutcome, Proposed};
use super::rounds::Rounds;
use crate::ApiError;

/// So long a proposal waits for somebody who can decide it.
const DECIDED_WITHIN: Duration = Duration::from_secs(10);
/// So long after an attempt that found nobody the next one is made.
const RETRY_AFTER: Duration = Duration::from_millis(25);

/// See above.
#[derive(Debug)]
pub(crate) struct ClusterMetadata {
    env: Env,
    me: NodeId,
    cluster: ClusterId,
    quorum: Arc<MetadataQuorum>,
    peers: Arc<dyn Peers>,
    book: Arc<AddressBook>,
    /// The version of the image that the replicas of this node follow.
    applied: watch::Sender<u64>,
    confirmed: Rounds,
}

/// Why a proposal is not decided yet.
enum Undecided {
    /// Definite: to be tried again, perhaps elsewhere.
    Again(ApiError),
    /// Not to be tried again by us.
    Failed(ApiError),
}

impl ClusterMetadata {
    pub(crate) fn new(
        env: &Env,
        (me, cluster): (NodeId, ClusterId),
        quorum: Arc<MetadataQuorum>,
        peers: Arc<dyn Peers>,
        book: Arc<AddressBook>,
    ) -> ClusterMetadata {
        let (applied, confirmed) = (watch::Sender::new(0), Rounds::default());
        ClusterMetadata { env: env.clone(), me, cluster, quorum, peers, book, applied, confirmed }
    }

    pub(crate) fn image(&self) -> Arc<Image> {
        self.quorum.image()
    }

    /// Hears of each image, by its version, once the replicas of this node follow it.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The version of the image that the replicas of this node follow.
    pub(crate) fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    /// The replicas of this node follow this image now.
    pub(crate) fn apply(&self, version: u64) {
        self.applied.send_replace(version);
    }

    /// Completes when the replicas of this node follow all that was decided before the call: whoever was replaced by then knows it.
    /// Those who ask while another is being answered share the next answer.
    ///
    /// # Errors
    /// Nobody can say, or not in time. Nothing was changed by it.
    pub(crate) async fn confirm(&self) -> Result<(), ApiError> {
        self.confirmed
            .next(async || {
                let deadline = self.env.clock.monotonic().after(DECIDED_WITHIN);
                let Proposed { version, .. } = self.decided(&[], deadline).await?;
                if self.follow(version, deadline.since(self.env.clock.monotonic())).await {
                    return Ok(());
                }
                let message = format!("this node does not follow version {version} of the metadata yet");
                Err(ApiError::new(ErrorCode::QuorumUnavailable, message))
            })
            .await
    }

    pub(crate) async fn propose(&self, command: &Command) -> Result<Vec<MetadataRecord>, ApiError> {
        let outcomes = self.decide(std::slice::from_ref(command)).await?;
        outcomes.into_iter().next().unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Has commands decided, and waits until the replicas of this node follow the outcome, if they follow anything yet.
    pub(crate) async fn decide(&self, commands: &[Command]) -> Result<Vec<ProposalOutcome>, ApiError> {
        let deadline = self.env.clock.monotonic().after(DECIDED_WITHIN);
        // The deepest of what operations wait for.
        let Proposed { version, outcomes } = Box::pin(self.decided(commands, deadline)).await?;
        self.follow(version, deadline.since(self.env.clock.monotonic())).await;
        Ok(outcomes)
    }

    async fn decided(&self, commands: &[Command], deadline: Monotonic) -> Result<Proposed, ApiError> {
        loop {
            let undecided = match self.attempt(commands).await {
                Ok(proposed) => return Ok(proposed),
                Err(Undecided::Failed(error)) => return Err(error),
                Err(Undecided::Again(error)) => error,
            };
            if self.env.clock.monotonic() >= deadline {
                return Err(undecided);
            }
            self.env.clock.sleep(RETRY_AFTER).await;
        }
    }

    /// Decides if this node leads the quorum.
    ///
    /// # Errors
    /// QUORUM_UNAVAILABLE if it does not, which is definite.
    pub(crate) async fn decide_here(&self, commands: &[Command]) -> Result<Proposed, ApiError> {
        self.here(commands).await.map_err(|error| api_error(&error))
    }

    async fn here(&self, commands: &[Command]) -> Result<Proposed, ProposeError> {
        let decided = self.quorum.propose_each(commands).await?;
        let outcome = |answer: DecidedRecords| answer.map_err(ApiError::from);
        let outcomes = decided.into_iter().map(outcome).collect();
        Ok(Proposed { version: self.quorum.image().version(), outcomes })
    }

    async fn attempt(&self, commands: &[Command]) -> Result<Proposed, Undecided> {
        match self.here(commands).await {
            Ok(proposed) => Ok(proposed),
            Err(ProposeError::NotLeader(Some(leader))) if leader.voter != self.quorum.own() => {
                self.forward(&leader, commands).await
            }
            Err(error @ (ProposeError::NotLeader(_) | ProposeError::Busy | ProposeError::Unconfirmed(_))) => {
                Err(Undecided::Again(api_error(&error)))
            }
            Err(error) => Err(Undecided::Failed(api_error(&error))),
        }
    }

    async fn forward(&self, leader: &Peer, commands: &[Command]) -> Result<Proposed, Undecided> {
        let address = self.book.find(leader);
        let request = PeerRequest::Propose(commands.to_vec());
        let call = PeerCall { cluster: Some(self.cluster), from: self.me, request };
        match self.peers.ask(&address, call, DECIDED_WITHIN).await {
            Ok(PeerAnswer::Proposed(proposed)) => Ok(proposed),
            Ok(_) => Err(Undecided::Failed(strange(&address))),
            Err(PeerError::Refused(error)) if error.code == ErrorCode::QuorumUnavailable => {
                Err(Undecided::Again(error))
            }
            Err(PeerError::Refused(error)) => Err(Undecided::Failed(error)),
            Err(error @ PeerError::Unreachable { .. }) => {
                Err(Undecided::Again(ApiError::new(ErrorCode::QuorumUnavailable, error.to_string())))
            }
            Err(error @ PeerError::NoAnswer { .. }) => {
                Err(Undecided::Failed(ApiError::new(ErrorCode::OutcomeUnknown, error.to_string())))
            }
        }
    }

    /// Waits until this node has folded a version and its replicas follow it; answers whether they do.
    async fn follow(&self, version: u64, within: Duration) -> bool {
        if self.applied() == 0 {
            // It is not registered yet: its replicas follow nothing.
            let mut changes = self.quorum.changes();
            let folded =
                async { while self.quorum.image().version() < version && changes.changed().await.is_ok() {} };
            return tokio::select! {
                biased;
                () = folded => true,
                () = self.env.clock.sleep(within) => false,
            };
        }
        let mut applied = self.applied.subscribe();
        tokio::select! {
            biased;
            _ = applied.wait_for(|applied| *applied >= version) => true,
            () = self.env.clock.sleep(within) => false,
        }
    }

    /// Who leads the quorum, and where, as far as this node knows.
    pub(crate) fn leader(&self) -> Option<(NodeId, String)> {
        let leader = self.quorum.status().leader?;
        Some((leader.voter.node, self.book.find(&leader)))
    }

    /// Whether this node leads the quorum, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        let status = self.quorum.status();
        status.role == QuorumRole::Leader
            && status.leader.is_some_and(|leader| leader.voter == self.quorum.own())
    }

    pub(crate) fn quorum(&self) -> &Arc<MetadataQuorum> {
        &self.quorum
    }
}

/// An answer that is none to what was asked.
pub(crate) fn strange(address: &str) -> ApiError {
    ApiError::new(ErrorCode::Internal, format!("{address} has answered something else than it was asked"))
}

fn api_error(error: &ProposeError) -> ApiError {
    let code = match error {
        ProposeError::Refused(refusal) => refusal.code(),
        ProposeError::Contradiction(_) => ErrorCode::Internal,
        ProposeError::NotLeader(_) | ProposeError::Unconfirmed(_) | ProposeError::Busy => {
            ErrorCode::QuorumUnavailable
        }
        ProposeError::Deposed(_) | ProposeError::TimedOut(_) => ErrorCode::OutcomeUnknown,
        ProposeError::Stopped(_) => ErrorCode::StorageFailed,
    };
    ApiError::new(code, error.to_string())
}
