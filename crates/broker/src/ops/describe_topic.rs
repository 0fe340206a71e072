//! Lists and describes topics.

use millrace_types::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicName};

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
    /// First readable offset.
    pub log_start: Offset,
    /// First offset that is not committed.
    pub high_watermark: Offset,
    /// First unwritten offset.
    pub end_offset: Offset,
    /// Bytes on this node's disk.
    pub size_bytes: u64,
}
