//! What whoever runs a cluster asks of it: how it is, and to move partitions.

use millrace_proto::v1;
use millrace_proto::v1::plan_moves_request::Change;
use millrace_types::limits::quorum_voters;
use millrace_types::{ClusterId, NodeId, PartitionIndex};

use super::{Admin, check_length, check_topic, node};
use crate::client::Retry;
use crate::connection::Rpc;
use crate::{ClientError, Refusal};

/// How a cluster is, as the broker knows that was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterStatus {
    /// Its id.
    pub id: ClusterId,
    /// The node that decides, if there is one.
    pub controller: Option<NodeId>,
    /// What the cluster's metadata may use.
    pub feature_level: u32,
    /// Its brokers, sorted.
    pub brokers: Vec<BrokerStatus>,
    /// Who votes about metadata, sorted; nobody where a broker is alone.
    pub voters: Vec<NodeId>,
    /// How many partitions there are, the product's included.
    pub partitions: u64,
    /// Of them: without a leader.
    pub without_leader: u64,
    /// Of them: with a replica that is to stay and is not in sync.
    pub under_replicated: u64,
    /// Of them: with fewer in sync than `min.insync.replicas`, so that nothing is committed.
    pub below_min_insync: u64,
    /// Of them: on their way to other brokers.
    pub moving: u64,
}

impl ClusterStatus {
    /// Whether as many brokers vote as should: before that the loss of one may be more than the others can decide without. A
    /// broker that has joined votes a moment later.
    #[must_use]
    pub fn has_its_voters(&self) -> bool {
        let active = self.brokers.iter().filter(|broker| broker.state == BrokerState::Active).count();
        self.voters.is_empty() || self.voters.len() >= quorum_voters(active)
    }

    /// Whether everybody is there and everything is in sync. Partitions that are moving are no fault.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.controller.is_some()
            && self.has_its_voters()
            && self.brokers.iter().all(|broker| broker.state == BrokerState::Active)
            && [self.without_leader, self.under_replicated, self.below_min_insync] == [0; 3]
    }
}

/// What a broker may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BrokerState {
    /// It may lead and be in sync.
    Active,
    /// It is about to stop.
    Draining,
    /// It is not heard of.
    Fenced,
    /// Something that this client does not know.
    Unknown,
}

/// A broker, and what it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerStatus {
    /// Its node id.
    pub node: NodeId,
    /// What it may do.
    pub state: BrokerState,
    /// Where its gRPC door is reached, `host:port`.
    pub grpc: String,
    /// Where its Kafka door is reached, if it has said.
    pub kafka: Option<String>,
    /// Where other brokers reach it, if it is one of several.
    pub internal: Option<String>,
    /// How many partitions it leads.
    pub leads: u32,
    /// How many partitions it holds, or is about to hold or to leave.
    pub replicas: u32,
    /// Whether it votes about metadata.
    pub is_voter: bool,
}

/// What becomes of a broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BrokerChange {
    /// It gets its share of the topics of users.
    Add(NodeId),
    /// Everything on it goes elsewhere.
    Remove(NodeId),
}

/// A partition that is to move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionMove {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// Where it lies.
    pub from: Vec<NodeId>,
    /// Where it is to lie, the preferred leader first.
    pub to: Vec<NodeId>,
}

impl Admin {
    /// How the cluster is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cluster_status(&self) -> Result<ClusterStatus, ClientError> {
        let send = |mut rpc: Rpc, request| async move { rpc.cluster_status(request).await };
        let answer = self.client.call(Retry::Always, v1::ClusterStatusRequest {}, send).await?;
        let id = ClusterId::from_hex(&answer.cluster_id)
            .ok_or_else(|| ClientError::Answer(format!("cluster id {:?}", answer.cluster_id)))?;
        Ok(ClusterStatus {
            id,
            controller: node(answer.controller),
            feature_level: answer.feature_level,
            brokers: answer.brokers.into_iter().map(broker_status).collect(),
            voters: answer.voters.into_iter().map(NodeId).collect(),
            partitions: answer.partitions,
            without_leader: answer.without_leader,
            under_replicated: answer.under_replicated,
            below_min_insync: answer.below_min_insync,
            moving: answer.moving,
        })
    }

    /// What would move if a broker came or went. Nothing is changed.
    ///
    /// # Errors
    /// [`ClientError`]; also if there is nowhere else to go.
    pub async fn plan_moves(&self, change: BrokerChange) -> Result<Vec<PartitionMove>, ClientError> {
        let change = match change {
            BrokerChange::Add(node) => Change::Add(node.0),
            BrokerChange::Remove(node) => Change::Remove(node.0),
        };
        let send = |mut rpc: Rpc, request| async move { rpc.plan_moves(request).await };
        let request = v1::PlanMovesRequest { change: Some(change) };
        let answer = self.client.call(Retry::Always, request, send).await?;
        answer.moves.into_iter().map(planned).collect()
    }

    /// Begins to move partitions, and answers each, in order, when that is decided: they have not moved then. A partition that is
    /// to lie nowhere stays where it was before its reassignment began.
    ///
    /// # Errors
    /// [`ClientError`] if the request as a whole is refused.
    pub async fn reassign(&self, moves: &[PartitionMove]) -> Result<Vec<Result<(), Refusal>>, ClientError> {
        let wanted = |planned: &PartitionMove| {
            Ok(v1::Reassignment {
                topic: Some(v1::TopicRef::by_name(&check_topic(&planned.topic)?)),
                partition: planned.partition.get(),
                replicas: planned.to.iter().map(|node| node.0).collect(),
            })
        };
        let partitions = moves.iter().map(wanted).collect::<Result<Vec<_>, ClientError>>()?;
        let request = v1::ReassignPartitionsRequest { partitions };
        let send = |mut rpc: Rpc, request| async move { rpc.reassign_partitions(request).await };
        let answer = self.client.call(Retry::Definite, request, send).await?;
        check_length(answer.partitions.len(), moves.len())?;
        let done = |answer: v1::Reassigned| answer.error.map_or(Ok(()), |error| Err(Refusal::of(error)));
        Ok(answer.partitions.into_iter().map(done).collect())
    }

    /// Has the preferred leader of a partition lead again, if it is in sync. Nothing is lost.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn elect_preferred_leader(
        &self,
        topic: &str,
        partition: PartitionIndex,
    ) -> Result<(), ClientError> {
        self.elect(topic, partition, None).await
    }

    /// Makes a replica lead a partition that nobody leads. **What it does not hold is lost, acknowledged records too.**
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn elect_leader_accepting_loss(
        &self,
        topic: &str,
        partition: PartitionIndex,
        node: NodeId,
    ) -> Result<(), ClientError> {
        self.elect(topic, partition, Some(node)).await
    }

    async fn elect(
        &self,
        topic: &str,
        partition: PartitionIndex,
        lossy: Option<NodeId>,
    ) -> Result<(), ClientError> {
        let request = v1::ElectLeaderRequest {
            topic: Some(v1::TopicRef::by_name(&check_topic(topic)?)),
            partition: partition.get(),
            node: lossy.map(|node| node.0),
            accept_loss: lossy.is_some(),
        };
        let send = |mut rpc: Rpc, request| async move { rpc.elect_leader(request).await };
        self.client.call(Retry::Definite, request, send).await?;
        Ok(())
    }

    /// Makes a broker that has stopped and holds nothing no broker of the cluster.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_broker(&self, node: NodeId) -> Result<(), ClientError> {
        let send = |mut rpc: Rpc, request| async move { rpc.remove_broker(request).await };
        self.client.call(Retry::Definite, v1::RemoveBrokerRequest { node: node.0 }, send).await?;
        Ok(())
    }
}

fn broker_status(broker: v1::BrokerStatus) -> BrokerStatus {
    let state = match broker.state() {
        v1::BrokerState::Active => BrokerState::Active,
        v1::BrokerState::Draining => BrokerState::Draining,
        v1::BrokerState::Fenced => BrokerState::Fenced,
        v1::BrokerState::Unknown => BrokerState::Unknown,
    };
    let given = |address: String| Some(address).filter(|address| !address.is_empty());
    BrokerStatus {
        node: NodeId(broker.node),
        state,
        grpc: broker.grpc,
        kafka: given(broker.kafka),
        internal: given(broker.internal),
        leads: broker.leads,
        replicas: broker.replicas,
        is_voter: broker.voter,
    }
}

fn planned(wire: v1::PartitionMove) -> Result<PartitionMove, ClientError> {
    let nodes = |nodes: Vec<i32>| nodes.into_iter().map(NodeId).collect();
    let partition = PartitionIndex::new(wire.partition)
        .ok_or_else(|| ClientError::Answer(format!("partition {}", wire.partition)))?;
    let topic = wire.topic.map(|topic| topic.name).unwrap_or_default();
    Ok(PartitionMove { topic, partition, from: nodes(wire.from), to: nodes(wire.to) })
}
