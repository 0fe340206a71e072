//! Administration: topics, offsets, groups and what they have committed, the cluster.

mod altering;
mod cluster;
mod groups;
mod offsets;
mod topics;

use millrace_proto::v1;
use millrace_types::{ClusterId, NodeId, TopicName};

pub use altering::{ConfigChange, RecordsToDelete};
pub use cluster::{BrokerChange, BrokerState, BrokerStatus, ClusterStatus, PartitionMove};
pub use groups::{
    GroupDescription, GroupKind, GroupListing, GroupMemberDescription, GroupReset, GroupStage, OffsetReset,
    PartitionLag, PartitionsOfTopic, ResetTo,
};
pub use offsets::{CommittedOffset, OffsetAnswer, OffsetAt, OffsetCommit, OffsetQuery};
pub(crate) use topics::leaderships;
pub use topics::{ConfigEntry, NewTopic, PartitionDescription, TopicDescription, TopicSummary};

use crate::client::Retry;
use crate::connection::Rpc;
use crate::{Client, ClientError};

/// Administration of a cluster. Made by [`Client::admin`].
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

/// A cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterDescription {
    /// Its id.
    pub id: ClusterId,
    /// The node that decides, if there is one.
    pub controller: Option<NodeId>,
    /// Its brokers.
    pub brokers: Vec<BrokerDescription>,
    /// The version of the software of the broker that answered.
    pub version: String,
    /// What the cluster's metadata may use.
    pub feature_level: u32,
}

/// A broker of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerDescription {
    /// Its node id.
    pub node: NodeId,
    /// Where its gRPC door is reached, `host:port`.
    pub grpc: String,
    /// Where its Kafka door is reached, `host:port`, if it has said.
    pub kafka: Option<String>,
    /// Whether it may lead and be in sync.
    pub is_active: bool,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Admin {
        Admin { client }
    }

    /// Describes the cluster.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        let request = v1::DescribeClusterRequest {};
        let send = |mut rpc: Rpc, request| async move { rpc.describe_cluster(request).await };
        let answer = self.client.call(Retry::Always, request, send).await?;
        let id = ClusterId::from_hex(&answer.cluster_id)
            .ok_or_else(|| ClientError::Answer(format!("cluster id {:?}", answer.cluster_id)))?;
        let brokers = answer.brokers.into_iter();
        Ok(ClusterDescription {
            id,
            controller: node(answer.controller),
            brokers: brokers.map(describe_broker).collect(),
            version: answer.version,
            feature_level: answer.feature_level,
        })
    }
}

fn describe_broker(broker: v1::Broker) -> BrokerDescription {
    BrokerDescription {
        node: NodeId(broker.node),
        grpc: broker.grpc,
        kafka: Some(broker.kafka).filter(|kafka| !kafka.is_empty()),
        is_active: broker.active,
    }
}

/// Answers are matched with questions by their order.
fn check_length(answers: usize, expected: usize) -> Result<(), ClientError> {
    if answers == expected {
        return Ok(());
    }
    Err(ClientError::Answer(format!("{answers} answers to {expected} questions")))
}

/// A node id, where -1 stands for none.
fn node(id: i32) -> Option<NodeId> {
    (id >= 0).then_some(NodeId(id))
}

/// Refuses a topic name that no broker would take, without asking one.
pub(crate) fn check_topic(name: &str) -> Result<TopicName, ClientError> {
    TopicName::new(name)
        .map_err(|e| ClientError::Config { what: format!("topic {name:?}"), reason: e.to_string() })
}
