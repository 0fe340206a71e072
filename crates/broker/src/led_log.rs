//! The log of a partition, as whoever writes to it as its leader sees it: alone, or with other replicas.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use millrace_log::{AppendError, Appended, Log, ReadError, Ticket};
use millrace_record::Batch;
use millrace_replication::{Doubt, ProduceRefusal};
use millrace_types::{ErrorCode, LeaderEpoch, Offset, TopicPartition};
use tokio::sync::oneshot;

use crate::ApiError;
use crate::cluster::{LedBy, PartitionReplica};

/// What a batch has to reach before its sender is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// Every replica in sync holds it, and enough are in sync.
    Committed,
    /// The leader holds it.
    Held,
}

/// A log that this node leads, or led when it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct LedLog {
    log: Arc<Log>,
    /// `None` where this is the only replica there will ever be.
    replica: Option<Arc<PartitionReplica>>,
}

/// Why a batch was not appended, or why nobody knows what becomes of it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LedError {
    /// The log's word.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Definite: nothing was appended.
    #[error(transparent)]
    TooFew(#[from] ProduceRefusal),
    /// Indefinite.
    #[error("too few replicas are in sync since the append")]
    TooFewSince,
    /// Indefinite.
    #[error("another broker leads the partition since the append")]
    Deposed,
    /// Definite: nothing was appended. The log lacks what its producer has sent before; a leader that was replaced and has not heard
    /// of it lacks what was sent to the one after it, so that this is no proof of a gap.
    #[error(
        "sequence {found} came where {expected} was expected: if another broker leads by now, it knows better"
    )]
    Behind {
        /// The epoch in which this broker led.
        epoch: LeaderEpoch,
        /// The sequence that would have been accepted.
        expected: i32,
        /// The one that came.
        found: i32,
    },
}

impl From<LedError> for ApiError {
    fn from(error: LedError) -> ApiError {
        let code = match error {
            LedError::Append(error) => return error.into(),
            LedError::TooFew(_) => ErrorCode::NotEnoughReplicas,
            LedError::TooFewSince => ErrorCode::NotEnoughReplicasAfterAppend,
            LedError::Deposed => ErrorCode::OutcomeUnknown,
            LedError::Behind { .. } => ErrorCode::NotLeader,
        };
        ApiError::new(code, error.to_string())
    }
}

impl LedLog {
    /// A log without other replicas.
    pub(crate) fn alone(log: Arc<Log>) -> LedLog {
        LedLog { log, replica: None }
    }

    /// The log of a replica.
    pub(crate) fn replicated(replica: Arc<PartitionReplica>) -> LedLog {
        LedLog { log: Arc::clone(replica.log()), replica: Some(replica) }
    }

    /// Completes when all that was appended until now is committed, or the log is closed. At once where there are no other replicas:
    /// there a ticket that is done leaves nothing open.
    pub(crate) async fn settled(&self) {
        let end = self.log.offsets().end;
        if self.replica.is_some() && end > Offset::ZERO {
            self.log.wait_above(end.saturating_sub(1)).await;
        }
    }

    /// The log itself, to read from.
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Whether other brokers have it too.
    pub(crate) fn is_replicated(&self) -> bool {
        self.replica.is_some()
    }

    /// Whether this node still leads it; answers whether it knows all that was ever committed.
    ///
    /// # Errors
    /// NOT_LEADER.
    pub(crate) fn check_leads(&self) -> Result<bool, ApiError> {
        let Some(replica) = &self.replica else { return Ok(true) };
        let standing = replica.standing();
        if standing.leads { Ok(standing.complete) } else { Err(AppendError::NotLeading.into()) }
    }

    /// Whether this node still leads it in that epoch, as far as it knows. A log without other replicas has no such epochs.
    pub(crate) fn leads_in(&self, epoch: LeaderEpoch) -> bool {
        self.replica.as_ref().is_none_or(|replica| {
            let standing = replica.standing();
            standing.leads && standing.epoch == epoch
        })
    }

    /// What a reader is told whose records could not be read. While other replicas may have them whole nobody is to read past them.
    pub(crate) fn read_error(&self, error: ReadError) -> ApiError {
        let is_damage = matches!(error, ReadError::Corrupt(_) | ReadError::Io(_));
        if is_damage && self.replica.as_ref().is_some_and(|replica| replica.may_be_mended()) {
            let message = format!("{error}; they are being put back from another replica");
            return ApiError::new(ErrorCode::OffsetNotAvailable, message);
        }
        error.into()
    }

    /// Whether another broker may know of more than the end of this log, although this one believes to lead.
    pub(crate) fn is_beyond(&self, offset: Offset) -> bool {
        self.replica.is_some() && offset > self.log.offsets().end
    }

    /// Queues a batch as [`Log::append`] does. Does not wait.
    ///
    /// # Errors
    /// Definite ones.
    pub(crate) fn append(&self, batch: Batch, reach: Reach) -> Result<LedTicket, LedError> {
        self.append_by(None, batch, reach)
    }

    /// As [`LedLog::append`], by who leads in that epoch: in a later one nothing is appended, though it be this node's again. A log
    /// without other replicas has no such epochs.
    ///
    /// # Errors
    /// Definite ones.
    pub(crate) fn append_in(
        &self,
        epoch: LeaderEpoch,
        batch: Batch,
        reach: Reach,
    ) -> Result<LedTicket, LedError> {
        self.append_by(Some(epoch), batch, reach)
    }

    fn append_by(
        &self,
        epoch: Option<LeaderEpoch>,
        batch: Batch,
        reach: Reach,
    ) -> Result<LedTicket, LedError> {
        let Some(replica) = &self.replica else {
            return Ok(LedTicket { stage: Stage::Held(self.log.append(batch)?, None), epoch: None });
        };
        let by = replica.admit(reach == Reach::Committed);
        let by = by.map_err(|refusal| refusal.map_or(AppendError::NotLeading.into(), LedError::TooFew))?;
        // The log looks again when it writes.
        let epoch = epoch.unwrap_or(by.epoch());
        let ticket = self.log.append_in(epoch, batch)?;
        // Followers are sent what is written while it is synced here.
        replica.wrote();
        let then = (reach == Reach::Committed).then(|| (Arc::clone(replica), by));
        Ok(LedTicket { stage: Stage::Held(ticket, then), epoch: Some(epoch) })
    }
}

/// The wait for an append. Dropping it abandons the wait, not the append.
#[derive(Debug)]
pub(crate) struct LedTicket {
    stage: Stage,
    /// In which it was appended; `None` where there are no other replicas.
    epoch: Option<LeaderEpoch>,
}

#[derive(Debug)]
enum Stage {
    Held(Ticket, Option<(Arc<PartitionReplica>, LedBy)>),
    Committed(Result<Appended, AppendError>, oneshot::Receiver<Result<(), Doubt>>),
}

impl LedTicket {
    /// As [`Ticket::partition`].
    pub(crate) fn partition(&self) -> Option<TopicPartition> {
        match &self.stage {
            Stage::Held(ticket, _) => Some(ticket.partition()),
            Stage::Committed(..) => None,
        }
    }

    /// As [`Ticket::sync_in_background`].
    pub(crate) fn sync_in_background(&self) {
        if let Stage::Held(ticket, _) = &self.stage {
            ticket.sync_in_background();
        }
    }
}

impl Future for LedTicket {
    type Output = Result<Appended, LedError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let epoch = self.epoch;
        loop {
            match &mut self.stage {
                Stage::Held(ticket, then) => {
                    let held = ready!(Pin::new(ticket).poll(cx));
                    if let Err(AppendError::OutOfOrderSequence { expected, found }) = held
                        && let Some(epoch) = epoch
                    {
                        return Poll::Ready(Err(LedError::Behind { epoch, expected, found }));
                    }
                    let Some((replica, by)) = then.take() else { return Poll::Ready(Ok(held?)) };
                    let last = match &held {
                        Ok(appended) => appended.last_offset,
                        // Clients take it for success: all that the log has by now must be committed, and that batch with it.
                        Err(AppendError::DuplicateSequence { .. }) => {
                            replica.log().offsets().end.saturating_sub(1)
                        }
                        Err(_) => return Poll::Ready(Ok(held?)),
                    };
                    let committed = replica.committed(by, last);
                    self.stage = Stage::Committed(held, committed);
                }
                Stage::Committed(appended, committed) => {
                    let outcome = ready!(Pin::new(committed).poll(cx));
                    return Poll::Ready(match outcome {
                        Ok(Ok(())) => appended.clone().map_err(LedError::Append),
                        Ok(Err(Doubt::NotEnoughReplicas)) => Err(LedError::TooFewSince),
                        // The replica is gone, or another one leads.
                        Ok(Err(Doubt::NotLeader)) | Err(_) => Err(LedError::Deposed),
                    });
                }
            }
        }
    }
}
