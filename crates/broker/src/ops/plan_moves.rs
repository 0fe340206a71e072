//! Plans what moves when a broker comes or goes. The plan itself is a pure value (`metadata/src/plan.rs`).

use std::sync::Arc;

use millrace_metadata::{Move, plan_addition, plan_removal};
use millrace_types::{NodeId, PartitionIndex, TopicId, TopicName};

use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::{ApiError, Context};

/// What becomes of a broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BrokerChange {
    /// It gets its share of the topics of users.
    Add(NodeId),
    /// Everything goes elsewhere, what belongs to the product too.
    Remove(NodeId),
}

/// A partition that is to move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionMove {
    /// Its topic.
    pub topic: TopicName,
    /// The topic's id.
    pub id: TopicId,
    /// Its number.
    pub partition: PartitionIndex,
    /// Where it lies.
    pub from: Vec<NodeId>,
    /// Where it is to lie, the preferred leader first.
    pub to: Vec<NodeId>,
}

impl Core {
    pub(crate) fn plan_moves(
        self: &Arc<Self>,
        ctx: &Context,
        change: BrokerChange,
    ) -> Result<Vec<PartitionMove>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::PlanMoves, Resource::Cluster)?;
        let image = self.metadata.image();
        let moves = match change {
            BrokerChange::Add(node) => plan_addition(&image, node),
            BrokerChange::Remove(node) => plan_removal(&image, node),
        };
        let named = |Move { at, from, to }: Move| {
            let topic = image.topic_by_id(at.topic)?.name.clone();
            Some(PartitionMove { topic, id: at.topic, partition: at.partition, from, to })
        };
        Ok(moves?.into_iter().filter_map(named).collect())
    }
}
