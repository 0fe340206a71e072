//! Records that are damaged here are put back from other replicas, wound by wound.
//!
//! ```text
//!   a start, a read, the scrub ──► the log's list of damage
//!                                       │  every second
//!                                       ▼
//!   the log copies what is whole ──► wants the rest ──► the leader, then the other replicas ──► a new segment in its place
//! ```
//! Nobody has to lead or to follow for it, and the in-sync replicas stay as they are. While somebody may have the records readers are told
//! to ask again; once all have been asked and none has them, they hear which offsets are lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_env::Monotonic;
use millrace_log::{Log, MendError, MendStep, Mending, ReadRequest};
use millrace_types::{ErrorCode, NodeId, OffsetRange, TopicPartition, limits};

use super::Cluster;
use super::peers::{PeerAnswer, PeerError, PeerRequest, RecordsQuestion};
use super::replica::PartitionReplica;
use super::sending::in_one_piece;
use crate::ApiError;
use crate::io_pool::on_pool;

/// How often logs are looked at for damage.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After an attempt that has not mended everything.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long another broker may take to read.
const WITHIN: Duration = Duration::from_secs(10);

/// What became of a wound.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    Mended,
    /// It may be mended later.
    NotYet,
    /// No other replica has what is missing.
    Beyond,
}

/// Mends for ever.
pub(crate) async fn run(cluster: Arc<Cluster>) {
    let mut rests: BTreeMap<TopicPartition, Monotonic> = BTreeMap::new();
    loop {
        cluster.env.clock.sleep(LOOK_EVERY).await;
        for part in cluster.replicas.all().values() {
            let now = cluster.env.clock.monotonic();
            if part.log().damage().ranges == 0 || rests.get(&part.at()).is_some_and(|until| now < *until) {
                continue;
            }
            let outcome = cluster.mend(part).await;
            part.set_beyond_mending(outcome == Outcome::Beyond);
            if outcome == Outcome::Mended {
                rests.remove(&part.at());
            } else {
                rests.insert(part.at(), cluster.env.clock.monotonic().after(AGAIN_AFTER));
            }
        }
    }
}

impl Cluster {
    /// Mends what is damaged of a replica; answers the worst that became of it.
    async fn mend(&self, part: &PartitionReplica) -> Outcome {
        let mut worst = Outcome::Mended;
        for wound in part.log().wounds() {
            let outcome = self.mend_wound(part, wound).await;
            worst = worst.max(outcome.unwrap_or(Outcome::NotYet));
        }
        worst
    }

    async fn mend_wound(&self, part: &PartitionReplica, wound: OffsetRange) -> Result<Outcome, ApiError> {
        let log = Arc::clone(part.log());
        let begun = on_pool(&self.env, move || log.mend(wound)).await?;
        let mut mending = match begun {
            Ok(mending) => mending,
            Err(error) => return Ok(given_up(part.at(), &error)),
        };
        loop {
            let step;
            (mending, step) = self.on(mending, Mending::go_on).await?;
            let outcome = match step {
                Ok(MendStep::GoesOn) => continue,
                Ok(MendStep::Mended) => return Ok(Outcome::Mended),
                Ok(MendStep::Wants(wanted)) => {
                    let outcome;
                    (mending, outcome) = self.ask_others(part, mending, wanted).await?;
                    match outcome {
                        None => continue,
                        Some(outcome) => outcome,
                    }
                }
                Err(error) => given_up(part.at(), &error),
            };
            on_pool(&self.env, move || mending.abandon()).await?;
            return Ok(outcome);
        }
    }

    /// Asks the other replicas one by one until one has what is wanted: `None`. Else why nobody had.
    async fn ask_others(
        &self,
        part: &PartitionReplica,
        mut mending: Mending,
        wanted: OffsetRange,
    ) -> Result<(Mending, Option<Outcome>), ApiError> {
        let mut outcome = Outcome::Beyond;
        for (node, address) in self.others(part.at()) {
            let bytes_max = limits::REPLICA_FETCH_BYTES_MAX;
            let question = RecordsQuestion { at: part.at(), offsets: wanted, bytes_max };
            let Some(address) = address else {
                outcome = Outcome::NotYet;
                continue;
            };
            match self.ask(&address, PeerRequest::Records(question), WITHIN).await {
                Ok(PeerAnswer::Records(batches)) if !batches.is_empty() => {
                    let taken;
                    (mending, taken) = self.on(mending, move |mending| mending.take(&batches)).await?;
                    match taken {
                        Ok(()) => return Ok((mending, None)),
                        Err(MendError::Unfit(why)) => {
                            tracing::warn!(at = %part.at(), %node, %why, "its records do not fit where ours are damaged");
                        }
                        Err(error) => return Ok((mending, Some(given_up(part.at(), &error)))),
                    }
                }
                Err(PeerError::Refused(error)) if has_them_not(error.code) => {
                    tracing::warn!(at = %part.at(), %node, %error, "it has not the records that are damaged here");
                }
                Ok(_) => outcome = Outcome::NotYet,
                Err(error) => {
                    tracing::debug!(at = %part.at(), %node, %error, "not asked for what is damaged here");
                    outcome = Outcome::NotYet;
                }
            }
        }
        Ok((mending, Some(outcome)))
    }

    /// Who else has a replica, the leader first, and where that is; `None` if nobody knows.
    fn others(&self, at: TopicPartition) -> Vec<(NodeId, Option<String>)> {
        let image = self.quorum().image();
        let Some(partition) = image.partition(at) else { return Vec::new() };
        let mut others: Vec<NodeId> =
            partition.replicas.iter().copied().filter(|node| *node != self.me).collect();
        others.sort_by_key(|node| (partition.leader != Some(*node), !partition.isr.contains(node)));
        let address = |node| image.broker(node).map(|broker| broker.internal.clone());
        others.into_iter().map(|node| (node, address(node))).collect()
    }

    /// A step of a mending, on a thread that may block.
    async fn on<T: Send + 'static>(
        &self,
        mut mending: Mending,
        step: impl FnOnce(&mut Mending) -> T + Send + 'static,
    ) -> Result<(Mending, T), ApiError> {
        let work = move || {
            let done = step(&mut mending);
            (mending, done)
        };
        on_pool(&self.env, work).await
    }

    /// What another broker wants of the records that are stored here.
    ///
    /// # Errors
    /// If there is no replica here, or it has them not.
    pub(super) async fn records(&self, question: RecordsQuestion) -> Result<Bytes, ApiError> {
        let RecordsQuestion { at, offsets, bytes_max } = question;
        let part = self.replicas.get(at).ok_or_else(|| {
            ApiError::new(ErrorCode::NotLeader, format!("node {} has no replica of {at}", self.me))
        })?;
        let log: Arc<Log> = Arc::clone(part.log());
        let bytes_max = bytes_max.min(limits::REPLICA_FETCH_BYTES_MAX);
        let request = ReadRequest { from: offsets.start, until: Some(offsets.end), bytes_max };
        let read = on_pool(&self.env, move || log.read(&request).and_then(|plan| plan.load())).await?;
        Ok(in_one_piece(read?.extents))
    }
}

fn given_up(at: TopicPartition, error: &MendError) -> Outcome {
    match error {
        MendError::Later(_) | MendError::Changed => tracing::debug!(%at, %error, "not mended yet"),
        MendError::Unfit(_) | MendError::Io(_) => tracing::warn!(%at, %error, "not mended"),
    }
    if matches!(error, MendError::Unfit(_)) { Outcome::Beyond } else { Outcome::NotYet }
}

/// Whether a broker that answers so has looked, and found nothing to give.
fn has_them_not(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Corrupt | ErrorCode::OffsetOutOfRange)
}
