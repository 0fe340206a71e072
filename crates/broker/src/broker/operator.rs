//! What whoever runs the cluster asks of it.

use millrace_types::{NodeId, PartitionIndex};

use super::Broker;
use crate::admission::Operation;
use crate::{ApiError, BrokerChange, ClusterStatus, Context, PartitionMove, Reassignment, TopicRef};

impl Broker {
    /// How the cluster is.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn cluster_status(&self, ctx: &Context) -> Result<ClusterStatus, ApiError> {
        self.count(Operation::ClusterStatus, self.core.cluster_status(ctx))
    }

    /// What would move if a broker came or went.
    ///
    /// # Errors
    /// [`ApiError`]; also if there is nowhere else to go.
    pub async fn plan_moves(
        &self,
        ctx: &Context,
        change: BrokerChange,
    ) -> Result<Vec<PartitionMove>, ApiError> {
        self.count(Operation::PlanMoves, self.core.plan_moves(ctx, change))
    }

    /// Begins to move partitions, or takes that back; answers each, in order, when that is decided.
    ///
    /// # Errors
    /// [`ApiError`] if the request as a whole is refused.
    pub async fn reassign(
        &self,
        ctx: &Context,
        wanted: Vec<Reassignment>,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        self.count(Operation::ReassignPartitions, self.core.reassign(ctx, wanted).await)
    }

    /// Has the preferred leader lead a partition again; or, of one that nobody leads, `lossy`: records that it does not hold are
    /// lost, acknowledged ones too.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn elect_leader(
        &self,
        ctx: &Context,
        topic: &TopicRef,
        partition: PartitionIndex,
        lossy: Option<NodeId>,
    ) -> Result<(), ApiError> {
        self.count(Operation::ElectLeader, self.core.elect_leader(ctx, topic, partition, lossy).await)
    }

    /// Makes a broker that has stopped and holds nothing no broker of the cluster.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn remove_broker(&self, ctx: &Context, node: NodeId) -> Result<(), ApiError> {
        self.count(Operation::RemoveBroker, self.core.remove_broker(ctx, node).await)
    }
}
