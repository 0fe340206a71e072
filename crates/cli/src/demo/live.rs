//! The reader that follows the topic while it is written, through the kill and the restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use millrace_client::{Client, Until};
use millrace_env::{TaskHandle, real};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::TOPIC;
use super::ledger::Tally;

#[derive(Default, Debug)]
struct Seen {
    records: AtomicU64,
    tallies: Mutex<Vec<Tally>>,
    failure: Mutex<Option<anyhow::Error>>,
    changed: Notify,
}

/// Counts what it reads, partition by partition.
#[derive(Debug)]
pub(super) struct LiveReader {
    seen: Arc<Seen>,
    task: Box<dyn TaskHandle>,
}

impl LiveReader {
    /// Begins to follow the topic.
    ///
    /// # Errors
    /// The broker's.
    pub(super) async fn start(client: &Client, partitions: u32) -> anyhow::Result<LiveReader> {
        let mut reader = client.reader().topic(TOPIC).until(Until::Forever).start().await?;
        let seen = Arc::new(Seen::default());
        *seen.tallies.lock() = (0..partitions).map(|_| Tally::default()).collect();
        let into = Arc::clone(&seen);
        let follow = async move {
            while let Some(record) = reader.next().await {
                match record {
                    Ok(record) => {
                        let index = usize::try_from(record.partition.0).unwrap_or(usize::MAX);
                        if let Some(tally) = into.tallies.lock().get_mut(index) {
                            tally.add(record.key.as_deref(), record.value.as_deref(), record.timestamp);
                        }
                        into.records.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => {
                        *into.failure.lock() = Some(error.into());
                    }
                }
                into.changed.notify_one();
            }
        };
        let task = real::env().tasks.spawn("live reader", Box::pin(follow));
        Ok(LiveReader { seen, task })
    }

    /// How many records it has read.
    pub(super) fn records(&self) -> u64 {
        self.seen.records.load(Ordering::Relaxed)
    }

    /// Whether it has yet to read some of `records`, and still reads.
    pub(super) fn is_behind(&self, records: u64) -> bool {
        self.records() < records && self.seen.failure.lock().is_none()
    }

    /// Waits until it has read `records` and answers its tallies.
    ///
    /// # Errors
    /// What ended the reading of a partition.
    pub(super) async fn finish(self, records: u64) -> anyhow::Result<Vec<Tally>> {
        while self.records() < records {
            if let Some(error) = self.seen.failure.lock().take() {
                return Err(error).context("the live reader");
            }
            self.seen.changed.notified().await;
        }
        self.task.abort();
        Ok(self.seen.tallies.lock().clone())
    }
}
