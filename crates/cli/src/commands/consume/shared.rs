//! `millrace consume --group`: as a member of a group, which shares the topic's partitions with the others.
//!
//! What was printed is committed, and nothing else: every second, when a partition goes to another member, and at the end.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt;
use futures::future::BoxFuture;
use millrace_client::{
    AssignedPartition, Client, CommitError, ConsumedRecord, Consumer, ConsumerHandle, Offset, OffsetAt,
    OffsetCommit, PartitionIndex, RebalanceCallbacks,
};
use millrace_env::{Monotonic, real};
use millrace_server::stop_signals;
use parking_lot::Mutex;

use super::{ask, begin_at, chosen_partitions, print};
use crate::args::ConsumeArgs;
use crate::exit::Stopped;
use crate::record_text;

/// How often what was printed is committed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long is waited for records before it is looked whether all were read.
const POLL_PATIENCE: Duration = Duration::from_millis(200);

/// What was printed and where it ends, to be committed.
type Printed = Arc<Mutex<BTreeMap<AssignedPartition, OffsetCommit>>>;

/// Commits what was printed of the partitions that go to others.
struct CommitOnRevoke {
    printed: Printed,
    failure: Arc<Mutex<Option<CommitError>>>,
}

impl RebalanceCallbacks for CommitOnRevoke {
    fn revoked<'a>(
        &'a mut self,
        group: &'a ConsumerHandle,
        partitions: &'a [AssignedPartition],
    ) -> BoxFuture<'a, ()> {
        let marks: Vec<_> = {
            let mut printed = self.printed.lock();
            partitions.iter().filter_map(|partition| printed.remove(partition)).collect()
        };
        Box::pin(async move {
            if let Err(error) = group.commit_offsets_sync(&marks).await {
                *self.failure.lock() = Some(error);
            }
        })
    }

    fn lost<'a>(
        &'a mut self,
        _: &'a ConsumerHandle,
        partitions: &'a [AssignedPartition],
    ) -> BoxFuture<'a, ()> {
        let mut printed = self.printed.lock();
        for partition in partitions {
            printed.remove(partition);
        }
        Box::pin(std::future::ready(()))
    }
}

/// Runs the verb.
///
/// # Errors
/// The broker's answer, or standard output's.
pub(super) async fn run(client: &Client, args: &ConsumeArgs, group: &str) -> anyhow::Result<()> {
    // Handled, so that Ctrl-C too leaves the group.
    let mut signals = stop_signals().context("the handlers of signals cannot be installed")?;
    let ends = if args.follow { None } else { Some(ends_now(client, &args.topic).await?) };
    let printed = Printed::default();
    let failure = Arc::new(Mutex::new(None));
    let callbacks = CommitOnRevoke { printed: Arc::clone(&printed), failure: Arc::clone(&failure) };
    let consumer = client.consumer(group).topic(args.topic.as_str()).from(begin_at(args)).manual_commit();
    let mut consumer = consumer.callbacks(callbacks).start().await?;
    let mut run = Run { args, ends, printed, committed_at: real::env().clock.monotonic() };
    let outcome = tokio::select! {
        biased;
        _stop = signals.next() => Err(Stopped.into()),
        outcome = run.print_all(&mut consumer) => outcome,
    };
    // Also after an error: others take over at once.
    consumer.close().await;
    outcome?;
    match failure.lock().take() {
        Some(error) => Err(error).context("what was printed last is not committed"),
        None => Ok(()),
    }
}

/// Where the partitions end now.
async fn ends_now(client: &Client, topic: &str) -> anyhow::Result<BTreeMap<PartitionIndex, Offset>> {
    let partitions = chosen_partitions(client, topic, &[]).await?;
    let ends = ask(client, topic, &partitions, OffsetAt::Latest).await?;
    let mut known = BTreeMap::new();
    for (partition, end) in partitions.into_iter().zip(ends) {
        known.insert(partition, end?.offset.unwrap_or(Offset::ZERO));
    }
    Ok(known)
}

struct Run<'a> {
    args: &'a ConsumeArgs,
    /// Where to end, by partition; `None` goes on and on.
    ends: Option<BTreeMap<PartitionIndex, Offset>>,
    printed: Printed,
    committed_at: Monotonic,
}

impl Run<'_> {
    async fn print_all(&mut self, consumer: &mut Consumer) -> anyhow::Result<()> {
        let mut out = BufWriter::with_capacity(64 * 1024, io::stdout());
        record_text::write_head(&mut out, self.args.format)?;
        out.flush()?;
        let mut left = self.args.count.map_or(u64::MAX, std::num::NonZeroU64::get);
        while left > 0 && !self.is_at_end(consumer) {
            let records = consumer.poll(POLL_PATIENCE).await?;
            let mut marks = BTreeMap::new();
            for record in records {
                if self.is_beyond(&record) {
                    consumer.pause(record.topic.as_str(), record.partition);
                    continue;
                }
                if left == 0 {
                    break;
                }
                print(&mut out, &record, self.args.format)?;
                left -= 1;
                let mark = mark_behind(&record);
                marks.insert(AssignedPartition { topic: record.topic, partition: record.partition }, mark);
            }
            // What counts as printed has left our hands.
            out.flush()?;
            self.printed.lock().extend(marks);
            self.commit(consumer);
        }
        Ok(())
    }

    fn is_beyond(&self, record: &ConsumedRecord) -> bool {
        self.ends
            .as_ref()
            .is_some_and(|ends| ends.get(&record.partition).is_none_or(|end| *end <= record.offset))
    }

    /// Whether all that is ours has been read; what is another member's is its business.
    fn is_at_end(&self, consumer: &Consumer) -> bool {
        let Some(ends) = &self.ends else { return false };
        let is_read = |partition: &AssignedPartition| {
            let end = ends.get(&partition.partition).copied().unwrap_or(Offset::ZERO);
            let position = consumer.position(partition.topic.as_str(), partition.partition);
            position.is_some_and(|position| end <= position)
        };
        consumer.handle().waiting() == 0 && consumer.assignment().iter().all(is_read)
    }

    fn commit(&mut self, consumer: &Consumer) {
        let now = real::env().clock.monotonic();
        if now.since(self.committed_at) >= COMMIT_INTERVAL {
            self.committed_at = now;
            let marks: Vec<_> = self.printed.lock().values().cloned().collect();
            // The next one says the same and more; the last one is waited for.
            drop(consumer.handle().commit_offsets_async(&marks));
        }
    }
}

fn mark_behind(record: &ConsumedRecord) -> OffsetCommit {
    OffsetCommit {
        topic: record.topic.to_string(),
        partition: record.partition,
        offset: record.offset.next(),
        leader_epoch: Some(record.leader_epoch).filter(|epoch| epoch.0 >= 0),
        metadata: String::new(),
    }
}
