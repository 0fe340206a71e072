//! Describes the cluster.

use std::sync::Arc;

use millrace_group::partition_of;
use millrace_metadata::Broker;
use millrace_types::{ClusterId, GroupId, NodeId, TopicName};

use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::partitions::CONSUMER_OFFSETS;
use crate::{ApiError, Context};

/// A broker of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerDescription {
    /// Its node id.
    pub node: NodeId,
    /// Where clients reach its gRPC door.
    pub grpc: String,
    /// Where clients reach its Kafka door, `host:port`; empty where it has not said, as a broker that is alone does not: its door
    /// knows.
    pub kafka: String,
    /// Whether it may lead and be in sync.
    pub is_active: bool,
}

/// The cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterDescription {
    /// Its id.
    pub cluster_id: ClusterId,
    /// Who decides about metadata.
    pub controller: Option<NodeId>,
    /// Its brokers, sorted.
    pub brokers: Vec<BrokerDescription>,
    /// Which record kinds and file formats may be written.
    pub feature_level: u32,
}

impl Core {
    pub(crate) fn describe_cluster(self: &Arc<Self>, ctx: &Context) -> Result<ClusterDescription, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::DescribeCluster, Resource::Cluster)?;
        let image = self.metadata.image();
        let brokers = image.brokers();
        Ok(ClusterDescription {
            cluster_id: self.dir.cluster_id(),
            controller: match &self.cluster {
                Some(cluster) => cluster.metadata().leader().map(|(node, _)| node),
                // One node is a quorum of one.
                None => Some(self.config.node),
            },
            brokers: brokers.map(describe_broker).collect(),
            feature_level: image.feature_level(),
        })
    }

    /// One broker, if it is there.
    pub(crate) fn member(&self, node: NodeId) -> Option<BrokerDescription> {
        self.metadata.image().broker(node).map(describe_broker)
    }

    /// Who leads the partition that has the group; `None` while nobody does.
    pub(crate) fn coordinator_of(&self, group: &GroupId) -> Option<NodeId> {
        let image = self.metadata.image();
        let offsets = image.topic_by_name(&TopicName::new(CONSUMER_OFFSETS).ok()?)?;
        offsets.partition(partition_of(group))?.leader
    }
}

fn describe_broker(broker: &Broker) -> BrokerDescription {
    BrokerDescription {
        node: broker.node,
        grpc: broker.grpc.clone(),
        kafka: broker.kafka.clone(),
        is_active: broker.is_active(),
    }
}
