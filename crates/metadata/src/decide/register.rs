//! Runs of brokers and their epochs (KIP-631, KIP-903).
//!
//! A broker epoch belongs to one run of one broker and is never given again. A new one is given only after the run
//! before it was fenced, so that it left every in-sync set: what was known of it says nothing of what the next run
//! holds. Where the data directory is the same, the run before has ended (the directory is locked), and is fenced by
//! the same command; where it is another one, the node id may be in use twice, and only the run before's silence
//! decides.

use millrace_schema::{BrokerRegistered, BrokerRun, BrokerStarted, Losses, MetadataRecord};
use millrace_types::limits::BROKERS_MAX;
use millrace_types::{BrokerEpoch, DirectoryId, NodeId};

use super::{CLUSTERS_SINCE, check_level};
use crate::{Broker, Image, Refusal, Standing, StartBroker};

/// Why a run of a broker is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegisterRefusal {
    /// Another data directory answers to the node id.
    #[error("node id {node} is in use by data directory {directory}, which is not fenced")]
    InUse {
        /// The node.
        node: NodeId,
        /// The directory of the run that is known.
        directory: DirectoryId,
    },
    /// The data directory is another broker's: it was copied, or its node id was changed.
    #[error("data directory {directory} is that of node {of}: it cannot be that of node {node} too")]
    AnothersDirectory {
        /// Who asks.
        node: NodeId,
        /// The directory.
        directory: DirectoryId,
        /// Whose it is.
        of: NodeId,
    },
    /// The same run said something else before.
    #[error("this run of node {0} has registered before, in other words")]
    OtherWords(NodeId),
    /// A broker that has had epochs registers without one.
    #[error("node {0} has a broker epoch, and registers without one")]
    EpochNeeded(NodeId),
    /// There are as many brokers as may be.
    #[error("a cluster has {BROKERS_MAX} brokers at most")]
    TooMany,
    /// What is to be removed may still lead.
    #[error("node {0} is not fenced: stop it first")]
    NotFenced(NodeId),
    /// What is to be removed holds partitions.
    #[error("node {node} holds {partitions} partitions: move them first")]
    HoldsPartitions {
        /// The node.
        node: NodeId,
        /// How many.
        partitions: usize,
    },
}

/// A broker alone in its cluster announces itself.
pub(super) fn without_epoch(
    image: &Image,
    node: NodeId,
    directory: DirectoryId,
    grpc: &str,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let same = |broker: &Broker| broker.directory == directory && broker.grpc == grpc;
    match image.broker(node) {
        Some(broker) if broker.incarnation.is_some() => Err(RegisterRefusal::EpochNeeded(node).into()),
        Some(broker) if same(broker) => Ok(Vec::new()),
        _ => {
            let broker = BrokerRegistered { node, directory, grpc: grpc.to_owned() };
            Ok(vec![MetadataRecord::BrokerRegistered(broker)])
        }
    }
}

/// A run of a broker asks for its epoch.
pub(super) fn start(image: &Image, wanted: &StartBroker) -> Result<Vec<MetadataRecord>, Refusal> {
    check_level(image, CLUSTERS_SINCE)?;
    let (node, directory) = (wanted.node, wanted.directory);
    if let Some(other) = image.brokers().find(|other| other.node != node && other.directory == directory) {
        return Err(RegisterRefusal::AnothersDirectory { node, directory, of: other.node }.into());
    }
    let mut records = Vec::new();
    let mut losses = wanted.losses;
    match image.broker(node) {
        None if image.brokers().count() >= BROKERS_MAX => return Err(RegisterRefusal::TooMany.into()),
        None => {}
        Some(broker) if broker.incarnation == Some(wanted.incarnation) => {
            let same = broker.directory == directory && broker.internal == wanted.internal;
            return if same { Ok(records) } else { Err(RegisterRefusal::OtherWords(node).into()) };
        }
        Some(broker) => {
            let other_directory = broker.directory != directory;
            let unfenced = broker.standing != Standing::Fenced;
            if unfenced && other_directory {
                return Err(RegisterRefusal::InUse { node, directory: broker.directory }.into());
            }
            if other_directory {
                losses = Losses::Anything;
            }
            #[cfg(feature = "teeth")]
            let unfenced = millrace_types::planted!(QuickReboot, false, else unfenced);
            if unfenced {
                records.push(MetadataRecord::BrokerFenced(BrokerRun { node, epoch: broker.epoch }));
            }
        }
    }
    let epoch = BrokerEpoch(image.newest_broker_epoch().0.saturating_add(1));
    records.push(MetadataRecord::BrokerStarted(BrokerStarted {
        node,
        epoch,
        incarnation: wanted.incarnation,
        directory,
        grpc: wanted.grpc.clone(),
        kafka: wanted.kafka.clone(),
        internal: wanted.internal.clone(),
        losses,
        damaged: wanted.damaged.iter().copied().collect(),
    }));
    Ok(records)
}

/// A node that holds nothing is no broker any more.
pub(super) fn remove(image: &Image, node: NodeId) -> Result<Vec<MetadataRecord>, Refusal> {
    check_level(image, CLUSTERS_SINCE)?;
    let broker = image.broker(node).ok_or(Refusal::UnknownBroker(node))?;
    if broker.standing != Standing::Fenced {
        return Err(RegisterRefusal::NotFenced(node).into());
    }
    let partitions = image.partitions_of(node);
    if partitions > 0 {
        return Err(RegisterRefusal::HoldsPartitions { node, partitions }.into());
    }
    Ok(vec![MetadataRecord::BrokerRemoved { node }])
}
