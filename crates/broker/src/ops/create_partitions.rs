//! Adds partitions to topics: the record first, then the logs, then the answer. A crash between the two is made good by the
//! next start, and want of room by the janitor.

use std::sync::Arc;

use millrace_log::Replication;
use millrace_metadata::{Command, MetadataRecord, Topic};
use millrace_types::{ErrorCode, limits};

use crate::admission::Operation;
use crate::core::Core;
use crate::io_pool::{each_on_pool, to_its_end};
use crate::ops::change_topics::Wanted;
use crate::partitions::{Held, log_config, numbers, partition_meta};
use crate::{ApiError, Context, TopicDescription, TopicRef};

/// How many partitions a topic shall have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPartitions {
    /// The topic.
    pub topic: TopicRef,
    /// How many then, those that it has included.
    pub count: u32,
}

/// More partitions for any number of topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreatePartitionsRequest {
    /// At most [`millrace_types::limits::PARTITIONS_PER_REQUEST_MAX`].
    pub topics: Vec<NewPartitions>,
    /// Check only, and answer what the topics would be.
    pub validate_only: bool,
}

impl Core {
    pub(crate) async fn create_partitions(
        self: &Arc<Self>,
        ctx: &Context,
        request: CreatePartitionsRequest,
    ) -> Result<Vec<Result<TopicDescription, ApiError>>, ApiError> {
        let wanted = request.topics.into_iter().map(|NewPartitions { topic, count }| Wanted {
            topic,
            command: Box::new(move |id| Command::CreatePartitions { id, count }),
        });
        let change = self.topics_change_of(ctx, Operation::CreatePartitions, wanted.collect())?;
        if request.validate_only {
            return self.would_change(&change);
        }
        let core = Arc::clone(self);
        let grow = async move {
            let _nothing_else = core.topics_change.write().await;
            let commands = change.commands();
            core.check_room_for(&core.metadata.check_each(&commands)?.records)?;
            let decided = core.metadata.propose_each(&commands).await?;
            let mut answers = Vec::new();
            for topic in core.changed(&change, decided) {
                answers.push(match topic {
                    Ok(topic) => core.grow(&topic).await.map(|()| core.describe(&topic)),
                    Err(error) => Err(error),
                });
            }
            Ok(answers)
        };
        to_its_end(&self.env, "create partitions", Box::pin(grow)).await
    }

    /// Refuses partitions whose files would take what is left for commits, metadata and deletions.
    pub(crate) fn check_room_for(&self, records: &[MetadataRecord]) -> Result<(), ApiError> {
        let partitions = |record: &MetadataRecord| match record {
            MetadataRecord::TopicCreated(topic) => topic.partitions.len() as u64,
            MetadataRecord::PartitionsAdded(added) => added.partitions.len() as u64,
            _ => 0,
        };
        let partitions: u64 = records.iter().map(partitions).sum();
        // In a cluster they lie on whichever broker the controller picks.
        if self.logs_follow_metadata()
            || self.dir.take_room(partitions.saturating_mul(limits::PARTITION_FILES_BYTES))
        {
            return Ok(());
        }
        let message = format!("the disk has no room for {partitions} partitions beside its reserve");
        Err(ApiError::new(ErrorCode::StorageFull, message))
    }

    async fn grow(&self, topic: &Arc<Topic>) -> Result<(), ApiError> {
        self.make_missing_logs(topic).await.map_err(|error| {
            self.unfinished.half_grown(topic.id);
            let message = format!(
                "topic {} has its partitions, but not all of their logs could be made yet: {error}",
                topic.name
            );
            ApiError::new(ErrorCode::OutcomeUnknown, message)
        })
    }

    /// Makes the logs of a topic's last partitions that are not there yet.
    ///
    /// # Errors
    /// The first one that could not be made; those before it are served.
    pub(crate) async fn make_missing_logs(&self, topic: &Arc<Topic>) -> Result<(), ApiError> {
        if self.logs_follow_metadata() {
            return Ok(());
        }
        let metas = numbers(topic).skip(self.partitions.count_of(topic.id));
        let metas = metas.map(|partition| partition_meta(topic, partition)).collect();
        let (dir, config) = (Arc::clone(&self.dir), log_config(topic, Replication::Alone));
        let made = each_on_pool(&self.env, metas, move |meta| {
            let id = meta.id;
            match dir.create(meta, config.clone()) {
                // An earlier attempt has made it, and not the one before it.
                Err(millrace_log::DirError::Conflict(_)) => dir.open_log(id, config.clone()),
                made => made,
            }
        });
        let (mut logs, mut failed) = (Vec::new(), None);
        for made in made.await? {
            match made {
                Ok(log) if failed.is_none() => logs.push(Held::Open(log)),
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.partitions.extend(topic.id, logs);
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}
