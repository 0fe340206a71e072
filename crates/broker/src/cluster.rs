//! What makes a broker one of several.
//!
//! | part | what it does |
//! |---|---|
//! | [`peers`] | what brokers say to each other |
//! | [`network`] | the quorum's way to its peers, and who cannot be reached |
//! | [`metadata`], [`rounds`] | decisions: taken by whoever leads the quorum, asked for from anywhere |
//! | [`opening`], [`unreported`] | how a broker of a cluster starts |
//! | [`life`] | how it registers, is heard, and takes its leave |
//! | [`controller`] | what the leader of the quorum does |
//! | [`replica`], [`replicas`], [`outbox`] | the partitions on this node, and what they want done |
//! | [`fetcher`], [`sending`] | records on their way from leaders to followers |
//! | [`mender`] | damaged records are put back from other replicas |
//! | [`chores`] | everything that is looked at from time to time |
//! | [`answers`] | what other brokers are answered |

mod answers;
mod chores;
mod controller;
mod fetcher;
mod life;
mod mender;
mod metadata;
mod network;
mod opening;
mod outbox;
mod peers;
mod replica;
mod replicas;
mod rounds;
mod sending;
mod unreported;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::{Env, TaskHandle};
use millrace_metadata::Losses;
use millrace_quorum::MetadataQuorum;
use millrace_types::{ClusterId, DirectoryId, IncarnationId, NodeId, TopicPartition};
use tokio::sync::watch;

pub(crate) use self::metadata::ClusterMetadata;
pub(crate) use self::opening::{OpenedCluster, QUORUM_LOG, open};
#[cfg(test)]
pub(crate) use self::outbox::ReplicaOutbox;
pub use self::peers::{
    Greeted, Greeting, HeartbeatAnswer, PeerAnswer, PeerCall, PeerError, PeerHeartbeat, PeerRequest,
    PeerService, Peers, ProposalOutcome, Proposed, RecordsQuestion, ReplicaFetch, ReplicaFetched,
    ReplicaTail,
};
pub(crate) use self::replica::{LedBy, PartitionReplica};

use self::network::{AddressBook, Suspects};
use self::replicas::Replicas;
use self::sending::Sending;
use crate::core::Core;

/// So long the leader of the quorum goes on after it has handed over its partitions: two of the quorum's heartbeats.
const HEARD_WITHIN: Duration = Duration::from_millis(300);

/// What a broker needs to be one of several.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The way to the others.
    pub peers: Arc<dyn Peers>,
    /// Where others reach its internal listener, as `host:port`.
    pub internal: String,
    /// Where clients reach its Kafka door, as `host:port`; empty if there is none.
    pub kafka: String,
    /// Internal addresses of nodes of the cluster that it is to join. Without any, a node that is of no cluster founds one.
    pub join: Vec<String>,
}

/// How other brokers and clients find this one.
#[derive(Clone, Debug)]
struct Addresses {
    internal: String,
    grpc: String,
    kafka: String,
    join: Vec<String>,
}

/// What a start has found of its directory, as the cluster is told.
#[derive(Clone, Debug)]
struct Found {
    losses: Losses,
    damaged: BTreeSet<TopicPartition>,
}

/// A broker's part in its cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    env: Env,
    id: ClusterId,
    me: NodeId,
    directory: DirectoryId,
    incarnation: IncarnationId,
    data_dir: PathBuf,
    options: Addresses,
    found: Found,
    peers: Arc<dyn Peers>,
    book: Arc<AddressBook>,
    suspects: Arc<Suspects>,
    metadata: Arc<ClusterMetadata>,
    replicas: Replicas,
    sending: Sending,
    sessions: controller::Sessions,
    /// Whether it may lead and be in sync.
    active: watch::Sender<bool>,
    /// Whether it wants to stop.
    draining: watch::Sender<bool>,
    /// Whether it wanted to stop, and others lead what it led.
    may_stop: watch::Sender<bool>,
}

impl Cluster {
    pub(crate) fn metadata(&self) -> &Arc<ClusterMetadata> {
        &self.metadata
    }

    pub(crate) fn quorum(&self) -> &Arc<MetadataQuorum> {
        self.metadata.quorum()
    }

    pub(crate) fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    /// Completes when this broker may lead, and knows all that was decided before that.
    pub(crate) async fn joined(&self) {
        let mut active = self.active.subscribe();
        let _closed = active.wait_for(|active| *active).await;
    }

    /// Has others lead what this broker leads; `false` if that was not done in time, or nobody else is there.
    pub(crate) async fn hand_over(&self, patience: Duration) -> bool {
        self.draining.send_replace(true);
        let mut may_stop = self.may_stop.subscribe();
        let handed_over = tokio::select! {
            biased;
            _ = may_stop.wait_for(|may| *may) => true,
            // Where all stop at once, whoever is last has nobody to wait for, nor anybody to decide that it may stop.
            () = self.is_last() => false,
            () = self.env.clock.sleep(patience) => false,
        };
        if handed_over && self.metadata.leads() {
            // The others must hear of it from this node, or they would hear only once they have elected another.
            self.env.clock.sleep(HEARD_WITHIN).await;
        }
        handed_over
    }

    /// Completes when no other broker is active.
    async fn is_last(&self) {
        let mut changes = self.quorum().changes();
        loop {
            let image = self.quorum().image();
            let mut others = image.brokers().filter(|broker| broker.node != self.me);
            if !others.any(millrace_metadata::Broker::is_active) {
                return;
            }
            if changes.changed().await.is_err() {
                // Nothing is decided any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Begins everything that goes on beside requests.
    pub(crate) fn begin(self: &Arc<Self>, core: &Arc<Core>) -> Vec<Box<dyn TaskHandle>> {
        let tasks = &self.env.tasks;
        let deciding = self.peers.tasks().unwrap_or_else(|| Arc::clone(tasks));
        vec![
            deciding.spawn("cluster life", Box::pin(life::run(Arc::clone(self)))),
            deciding.spawn("controller", Box::pin(controller::run(Arc::clone(self)))),
            tasks.spawn("replica fetches", Box::pin(fetcher::run(Arc::clone(self)))),
            tasks.spawn("metadata follower", Box::pin(chores::follow(Arc::clone(self), Arc::clone(core)))),
            tasks.spawn("in-sync replicas", Box::pin(chores::alter(Arc::clone(self)))),
            tasks.spawn("leader epochs", Box::pin(chores::raise(Arc::clone(self)))),
            tasks.spawn("coordinators", Box::pin(chores::coordinate(Arc::clone(self), Arc::clone(core)))),
            tasks.spawn("mender", Box::pin(mender::run(Arc::clone(self)))),
            tasks.spawn("replica ticks", Box::pin(chores::tick(Arc::clone(self)))),
        ]
    }

    /// Ends its part in the quorum.
    pub(crate) async fn stop(&self) {
        self.quorum().stop().await;
    }
}
