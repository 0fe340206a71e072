//! Lists and describes topics.

use std::sync::Arc;

use millrace_log::DamageTotal;
use millrace_metadata::{Partition, Topic};
use millrace_types::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};

use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::partitions::{Held, numbers};
use crate::{ApiError, Context, TopicRef};

/// A topic in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicSummary {
    /// Its name.
    pub name: TopicName,
    /// Its id.
    pub id: TopicId,
    /// How many partitions.
    pub partitions: u32,
    /// How many replicas.
    pub replication_factor: u32,
}

/// A topic, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicDescription {
    /// Its name.
    pub name: TopicName,
    /// Its id.
    pub id: TopicId,
    /// How many replicas.
    pub replication_factor: u32,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
    /// Every key that is enforced, sorted.
    pub configs: Vec<ConfigEntry>,
}

/// A config key in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigEntry {
    /// The key.
    pub key: String,
    /// The value in force.
    pub value: String,
    /// Whether the topic sets it itself.
    pub is_set: bool,
}

/// A partition, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: PartitionIndex,
    /// Who leads it.
    pub leader: Option<NodeId>,
    /// Since which epoch.
    pub leader_epoch: LeaderEpoch,
    /// Who holds it.
    pub replicas: Vec<NodeId>,
    /// Who of them is in sync.
    pub isr: Vec<NodeId>,
    /// Who is not in sync and holds everything that is committed nevertheless (KIP-966).
    pub eligible: Vec<NodeId>,
    /// Who was last known to hold everything that is committed, where nobody is known to any more.
    pub last_known: Vec<NodeId>,
    /// Replicas that a reassignment under way adds.
    pub adding: Vec<NodeId>,
    /// Replicas that it takes away.
    pub removing: Vec<NodeId>,
    /// First readable offset.
    pub log_start: Offset,
    /// First offset that is not committed.
    pub high_watermark: Offset,
    /// First unwritten offset.
    pub end_offset: Offset,
    /// Bytes on this node's disk. Like the offsets before it this is what this node has, be it leader or follower.
    pub size_bytes: u64,
    /// How much of them is known to be damaged. It is kept, and not served.
    pub damage: DamageTotal,
}

impl Core {
    pub(crate) fn list_topics(self: &Arc<Self>, ctx: &Context) -> Result<Vec<TopicSummary>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::ListTopics, Resource::Cluster)?;
        let image = self.metadata.image();
        let topics = image.topics();
        let summary = |topic: &Arc<Topic>| TopicSummary {
            name: topic.name.clone(),
            id: topic.id,
            partitions: topic.partition_count(),
            replication_factor: topic.replication_factor,
        };
        Ok(topics.map(summary).collect())
    }

    pub(crate) fn describe_topic(
        self: &Arc<Self>,
        ctx: &Context,
        topic: &TopicRef,
    ) -> Result<TopicDescription, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::DescribeTopic, Resource::Cluster)?;
        let topic = self.topic(topic)?;
        self.admission.authorize(ctx, Operation::DescribeTopic, Resource::Topic(&topic.name))?;
        Ok(self.describe(&topic))
    }

    pub(crate) fn describe(&self, topic: &Topic) -> TopicDescription {
        let partitions = numbers(topic).zip(&topic.partitions);
        TopicDescription {
            name: topic.name.clone(),
            id: topic.id,
            replication_factor: topic.replication_factor,
            partitions: partitions
                .map(|(number, placed)| {
                    let held = self.partitions.get(TopicPartition { topic: topic.id, partition: number });
                    self.describe_partition(number, placed, held.as_ref())
                })
                .collect(),
            configs: describe_configs(topic),
        }
    }

    /// A partition; one without an open log here (not made yet, unavailable, or other nodes') shows no records.
    fn describe_partition(
        &self,
        partition: PartitionIndex,
        placed: &Partition,
        held: Option<&Held>,
    ) -> PartitionDescription {
        let (leader, leader_epoch) = self.led_by(placed, held);
        let mut description = PartitionDescription {
            partition,
            leader,
            leader_epoch,
            replicas: placed.replicas.to_vec(),
            isr: placed.isr.to_vec(),
            eligible: placed.elr.clone(),
            last_known: placed.last_known_elr.clone(),
            adding: placed.adding.clone(),
            removing: placed.removing.clone(),
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            end_offset: Offset::ZERO,
            size_bytes: 0,
            damage: DamageTotal::default(),
        };
        if let Some(Held::Open(log)) = held {
            let offsets = log.offsets();
            description.log_start = offsets.log_start;
            description.high_watermark = offsets.high_watermark;
            description.end_offset = offsets.end;
            description.size_bytes = log.size_bytes();
            description.damage = log.damage();
        }
        description
    }
}

/// The configs in force, those that the topic sets itself marked.
pub(crate) fn describe_configs(topic: &Topic) -> Vec<ConfigEntry> {
    let entries = topic.config.in_force();
    entries
        .map(|(key, value)| ConfigEntry {
            key: key.to_owned(),
            value,
            is_set: topic.configs.contains_key(key),
        })
        .collect()
}
