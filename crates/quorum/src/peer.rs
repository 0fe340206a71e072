//! openraft's view of the network.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use millrace_schema::{QuorumAnswer, QuorumAsk, QuorumRequest};
use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot};

use crate::network::{CallError, Peer, QuorumNetwork};
use crate::raft::{
    Address, Consensus, RaftId, RaftVote, ballot_of, entry_of, log_id_of, position_of, vote_of,
};

/// How long a peer that cannot be reached is left alone. Less than an election takes, or one that is back would begin one.
const REST: Duration = Duration::from_millis(75);

/// Makes a [`Connection`] for each peer.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) network: Arc<dyn QuorumNetwork>,
}

/// The way to one peer.
#[derive(Debug)]
pub(crate) struct Connection {
    network: Arc<dyn QuorumNetwork>,
    peer: Peer,
}

type CallFailed = RPCError<RaftId, Address, RaftError<RaftId>>;

impl RaftNetworkFactory<Consensus> for Connections {
    type Network = Connection;

    async fn new_client(&mut self, target: RaftId, address: &Address) -> Connection {
        let peer = Peer { voter: target.0, address: address.0.clone() };
        Connection { network: Arc::clone(&self.network), peer }
    }
}

impl Connection {
    async fn call(
        &self,
        vote: &RaftVote,
        ask: QuorumAsk,
        option: &RPCOption,
    ) -> Result<QuorumAnswer, CallError> {
        let within = match ask {
            QuorumAsk::Snapshot(_) => option.hard_ttl(),
            // openraft drops the others itself when their time is over, and goes on with the next. It must come first: to be told
            // that the peer is unreachable makes it rest, and a slow disk is no reason to leave its node without heartbeats.
            QuorumAsk::Append { .. } | QuorumAsk::Vote { .. } => option.hard_ttl() * 2,
        };
        let request = QuorumRequest { to: self.peer.voter, ballot: ballot_of(vote), ask };
        self.network.call(&self.peer, request, within).await
    }
}

/// A peer that is gone, or takes no part any more, is not asked in a loop: the next attempt waits. One that was too slow, because its
/// disk was, is asked again at once: a pause would look like a leader that has died.
fn failed(error: &CallError) -> CallFailed {
    match error {
        CallError::Protocol(_) | CallError::NoAnswer(_) => NetworkError::new(error).into(),
        _ => Unreachable::new(error).into(),
    }
}

fn strange(answer: &QuorumAnswer) -> CallError {
    CallError::Protocol(format!("{answer:?} is no answer to that"))
}

impl RaftNetwork<Consensus> for Connection {
    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(REST))
    }

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Consensus>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<RaftId>, CallFailed> {
        let ask = QuorumAsk::Append {
            previous: request.prev_log_id.as_ref().map(position_of),
            entries: request.entries.iter().map(entry_of).collect(),
            commit: request.leader_commit.as_ref().map(position_of),
        };
        match self.call(&request.vote, ask, &option).await.map_err(|error| failed(&error))? {
            QuorumAnswer::Appended => Ok(AppendEntriesResponse::Success),
            QuorumAnswer::AppendedUpTo(last) => {
                Ok(AppendEntriesResponse::PartialSuccess(last.as_ref().map(log_id_of)))
            }
            QuorumAnswer::Conflict => Ok(AppendEntriesResponse::Conflict),
            QuorumAnswer::Newer(ballot) => Ok(AppendEntriesResponse::HigherVote(vote_of(&ballot))),
            answer => Err(failed(&strange(&answer))),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<RaftId>,
        option: RPCOption,
    ) -> Result<VoteResponse<RaftId>, CallFailed> {
        let ask = QuorumAsk::Vote { last: request.last_log_id.as_ref().map(position_of) };
        match self.call(&request.vote, ask, &option).await.map_err(|error| failed(&error))? {
            QuorumAnswer::Voted { ballot, granted, last } => {
                Ok(VoteResponse::new(vote_of(&ballot), last.as_ref().map(log_id_of), granted))
            }
            answer => Err(failed(&strange(&answer))),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: Snapshot<Consensus>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<RaftId>, StreamingError<Consensus, Fatal<RaftId>>> {
        let ask = QuorumAsk::Snapshot(*snapshot.snapshot);
        let answer = tokio::select! {
            biased;
            closed = cancel => return Err(closed.into()),
            answer = self.call(&vote, ask, &option) => answer,
        };
        match answer {
            Ok(QuorumAnswer::Installed(ballot)) => Ok(SnapshotResponse::new(vote_of(&ballot))),
            Ok(answer) => Err(NetworkError::new(&strange(&answer)).into()),
            Err(error) => Err(Unreachable::new(&error).into()),
        }
    }
}
