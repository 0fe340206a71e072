//! The parts of a broker, and what every operation asks of them.

use std::cmp::Ordering;
use std::sync::Arc;

use millrace_env::{Env, Monotonic};
use millrace_log::{Log, LogDir};
use millrace_metadata::{Partition, Topic};
use millrace_types::{ErrorCode, LeaderEpoch, PartitionIndex, TopicId, TopicName, TopicPartition, limits};

use crate::admission::Admission;
use crate::cluster::Cluster;
use crate::groups::Groups;
use crate::lag_windows::LagWindows;
use crate::led_log::LedLog;
use crate::metadata::Metadata;
use crate::metrics::BrokerMetrics;
use crate::partitions::{Held, Partitions};
use crate::producer_ids::ProducerIds;
use crate::unfinished::Unfinished;
use crate::{ApiError, BrokerConfig, Context, MemoryBudget, TopicRef};

/// Shared by the operations under way, which may outlive the request that began them.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) env: Env,
    pub(crate) config: BrokerConfig,
    pub(crate) dir: Arc<LogDir>,
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) metadata: Metadata,
    /// `None` of a broker that is alone.
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) partitions: Arc<Partitions>,
    /// Topics come side by side, and go alone: a topic must not be deleted while its logs are being made.
    pub(crate) topics_change: tokio::sync::RwLock<()>,
    pub(crate) lag_windows: LagWindows,
    pub(crate) groups: Groups,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) unfinished: Unfinished,
    pub(crate) admission: Arc<Admission>,
    pub(crate) metrics: Arc<BrokerMetrics>,
}

impl Core {
    /// The topic that a request names.
    pub(crate) fn topic(&self, topic: &TopicRef) -> Result<Arc<Topic>, ApiError> {
        let image = self.metadata.image();
        let found = match topic {
            TopicRef::Name(name) => image.topic_by_name(name),
            TopicRef::Id(id) => image.topic_by_id(*id),
            TopicRef::Both(name, id) => image.topic_by_id(*id).filter(|topic| topic.name == *name),
        };
        found.cloned().ok_or_else(|| no_topic(topic))
    }

    /// The log of a topic's partition, if this node leads it.
    pub(crate) fn log(&self, topic: &Topic, partition: PartitionIndex) -> Result<Arc<Log>, ApiError> {
        self.led(topic, partition).map(|led| Arc::clone(led.log()))
    }

    /// The same, to be written to.
    pub(crate) fn led(&self, topic: &Topic, partition: PartitionIndex) -> Result<LedLog, ApiError> {
        let placed = placed(topic, partition)?;
        if placed.leader != Some(self.config.node) {
            return Err(self.not_leader(topic, partition));
        }
        let at = TopicPartition { topic: topic.id, partition };
        match self.partitions.get(at) {
            Some(Held::Open(log)) => match &self.cluster {
                None => Ok(LedLog::alone(log)),
                Some(cluster) => {
                    let replica = cluster.replicas().get(at).filter(|replica| replica.standing().leads);
                    // The metadata say that it leads, and it is about to.
                    replica.map(LedLog::replicated).ok_or_else(|| self.not_leader(topic, partition))
                }
            },
            Some(Held::Unavailable(why)) => {
                let message = format!("{} partition {partition}: {why}", topic.name);
                Err(ApiError::new(ErrorCode::Corrupt, message))
            }
            None if self.cluster.is_some() => Err(self.not_leader(topic, partition)),
            // Being made, or being deleted, at this moment.
            None => Err(no_partition(topic, partition)),
        }
    }

    fn not_leader(&self, topic: &Topic, partition: PartitionIndex) -> ApiError {
        let image = self.metadata.image();
        let leader = topic.partition(partition).and_then(|placed| placed.leader);
        let leader = leader.and_then(|node| image.broker(node)).map(|broker| broker.grpc.clone());
        let message = format!("node {} does not lead {} partition {partition}", self.config.node, topic.name);
        ApiError { leader, ..ApiError::new(ErrorCode::NotLeader, message) }
    }

    /// While draining, a log that was closed under a request is no deleted topic.
    pub(crate) fn unless_closing(&self, error: ApiError) -> ApiError {
        if self.admission.is_closing() && error.code == ErrorCode::UnknownTopicOrPartition {
            return ApiError::new(ErrorCode::ShuttingDown, "the broker is shutting down");
        }
        error
    }
}

/// A partition that the topic must have.
pub(crate) fn placed(topic: &Topic, partition: PartitionIndex) -> Result<&Partition, ApiError> {
    topic.partition(partition).ok_or_else(|| no_partition(topic, partition))
}

fn no_partition(topic: &Topic, partition: PartitionIndex) -> ApiError {
    let message = format!("topic {} has no partition {partition}", topic.name);
    ApiError::new(ErrorCode::UnknownTopicOrPartition, message)
}

fn no_topic(topic: &TopicRef) -> ApiError {
    let message = match topic {
        TopicRef::Name(name) => format!("there is no topic {name}"),
        TopicRef::Id(id) => format!("there is no topic with id {id}"),
        TopicRef::Both(name, id) => format!("there is no topic {name} with id {id}"),
    };
    ApiError::new(ErrorCode::UnknownTopicOrPartition, message)
}

/// Refuses a request that names too many partitions.
pub(crate) fn check_partition_count(count: usize) -> Result<(), ApiError> {
    check_count(count, "partitions")
}

/// Refuses a request that names too many of what takes as much work as a partition does.
pub(crate) fn check_count(count: usize, things: &str) -> Result<(), ApiError> {
    let max = limits::PARTITIONS_PER_REQUEST_MAX;
    if count > max {
        let message = format!("{count} {things} are named, {max} are allowed");
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    Ok(())
}

/// Refuses what only a leader knows that has all that was committed before it.
pub(crate) fn check_complete(led: &LedLog) -> Result<(), ApiError> {
    if led.check_leads()? {
        return Ok(());
    }
    let message = "a new leader does not know yet where the partition ends";
    Err(ApiError::new(ErrorCode::OffsetNotAvailable, message))
}

/// Refuses a client that believes the leader to be in another epoch than it is (KIP-320).
pub(crate) fn check_leader_epoch(log: &Log, believed: Option<LeaderEpoch>) -> Result<(), ApiError> {
    let Some(believed) = believed else { return Ok(()) };
    let epoch = log.leader_epoch();
    let code = match believed.cmp(&epoch) {
        Ordering::Equal => return Ok(()),
        Ordering::Less => ErrorCode::FencedLeaderEpoch,
        Ordering::Greater => ErrorCode::UnknownLeaderEpoch,
    };
    Err(ApiError::new(code, format!("the request names leader epoch {believed}; the leader is in {epoch}")))
}

/// The earlier of a moment and the client's own deadline.
pub(crate) fn earlier(moment: Monotonic, ctx: &Context) -> Monotonic {
    ctx.deadline.map_or(moment, |deadline| deadline.min(moment))
}

/// The name and id of a topic as answers carry them.
pub(crate) fn both(name: &TopicName, id: TopicId) -> TopicRef {
    TopicRef::Both(name.clone(), id)
}
