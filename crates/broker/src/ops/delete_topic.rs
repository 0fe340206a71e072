//! Deletes a topic.
//!
//! In this order: the record that says so, the logs, the tombstones of what groups committed for it. The record is
//! what counts: a start after a crash finishes the rest.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_log::DirError;
use millrace_metadata::{Command, Topic};
use millrace_types::TopicPartition;

use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::io_pool::{each_on_pool, to_its_end};
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
            core.metadata.propose(&Command::DeleteTopic { id: topic.id }).await?;
            core.partitions.remove(topic.id);
            core.delete_logs(&topic).await?;
            core.offsets.forget(&BTreeSet::from([topic.id])).await
        };
        to_its_end(&self.env, "delete topic", Box::pin(delete)).await
    }

    async fn delete_logs(&self, topic: &Arc<Topic>) -> Result<(), ApiError> {
        let ids = numbers(topic).map(|partition| TopicPartition { topic: topic.id, partition }).collect();
        let dir = Arc::clone(&self.dir);
        for deleted in each_on_pool(&self.env, ids, move |id| dir.delete(id)).await? {
            match deleted {
                // It was missing from the disk, and now it may be.
                Ok(()) | Err(DirError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
