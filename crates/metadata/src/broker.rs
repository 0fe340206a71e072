//! A broker as the cluster sees it: which run of it, and whether it may lead (KIP-631).
//!
//! ```text
//!            StartBroker                UnfenceBroker               DrainBroker
//!   (none) ─────────────► Fenced ────────────────────► Active ────────────────► Draining
//!                           ▲  ▲                         │                         │
//!                           │  └──────── FenceBroker ────┴─────────────────────────┘
//!                           └─ StartBroker: the next run, under the next epoch, only from here
//! ```
//! A broker that registered without an epoch, alone in its cluster, is active until it is fenced.

use millrace_schema::{BrokerRegistered, BrokerStarted, Standing};
use millrace_types::{BrokerEpoch, DirectoryId, IncarnationId, NodeId};

/// A broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broker {
    /// Its node id.
    pub node: NodeId,
    /// Its data directory.
    pub directory: DirectoryId,
    /// Its gRPC address for clients.
    pub grpc: String,
    /// Its Kafka address for clients; empty if it has no such door.
    pub kafka: String,
    /// Its address for other brokers; empty of one that registered without an epoch.
    pub internal: String,
    /// The epoch of its run.
    pub epoch: BrokerEpoch,
    /// Its run; `None` of a broker that registered without an epoch.
    pub incarnation: Option<IncarnationId>,
    /// Whether it may lead and be in sync.
    pub standing: Standing,
    /// The version of the image that its standing came with: whoever wants to be unfenced has come that far.
    pub standing_since: u64,
}

impl Broker {
    pub(crate) fn registered(record: &BrokerRegistered, version: u64) -> Broker {
        Broker {
            node: record.node,
            directory: record.directory,
            grpc: record.grpc.clone(),
            kafka: String::new(),
            internal: String::new(),
            epoch: BrokerEpoch::NONE,
            incarnation: None,
            standing: Standing::Active,
            standing_since: version,
        }
    }

    pub(crate) fn started(record: &BrokerStarted, standing: Standing, version: u64) -> Broker {
        Broker {
            node: record.node,
            directory: record.directory,
            grpc: record.grpc.clone(),
            kafka: record.kafka.clone(),
            internal: record.internal.clone(),
            epoch: record.epoch,
            incarnation: Some(record.incarnation),
            standing,
            standing_since: version,
        }
    }

    /// Whether it may lead and be in sync.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.standing == Standing::Active
    }
}
