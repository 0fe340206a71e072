//! Gives a partition another leader because somebody asks for it.

use std::sync::Arc;

use millrace_metadata::Command;
use millrace_types::{NodeId, PartitionIndex, TopicPartition};

use crate::admission::{Operation, Resource};
use crate::core::{Core, placed};
use crate::io_pool::to_its_end;
use crate::{ApiError, Context, TopicRef};

impl Core {
    /// Has the preferred leader lead again; or, of a partition that nobody leads, `lossy`, whatever it does not hold.
    pub(crate) async fn elect_leader(
        self: &Arc<Self>,
        ctx: &Context,
        topic: &TopicRef,
        partition: PartitionIndex,
        lossy: Option<NodeId>,
    ) -> Result<(), ApiError> {
        let in_flight = self.admission.admit(ctx, Operation::ElectLeader, Resource::Cluster)?;
        let topic = self.topic(topic)?;
        self.admission.authorize(ctx, Operation::ElectLeader, Resource::Topic(&topic.name))?;
        placed(&topic, partition)?;
        let at = TopicPartition { topic: topic.id, partition };
        let command = match lossy {
            Some(node) => Command::ElectUnclean { at, node },
            None => Command::ElectPreferred { at },
        };
        let core = Arc::clone(self);
        let elect = async move {
            let _in_flight = in_flight;
            if let Some(node) = lossy {
                tracing::warn!(topic = %topic.name, %partition, %node, "a leader is wanted that may not hold everything");
            }
            core.metadata.propose(&command).await.map(|_records| ())
        };
        to_its_end(&self.env, "elect a leader", Box::pin(elect)).await
    }
}
