//! What can be asked of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use millrace_schema::Losses;
use millrace_types::{
    BrokerEpoch, DirectoryId, IncarnationId, LeaderEpoch, NodeId, Offset, TopicId, TopicName, TopicPartition,
};

/// Who asks for a topic, and whom it will belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A user. Names of the product's topics are refused.
    User,
    /// The product itself.
    Product,
}

/// A topic to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateTopic {
    /// Drawn by whoever proposes.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// How many partitions; `None` means one.
    pub partitions: Option<u32>,
    /// How many replicas; `None` means as many as there are brokers, three at most.
    pub replication_factor: Option<u32>,
    /// What it sets itself.
    pub configs: BTreeMap<String, String>,
    /// Whose it will be.
    pub owner: Owner,
}

/// A change of one key of a topic's configuration (KIP-339).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigChange {
    /// The topic sets the key itself from now on.
    Set {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// The default counts again. A key that is not set changes nothing.
    Unset {
        /// The key.
        key: String,
    },
    /// Words are added to the list that is in force; those that it has already stay where they are.
    Append {
        /// The key, which must be of a list.
        key: String,
        /// The words, with commas between them.
        value: String,
    },
    /// Words are taken from the list that is in force; those that it has not are none of it anyway.
    Subtract {
        /// The key, which must be of a list.
        key: String,
        /// The words, with commas between them.
        value: String,
    },
}

impl ConfigChange {
    /// The key that it changes.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            ConfigChange::Set { key, .. }
            | ConfigChange::Unset { key }
            | ConfigChange::Append { key, .. }
            | ConfigChange::Subtract { key, .. } => key,
        }
    }
}

/// A run of a broker that asks for its epoch. Asking again in the same words changes nothing: the epoch that was given
/// stands in the image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartBroker {
    /// Its node id.
    pub node: NodeId,
    /// Drawn by the process.
    pub incarnation: IncarnationId,
    /// Its data directory.
    pub directory: DirectoryId,
    /// Its gRPC address for clients.
    pub grpc: String,
    /// Its Kafka address for clients; empty if it has no such door.
    pub kafka: String,
    /// Its address for other brokers.
    pub internal: String,
    /// What its directory may have lost since the run before, as far as its recovery can tell.
    pub losses: Losses,
    /// Partitions in which it lost something for certain: damage below what was synced or committed.
    pub damaged: BTreeSet<TopicPartition>,
}

/// A leader's word about who is in sync.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlterPartition {
    /// Who asks: the leader.
    pub node: NodeId,
    /// Under which broker epoch it runs.
    pub broker_epoch: BrokerEpoch,
    /// The partition.
    pub at: TopicPartition,
    /// The epoch in which it leads.
    pub leader_epoch: LeaderEpoch,
    /// The partition epoch that it saw when it asked.
    pub partition_epoch: i32,
    /// Who is to be in sync, the leader too.
    pub isr: Vec<InSync>,
}

/// A replica that is in sync, and the run of it that was seen so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct InSync {
    /// Its node.
    pub node: NodeId,
    /// The broker epoch of its last fetch (KIP-903).
    pub epoch: BrokerEpoch,
}

/// What a replica holds, told by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaEnd {
    /// Its node.
    pub node: NodeId,
    /// The run that told.
    pub epoch: BrokerEpoch,
    /// The leader epoch of its last record.
    pub leader_epoch: LeaderEpoch,
    /// Where its log ends.
    pub end: Offset,
}

/// Something that is asked of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Make a topic.
    CreateTopic(CreateTopic),
    /// Delete a topic of a user.
    DeleteTopic {
        /// Which one.
        id: TopicId,
    },
    /// Change the configuration of a topic of a user: all of the changes or none.
    AlterTopic {
        /// Which one.
        id: TopicId,
        /// Each key once.
        changes: Vec<ConfigChange>,
    },
    /// Give a topic of a user this configuration and no other: what is not named goes back to its default.
    ConfigureTopic {
        /// Which one.
        id: TopicId,
        /// What the topic sets itself.
        configs: BTreeMap<String, String>,
    },
    /// Add partitions to a topic of a user. There are never fewer than there were.
    CreatePartitions {
        /// Which one.
        id: TopicId,
        /// How many it has then.
        count: u32,
    },
    /// A broker alone in its cluster announces itself; nothing changes if it did so before in the same words.
    RegisterBroker {
        /// Its node id.
        node: NodeId,
        /// Its data directory.
        directory: DirectoryId,
        /// Its gRPC address for clients.
        grpc: String,
    },
    /// A run of a broker asks for its epoch. It is fenced until it is unfenced.
    StartBroker(StartBroker),
    /// A broker was not heard of: it leads nothing and is in sync with nothing any more.
    FenceBroker {
        /// Its node id.
        node: NodeId,
        /// Its run.
        epoch: BrokerEpoch,
    },
    /// A broker is heard of: it may lead and be in sync.
    UnfenceBroker {
        /// Its node id.
        node: NodeId,
        /// Its run.
        epoch: BrokerEpoch,
        /// The version of the image that it has.
        applied: u64,
    },
    /// A broker is about to stop: others take over what it leads. It may stop once this is applied.
    DrainBroker {
        /// Its node id.
        node: NodeId,
        /// Its run.
        epoch: BrokerEpoch,
    },
    /// A node that is fenced and holds nothing is no broker any more.
    RemoveBroker {
        /// Its node id.
        node: NodeId,
    },
    /// A leader says who is in sync.
    AlterPartition(AlterPartition),
    /// A leader has found an epoch in its log that is not below its own: it goes on in one above that.
    RaiseLeaderEpoch {
        /// The leader.
        node: NodeId,
        /// Its run.
        broker_epoch: BrokerEpoch,
        /// The partition.
        at: TopicPartition,
        /// The epoch in its log.
        above: LeaderEpoch,
    },
    /// Give a partition back to its preferred leader.
    ElectPreferred {
        /// The partition.
        at: TopicPartition,
    },
    /// Make a replica lead a partition without a leader, and accept that what it does not hold is lost.
    ElectUnclean {
        /// The partition.
        at: TopicPartition,
        /// The replica.
        node: NodeId,
    },
    /// Make the best of those lead who were last known to hold everything, once all of them have told what they hold.
    RecoverLeader {
        /// The partition.
        at: TopicPartition,
        /// What they hold.
        ends: Vec<ReplicaEnd>,
    },
    /// Move a partition to other nodes.
    Reassign {
        /// The partition.
        at: TopicPartition,
        /// Where it will lie, the preferred leader first.
        replicas: Vec<NodeId>,
    },
    /// Leave a partition where it was before its reassignment began.
    CancelReassignment {
        /// The partition.
        at: TopicPartition,
    },
    /// Take the next step towards enough replicas of a topic of the product; nothing changes once there are.
    RaiseReplication {
        /// Which one.
        id: TopicId,
    },
    /// Let newer record kinds and file formats be written. A level that is reached already changes nothing.
    RaiseFeatureLevel {
        /// The level wanted.
        level: u32,
    },
    /// Take a block of producer ids that nobody had before.
    TakeProducerIds {
        /// Who will hand them out.
        node: NodeId,
        /// How many.
        count: u32,
    },
}
