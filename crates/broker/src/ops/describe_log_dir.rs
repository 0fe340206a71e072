//! The data directory: where it is, how full its file system is, and how much of it each partition takes.

use std::path::PathBuf;
use std::sync::Arc;

use millrace_metadata::Topic;
use millrace_types::{PartitionIndex, TopicName, TopicPartition};

use crate::admission::{Operation, Resource};
use crate::core::{Core, check_partition_count};
use crate::partitions::{Held, numbers};
use crate::{ApiError, Context, TopicRef};

/// The data directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogDirDescription {
    /// Where it is.
    pub path: PathBuf,
    /// The size of its file system in bytes.
    pub total_bytes: u64,
    /// What this process may still use of it, in bytes, as it was seen last.
    pub usable_bytes: u64,
    /// The topics that were asked for and are there.
    pub topics: Vec<TopicSizes>,
}

/// How much the partitions of one topic take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicSizes {
    /// The topic's name.
    pub name: TopicName,
    /// The partitions that were asked for and have a log here, with the bytes of their segments.
    pub partitions: Vec<(PartitionIndex, u64)>,
}

impl Core {
    /// Of the partitions that are named, each as often as it is, or of all there are. What is not there is left out.
    pub(crate) fn describe_log_dir(
        self: &Arc<Self>,
        ctx: &Context,
        topics: Option<&[(TopicRef, Vec<PartitionIndex>)]>,
    ) -> Result<LogDirDescription, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::DescribeTopic, Resource::Cluster)?;
        let sizes = match topics {
            None => {
                let image = self.metadata.image();
                image.topics().map(|topic| self.sizes(topic, numbers(topic))).collect()
            }
            Some(topics) => {
                check_partition_count(topics.iter().map(|(_, partitions)| partitions.len()).sum())?;
                let known = topics.iter().filter_map(|(topic, partitions)| {
                    let topic = self.topic(topic).ok()?;
                    Some(self.sizes(&topic, partitions.iter().copied()))
                });
                known.collect()
            }
        };
        let room = self.dir.storage();
        Ok(LogDirDescription {
            path: self.dir.path().to_owned(),
            total_bytes: room.total,
            usable_bytes: room.available,
            topics: sizes,
        })
    }

    fn sizes(&self, topic: &Topic, partitions: impl Iterator<Item = PartitionIndex>) -> TopicSizes {
        let size = |partition| match self.partitions.get(TopicPartition { topic: topic.id, partition })? {
            Held::Open(log) => Some((partition, log.size_bytes())),
            Held::Unavailable(_) => None,
        };
        TopicSizes { name: topic.name.clone(), partitions: partitions.filter_map(size).collect() }
    }
}
