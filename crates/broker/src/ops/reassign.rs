//! Begins to move partitions to other brokers (KIP-455), or takes that back. They move while nobody waits: their leaders say when
//! the new replicas are in sync.

use std::sync::Arc;

use millrace_metadata::Command;
use millrace_types::{NodeId, PartitionIndex, TopicPartition};

use crate::admission::{Operation, Resource};
use crate::core::{Core, check_partition_count, placed};
use crate::io_pool::to_its_end;
use crate::{ApiError, Context, TopicRef};

/// Where a partition shall lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reassignment {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// The preferred leader first. Nobody: what is under way is taken back.
    pub replicas: Vec<NodeId>,
}

impl Core {
    pub(crate) async fn reassign(
        self: &Arc<Self>,
        ctx: &Context,
        wanted: Vec<Reassignment>,
    ) -> Result<Vec<Result<(), ApiError>>, ApiError> {
        let in_flight = self.admission.admit(ctx, Operation::ReassignPartitions, Resource::Cluster)?;
        check_partition_count(wanted.len())?;
        let commands: Vec<_> = wanted.into_iter().map(|wanted| self.reassignment(ctx, wanted)).collect();
        let core = Arc::clone(self);
        let reassign = async move {
            let _in_flight = in_flight;
            let readable: Vec<_> = commands.iter().flatten().cloned().collect();
            let mut decided = match readable.is_empty() {
                true => Vec::new(),
                false => core.metadata.propose_each(&readable).await?,
            }
            .into_iter();
            let answer = |command: Result<Command, ApiError>| {
                command?;
                decided.next().unwrap_or(Ok(()))
            };
            Ok(commands.into_iter().map(answer).collect())
        };
        to_its_end(&self.env, "reassign partitions", Box::pin(reassign)).await
    }

    fn reassignment(&self, ctx: &Context, wanted: Reassignment) -> Result<Command, ApiError> {
        let Reassignment { topic, partition, replicas } = wanted;
        let topic = self.topic(&topic)?;
        self.admission.authorize(ctx, Operation::ReassignPartitions, Resource::Topic(&topic.name))?;
        placed(&topic, partition)?;
        let at = TopicPartition { topic: topic.id, partition };
        Ok(match replicas.is_empty() {
            true => Command::CancelReassignment { at },
            false => Command::Reassign { at, replicas },
        })
    }
}
