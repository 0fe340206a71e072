//! Describes the cluster.

use millrace_types::{ClusterId, NodeId};

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
