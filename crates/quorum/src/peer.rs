//! openraft's view of the network.

use std::future::Future;
use std::sync::Arc;

use millrace_schema::{QuorumAnswer, QuorumAsk, QuorumRequest};
use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot};

use crate::network::{CallError, Peer, QuorumNetwork};
use crate::raft::{
    Address, Consensus, RaftId, RaftVote, ballot_of, entry_of, log_id_of, position_of, vote_of,
};

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
        let request = QuorumRequest { to: self.peer.voter, ballot: ballot_of(vote), ask };
        self.network.call(&self.peer, request, option.hard_ttl()).await
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
