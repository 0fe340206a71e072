//! Fetches for the replicas that follow: one line of requests to each leader.
//!
//! A request carries what is due, the leader keeps the rest of the line in mind (see [`super::sending`]). While one request waits
//! there for news, a second one may overtake it with more that is due. One always waits there, be it with nothing that is due: what is
//! written after a quiet while must not wait until a replica asks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use millrace_env::BoxFuture;
use millrace_log::Ticket;
use millrace_replication::Fetch;
use millrace_types::{NodeId, TopicPartition, limits};

use super::Cluster;
use super::peers::{PeerAnswer, PeerCall, PeerError, PeerRequest, ReplicaFetch, ReplicaFetched};
use super::replica::PartitionReplica;
use crate::io_pool::on_pool;

/// How long a leader may keep a request that it has no news for.
const WAIT: Duration = Duration::from_millis(500);
/// How much longer its answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests to one leader at once: one that waits, and one that overtakes it.
const REQUESTS_MAX: usize = 2;
/// After a leader that could not be reached.
const PAUSE: Duration = Duration::from_millis(50);

/// Fetches from whoever is to be fetched from, for ever.
pub(crate) async fn run(cluster: Arc<Cluster>) {
    let outbox = Arc::clone(cluster.replicas.outbox());
    let mut lines: FuturesUnordered<BoxFuture<()>> = FuturesUnordered::new();
    let mut known = BTreeSet::new();
    loop {
        for leader in outbox.leaders() {
            if known.insert(leader) {
                lines.push(Box::pin(line(Arc::clone(&cluster), leader)));
            }
        }
        tokio::select! {
            biased;
            () = outbox.new_leader.notified() => {}
            Some(()) = lines.next() => {}
        }
    }
}

async fn line(cluster: Arc<Cluster>, leader: NodeId) {
    let due = cluster.replicas.outbox().fetches_of(leader);
    let mut requests: FuturesUnordered<BoxFuture<bool>> = FuturesUnordered::new();
    let next = || {
        let fetches = due.take(limits::PARTITIONS_PER_REQUEST_MAX);
        request(Arc::clone(&cluster), leader, fetches).boxed()
    };
    loop {
        let may_send = requests.len() < REQUESTS_MAX;
        tokio::select! {
            biased;
            Some(reached) = requests.next() => {
                if !reached {
                    cluster.env.clock.sleep(PAUSE).await;
                } else if requests.is_empty() && cluster.replicas.follows(leader) {
                    requests.push(next());
                }
            }
            () = due.filled(), if may_send => requests.push(next()),
        }
    }
}

/// One request and its answer; `false` if the leader could not be reached. What was not answered is asked for again by the replicas.
async fn request(cluster: Arc<Cluster>, leader: NodeId, fetches: BTreeMap<TopicPartition, Fetch>) -> bool {
    let image = cluster.quorum().image();
    let Some(address) = image.broker(leader).map(|broker| broker.internal.clone()) else { return false };
    let fetches = fetches.into_values().collect();
    let fetch = ReplicaFetch { wait: WAIT, bytes_max: limits::REPLICA_FETCH_BYTES_MAX, fetches };
    match cluster.ask(&address, PeerRequest::Fetch(fetch), WAIT + PATIENCE).await {
        Ok(PeerAnswer::Fetched(answers)) => {
            take(&cluster, answers).await;
            true
        }
        Ok(_) => false,
        Err(error) => {
            tracing::debug!(%leader, %error, "no answer to a fetch");
            if matches!(error, PeerError::Unreachable { .. } | PeerError::NoAnswer { .. }) {
                cluster.suspects.add(leader, error.to_string());
            }
            false
        }
    }
}

/// Appends what has come, waits until it is held, and lets the replicas go on.
async fn take(cluster: &Cluster, answers: Vec<ReplicaFetched>) {
    let parts = cluster.replicas.all();
    let answered = answers.into_iter().filter_map(|fetched| {
        let part = parts.get(&fetched.answer.partition)?;
        Some((Arc::clone(part), fetched))
    });
    let answered: Vec<_> = answered.collect();
    if answered.is_empty() {
        return;
    }
    let append = move || {
        let step = |(part, fetched): (Arc<PartitionReplica>, ReplicaFetched)| match part
            .answered(fetched.answer, &fetched.batches)
        {
            Ok(ticket) => Some((part, ticket)),
            Err(fault) => {
                tracing::error!(at = %fetched.answer.partition, %fault, "what the leader has sent is not taken");
                None
            }
        };
        answered.into_iter().filter_map(step).collect::<Vec<_>>()
    };
    let Ok(appended) = on_pool(&cluster.env, append).await else { return };
    let syncs = appended.iter().filter_map(|(_, ticket)| ticket.as_ref());
    syncs.skip(1).for_each(Ticket::sync_in_background);
    join_all(appended.into_iter().map(|(part, ticket)| go_on(part, ticket))).await;
}

async fn go_on(part: Arc<PartitionReplica>, ticket: Option<Ticket>) {
    if let Some(ticket) = ticket
        && let Err(error) = ticket.await
    {
        // The directory has failed, or the log is gone.
        tracing::warn!(%error, "what the leader has sent is not held");
        return;
    }
    if let Err(fault) = part.caught_up() {
        tracing::error!(%fault, "a follower does not go on");
    }
}

impl Cluster {
    /// Asks another broker.
    pub(crate) fn ask(
        &self,
        address: &str,
        request: PeerRequest,
        within: Duration,
    ) -> BoxFuture<Result<PeerAnswer, PeerError>> {
        let call = PeerCall { cluster: Some(self.id), from: self.me, request };
        self.peers.ask(address, call, within)
    }
}
