//! Says where partitions live: what a client of Kafka asks for before anything else.

use std::sync::Arc;

use millrace_metadata::Topic;
use millrace_types::{LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName, TopicPartition};

use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::partitions::{Held, numbers};
use crate::{ApiError, Context, TopicRef};

/// Where the partitions of a topic live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicLayout {
    /// Its name.
    pub name: TopicName,
    /// Its id.
    pub id: TopicId,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionLayout>,
}

/// Where one partition lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionLayout {
    /// Its number.
    pub partition: PartitionIndex,
    /// Who leads it; nobody if its log cannot be served.
    pub leader: Option<NodeId>,
    /// Since which epoch.
    pub leader_epoch: LeaderEpoch,
    /// Who holds it.
    pub replicas: Arc<[NodeId]>,
    /// Who of them is in sync.
    pub isr: Arc<[NodeId]>,
}

impl Core {
    pub(crate) fn topic_layouts(
        self: &Arc<Self>,
        ctx: &Context,
        topics: Option<&[TopicRef]>,
    ) -> Result<Vec<Result<TopicLayout, ApiError>>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::DescribeTopic, Resource::Cluster)?;
        let Some(topics) = topics else {
            return Ok(self.metadata.image().topics().map(|topic| Ok(self.layout(topic))).collect());
        };
        let layout = |topic: &TopicRef| {
            let topic = self.topic(topic)?;
            self.admission.authorize(ctx, Operation::DescribeTopic, Resource::Topic(&topic.name))?;
            Ok(self.layout(&topic))
        };
        Ok(topics.iter().map(layout).collect())
    }

    fn layout(&self, topic: &Topic) -> TopicLayout {
        let partitions = numbers(topic).zip(&topic.partitions).map(|(partition, placed)| {
            let held = self.partitions.get(TopicPartition { topic: topic.id, partition });
            let (leader, leader_epoch) = match &held {
                // The log's own count is ahead of the metadata's after an unclean start.
                Some(Held::Open(log)) => (placed.leader, log.leader_epoch().max(placed.leader_epoch)),
                Some(Held::Unavailable(_)) => (None, placed.leader_epoch),
                None => (placed.leader, placed.leader_epoch),
            };
            let (replicas, isr) = (Arc::clone(&placed.replicas), Arc::clone(&placed.isr));
            PartitionLayout { partition, leader, leader_epoch, replicas, isr }
        });
        TopicLayout { name: topic.name.clone(), id: topic.id, partitions: partitions.collect() }
    }
}
