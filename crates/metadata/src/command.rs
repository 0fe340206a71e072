//! What can be asked of the cluster.

use std::collections::BTreeMap;

use millrace_types::{DirectoryId, NodeId, TopicId, TopicName};

/// Who asks for a topic, and whom it will belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A user. Names that begin with `__` are refused.
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
    /// A broker announces itself; nothing changes if it did so before in the same words.
    RegisterBroker {
        /// Its node id.
        node: NodeId,
        /// Its data directory.
        directory: DirectoryId,
        /// Its gRPC address for clients.
        grpc: String,
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
