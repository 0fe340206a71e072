//! Says where partitions live: what a client of Kafka asks for before anything else.

use std::sync::Arc;

use millrace_metadata::{Image, Partition, Topic};
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
    /// Who is not in sync and holds everything that is committed nevertheless (KIP-966).
    pub eligible: Vec<NodeId>,
    /// Who was in sync or eligible until it may have lost something.
    pub last_known_eligible: Vec<NodeId>,
    /// Who of those that hold it cannot be asked now.
    pub offline: Vec<NodeId>,
}

impl Core {
    pub(crate) fn topic_layouts(
        self: &Arc<Self>,
        ctx: &Context,
        topics: Option<&[TopicRef]>,
    ) -> Result<Vec<Result<TopicLayout, ApiError>>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::DescribeTopic, Resource::Cluster)?;
        let image = self.metadata.image();
        let Some(topics) = topics else {
            return Ok(image.topics().map(|topic| Ok(self.layout(&image, topic))).collect());
        };
        let layout = |topic: &TopicRef| {
            let topic = self.topic(topic)?;
            self.admission.authorize(ctx, Operation::DescribeTopic, Resource::Topic(&topic.name))?;
            Ok(self.layout(&image, &topic))
        };
        Ok(topics.iter().map(layout).collect())
    }

    /// Who leads a partition and since when, as far as this node knows.
    pub(crate) fn leadership(
        &self,
        topic: &TopicRef,
        partition: PartitionIndex,
    ) -> Option<(Option<NodeId>, LeaderEpoch)> {
        let topic = self.topic(topic).ok()?;
        let at = TopicPartition { topic: topic.id, partition };
        Some(self.led_by(topic.partition(partition)?, self.partitions.get(at).as_ref()))
    }

    /// Who leads a partition of which this node has `held`, if it has any of it.
    pub(crate) fn led_by(&self, placed: &Partition, held: Option<&Held>) -> (Option<NodeId>, LeaderEpoch) {
        match held {
            _ if placed.leader != Some(self.config.node) => (placed.leader, placed.leader_epoch),
            // The log's own count is ahead of the metadata's after an unclean start of a broker that is alone.
            Some(Held::Open(log)) => (placed.leader, log.leader_epoch().max(placed.leader_epoch)),
            Some(Held::Unavailable(_)) => (None, placed.leader_epoch),
            None => (placed.leader, placed.leader_epoch),
        }
    }

    fn layout(&self, image: &Image, topic: &Topic) -> TopicLayout {
        let partitions = numbers(topic).zip(&topic.partitions).map(|(partition, placed)| {
            let held = self.partitions.get(TopicPartition { topic: topic.id, partition });
            let (leader, leader_epoch) = self.led_by(placed, held.as_ref());
            let is_lost_here = matches!(held, Some(Held::Unavailable(_)));
            let is_offline = |node: &NodeId| {
                (*node == self.config.node && is_lost_here)
                    || !image.broker(*node).is_some_and(|broker| broker.is_active())
            };
            PartitionLayout {
                partition,
                leader,
                leader_epoch,
                replicas: Arc::clone(&placed.replicas),
                isr: Arc::clone(&placed.isr),
                eligible: placed.elr.clone(),
                last_known_eligible: placed.last_known_elr.clone(),
                offline: placed.replicas.iter().copied().filter(is_offline).collect(),
            }
        });
        TopicLayout { name: topic.name.clone(), id: topic.id, partitions: partitions.collect() }
    }
}
