//! What leaders send to followers.
//!
//! Of each follower it is known what it waits for: a request names only what has changed, and is answered with what there is news
//! of. What a follower has asked for and not heard of stays parked until there is, or until it asks anew. A follower that has heard
//! earlier than its leader who leads stays parked too: refused, it would rest, and nothing would be committed meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use millrace_env::Monotonic;
use millrace_log::ReadPlan;
use millrace_replication::{Fetch, FetchAnswer, FetchRefusal, Fetched};
use millrace_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, TopicPartition, limits};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Cluster;
use super::outbox::Newest;
use super::peers::{ReplicaFetch, ReplicaFetched};
use crate::ApiError;
use crate::io_pool::on_pool;

/// The followers that fetch from this node.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    followers: Mutex<BTreeMap<NodeId, Arc<Line>>>,
}

/// What one follower waits for.
#[derive(Debug)]
struct Line {
    state: Mutex<Waiting>,
    /// Counts its requests: one that waits ends when a newer one comes.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    parked: BTreeMap<TopicPartition, Fetch>,
    told: BTreeMap<TopicPartition, Told>,
}

/// The high watermark that a follower was told last, if the answer has arrived.
#[derive(Clone, Copy, Debug)]
struct Told {
    high_watermark: Offset,
    /// Which run of the follower, by whom.
    run: BrokerEpoch,
    leader_epoch: LeaderEpoch,
    /// How often it is told again when it asks again though nobody has answered it.
    again: u32,
}

/// Answers that may be lost in a row before a follower hears of the high watermark only when that rises.
const TOLD_AGAIN_MAX: u32 = 8;

impl Waiting {
    /// A follower waits for news of a partition.
    fn park(&mut self, fetch: Fetch) {
        let before = self.parked.get(&fetch.partition).map(|before| before.id);
        if before > Some(fetch.id) {
            // It comes late: the follower waits for the answer to another one.
            return;
        }
        self.parked.insert(fetch.partition, fetch);
        let is_again = before.is_some_and(|before| before != fetch.id);
        if let Some(told) = self.told.get_mut(&fetch.partition)
            && is_again
            && told.again > 0
        {
            // Nothing has come for as long as it waits at most: the last answer may be lost.
            told.again -= 1;
            told.high_watermark = Offset::ZERO;
        }
    }

    /// Whether the follower knows of this already.
    fn knows(&self, fetch: &Fetch, high_watermark: Offset) -> bool {
        self.told.get(&fetch.partition).is_some_and(|told| {
            (told.run, told.leader_epoch) == (fetch.broker_epoch, fetch.leader_epoch)
                && told.high_watermark >= high_watermark
        })
    }

    fn tell(&mut self, fetch: &Fetch, high_watermark: Offset) {
        let Fetch { broker_epoch: run, leader_epoch, .. } = *fetch;
        let before = self.told.get(&fetch.partition);
        let is_again = before.is_some_and(|told| told.high_watermark == Offset::ZERO && told.run == run);
        let again = before.filter(|_| is_again).map_or(TOLD_AGAIN_MAX, |told| told.again);
        self.told.insert(fetch.partition, Told { high_watermark, run, leader_epoch, again });
    }
}

/// What ends a wait for news.
enum Woken {
    News,
    /// A newer request of the same follower waits instead.
    Newer,
    Time,
}

/// Whether this node may still hear that it leads what it is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Waits,
    Over,
}

/// One partition gets at most this part of an answer.
const PARTS_OF_AN_ANSWER: usize = 4;

/// An answer whose records are not loaded yet.
type Planned = (Fetched, Option<ReadPlan>);

impl Sending {
    fn line(&self, follower: NodeId) -> Arc<Line> {
        let mut followers = self.followers.lock();
        let make = || Arc::new(Line { state: Mutex::default(), newest: watch::Sender::new(0) });
        Arc::clone(followers.entry(follower).or_insert_with(make))
    }
}

impl Cluster {
    /// Answers a follower.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub(crate) async fn send(
        &self,
        follower: NodeId,
        request: ReplicaFetch,
    ) -> Result<Vec<ReplicaFetched>, ApiError> {
        let deadline = self.env.clock.monotonic().after(request.wait);
        let bytes_max = request.bytes_max.min(limits::REPLICA_FETCH_BYTES_MAX);
        let line = self.sending.line(follower);
        let news = self.replicas.outbox().news_for(follower);
        let asked: BTreeSet<TopicPartition> = request.fetches.iter().map(|fetch| fetch.partition).collect();
        let (mut due, mut patience) = (asked.clone(), Patience::Waits);
        {
            let mut state = line.state.lock();
            request.fetches.into_iter().for_each(|fetch| state.park(fetch));
        }
        let mut mine = 0;
        line.newest.send_modify(|newest| {
            *newest += 1;
            mine = *newest;
        });
        let mut newer = line.newest.subscribe();
        loop {
            due.extend(news.take(usize::MAX).into_keys());
            let planned = self.plan(&line, (&due, mine), bytes_max, (&news, patience));
            if !planned.is_empty() || patience == Patience::Over {
                return self.load(planned).await;
            }
            match self.woken(&news, (&mut newer, mine), deadline).await {
                Woken::News => due.clear(),
                Woken::Newer => return Ok(Vec::new()),
                Woken::Time => {
                    due.clone_from(&asked);
                    patience = Patience::Over;
                }
            }
        }
    }

    async fn woken(
        &self,
        news: &Newest<()>,
        (newer, mine): (&mut watch::Receiver<u64>, u64),
        deadline: Monotonic,
    ) -> Woken {
        tokio::select! {
            biased;
            _ = newer.wait_for(|newest| *newest > mine) => Woken::Newer,
            () = news.filled() => Woken::News,
            () = self.env.clock.sleep(deadline.since(self.env.clock.monotonic())) => Woken::Time,
        }
    }

    fn plan(
        &self,
        line: &Line,
        (due, turn): (&BTreeSet<TopicPartition>, u64),
        bytes_max: usize,
        (news, patience): (&Newest<()>, Patience),
    ) -> Vec<Planned> {
        let mut state = line.state.lock();
        let (mut planned, mut left) = (Vec::new(), bytes_max);
        // Each request begins with another partition, so that a busy one does not keep the others from their turn.
        let skipped = usize::try_from(turn).unwrap_or(0).checked_rem(due.len()).unwrap_or(0);
        for at in due.iter().skip(skipped).chain(due.iter().take(skipped)) {
            let Some(fetch) = state.parked.get(at).copied() else { continue };
            let Some(part) = self.replicas.get(*at) else {
                if patience == Patience::Over {
                    state.parked.remove(at);
                    planned.push((not_here(&fetch), None));
                }
                continue;
            };
            let (Some(answer), plan) = part.asked(fetch, left.min(bytes_max / PARTS_OF_AN_ANSWER)) else {
                continue;
            };
            match answer.answer {
                FetchAnswer::Records { from, high_watermark, .. } => {
                    if left == 0 && from < part.log().offsets().end {
                        // No room in this answer: it comes with the next.
                        news.put(*at, ());
                    }
                    if plan.is_none() && state.knows(&fetch, high_watermark) {
                        continue;
                    }
                    left = left.saturating_sub(plan.as_ref().map_or(0, ReadPlan::size_bytes));
                    state.tell(&fetch, high_watermark);
                }
                // This node will hear, too, that it leads in that epoch.
                FetchAnswer::Refused(_)
                    if patience == Patience::Waits && fetch.leader_epoch > part.standing().epoch =>
                {
                    continue;
                }
                FetchAnswer::Diverging(_) | FetchAnswer::BelowStart { .. } | FetchAnswer::Refused(_) => {}
            }
            state.parked.remove(at);
            planned.push((answer, plan));
        }
        planned
    }

    async fn load(&self, planned: Vec<Planned>) -> Result<Vec<ReplicaFetched>, ApiError> {
        let blocks = planned.iter().flat_map(|(_, plan)| plan).any(|plan| !plan.is_resident());
        let load = move || planned.into_iter().filter_map(loaded).collect::<Vec<_>>();
        if blocks { on_pool(&self.env, load).await } else { Ok(load()) }
    }
}

/// The answer with its records; none if they cannot be read: the follower asks again.
fn loaded((answer, plan): Planned) -> Option<ReplicaFetched> {
    let Some(plan) = plan else { return Some(ReplicaFetched { answer, batches: Bytes::new() }) };
    match plan.load() {
        Ok(read) => Some(ReplicaFetched { answer, batches: in_one_piece(read.extents) }),
        Err(error) => {
            tracing::error!(at = %answer.partition, %error, "records cannot be read for a follower");
            None
        }
    }
}

/// The extents one behind the other; copied only if there are several.
pub(super) fn in_one_piece(extents: Vec<Bytes>) -> Bytes {
    let mut extents = extents.into_iter();
    match (extents.next(), extents.next()) {
        (None, _) => Bytes::new(),
        (Some(only), None) => only,
        (Some(first), Some(second)) => {
            let mut all = BytesMut::from(&first[..]);
            all.extend_from_slice(&second);
            extents.for_each(|extent| all.extend_from_slice(&extent));
            all.freeze()
        }
    }
}

fn not_here(fetch: &Fetch) -> Fetched {
    let answer = FetchAnswer::Refused(FetchRefusal::NotLeader);
    Fetched { id: fetch.id, partition: fetch.partition, leader_epoch: fetch.leader_epoch, answer }
}
