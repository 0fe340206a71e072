//! Describes the cluster.

use std::sync::Arc;

use millrace_types::{ClusterId, NodeId};

use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::{ApiError, Context};

/// A running broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerDescription {
    /// Its node id.
    pub node: NodeId,
    /// Where its gRPC door listens.
    pub grpc: String,
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
            // One node is a quorum of one.
            controller: Some(self.config.node),
            brokers: brokers
                .map(|broker| BrokerDescription { node: broker.node, grpc: broker.grpc.clone() })
                .collect(),
            feature_level: image.feature_level(),
        })
    }
}
