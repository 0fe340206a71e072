//! Why a command changes nothing.

use millrace_types::limits::{PARTITIONS_PER_BROKER_MAX, PARTITIONS_PER_TOPIC_MAX};
use millrace_types::{ErrorCode, NodeId, SyncMode, TopicId, TopicName, TopicPartition};

use crate::ConfigError;
use crate::decide::alter_partition::AlterPartitionRefusal;
use crate::decide::elect::ElectRefusal;
use crate::decide::fence::StandingRefusal;
use crate::decide::reassign::ReassignRefusal;
use crate::decide::register::RegisterRefusal;
use crate::plan::PlanRefusal;

/// Why a command was refused. All of them are definite: nothing was written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The name is taken.
    #[error("topic {0} exists")]
    TopicExists(TopicName),
    /// The name differs from an existing one only in case, or in dots and underscores.
    #[error(
        "{wanted} clashes with the existing topic {existing}: they differ only in case, dots and underscores"
    )]
    NameClash {
        /// The name asked for.
        wanted: TopicName,
        /// The one in its way.
        existing: TopicName,
    },
    /// The product keeps it for itself: it is one of Kafka's internal topics, or begins with `__millrace`.
    #[error("{0}: this name belongs to the product")]
    NameReserved(TopicName),
    /// The id is taken, or one of those with a meaning of their own.
    #[error("topic id {0} is not free")]
    IdTaken(TopicId),
    /// Zero, or too many.
    #[error("{0} partitions: a topic has 1 to {PARTITIONS_PER_TOPIC_MAX}")]
    PartitionCount(u32),
    /// A broker would lead more partitions than it may.
    #[error(
        "{wanted} more partitions on top of {existing}: a broker leads {PARTITIONS_PER_BROKER_MAX} at most"
    )]
    TooManyPartitions {
        /// What was asked for.
        wanted: u32,
        /// What there is.
        existing: u64,
    },
    /// Zero, or more than there are brokers.
    #[error("replication factor {wanted} is more than there are brokers ({brokers})")]
    ReplicationFactor {
        /// What was asked for.
        wanted: u32,
        /// How many brokers there are.
        brokers: usize,
    },
    /// Nobody could lead the partitions.
    #[error("no broker is active: nobody could lead the topic")]
    NoActiveBroker,
    /// The topic could never acknowledge a write.
    #[error("min.insync.replicas {min_insync} is above the replication factor {replication_factor}")]
    MinInsync {
        /// The config's value.
        min_insync: u32,
        /// The topic's.
        replication_factor: u32,
    },
    /// A config is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What is committed in the product's own topics must survive a power cut.
    #[error("topic {name} belongs to the product: its sync.mode is always, not {mode}")]
    InternalSyncMode {
        /// The topic.
        name: TopicName,
        /// The mode that was asked for.
        mode: SyncMode,
    },
    /// There is no such topic.
    #[error("there is no topic with id {0}")]
    UnknownTopic(TopicId),
    /// The topic has no such partition.
    #[error("there is no partition {0}")]
    UnknownPartition(TopicPartition),
    /// The topic belongs to the product.
    #[error("topic {0} belongs to the product; users do not change it")]
    Internal(TopicName),
    /// The topic belongs to a user.
    #[error("topic {0} belongs to a user, and keeps the replicas that it was made with")]
    NotInternal(TopicName),
    /// A key is named twice in one change.
    #[error("config {0:?} is changed twice in one request")]
    ConfigTwice(String),
    /// Partitions are only ever added: what lies in one cannot be moved to another without a new order.
    #[error(
        "topic {name} has {existing} partitions; {wanted} are no more than that, and a topic never loses any"
    )]
    PartitionsOnlyGrow {
        /// The topic.
        name: TopicName,
        /// What was asked for.
        wanted: u32,
        /// What there is.
        existing: u32,
    },
    /// The cluster must not write such records yet.
    #[error("the cluster is at feature level {found}; this wants {wanted}")]
    FeatureLevelTooLow {
        /// What it wants.
        wanted: u32,
        /// What the cluster has.
        found: u32,
    },
    /// This build does not know the level.
    #[error("feature level {wanted} is not known; the newest is {newest}")]
    FeatureLevel {
        /// What was asked for.
        wanted: u32,
        /// The newest this build knows.
        newest: u32,
    },
    /// The node has not registered.
    #[error("node {0} is not a registered broker")]
    UnknownBroker(NodeId),
    /// All 2^63 ids were handed out, or a block of none was asked for.
    #[error("there is no block of {0} producer ids")]
    ProducerIds(u32),
    /// A run of a broker is refused.
    #[error(transparent)]
    Register(#[from] RegisterRefusal),
    /// The standing of a broker stays as it is.
    #[error(transparent)]
    Standing(#[from] StandingRefusal),
    /// A leader's word is not taken.
    #[error(transparent)]
    AlterPartition(#[from] AlterPartitionRefusal),
    /// Nobody is elected.
    #[error(transparent)]
    Elect(#[from] ElectRefusal),
    /// A partition stays where it is.
    #[error(transparent)]
    Reassign(#[from] ReassignRefusal),
    /// There is no plan for a broker that comes or goes.
    #[error(transparent)]
    Plan(#[from] PlanRefusal),
}

impl Refusal {
    /// What a door answers.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Refusal::TopicExists(_) | Refusal::NameClash { .. } => ErrorCode::TopicAlreadyExists,
            Refusal::NameReserved(_) => ErrorCode::InvalidTopicName,
            Refusal::PartitionCount(_)
            | Refusal::TooManyPartitions { .. }
            | Refusal::PartitionsOnlyGrow { .. } => ErrorCode::InvalidPartitionCount,
            Refusal::ReplicationFactor { .. } | Refusal::MinInsync { .. } | Refusal::NoActiveBroker => {
                ErrorCode::InvalidReplicationFactor
            }
            Refusal::Reassign(refusal) => refusal.code(),
            Refusal::Elect(refusal) => refusal.code(),
            Refusal::Plan(PlanRefusal::NowhereElse { .. }) => ErrorCode::InvalidReplicationFactor,
            Refusal::Plan(PlanRefusal::NotActive(_) | PlanRefusal::UnderWay(_)) => ErrorCode::InvalidRequest,
            // Brokers hear these, and look at the refusal itself.
            Refusal::Register(_) | Refusal::Standing(_) | Refusal::AlterPartition(_) => {
                ErrorCode::InvalidRequest
            }
            Refusal::Config(error) => error.code(),
            Refusal::InternalSyncMode { .. } => ErrorCode::InvalidConfig,
            Refusal::UnknownTopic(_) | Refusal::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
            Refusal::Internal(_)
            | Refusal::NotInternal(_)
            | Refusal::IdTaken(_)
            | Refusal::UnknownBroker(_)
            | Refusal::ConfigTwice(_) => ErrorCode::InvalidRequest,
            Refusal::FeatureLevel { .. } | Refusal::FeatureLevelTooLow { .. } | Refusal::ProducerIds(_) => {
                ErrorCode::Unsupported
            }
        }
    }
}
