//! Deletes a topic.
//!
//! In this order: the record that says so, the logs, the tombstones of what groups committed for it. The record is
//! what counts: what finds no room, or comes too late for a crash, is finished later.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_metadata::Command;
use millrace_types::TopicPartition;

use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::io_pool::to_its_end;
use crate::partitions::numbers;
use crate::{ApiError, Context, TopicRef};

impl Core {
    pub(crate) async fn delete_topic(
        self: &Arc<Self>,
        ctx: &Context,
        topic: TopicRef,
    ) -> Result<(), ApiError> {
        let in_flight = self.admission.admit(ctx, Operation::DeleteTopic, Resource::Cluster)?;
        let topic = self.topic(&topic)?;
        self.admission.authorize(ctx, Operation::DeleteTopic, Resource::Topic(&topic.name))?;
        let core = Arc::clone(self);
        let delete = async move {
            let _in_flight = in_flight;
            let _nothing_else = core.topics_change.write().await;
            // It may have got more partitions meanwhile.
            let topic = core.topic(&TopicRef::Id(topic.id))?;
            core.metadata.propose(&Command::DeleteTopic { id: topic.id }).await?;
            if core.logs_follow_metadata() {
                return Ok(());
            }
            core.partitions.remove(topic.id);
            let id = |partition| TopicPartition { topic: topic.id, partition };
            core.delete_logs(numbers(&topic).map(id).collect()).await?;
            core.forget_offsets(BTreeSet::from([topic.id])).await
        };
        to_its_end(&self.env, "delete topic", Box::pin(delete)).await
    }
}
