//! Who serves clients of Kafka, and where they are sent.
//!
//! A broker of a cluster has registered the address at which clients reach its Kafka door. One that is alone has not: clients are
//! told what its door advertises.

use std::collections::BTreeMap;

use millrace_broker::{Broker, BrokerDescription, ClusterDescription, TopicRef};
use millrace_types::{LeaderEpoch, NodeId, PartitionIndex};

use crate::door::Endpoint;
use crate::error_map::KafkaError;
use crate::handlers::{Caller, Handlers};

/// The brokers that clients of Kafka can reach.
#[derive(Debug)]
pub(crate) struct Served {
    active: BTreeMap<NodeId, Endpoint>,
    others: BTreeMap<NodeId, Endpoint>,
}

impl Served {
    /// Those of a cluster. This one, if nobody is known to serve.
    pub(crate) fn of(api: &Handlers, caller: &Caller, cluster: Option<&ClusterDescription>) -> Served {
        let mut served = Served { active: BTreeMap::new(), others: BTreeMap::new() };
        for broker in cluster.into_iter().flat_map(|cluster| &cluster.brokers) {
            if let Some(endpoint) = endpoint_of(api, caller, broker) {
                let place = if broker.is_active { &mut served.active } else { &mut served.others };
                place.insert(broker.node, endpoint);
            }
        }
        if served.active.is_empty() {
            served.active.insert(api.settings.node, caller.advertised.clone());
        }
        served
    }

    /// Those that may lead.
    pub(crate) fn active(&self) -> impl Iterator<Item = (NodeId, &Endpoint)> {
        self.active.iter().map(|(node, endpoint)| (*node, endpoint))
    }

    /// Those that are known, and may not lead at present.
    pub(crate) fn others(&self) -> impl Iterator<Item = (NodeId, &Endpoint)> {
        self.others.iter().map(|(node, endpoint)| (*node, endpoint))
    }
}

/// Where clients reach a broker's Kafka door; `None` if that is not known here.
pub(crate) fn endpoint_of(api: &Handlers, caller: &Caller, broker: &BrokerDescription) -> Option<Endpoint> {
    let is_here = broker.node == api.settings.node;
    if is_here && broker.kafka.is_empty() {
        return Some(caller.advertised.clone());
    }
    Endpoint::read(&broker.kafka)
}

/// What clients are told that have asked another broker than the leader, so that they need not ask who it is (KIP-951).
#[derive(Debug)]
pub(crate) struct Redirects<'a> {
    broker: &'a Broker,
    node: NodeId,
    /// The leaders that were named.
    named: BTreeMap<NodeId, Endpoint>,
}

impl<'a> Redirects<'a> {
    /// Those of an answer of this node.
    pub(crate) fn new(broker: &'a Broker, node: NodeId) -> Redirects<'a> {
        Redirects { broker, node, named: BTreeMap::new() }
    }

    /// The leader of a partition, if `error` says that it is another broker and that one can be reached.
    pub(crate) fn leader(
        &mut self,
        error: KafkaError,
        topic: &TopicRef,
        partition: i32,
    ) -> Option<(NodeId, LeaderEpoch)> {
        if !matches!(error, KafkaError::NotLeaderOrFollower | KafkaError::FencedLeaderEpoch) {
            return None;
        }
        let (leader, epoch) = self.broker.leadership(topic, PartitionIndex::new(partition)?)?;
        let leader = leader.filter(|leader| *leader != self.node)?;
        if !self.named.contains_key(&leader) {
            self.named.insert(leader, Endpoint::read(&self.broker.member(leader)?.kafka)?);
        }
        Some((leader, epoch))
    }

    /// The leaders that were named, and where they are.
    pub(crate) fn named(self) -> impl Iterator<Item = (NodeId, Endpoint)> {
        self.named.into_iter()
    }
}
