//! What the cluster has decided, and the way to decide more: alone, or with a quorum of others.

use std::sync::Arc;

use millrace_metadata::{Command, Image, MetadataRecord};
use tokio::sync::watch;

use crate::ApiError;
use crate::cluster::ClusterMetadata;
use crate::metadata_log::{Decided, MetadataLog, decide_each};

/// See above.
#[derive(Debug)]
pub(crate) enum Metadata {
    /// This node decides for itself.
    Alone(MetadataLog),
    /// A majority decides.
    Quorum(Arc<ClusterMetadata>),
}

impl Metadata {
    /// What the cluster has decided, as far as this node knows.
    pub(crate) fn image(&self) -> Arc<Image> {
        match self {
            Metadata::Alone(log) => log.image(),
            Metadata::Quorum(quorum) => quorum.image(),
        }
    }

    /// Hears of every image after this call, by its version; several may be heard of as one.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        match self {
            Metadata::Alone(log) => log.changes(),
            Metadata::Quorum(quorum) => quorum.changes(),
        }
    }

    /// Completes when this node knows all that was decided before the call, and its replicas follow it. At once where it decides for
    /// itself. What only a leader may say is certain if it says it behind this and still leads.
    ///
    /// # Errors
    /// Nobody can say now.
    pub(crate) async fn confirm(&self) -> Result<(), ApiError> {
        match self {
            Metadata::Alone(_) => Ok(()),
            // Rare, and large: not to be a part of every fetch.
            Metadata::Quorum(quorum) => Box::pin(quorum.confirm()).await,
        }
    }

    /// Decides without writing, on what is known here.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn check(&self, command: &Command) -> Result<Vec<MetadataRecord>, ApiError> {
        Ok(millrace_metadata::decide(&self.image(), command)?)
    }

    /// Decides commands of which each stands for itself, without writing.
    ///
    /// # Errors
    /// If a decision contradicts its own image.
    pub(crate) fn check_each(&self, commands: &[Command]) -> Result<Decided, ApiError> {
        decide_each(&self.image(), commands)
    }

    /// Carries out a command; answers the records it became, when they are durable and this node has them. Not to be dropped
    /// half-way.
    ///
    /// # Errors
    /// The refusal; or why nothing was decided; or an indefinite one.
    pub(crate) async fn propose(&self, command: &Command) -> Result<Vec<MetadataRecord>, ApiError> {
        match self {
            Metadata::Alone(log) => log.propose(command).await,
            Metadata::Quorum(quorum) => quorum.propose(command).await,
        }
    }

    /// Carries out commands of which each stands for itself: one that is refused keeps the others from nothing. Not to be
    /// dropped half-way.
    ///
    /// # Errors
    /// Of all together, as [`Metadata::propose`].
    pub(crate) async fn propose_each(
        &self,
        commands: &[Command],
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        match self {
            Metadata::Alone(log) => log.propose_each(commands).await,
            Metadata::Quorum(quorum) => {
                let outcomes = quorum.decide(commands).await?;
                Ok(outcomes.into_iter().map(|outcome| outcome.map(|_| ())).collect())
            }
        }
    }
}
