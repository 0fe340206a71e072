//! The image: everything the records say, folded. Immutable, shared topic by topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_schema::{MetadataRecord, PartitionsAdded, ProducerIdsTaken, TopicConfigured, TopicCreated};
use millrace_types::{
    BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, ProducerId, SyncMode, TopicId, TopicName,
    TopicPartition,
};

use crate::partition::Rules;
use crate::{Broker, ConfigError, Partition, TopicConfig};

mod cluster;
mod resume;

/// The newest feature level that this build knows.
///
/// 1: the record kinds, segment files and marks of the first version. 2: topics that are altered and that grow.
/// 3: brokers with epochs, that are fenced and unfenced, and partitions that change hands.
pub const FEATURE_LEVEL_NEWEST: u32 = 3;
/// The level to which a node raises a cluster that it is alone in: what such a cluster never needs is not written, so
/// that an older build still reads it.
pub const FEATURE_LEVEL_ALONE: u32 = 2;

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// How many replicas each partition has.
    pub replication_factor: u32,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
    /// What it sets itself.
    pub configs: BTreeMap<String, String>,
    /// What is in force.
    pub config: TopicConfig,
    /// Whether its sync mode was `always` ever since it was made. If not, a replica that lost what it had not synced
    /// may have lost what was acknowledged, whatever the mode is now.
    pub always_synced: bool,
}

impl Topic {
    /// How many partitions it has.
    #[must_use]
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// How many replicas must be in sync before anything is committed.
    #[must_use]
    pub fn min_insync(&self) -> usize {
        usize::try_from(self.config.min_insync_replicas).unwrap_or(usize::MAX)
    }

    /// Its partitions with their names.
    pub fn numbered(&self) -> impl Iterator<Item = (TopicPartition, &Partition)> {
        let at = |number| TopicPartition { topic: self.id, partition: PartitionIndex(number) };
        (0..).map(at).zip(&self.partitions)
    }

    /// One of its partitions.
    #[must_use]
    pub fn partition(&self, partition: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(partition.0).ok()?)
    }
}

/// Why a record cannot be folded: the log contradicts itself, or a newer build wrote it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApplyError {
    /// A topic that is there already.
    #[error("topic {name} ({id}) is created, but its id or a name that clashes with it is taken")]
    TopicTwice {
        /// The id.
        id: TopicId,
        /// The name.
        name: TopicName,
    },
    /// A topic that is not there.
    #[error("topic {0} is changed or deleted, but is not there")]
    NoTopic(TopicId),
    /// New partitions that do not begin where the others end.
    #[error("topic {name} has {existing} partitions, and more are added from number {first} on")]
    PartitionGap {
        /// The topic.
        name: TopicName,
        /// The number of the first new one.
        first: u32,
        /// How many there are.
        existing: u32,
    },
    /// A config that this build does not follow.
    #[error("topic {name}: {error}")]
    Config {
        /// The topic.
        name: TopicName,
        /// What is wrong.
        error: ConfigError,
    },
    /// Producer ids that were handed out before.
    #[error("producer ids from {first} on are taken, but all below {next} were before")]
    ProducerIdsTwice {
        /// The first id of the block.
        first: ProducerId,
        /// The first id that is free.
        next: ProducerId,
    },
    /// A broker that is not there, or another run of it.
    #[error(
        "the run of node {node} under broker epoch {epoch} changes its standing, but is not the one that is known"
    )]
    NoRun {
        /// The broker.
        node: NodeId,
        /// The epoch of the record.
        epoch: BrokerEpoch,
    },
    /// A run of a broker while the one before it may still lead, or under an epoch that was given before.
    #[error(
        "node {node} begins a run under broker epoch {epoch}: the run before is not fenced, or {newest} was given"
    )]
    RunTooSoon {
        /// The broker.
        node: NodeId,
        /// The epoch of the record.
        epoch: BrokerEpoch,
        /// The newest epoch.
        newest: BrokerEpoch,
    },
    /// A broker without an epoch in the place of one with an epoch.
    #[error("node {0} registers without a broker epoch, but has had one")]
    EpochLost(NodeId),
    /// A partition that is not there, or an epoch that falls, or that does not rise by one.
    #[error(
        "partition {at} changes to leader epoch {leader_epoch} and partition epoch {partition_epoch}, which do not follow"
    )]
    PartitionEpochs {
        /// Which one.
        at: TopicPartition,
        /// The leader epoch of the record.
        leader_epoch: LeaderEpoch,
        /// The partition epoch of the record.
        partition_epoch: i32,
    },
    /// A broker that holds partitions is removed.
    #[error("node {0} is removed, but is not there, may still lead, or holds partitions")]
    StillNeeded(NodeId),
    /// A snapshot in the middle of a log, or one that contradicts itself.
    #[error("a snapshot names something twice, or follows what is not of it")]
    ResumedTwice,
    /// Written by a newer build, or the level falls.
    #[error("feature level {found} after {current}; this build knows up to {FEATURE_LEVEL_NEWEST}")]
    FeatureLevel {
        /// The level in the record.
        found: u32,
        /// The level before.
        current: u32,
    },
}

/// What the cluster knows, at one version. Cloning shares everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    version: u64,
    topics: Arc<BTreeMap<TopicName, Arc<Topic>>>,
    names: Arc<BTreeMap<TopicId, TopicName>>,
    /// Folded name to name: what a new name must not clash with.
    folded: Arc<BTreeMap<String, TopicName>>,
    brokers: Arc<BTreeMap<NodeId, Broker>>,
    /// The newest broker epoch that was given; 0 for none.
    broker_epoch: i64,
    partitions: u64,
    next_producer_id: i64,
    feature_level: u32,
}

impl Image {
    /// How many records were folded into it.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The topic of a name.
    #[must_use]
    pub fn topic_by_name(&self, name: &TopicName) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The topic of an id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&id)?)
    }

    /// The name that a new name would clash with (or equal).
    #[must_use]
    pub fn clash(&self, name: &TopicName) -> Option<&TopicName> {
        self.folded.get(&name.folded())
    }

    /// All topics, sorted by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The registered brokers, sorted by node id.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    /// One registered broker.
    #[must_use]
    pub fn broker(&self, node: NodeId) -> Option<&Broker> {
        self.brokers.get(&node)
    }

    /// One partition.
    #[must_use]
    pub fn partition(&self, at: TopicPartition) -> Option<&Partition> {
        self.topic_by_id(at.topic)?.partition(at.partition)
    }

    /// All partitions, by the names of their topics.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &Partition)> {
        self.topics().flat_map(|topic| topic.numbered())
    }

    /// What the rules of partitions look at, for those of a topic.
    pub(crate) fn rules(&self, topic: &Topic) -> Rules<'_> {
        Rules { brokers: &self.brokers, min_insync: topic.min_insync() }
    }

    /// The newest broker epoch that was given; 0 for none.
    pub(crate) fn newest_broker_epoch(&self) -> BrokerEpoch {
        BrokerEpoch(self.broker_epoch)
    }

    /// How many partitions all topics have together.
    #[must_use]
    pub fn partition_count(&self) -> u64 {
        self.partitions
    }

    /// The first producer id that was never handed out.
    #[must_use]
    pub fn next_producer_id(&self) -> ProducerId {
        ProducerId(self.next_producer_id)
    }

    /// Which record kinds and file formats may be written; 0 before the first record.
    #[must_use]
    pub fn feature_level(&self) -> u32 {
        self.feature_level
    }

    /// Folds one record into the image. What the record does not touch stays shared with the image before.
    ///
    /// # Errors
    /// [`ApplyError`]: the log contradicts itself, and whoever folds it must stop.
    pub fn apply(mut self, record: &MetadataRecord) -> Result<Image, ApplyError> {
        match record {
            MetadataRecord::TopicCreated(topic) => self.add_topic(topic)?,
            MetadataRecord::TopicDeleted { id } => self.remove_topic(*id)?,
            MetadataRecord::BrokerRegistered(broker) => self.register_broker(broker)?,
            MetadataRecord::FeatureLevelRaised { level } => {
                if *level <= self.feature_level || *level > FEATURE_LEVEL_NEWEST {
                    return Err(ApplyError::FeatureLevel { found: *level, current: self.feature_level });
                }
                self.feature_level = *level;
            }
            MetadataRecord::ProducerIdsTaken(block) => self.take_producer_ids(*block)?,
            MetadataRecord::TopicConfigured(configured) => self.configure_topic(configured)?,
            MetadataRecord::PartitionsAdded(added) => self.add_partitions(added)?,
            MetadataRecord::BrokerStarted(started) => self.start_broker(started)?,
            MetadataRecord::BrokerFenced(run) => self.fence_broker(*run)?,
            MetadataRecord::BrokerUnfenced(run) => self.unfence_broker(*run)?,
            MetadataRecord::BrokerDraining(run) => self.drain_broker(*run)?,
            MetadataRecord::PartitionChanged(changed) => self.change_partition(changed)?,
            MetadataRecord::BrokerRemoved { node } => self.remove_broker(*node)?,
            MetadataRecord::TopicResumed(topic) => self.resume_topic(topic)?,
            MetadataRecord::BrokerResumed(broker) => self.resume_broker(broker)?,
            MetadataRecord::ImageResumed(counters) => {
                self.resume_counters(counters)?;
                return Ok(self);
            }
        }
        self.version += 1;
        Ok(self)
    }

    fn add_topic(&mut self, created: &TopicCreated) -> Result<(), ApplyError> {
        let name = created.name.clone();
        let config =
            TopicConfig::read(&created.configs).map_err(|error| ApplyError::Config { name, error })?;
        self.insert_topic(Topic {
            id: created.id,
            name: created.name.clone(),
            replication_factor: created.replication_factor,
            partitions: created.partitions.iter().map(Partition::of).collect(),
            configs: created.configs.clone(),
            always_synced: config.sync_mode == SyncMode::Always,
            config,
        })
    }

    fn insert_topic(&mut self, topic: Topic) -> Result<(), ApplyError> {
        let (id, name) = (topic.id, topic.name.clone());
        if self.names.contains_key(&id) || self.clash(&name).is_some() {
            return Err(ApplyError::TopicTwice { id, name });
        }
        self.partitions += u64::from(topic.partition_count());
        Arc::make_mut(&mut self.folded).insert(name.folded(), name.clone());
        Arc::make_mut(&mut self.names).insert(id, name.clone());
        Arc::make_mut(&mut self.topics).insert(name, Arc::new(topic));
        Ok(())
    }

    fn configure_topic(&mut self, configured: &TopicConfigured) -> Result<(), ApplyError> {
        let topic = self.topic_mut(configured.id)?;
        let config = TopicConfig::read(&configured.configs)
            .map_err(|error| ApplyError::Config { name: topic.name.clone(), error })?;
        if config.min_insync_replicas != topic.config.min_insync_replicas {
            cluster::min_insync_changes(topic);
        }
        topic.always_synced &= config.sync_mode == SyncMode::Always;
        topic.config = config;
        topic.configs.clone_from(&configured.configs);
        Ok(())
    }

    fn add_partitions(&mut self, added: &PartitionsAdded) -> Result<(), ApplyError> {
        let topic = self.topic_mut(added.id)?;
        let (existing, first) = (topic.partition_count(), added.first);
        if existing != first {
            return Err(ApplyError::PartitionGap { name: topic.name.clone(), first, existing });
        }
        topic.partitions.extend(added.partitions.iter().map(Partition::of));
        self.partitions += added.partitions.len() as u64;
        Ok(())
    }

    /// A topic of its own to change, the others still shared.
    fn topic_mut(&mut self, id: TopicId) -> Result<&mut Topic, ApplyError> {
        let name = self.names.get(&id).ok_or(ApplyError::NoTopic(id))?;
        let topic = Arc::make_mut(&mut self.topics).get_mut(name).ok_or(ApplyError::NoTopic(id))?;
        Ok(Arc::make_mut(topic))
    }

    fn remove_topic(&mut self, id: TopicId) -> Result<(), ApplyError> {
        let name = Arc::make_mut(&mut self.names).remove(&id).ok_or(ApplyError::NoTopic(id))?;
        Arc::make_mut(&mut self.folded).remove(&name.folded());
        if let Some(topic) = Arc::make_mut(&mut self.topics).remove(&name) {
            self.partitions = self.partitions.saturating_sub(u64::from(topic.partition_count()));
        }
        Ok(())
    }

    fn take_producer_ids(&mut self, block: ProducerIdsTaken) -> Result<(), ApplyError> {
        #[cfg(feature = "teeth")]
        millrace_types::planted!(ProducerIdsTwice => return Ok(()));
        let (first, next) = (block.first, self.next_producer_id());
        let end = first.0.checked_add(i64::from(block.count));
        match end {
            Some(end) if first >= next && end > first.0 => self.next_producer_id = end,
            _ => return Err(ApplyError::ProducerIdsTwice { first, next }),
        }
        Ok(())
    }
}
