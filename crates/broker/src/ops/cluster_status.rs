//! How the cluster is, counted over all of its partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_metadata::{Image, Partition, Standing};
use millrace_types::{ClusterId, NodeId};

use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::{ApiError, Context};

/// A broker, and what it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerStatus {
    /// Its node id.
    pub node: NodeId,
    /// What it may do.
    pub standing: Standing,
    /// Where clients reach its gRPC door.
    pub grpc: String,
    /// Where clients reach its Kafka door; empty where it has not said.
    pub kafka: String,
    /// Where other brokers reach it; empty of a broker that is alone.
    pub internal: String,
    /// How many partitions it leads.
    pub leads: u32,
    /// How many partitions it holds, or is about to hold or to leave.
    pub replicas: u32,
    /// Whether it votes about metadata.
    pub is_voter: bool,
}

/// How the cluster is, as far as the broker that answers knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterStatus {
    /// Its id.
    pub cluster_id: ClusterId,
    /// Who decides about metadata.
    pub controller: Option<NodeId>,
    /// Which record kinds and file formats may be written.
    pub feature_level: u32,
    /// Its brokers, sorted.
    pub brokers: Vec<BrokerStatus>,
    /// Who votes about metadata, sorted; nobody where a broker is alone.
    pub voters: Vec<NodeId>,
    /// What is counted of its partitions.
    pub partitions: PartitionCounts,
}

/// Partitions, those of the product included.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PartitionCounts {
    /// How many there are.
    pub all: u64,
    /// Without a leader.
    pub without_leader: u64,
    /// With a replica that is to stay and is not in sync.
    pub under_replicated: u64,
    /// With fewer in sync than `min.insync.replicas`: nothing is committed there.
    pub below_min_insync: u64,
    /// On their way to other brokers.
    pub moving: u64,
}

impl Core {
    pub(crate) fn cluster_status(self: &Arc<Self>, ctx: &Context) -> Result<ClusterStatus, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::ClusterStatus, Resource::Cluster)?;
        let image = self.metadata.image();
        let (controller, voters) = match &self.cluster {
            Some(cluster) => {
                let members = cluster.quorum().status().members;
                let mut voters: Vec<_> = members.configs.iter().flatten().map(|voter| voter.node).collect();
                voters.sort_unstable();
                voters.dedup();
                (cluster.metadata().leader().map(|(node, _)| node), voters)
            }
            // One node is a quorum of one.
            None => (Some(self.config.node), Vec::new()),
        };
        let loads = loads(&image);
        let brokers = image.brokers().map(|broker| {
            let (leads, replicas) = loads.get(&broker.node).copied().unwrap_or_default();
            BrokerStatus {
                node: broker.node,
                standing: broker.standing,
                grpc: broker.grpc.clone(),
                kafka: broker.kafka.clone(),
                internal: broker.internal.clone(),
                leads,
                replicas,
                is_voter: voters.contains(&broker.node),
            }
        });
        Ok(ClusterStatus {
            cluster_id: self.dir.cluster_id(),
            controller,
            feature_level: image.feature_level(),
            brokers: brokers.collect(),
            partitions: counts(&image),
            voters,
        })
    }
}

/// How many partitions each broker leads, and how many it holds.
fn loads(image: &Image) -> BTreeMap<NodeId, (u32, u32)> {
    let mut loads: BTreeMap<NodeId, (u32, u32)> = BTreeMap::new();
    for (_, partition) in image.partitions() {
        for node in partition.replicas.iter() {
            loads.entry(*node).or_default().1 += 1;
        }
        if let Some(leader) = partition.leader {
            loads.entry(leader).or_default().0 += 1;
        }
    }
    loads
}

fn counts(image: &Image) -> PartitionCounts {
    let mut counts = PartitionCounts::default();
    for topic in image.topics() {
        for partition in &topic.partitions {
            counts.all += 1;
            counts.without_leader += u64::from(partition.leader.is_none());
            counts.under_replicated += u64::from(is_under_replicated(partition));
            counts.below_min_insync += u64::from(partition.isr.len() < topic.min_insync());
            counts.moving += u64::from(partition.is_reassigned());
        }
    }
    counts
}

/// A replica that comes is not missed yet, and one that goes is not missed any more.
fn is_under_replicated(partition: &Partition) -> bool {
    let is_passing = |node: &NodeId| partition.adding.contains(node) || partition.removing.contains(node);
    partition.replicas.iter().any(|node| !is_passing(node) && !partition.isr.contains(node))
}
