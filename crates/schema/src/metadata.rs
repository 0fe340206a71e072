//! The records of `__cluster_metadata`: what the cluster has decided, one record for each fact.
//!
//! ```text
//!   kind  record               newest version
//!   1     TopicCreated         0
//!   2     TopicDeleted         0
//!   3     BrokerRegistered     0
//!   4     FeatureLevelRaised   0
//!   5     ProducerIdsTaken     0
//!   6     TopicConfigured      0
//!   7     PartitionsAdded      0
//!   8     BrokerStarted        0
//!   9     BrokerFenced         0
//!   10    BrokerUnfenced       0
//!   11    BrokerDraining       0
//!   12    PartitionChanged     0
//!   13    BrokerRemoved        0
//!   14    TopicResumed         0
//!   15    BrokerResumed        0
//!   16    ImageResumed         0
//! ```
//! From 8 on they are of a cluster (`metadata/brokers.rs`, `metadata/partition.rs`), from 14 on of its snapshots
//! (`metadata/resumed.rs`).
//! The messages are in `proto/millrace/storage/v1/metadata.proto`. A kind or version that this build does not know
//! is an error that names it, never skipped: a fact that is not understood cannot be folded.

use std::collections::BTreeMap;

use millrace_types::limits::PARTITIONS_PER_TOPIC_MAX;
use millrace_types::{DirectoryId, LeaderEpoch, NodeId, ProducerId, TopicId, TopicName};

use crate::{Frame, FrameError, decode_frame, encode_frame, wire};

mod brokers;
mod partition;
mod resumed;

pub use brokers::{BrokerRun, BrokerStarted, Losses};
pub use partition::{LossyElection, PartitionChanged, PartitionState};
pub use resumed::{BrokerResumed, ImageResumed, Standing, TopicResumed};

const TOPIC_CREATED: u16 = 1;
const TOPIC_DELETED: u16 = 2;
const BROKER_REGISTERED: u16 = 3;
const FEATURE_LEVEL_RAISED: u16 = 4;
const PRODUCER_IDS_TAKEN: u16 = 5;
const TOPIC_CONFIGURED: u16 = 6;
const PARTITIONS_ADDED: u16 = 7;
const BROKER_STARTED: u16 = 8;
const BROKER_FENCED: u16 = 9;
const BROKER_UNFENCED: u16 = 10;
const BROKER_DRAINING: u16 = 11;
const PARTITION_CHANGED: u16 = 12;
const BROKER_REMOVED: u16 = 13;
const TOPIC_RESUMED: u16 = 14;
const BROKER_RESUMED: u16 = 15;
const IMAGE_RESUMED: u16 = 16;

/// The newest version of every kind; there are no newer ones yet.
const NEWEST: u16 = 0;

/// A fact about the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataRecord {
    /// A topic came to be.
    TopicCreated(TopicCreated),
    /// A topic is gone, and its data may be deleted.
    TopicDeleted {
        /// Which one.
        id: TopicId,
    },
    /// A broker announced itself.
    BrokerRegistered(BrokerRegistered),
    /// Record kinds and file formats of that level may be written.
    FeatureLevelRaised {
        /// The level.
        level: u32,
    },
    /// A node may hand out a block of producer ids.
    ProducerIdsTaken(ProducerIdsTaken),
    /// A topic sets something else itself.
    TopicConfigured(TopicConfigured),
    /// A topic has more partitions.
    PartitionsAdded(PartitionsAdded),
    /// A run of a broker got its epoch.
    BrokerStarted(BrokerStarted),
    /// A run of a broker leads nothing and is in sync with nothing until it is unfenced.
    BrokerFenced(BrokerRun),
    /// A run of a broker may lead and be in sync.
    BrokerUnfenced(BrokerRun),
    /// A run of a broker is about to end and hands over what it leads.
    BrokerDraining(BrokerRun),
    /// A partition's replicas, leader or in-sync set are others.
    PartitionChanged(PartitionChanged),
    /// A node is no broker any more.
    BrokerRemoved {
        /// Which one.
        node: NodeId,
    },
    /// A topic of a snapshot.
    TopicResumed(TopicResumed),
    /// A broker of a snapshot.
    BrokerResumed(BrokerResumed),
    /// The end of a snapshot.
    ImageResumed(ImageResumed),
}

/// What a topic sets itself, in place of what it set before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicConfigured {
    /// The topic.
    pub id: TopicId,
    /// All of it.
    pub configs: BTreeMap<String, String>,
}

/// Partitions behind those that a topic has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionsAdded {
    /// The topic.
    pub id: TopicId,
    /// The number of the first one: as many as there were.
    pub first: u32,
    /// The new ones in order, one at least.
    pub partitions: Vec<PartitionPlaced>,
}

/// A topic as it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicCreated {
    /// Its id, for ever.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// How many replicas each partition has.
    pub replication_factor: u32,
    /// Its partitions in order, one at least.
    pub partitions: Vec<PartitionPlaced>,
    /// What it sets itself.
    pub configs: BTreeMap<String, String>,
}

/// Where a partition lies and who leads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionPlaced {
    /// The nodes that hold it; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// Those of them that are in sync.
    pub isr: Vec<NodeId>,
    /// The leader, if there is one.
    pub leader: Option<NodeId>,
    /// Counts the leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts the changes of everything here.
    pub partition_epoch: i32,
}

/// A broker as it announced itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerRegistered {
    /// Its node id.
    pub node: NodeId,
    /// Its data directory.
    pub directory: DirectoryId,
    /// Its gRPC address for clients, `host:port`.
    pub grpc: String,
}

/// A block of producer ids: `first` and the `count - 1` ids behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerIdsTaken {
    /// Who hands them out.
    pub node: NodeId,
    /// The first id of the block.
    pub first: ProducerId,
    /// How many, one at least.
    pub count: u32,
}

impl MetadataRecord {
    /// The bytes of the record's value in the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            MetadataRecord::TopicCreated(topic) => encode_frame(TOPIC_CREATED, NEWEST, &topic.to_wire()),
            MetadataRecord::TopicDeleted { id } => {
                let message = wire::TopicDeleted { id: id.0.to_vec().into() };
                encode_frame(TOPIC_DELETED, NEWEST, &message)
            }
            MetadataRecord::BrokerRegistered(broker) => {
                let message = wire::BrokerRegistered {
                    node: broker.node.0,
                    directory_id: broker.directory.0.to_vec().into(),
                    grpc: broker.grpc.clone(),
                };
                encode_frame(BROKER_REGISTERED, NEWEST, &message)
            }
            MetadataRecord::FeatureLevelRaised { level } => {
                encode_frame(FEATURE_LEVEL_RAISED, NEWEST, &wire::FeatureLevelRaised { level: *level })
            }
            MetadataRecord::ProducerIdsTaken(block) => {
                let message =
                    wire::ProducerIdsTaken { node: block.node.0, first: block.first.0, count: block.count };
                encode_frame(PRODUCER_IDS_TAKEN, NEWEST, &message)
            }
            MetadataRecord::TopicConfigured(TopicConfigured { id, configs }) => {
                let message =
                    wire::TopicConfigured { id: id.0.to_vec().into(), configs: configs_to_wire(configs) };
                encode_frame(TOPIC_CONFIGURED, NEWEST, &message)
            }
            MetadataRecord::PartitionsAdded(PartitionsAdded { id, first, partitions }) => {
                let partitions = partitions.iter().map(PartitionPlaced::to_wire).collect();
                let message = wire::PartitionsAdded { id: id.0.to_vec().into(), first: *first, partitions };
                encode_frame(PARTITIONS_ADDED, NEWEST, &message)
            }
            MetadataRecord::BrokerStarted(broker) => encode_frame(BROKER_STARTED, NEWEST, &broker.to_wire()),
            MetadataRecord::BrokerFenced(run) => encode_frame(BROKER_FENCED, NEWEST, &run.to_wire()),
            MetadataRecord::BrokerUnfenced(run) => encode_frame(BROKER_UNFENCED, NEWEST, &run.to_wire()),
            MetadataRecord::BrokerDraining(run) => encode_frame(BROKER_DRAINING, NEWEST, &run.to_wire()),
            MetadataRecord::PartitionChanged(changed) => {
                encode_frame(PARTITION_CHANGED, NEWEST, &changed.to_wire())
            }
            MetadataRecord::BrokerRemoved { node } => {
                encode_frame(BROKER_REMOVED, NEWEST, &wire::BrokerRemoved { node: node.0 })
            }
            MetadataRecord::TopicResumed(topic) => encode_frame(TOPIC_RESUMED, NEWEST, &topic.to_wire()),
            MetadataRecord::BrokerResumed(broker) => encode_frame(BROKER_RESUMED, NEWEST, &broker.to_wire()),
            MetadataRecord::ImageResumed(image) => encode_frame(IMAGE_RESUMED, NEWEST, &image.to_wire()),
        }
    }

    /// Reads the bytes of a record's value.
    ///
    /// # Errors
    /// [`FrameError`] names the kind and the version, and the field that breaks its rule.
    pub fn decode(bytes: &[u8]) -> Result<MetadataRecord, FrameError> {
        let frame = decode_frame(bytes)?;
        match frame.kind {
            TOPIC_CREATED => topic_created(&frame).map(MetadataRecord::TopicCreated),
            TOPIC_DELETED => {
                let message: wire::TopicDeleted = frame.message(NEWEST)?;
                Ok(MetadataRecord::TopicDeleted { id: topic_id(&frame, &message.id)? })
            }
            BROKER_REGISTERED => broker_registered(&frame).map(MetadataRecord::BrokerRegistered),
            FEATURE_LEVEL_RAISED => {
                let message: wire::FeatureLevelRaised = frame.message(NEWEST)?;
                Ok(MetadataRecord::FeatureLevelRaised { level: message.level })
            }
            PRODUCER_IDS_TAKEN => producer_ids_taken(&frame).map(MetadataRecord::ProducerIdsTaken),
            TOPIC_CONFIGURED => topic_configured(&frame).map(MetadataRecord::TopicConfigured),
            PARTITIONS_ADDED => partitions_added(&frame).map(MetadataRecord::PartitionsAdded),
            BROKER_STARTED => BrokerStarted::from_wire(&frame).map(MetadataRecord::BrokerStarted),
            BROKER_FENCED => BrokerRun::from_wire(&frame).map(MetadataRecord::BrokerFenced),
            BROKER_UNFENCED => BrokerRun::from_wire(&frame).map(MetadataRecord::BrokerUnfenced),
            BROKER_DRAINING => BrokerRun::from_wire(&frame).map(MetadataRecord::BrokerDraining),
            PARTITION_CHANGED => PartitionChanged::from_wire(&frame).map(MetadataRecord::PartitionChanged),
            BROKER_REMOVED => {
                let message: wire::BrokerRemoved = frame.message(NEWEST)?;
                Ok(MetadataRecord::BrokerRemoved { node: brokers::node(&frame, message.node)? })
            }
            TOPIC_RESUMED => TopicResumed::from_wire(&frame).map(MetadataRecord::TopicResumed),
            BROKER_RESUMED => BrokerResumed::from_wire(&frame).map(MetadataRecord::BrokerResumed),
            IMAGE_RESUMED => ImageResumed::from_wire(&frame).map(MetadataRecord::ImageResumed),
            _ => Err(frame.unknown_kind()),
        }
    }
}

impl TopicCreated {
    fn to_wire(&self) -> wire::TopicCreated {
        wire::TopicCreated {
            id: self.id.0.to_vec().into(),
            name: self.name.as_str().to_owned(),
            replication_factor: self.replication_factor,
            partitions: self.partitions.iter().map(PartitionPlaced::to_wire).collect(),
            configs: configs_to_wire(&self.configs),
        }
    }
}

fn configs_to_wire(configs: &BTreeMap<String, String>) -> Vec<wire::ConfigValue> {
    let value =
        |(key, value): (&String, &String)| wire::ConfigValue { key: key.clone(), value: value.clone() };
    configs.iter().map(value).collect()
}

impl PartitionPlaced {
    fn to_wire(&self) -> wire::PartitionPlaced {
        let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
        wire::PartitionPlaced {
            replicas: numbers(&self.replicas),
            isr: if self.isr == self.replicas { Vec::new() } else { numbers(&self.isr) },
            leader: self.leader.map_or(-1, |node| node.0),
            leader_epoch: self.leader_epoch.0,
            partition_epoch: self.partition_epoch,
        }
    }

    fn from_wire(frame: &Frame<'_>, message: &wire::PartitionPlaced) -> Result<PartitionPlaced, FrameError> {
        let nodes = |numbers: &[i32]| numbers.iter().map(|number| NodeId(*number)).collect::<Vec<_>>();
        let replicas = nodes(&message.replicas);
        if replicas.is_empty() || replicas.iter().any(|node| node.0 < 0) {
            return Err(frame.invalid("replicas", "empty, or with a negative node id"));
        }
        let isr = if message.isr.is_empty() { replicas.clone() } else { nodes(&message.isr) };
        if isr.iter().any(|node| !replicas.contains(node)) {
            return Err(frame.invalid("isr", "with a node that is no replica"));
        }
        let leader = (message.leader >= 0).then_some(NodeId(message.leader));
        if leader.is_some_and(|node| !replicas.contains(&node)) {
            return Err(frame.invalid("leader", "not a replica"));
        }
        let leader_epoch = LeaderEpoch(message.leader_epoch);
        Ok(PartitionPlaced { replicas, isr, leader, leader_epoch, partition_epoch: message.partition_epoch })
    }
}

fn topic_configured(frame: &Frame<'_>) -> Result<TopicConfigured, FrameError> {
    let message: wire::TopicConfigured = frame.message(NEWEST)?;
    let configs = message.configs.into_iter().map(|config| (config.key, config.value)).collect();
    Ok(TopicConfigured { id: topic_id(frame, &message.id)?, configs })
}

fn partitions_added(frame: &Frame<'_>) -> Result<PartitionsAdded, FrameError> {
    let message: wire::PartitionsAdded = frame.message(NEWEST)?;
    let partitions = message.partitions.iter();
    let partitions: Vec<_> =
        partitions.map(|partition| PartitionPlaced::from_wire(frame, partition)).collect::<Result<_, _>>()?;
    let first = message.first;
    let count = u32::try_from(partitions.len()).ok().filter(|count| *count > 0);
    let end = count.and_then(|count| first.checked_add(count));
    if first == 0 || end.is_none_or(|end| end > PARTITIONS_PER_TOPIC_MAX) {
        return Err(frame.invalid("partitions", format!("{} of them from {first} on", partitions.len())));
    }
    Ok(PartitionsAdded { id: topic_id(frame, &message.id)?, first, partitions })
}

fn topic_created(frame: &Frame<'_>) -> Result<TopicCreated, FrameError> {
    let message: wire::TopicCreated = frame.message(NEWEST)?;
    let name = TopicName::new(&message.name).map_err(|problem| frame.invalid("name", problem))?;
    let partitions = message.partitions.iter();
    let partitions: Vec<_> =
        partitions.map(|partition| PartitionPlaced::from_wire(frame, partition)).collect::<Result<_, _>>()?;
    let bounded = u32::try_from(partitions.len()).is_ok_and(|n| (1..=PARTITIONS_PER_TOPIC_MAX).contains(&n));
    if !bounded {
        return Err(frame.invalid("partitions", format!("{} of them", partitions.len())));
    }
    let replication_factor = message.replication_factor;
    let configs = message.configs.into_iter().map(|config| (config.key, config.value)).collect();
    let id = topic_id(frame, &message.id)?;
    Ok(TopicCreated { id, name, replication_factor, partitions, configs })
}

fn broker_registered(frame: &Frame<'_>) -> Result<BrokerRegistered, FrameError> {
    let message: wire::BrokerRegistered = frame.message(NEWEST)?;
    if message.node < 0 {
        return Err(frame.invalid("node", "negative"));
    }
    let directory = DirectoryId(sixteen(frame, "directory_id", &message.directory_id)?);
    Ok(BrokerRegistered { node: NodeId(message.node), directory, grpc: message.grpc })
}

fn producer_ids_taken(frame: &Frame<'_>) -> Result<ProducerIdsTaken, FrameError> {
    let message: wire::ProducerIdsTaken = frame.message(NEWEST)?;
    let wire::ProducerIdsTaken { node, first, count } = message;
    if count == 0 {
        return Err(frame.invalid("count", "zero"));
    }
    if first < 0 || first.checked_add(i64::from(count)).is_none() {
        return Err(frame.invalid("first", "negative, or so large that the block has no end"));
    }
    Ok(ProducerIdsTaken { node: NodeId(node), first: ProducerId(first), count })
}

fn topic_id(frame: &Frame<'_>, bytes: &[u8]) -> Result<TopicId, FrameError> {
    sixteen(frame, "id", bytes).map(TopicId)
}

fn sixteen(frame: &Frame<'_>, field: &'static str, bytes: &[u8]) -> Result<[u8; 16], FrameError> {
    bytes.try_into().map_err(|_| frame.invalid(field, format!("{} bytes instead of 16", bytes.len())))
}

#[cfg(test)]
mod tests;
