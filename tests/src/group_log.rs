//! What consumers of a group were told and handed, kept by the test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use millrace_client::{AssignedPartition, ConsumedRecord, Consumer, ConsumerHandle, RebalanceCallbacks};
use parking_lot::Mutex;

/// A safety net, not a measurement: nothing waits that long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(50);

/// What a consumer was told.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Every call, in order.
    calls: Arc<Mutex<Vec<Call>>>,
    commits_on_revoke: bool,
}

/// What happened, and to which partitions.
pub type Call = (What, Vec<u32>);

/// Which callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Partitions came.
    Assigned,
    /// Partitions went.
    Revoked,
    /// Partitions were gone.
    Lost,
}

impl Told {
    /// Commits in the callback for what goes.
    #[must_use]
    pub fn committing() -> Told {
        Told { commits_on_revoke: true, ..Told::default() }
    }

    /// The calls until now.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// How often it was told that.
    #[must_use]
    pub fn count(&self, what: What) -> usize {
        self.calls.lock().iter().filter(|(told, _)| *told == what).count()
    }

    fn note(&self, what: What, partitions: &[AssignedPartition]) -> BoxFuture<'static, ()> {
        let partitions = partitions.iter().map(|partition| partition.partition.0).collect();
        self.calls.lock().push((what, partitions));
        Box::pin(std::future::ready(()))
    }
}

impl RebalanceCallbacks for Told {
    fn assigned<'a>(&'a mut self, _: &'a ConsumerHandle, of: &'a [AssignedPartition]) -> BoxFuture<'a, ()> {
        self.note(What::Assigned, of)
    }

    fn revoked<'a>(
        &'a mut self,
        group: &'a ConsumerHandle,
        of: &'a [AssignedPartition],
    ) -> BoxFuture<'a, ()> {
        let noted = self.note(What::Revoked, of);
        let commits = self.commits_on_revoke;
        Box::pin(async move {
            noted.await;
            if commits {
                group.commit_sync().await.expect("what goes can still be committed");
            }
        })
    }

    fn lost<'a>(&'a mut self, _: &'a ConsumerHandle, of: &'a [AssignedPartition]) -> BoxFuture<'a, ()> {
        self.note(What::Lost, of)
    }
}

/// A consumer and what it was handed.
#[derive(Debug)]
pub struct Worker {
    /// The consumer.
    pub consumer: Consumer,
    /// What it was handed, in order: partition and offset.
    pub handed: Vec<(u32, i64)>,
}

impl Worker {
    /// Nothing yet.
    #[must_use]
    pub fn new(consumer: Consumer) -> Worker {
        Worker { consumer, handed: Vec::new() }
    }

    /// The partitions that are assigned to it.
    #[must_use]
    pub fn partitions(&self) -> BTreeSet<u32> {
        self.consumer.assignment().iter().map(|assigned| assigned.partition.0).collect()
    }

    /// Polls once.
    ///
    /// # Panics
    /// When the consumer is refused.
    pub async fn poll(&mut self) -> Vec<ConsumedRecord> {
        let records = self.consumer.poll(POLL).await.expect("records");
        self.handed.extend(records.iter().map(|record| (record.partition.0, record.offset.get())));
        records
    }
}

/// Lets all of them poll, in turns, until it holds.
///
/// # Panics
/// When it never does.
pub async fn poll_until(workers: &mut [Worker], what: &str, holds: impl Fn(&[Worker]) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds(workers) {
        let at = workers.iter().map(|worker| (worker.partitions(), worker.handed.len())).collect::<Vec<_>>();
        assert!(Instant::now() < end, "{what} never came: {at:?}");
        for worker in workers.iter_mut() {
            worker.poll().await;
        }
    }
}

/// How often each record was handed out, by all of them together.
#[must_use]
pub fn times_handed(workers: &[Worker]) -> BTreeMap<(u32, i64), u32> {
    let mut times = BTreeMap::new();
    for at in workers.iter().flat_map(|worker| &worker.handed) {
        *times.entry(*at).or_default() += 1;
    }
    times
}

/// Whether the workers have so many partitions each, no two of them the same.
#[must_use]
pub fn share(workers: &[Worker], counts: &[usize]) -> bool {
    let all: Vec<BTreeSet<u32>> = workers.iter().map(Worker::partitions).collect();
    let mut sizes: Vec<usize> = all.iter().map(BTreeSet::len).collect();
    sizes.sort_unstable();
    let distinct: BTreeSet<u32> = all.iter().flatten().copied().collect();
    let is_quiet = workers.iter().all(|worker| worker.consumer.handle().waiting() == 0);
    sizes == counts && distinct.len() == counts.iter().sum::<usize>() && is_quiet
}
