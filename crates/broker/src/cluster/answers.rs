//! What other brokers are answered.

use millrace_env::BoxFuture;
use millrace_quorum::{CallError, QuorumAnswer, QuorumRequest};
use millrace_types::{ErrorCode, LeaderEpoch, TopicPartition};

use super::Cluster;
use super::peers::{Greeted, Greeting, PeerAnswer, PeerCall, PeerRequest, PeerService, ReplicaTail};
use crate::core::{check_count, check_partition_count};
use crate::{ApiError, Broker};

impl PeerService for Broker {
    fn answer(&self, call: PeerCall) -> BoxFuture<Result<PeerAnswer, ApiError>> {
        let cluster = self.cluster().cloned();
        Box::pin(async move {
            let cluster = cluster.ok_or_else(|| {
                ApiError::new(
                    ErrorCode::Unsupported,
                    "this broker is alone: it was started without --internal",
                )
            })?;
            cluster.answer(call).await
        })
    }

    fn answer_quorum(&self, request: QuorumRequest) -> BoxFuture<Result<QuorumAnswer, CallError>> {
        let cluster = self.cluster().cloned();
        Box::pin(async move {
            match cluster {
                Some(cluster) => cluster.quorum().answer(request).await,
                None => Err(CallError::Stopped("this broker is alone".to_owned())),
            }
        })
    }
}

impl Cluster {
    async fn answer(&self, call: PeerCall) -> Result<PeerAnswer, ApiError> {
        let PeerCall { cluster, from, request } = call;
        if let Some(theirs) = cluster.filter(|theirs| *theirs != self.id) {
            let message = format!("node {from} is of cluster {theirs}, this one is of {}", self.id);
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
        if cluster.is_none() && !matches!(request, PeerRequest::Greet(_)) {
            let message = format!("node {from} does not say of which cluster it is");
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
        Ok(match request {
            PeerRequest::Greet(Greeting { voter, internal }) => {
                if let Some(voter) = voter {
                    if voter.node != from || from == self.me {
                        let message = format!("node {from} greets as {voter} at node {}", self.me);
                        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
                    }
                    self.book.note(from, &internal);
                    self.sessions.voice(from, voter, &internal);
                }
                PeerAnswer::Greeted(Greeted { cluster: self.id, leader: self.metadata().leader() })
            }
            PeerRequest::Propose(commands) => {
                check_count(commands.len(), "commands")?;
                PeerAnswer::Proposed(self.metadata().decide_here(&commands).await?)
            }
            PeerRequest::Heartbeat(says) => {
                if says.node != from {
                    let message = format!("node {from} speaks for node {}", says.node);
                    return Err(ApiError::new(ErrorCode::InvalidRequest, message));
                }
                PeerAnswer::Heartbeat(self.heartbeat(says).await?)
            }
            PeerRequest::Fetch(request) => {
                check_partition_count(request.fetches.len())?;
                if let Some(other) = request.fetches.iter().find(|fetch| fetch.replica != from) {
                    let message = format!("node {from} fetches for node {}", other.replica);
                    return Err(ApiError::new(ErrorCode::InvalidRequest, message));
                }
                PeerAnswer::Fetched(self.send(from, request).await?)
            }
            PeerRequest::Tails(partitions) => {
                check_partition_count(partitions.len())?;
                PeerAnswer::Tails(self.tails(partitions))
            }
            PeerRequest::Records(question) => PeerAnswer::Records(self.records(question).await?),
        })
    }

    /// How far the logs of this node are.
    pub(crate) fn tails(&self, partitions: Vec<TopicPartition>) -> Vec<ReplicaTail> {
        let tail = |at| {
            let part = self.replicas.get(at)?;
            let log = part.log();
            let last_epoch = log.last_epoch().unwrap_or(LeaderEpoch::NONE);
            Some(ReplicaTail { at, last_epoch, end: log.offsets().held })
        };
        partitions.into_iter().filter_map(tail).collect()
    }
}
