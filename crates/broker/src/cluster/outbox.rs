//! What replicas want done beside their logs: fetches to be sent, questions to the controller, news for followers.
//!
//! Each kind has one entry for a partition, the newest, so that what is queued is bounded by the partitions there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_env::{Clock, Monotonic};
use millrace_replication::{Alter, Fetch, Moment, Timing};
use millrace_types::{LeaderEpoch, NodeId, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A queue with one place for each key, and who waits for it to have something.
#[derive(Debug)]
pub(crate) struct Newest<V> {
    queued: Mutex<BTreeMap<TopicPartition, V>>,
    filled: Notify,
}

impl<V> Default for Newest<V> {
    fn default() -> Newest<V> {
        Newest { queued: Mutex::default(), filled: Notify::new() }
    }
}

impl<V> Newest<V> {
    pub(crate) fn put(&self, at: TopicPartition, value: V) {
        self.queued.lock().insert(at, value);
        self.filled.notify_one();
    }

    /// What is queued, by partition; at most `max` of it.
    pub(crate) fn take(&self, max: usize) -> BTreeMap<TopicPartition, V> {
        let mut queued = self.queued.lock();
        if queued.len() <= max {
            return std::mem::take(&mut *queued);
        }
        let rest = queued.keys().nth(max).copied();
        let taken = rest.map(|rest| queued.split_off(&rest)).unwrap_or_default();
        let taken = std::mem::replace(&mut *queued, taken);
        drop(queued);
        self.filled.notify_one();
        taken
    }

    /// Completes when there is something, for one waiter.
    pub(crate) async fn filled(&self) {
        loop {
            let filled = self.filled.notified();
            if !self.queued.lock().is_empty() {
                return;
            }
            filled.await;
        }
    }
}

/// See above.
#[derive(Debug)]
pub(crate) struct ReplicaOutbox {
    clock: Arc<dyn Clock>,
    began: Monotonic,
    timing: Timing,
    fetches: Mutex<BTreeMap<NodeId, Arc<Newest<Fetch>>>>,
    news: Mutex<BTreeMap<NodeId, Arc<Newest<()>>>>,
    /// A leader that has not been fetched from before.
    pub(crate) new_leader: Notify,
    /// Questions to the controller about who is in sync.
    pub(crate) alters: Newest<Alter>,
    /// Logs whose epochs are not below the one in which they are to be led.
    pub(crate) raises: Newest<LeaderEpoch>,
    /// Replicas that begin anew.
    pub(crate) relearns: Newest<()>,
    /// Replicas that lead, or lead no longer, or know by now all that was committed.
    pub(crate) roles: Newest<()>,
}

impl ReplicaOutbox {
    pub(crate) fn new(clock: Arc<dyn Clock>, timing: Timing) -> ReplicaOutbox {
        ReplicaOutbox {
            began: clock.monotonic(),
            clock,
            timing,
            fetches: Mutex::default(),
            news: Mutex::default(),
            new_leader: Notify::new(),
            alters: Newest::default(),
            raises: Newest::default(),
            relearns: Newest::default(),
            roles: Newest::default(),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        let since = self.clock.monotonic().since(self.began);
        Moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn timing(&self) -> Timing {
        self.timing
    }

    /// A fetch is due.
    pub(crate) fn fetch(&self, leader: NodeId, fetch: Fetch) {
        self.fetches_of(leader).put(fetch.partition, fetch);
    }

    /// The fetches from a leader.
    pub(crate) fn fetches_of(&self, leader: NodeId) -> Arc<Newest<Fetch>> {
        let mut all = self.fetches.lock();
        if let Some(found) = all.get(&leader) {
            return Arc::clone(found);
        }
        let made = Arc::new(Newest::default());
        all.insert(leader, Arc::clone(&made));
        self.new_leader.notify_one();
        made
    }

    /// From whom anything was ever to be fetched.
    pub(crate) fn leaders(&self) -> BTreeSet<NodeId> {
        self.fetches.lock().keys().copied().collect()
    }

    /// What is new for a follower.
    pub(crate) fn news_for(&self, follower: NodeId) -> Arc<Newest<()>> {
        Arc::clone(self.news.lock().entry(follower).or_default())
    }
}
