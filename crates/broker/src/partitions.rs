//! The open logs of this node, found without a lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use millrace_log::{CompactionConfig, Log, LogConfig, PartitionMeta, Replication, TimestampType};
use millrace_metadata::{CompactionBounds, RecordTime, Topic};
use millrace_types::{CleanupPolicy, PartitionIndex, SyncMode, TopicId, TopicPartition};

/// The name of the topic that holds committed offsets.
pub(crate) const CONSUMER_OFFSETS: &str = "__consumer_offsets";

/// What this node has of one partition.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// Its log is open.
    Open(Arc<Log>),
    /// Its log is missing or cannot be opened; the text says why.
    Unavailable(Arc<str>),
}

/// The partitions of one topic, by number; `None` where another node has it.
pub(crate) type TopicLogs = Arc<[Option<Held>]>;

/// Every open log, by topic id. Replaced as a whole when a topic comes or goes, read without waiting.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    by_topic: ArcSwap<BTreeMap<TopicId, TopicLogs>>,
}

impl Partitions {
    pub(crate) fn insert(&self, topic: TopicId, logs: Vec<Held>) {
        let logs: TopicLogs = logs.into_iter().map(Some).collect();
        self.by_topic.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(topic, Arc::clone(&logs));
            all
        });
    }

    /// All topics at once, at start.
    pub(crate) fn insert_all(&self, topics: BTreeMap<TopicId, Vec<Held>>) {
        self.by_topic.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            let logs = |logs: &Vec<Held>| logs.iter().cloned().map(Some).collect();
            all.extend(topics.iter().map(|(topic, held)| (*topic, logs(held))));
            all
        });
    }

    /// What this node has of a topic whose partitions lie on several: `None` where another one has it.
    pub(crate) fn place(&self, topic: TopicId, logs: Vec<Option<Held>>) {
        let logs: TopicLogs = logs.into();
        self.by_topic.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(topic, Arc::clone(&logs));
            all
        });
    }

    /// Adds logs behind those that a topic has.
    pub(crate) fn extend(&self, topic: TopicId, more: Vec<Held>) {
        self.by_topic.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            let logs = all.get(&topic).into_iter().flat_map(|logs| logs.iter());
            let logs: TopicLogs = logs.cloned().chain(more.iter().cloned().map(Some)).collect();
            all.insert(topic, logs);
            all
        });
    }

    /// How many logs a topic has, served or not.
    pub(crate) fn count_of(&self, topic: TopicId) -> usize {
        self.by_topic.load().get(&topic).map_or(0, |logs| logs.len())
    }

    /// The logs of a topic that are open.
    pub(crate) fn open_of(&self, topic: TopicId) -> Vec<Arc<Log>> {
        let all = self.by_topic.load();
        let logs = all.get(&topic).into_iter().flat_map(|logs| logs.iter().flatten());
        logs.filter_map(|held| if let Held::Open(log) = held { Some(Arc::clone(log)) } else { None })
            .collect()
    }

    pub(crate) fn remove(&self, topic: TopicId) {
        self.by_topic.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.remove(&topic);
            all
        });
    }

    pub(crate) fn get(&self, id: TopicPartition) -> Option<Held> {
        let number = usize::try_from(id.partition.0).ok()?;
        self.by_topic.load().get(&id.topic)?.get(number)?.clone()
    }

    /// How many partitions have no log that can be served.
    pub(crate) fn unavailable_count(&self) -> usize {
        let lost = |logs: &TopicLogs| {
            logs.iter().flatten().filter(|held| matches!(held, Held::Unavailable(_))).count()
        };
        self.by_topic.load().values().map(lost).sum()
    }

    /// How many logs are open.
    pub(crate) fn count(&self) -> usize {
        let open =
            |logs: &TopicLogs| logs.iter().flatten().filter(|held| matches!(held, Held::Open(_))).count();
        self.by_topic.load().values().map(open).sum()
    }
}

/// What a topic's configuration means to its logs. The product's own topics are synced before anything in them is
/// acknowledged, whatever they say.
pub(crate) fn log_config(topic: &Topic, replication: Replication) -> LogConfig {
    let config = &topic.config;
    let CompactionBounds { dirty_parts_min, lag_ms_min, lag_ms_max, tombstones_ms } = config.compaction;
    let is_offsets = topic.name.as_str() == CONSUMER_OFFSETS;
    LogConfig {
        segment_bytes: config.segment_bytes,
        segment_ms: config.segment_ms,
        index_interval_bytes: config.index_interval_bytes,
        batch_bytes_max: config.batch_bytes_max,
        timestamp_type: match config.record_time {
            RecordTime::Create => TimestampType::Create,
            RecordTime::LogAppend => TimestampType::LogAppend,
        },
        sync_mode: if topic.name.is_internal() { SyncMode::Always } else { config.sync_mode },
        replication,
        // Of each key the last commit counts.
        cleanup: if is_offsets { CleanupPolicy::Compact } else { config.cleanup },
        compaction: CompactionConfig { dirty_parts_min, lag_ms_min, lag_ms_max, tombstones_ms },
        retention_ms: config.retention_ms,
        retention_bytes: config.retention_bytes,
    }
}

/// What a new log of the topic says about itself.
pub(crate) fn partition_meta(topic: &Topic, partition: PartitionIndex) -> PartitionMeta {
    PartitionMeta {
        id: TopicPartition { topic: topic.id, partition },
        name: topic.name.clone(),
        partitions: topic.partition_count(),
        replication_factor: topic.replication_factor,
    }
}

/// The numbers of a topic's partitions.
pub(crate) fn numbers(topic: &Topic) -> impl Iterator<Item = PartitionIndex> + use<> {
    (0..topic.partition_count()).map(PartitionIndex)
}
