//! What can be asked of the cluster.

use std::collections::BTreeMap;

use millrace_types::{DirectoryId, NodeId, TopicId, TopicName};

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
