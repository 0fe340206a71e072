//! What is decided and could not be carried out for want of room: tried again each second, and before a stop.
//!
//! A deletion that is committed is answered as one, whatever its files say; a topic that could not be made whole is
//! taken back as soon as the record of that finds room.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_env::is_out_of_files;
use millrace_log::DirError;
use millrace_metadata::Command;
use millrace_types::{ErrorCode, Outcome, TopicId, TopicPartition};
use parking_lot::Mutex;

use crate::ApiError;
use crate::core::Core;
use crate::io_pool::each_on_pool;

/// Work that is left. Bounded by the topics that there were.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    left: Mutex<Left>,
}

#[derive(Clone, Debug, Default)]
struct Left {
    /// Topics without all of their logs, still to be deleted.
    half_made: BTreeSet<TopicId>,
    /// Topics without the logs of their new partitions, still to be made.
    half_grown: BTreeSet<TopicId>,
    /// Topics whose logs do not follow their configuration yet.
    configs: BTreeSet<TopicId>,
    /// Logs of deleted topics, still under their names.
    logs: BTreeSet<TopicPartition>,
    /// Deleted topics that offsets are still committed for.
    offsets: BTreeSet<TopicId>,
}

impl Unfinished {
    /// A topic that has to be taken back.
    pub(crate) fn half_made(&self, topic: TopicId) {
        self.left.lock().half_made.insert(topic);
    }

    /// A topic that has got partitions without logs.
    pub(crate) fn half_grown(&self, topic: TopicId) {
        self.left.lock().half_grown.insert(topic);
    }

    /// Whether logs of a topic do not follow its configuration yet.
    pub(crate) fn note_config(&self, topic: TopicId, is_behind: bool) {
        let mut left = self.left.lock();
        if is_behind {
            left.configs.insert(topic);
        } else {
            left.configs.remove(&topic);
        }
    }

    /// Whether topics are left that were not made whole.
    pub(crate) fn has_half_made(&self) -> bool {
        let left = self.left.lock();
        !left.half_made.is_empty() || !left.half_grown.is_empty()
    }
}

/// Whether an operation on a log failed for want of room or of open files only: it is tried again.
pub(crate) fn may_pass(error: &DirError) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error, DirError::Io { source, .. }
        if matches!(source.kind(), StorageFull | QuotaExceeded) || is_out_of_files(source))
}

impl Core {
    /// Deletes logs of a topic whose deletion is committed; those that find no room are deleted later.
    ///
    /// # Errors
    /// If the data directory has failed.
    pub(crate) async fn delete_logs(&self, ids: Vec<TopicPartition>) -> Result<(), ApiError> {
        let dir = Arc::clone(&self.dir);
        let deleted = each_on_pool(&self.env, ids, move |id| (id, dir.delete(id))).await?;
        for (id, outcome) in deleted {
            match outcome {
                // It was missing from the disk, or never made, and now it may be.
                Ok(()) | Err(DirError::Conflict(_)) => {
                    self.unfinished.left.lock().logs.remove(&id);
                }
                Err(error) => {
                    let error = ApiError::from(error);
                    if error.code != ErrorCode::StorageFull {
                        return Err(error);
                    }
                    tracing::warn!(partition = %id, %error, "a log is deleted later");
                    self.unfinished.left.lock().logs.insert(id);
                }
            }
        }
        Ok(())
    }

    /// Forgets what was committed for deleted topics, now or later.
    ///
    /// # Errors
    /// Indefinite ones: the data directory has failed.
    pub(crate) async fn forget_offsets(&self, topics: BTreeSet<TopicId>) -> Result<(), ApiError> {
        match self.groups.forget(&topics).await {
            Ok(()) => {
                self.unfinished.left.lock().offsets.retain(|topic| !topics.contains(topic));
                Ok(())
            }
            // Refused, for want of room or because the offsets are being read again.
            Err(error) if error.code.outcome() == Outcome::Definite => {
                tracing::warn!(%error, "the offsets of deleted topics are forgotten later");
                self.unfinished.left.lock().offsets.extend(topics);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Forgets what was committed for topics that were deleted while others coordinated the groups that are coordinated here now.
    pub(crate) async fn forget_missed_offsets(&self) {
        let missing = self.groups.missing_topics(|| self.metadata.image());
        if !missing.is_empty()
            && let Err(error) = self.forget_offsets(missing).await
        {
            tracing::warn!(%error, "what was committed for deleted topics is still there");
        }
    }

    /// Tries again what is left.
    pub(crate) async fn finish(&self) {
        let Left { half_made, half_grown, configs, logs, offsets } = self.unfinished.left.lock().clone();
        for id in half_made {
            let _nothing_else = self.topics_change.write().await;
            self.take_back_again(id).await;
        }
        for id in half_grown {
            let _nothing_else = self.topics_change.write().await;
            self.grow_again(id).await;
        }
        for id in configs {
            let _nothing_else = self.topics_change.write().await;
            self.follow_again(id).await;
        }
        let logs = if logs.is_empty() { Ok(()) } else { self.delete_logs(logs.into_iter().collect()).await };
        let offsets = if offsets.is_empty() { Ok(()) } else { self.forget_offsets(offsets).await };
        if let Err(error) = logs.and(offsets) {
            tracing::warn!(%error, "what deleted topics have left is still there");
        }
    }

    async fn grow_again(&self, id: TopicId) {
        let topic = self.metadata.image().topic_by_id(id).cloned();
        let made = match &topic {
            Some(topic) => self.make_missing_logs(topic).await,
            // It was deleted meanwhile.
            None => Ok(()),
        };
        match made {
            Ok(()) => {
                self.unfinished.left.lock().half_grown.remove(&id);
            }
            Err(error) => {
                tracing::warn!(topic = %id, %error, "the logs of new partitions cannot be made yet")
            }
        }
    }

    async fn follow_again(&self, id: TopicId) {
        let Some(topic) = self.metadata.image().topic_by_id(id).cloned() else {
            self.unfinished.note_config(id, false);
            return;
        };
        if let Err(error) = self.follow_config(&topic).await {
            tracing::warn!(topic = %topic.name, %error, "logs do not follow their topic's configuration");
        }
    }

    async fn take_back_again(&self, id: TopicId) {
        let Some(topic) = self.metadata.image().topic_by_id(id).cloned() else {
            // Somebody else has deleted it.
            self.unfinished.left.lock().half_made.remove(&id);
            return;
        };
        match self.metadata.propose(&Command::DeleteTopic { id }).await {
            Ok(_) => {
                self.unfinished.left.lock().half_made.remove(&id);
                self.partitions.remove(id);
                let ids = crate::partitions::numbers(&topic);
                let ids = ids.map(|partition| TopicPartition { topic: id, partition }).collect();
                if let Err(error) = self.delete_logs(ids).await {
                    tracing::warn!(topic = %topic.name, %error, "what was made of the topic is still there");
                }
            }
            Err(error) => tracing::warn!(topic = %topic.name, %error, "the topic cannot be taken back yet"),
        }
    }
}
