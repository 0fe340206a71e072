//! What takes time when the assignment changes: telling the application, waiting for it, committing for it.
//!
//! One step runs at a time, beside the heartbeats; each is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use millrace_env::{Monotonic, TaskHandle};
use millrace_types::TopicPartition;
use tokio::sync::{Mutex, oneshot};

use super::callbacks::RebalanceCallbacks;
use super::handle::ConsumerHandle;
use super::held::AssignedPartition;

type Partitions = BTreeMap<TopicPartition, AssignedPartition>;

/// How a step ended.
#[derive(Debug)]
pub(super) enum Done {
    /// The application knows that it has them.
    Opened,
    /// They may be let go. `late` are those that the application did not come back from in time.
    Parted { keys: BTreeSet<TopicPartition>, late: Vec<AssignedPartition> },
    /// The application knows what it has lost.
    Told,
    /// A callback has panicked.
    Died,
}

/// What steps work with.
#[derive(Clone)]
pub(super) struct Steps {
    pub(super) group: ConsumerHandle,
    pub(super) callbacks: Arc<Mutex<Box<dyn RebalanceCallbacks>>>,
    pub(super) commits_automatically: bool,
}

/// A step's task, which ends with whoever waits for it.
struct Task(Box<dyn TaskHandle>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Steps {
    /// Runs a step as a task of its own: a callback that blocks or panics must not keep heartbeats back.
    pub(super) fn launch(
        self,
        step: impl FnOnce(Steps) -> BoxFuture<'static, Done>,
    ) -> BoxFuture<'static, Done> {
        let (send, done) = oneshot::channel();
        let tasks = Arc::clone(&self.group.client().env().tasks);
        let step = step(self);
        let run = async move {
            // The consumer is gone if nobody waits.
            let _ = send.send(step.await);
        };
        let task = Task(tasks.spawn("group callback", Box::pin(run)));
        Box::pin(async move {
            let done = done.await.unwrap_or(Done::Died);
            drop(task);
            done
        })
    }

    /// Tells what has come.
    pub(super) fn opened(self, partitions: Partitions, deadline: Monotonic) -> BoxFuture<'static, Done> {
        Box::pin(async move {
            let names: Vec<_> = partitions.into_values().collect();
            let told = async {
                self.callbacks.lock().await.assigned(&self.group, &names).await;
            };
            if !self.by(deadline, told).await {
                tracing::warn!(
                    group = self.group.group(),
                    "the callback `assigned` takes too long and was given up"
                );
            }
            Done::Opened
        })
    }

    /// Waits for the application, commits for it, tells it what goes.
    pub(super) fn parted(self, partitions: Partitions, deadline: Monotonic) -> BoxFuture<'static, Done> {
        Box::pin(async move {
            let keys: BTreeSet<_> = partitions.keys().copied().collect();
            let names: Vec<_> = partitions.into_values().collect();
            let shared = Arc::clone(self.group.shared());
            if !self.by(deadline, shared.until_done_with(&keys)).await {
                tracing::warn!(
                    group = self.group.group(),
                    partitions = names.len(),
                    "the application did not come back for records in time; its partitions go without it"
                );
                return Done::Parted { keys, late: names };
            }
            let told = async {
                if self.commits_automatically {
                    let wishes = shared.lock().due(Some(&keys));
                    if let Err(error) = self.group.order(wishes).await {
                        tracing::warn!(group = self.group.group(), %error, "what was done before a revocation was not committed");
                    }
                }
                self.callbacks.lock().await.revoked(&self.group, &names).await;
                // Commits that nobody waits for are still ours to send while the partitions are ours.
                let _ = self.group.order(Vec::new()).await;
            };
            if !self.by(deadline, told).await {
                tracing::warn!(
                    group = self.group.group(),
                    "the callback `revoked` takes too long and was given up"
                );
            }
            Done::Parted { keys, late: Vec::new() }
        })
    }

    /// Tells what was lost.
    pub(super) fn lost(self, names: Vec<AssignedPartition>, deadline: Monotonic) -> BoxFuture<'static, Done> {
        Box::pin(async move {
            let told = async {
                self.callbacks.lock().await.lost(&self.group, &names).await;
            };
            if !self.by(deadline, told).await {
                tracing::warn!(
                    group = self.group.group(),
                    "the callback `lost` takes too long and was given up"
                );
            }
            Done::Told
        })
    }

    /// Runs it until then at most; answers whether it came to its end.
    async fn by(&self, deadline: Monotonic, work: impl Future<Output = ()>) -> bool {
        let clock = &self.group.client().env().clock;
        tokio::select! {
            biased;
            () = work => true,
            () = clock.sleep(deadline.since(clock.monotonic())) => false,
        }
    }
}
