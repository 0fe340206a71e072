//! Readers: of records that are being written, or of a topic that is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use millrace_client::{Client, ConsumedBatch, PartitionIndex, Position, ReadError, Reader, Until};
use millrace_env::{TaskHandle, real};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::stage::Stage;
use super::tally::Tally;
use super::values::due_of;
use super::{RunClock, usage};
use crate::args::BenchConsumeArgs;
use crate::commands::TOOL_PATIENCE;
use crate::watching;

/// Readers that know where they begin.
pub(super) struct Readers {
    readers: Vec<Reader>,
}

/// The mark of a run, by which readers know its records, and its clock.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) stamp: u64,
    pub(super) clock: RunClock,
    /// Records that were due before do not count, in nanoseconds since the start.
    pub(super) from: u64,
}

impl Readers {
    /// From the end as it stands now, for ever.
    pub(super) async fn of_new_records(clients: Vec<Client>, stage: &Stage) -> anyhow::Result<Readers> {
        let mut readers = Vec::new();
        for (client, partitions) in shares(&clients, stage)? {
            let mut reader = client.reader().from(Position::End).until(Until::Forever);
            for partition in partitions {
                reader = reader.partition(stage.topic(), partition);
            }
            readers.push(reader.start().await?);
        }
        Ok(Readers { readers })
    }

    /// From the beginning to the end as it stands now.
    pub(super) async fn of_all_records(
        clients: Vec<Client>,
        stage: &Stage,
        args: &BenchConsumeArgs,
    ) -> anyhow::Result<Readers> {
        let fetch_bytes = usize::try_from(args.fetch.as_u64())?;
        let mut readers = Vec::new();
        for (client, partitions) in shares(&clients, stage)? {
            let mut reader = client.reader().until(Until::EndAtStart).give_up_after(TOOL_PATIENCE);
            reader = reader.fetch_bytes(fetch_bytes);
            for partition in partitions {
                reader = reader.partition(stage.topic(), partition);
            }
            readers.push(reader.start().await?);
        }
        Ok(Readers { readers })
    }

    /// Reads in the background and counts the records with that mark.
    pub(super) fn start(self, mark: &Mark) -> anyhow::Result<RunningReaders> {
        let tally = Mutex::new(Tally::new(mark.from)?);
        let shared = Arc::new(Shared {
            tally,
            read: AtomicU64::new(0),
            failure: Mutex::new(None),
            news: Notify::new(),
        });
        let tasks = real::env().tasks;
        let tasks = self.readers.into_iter().map(|reader| {
            let (shared, mark) = (Arc::clone(&shared), mark.clone());
            tasks.spawn("bench read", Box::pin(follow(reader, shared, mark)))
        });
        Ok(RunningReaders { tasks: tasks.collect(), shared })
    }

    /// Reads what there is, at most about so many records, side by side.
    pub(super) async fn drain(self, records_max: u64) -> anyhow::Result<Tally> {
        let clock = RunClock::start();
        let left = Arc::new(AtomicU64::new(records_max));
        let progress = watching::counter("read");
        let all = self.readers.into_iter().map(|mut reader| {
            let (clock, left, progress) = (clock.clone(), Arc::clone(&left), progress.clone());
            async move {
                let mut tally = Tally::new(0)?;
                loop {
                    let asked = clock.now();
                    let Some(batch) = reader.next_batch().await else { break };
                    let (batch, now) = (batch?, clock.now());
                    tally.latencies.record(now.saturating_sub(asked).max(1)).ok();
                    let (records, bytes) = sizes(&batch)?;
                    tally.count(clock.now(), records, bytes);
                    progress.inc(records);
                    let before = left.fetch_sub(records.min(left.load(Ordering::Relaxed)), Ordering::Relaxed);
                    if before <= records {
                        break;
                    }
                }
                anyhow::Ok(tally)
            }
        });
        let handles = all.map(spawned).collect::<Vec<_>>();
        let mut all = Tally::new(0)?;
        for handle in handles {
            all.merge(handle.await.map_err(|_| anyhow!("a reader was stopped"))??)?;
        }
        progress.finish_and_clear();
        Ok(all)
    }
}

/// Runs on a task of its own, so that readers use all cores.
fn spawned<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> tokio::sync::oneshot::Receiver<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let work = async move {
        sender.send(work.await).ok();
    };
    drop(real::env().tasks.spawn("bench read", Box::pin(work)));
    receiver
}

/// Partitions dealt out to clients in turn.
fn shares<'a>(
    clients: &'a [Client],
    stage: &Stage,
) -> anyhow::Result<Vec<(&'a Client, Vec<PartitionIndex>)>> {
    let count = u32::try_from(clients.len())?;
    if count > stage.partitions() {
        return Err(usage(format!(
            "{count} readers for {} partitions: some would be idle",
            stage.partitions()
        )));
    }
    let share =
        |number: u32| (number..stage.partitions()).step_by(clients.len()).map(PartitionIndex).collect();
    Ok((0..count).map(share).zip(clients).map(|(partitions, client)| (client, partitions)).collect())
}

/// Decodes a batch, as whoever reads records must: how many they are, and the bytes of their values.
fn sizes(batch: &ConsumedBatch) -> Result<(u64, u64), ReadError> {
    let (mut records, mut bytes) = (0, 0);
    for record in batch.records()? {
        records += 1;
        bytes += record?.value.map_or(0, |value| value.len() as u64);
    }
    Ok((records, bytes))
}

#[derive(Debug)]
struct Shared {
    tally: Mutex<Tally>,
    /// Records of the run that were read, those of the warm-up with them.
    read: AtomicU64,
    failure: Mutex<Option<ReadError>>,
    news: Notify,
}

async fn follow(mut reader: Reader, shared: Arc<Shared>, mark: Mark) {
    while let Some(batch) = reader.next_batch().await {
        // A batch is in the reader's hands, and so are all its records.
        let now = mark.clock.now();
        let outcome = batch.and_then(|batch| count(&batch, now, &shared, &mark));
        if let Err(error) = outcome {
            *shared.failure.lock() = Some(error);
        }
        shared.news.notify_one();
    }
}

fn count(batch: &ConsumedBatch, now: u64, shared: &Shared, mark: &Mark) -> Result<(), ReadError> {
    let mut read = 0;
    let mut tally = shared.tally.lock();
    for record in batch.records()? {
        let value = record?.value.unwrap_or_default();
        if let Some(due) = due_of(&value, mark.stamp) {
            tally.record(due, now, value.len() as u64);
            read += 1;
        }
    }
    shared.read.fetch_add(read, Ordering::SeqCst);
    Ok(())
}

/// Readers at work; dropping it stops them.
pub(super) struct RunningReaders {
    tasks: Vec<Box<dyn TaskHandle>>,
    shared: Arc<Shared>,
}

impl RunningReaders {
    /// Waits until so many records of the run were read.
    ///
    /// # Errors
    /// A partition cannot be read, or they do not come.
    pub(super) async fn finish(self, records: u64, patience: Duration) -> anyhow::Result<Tally> {
        let clock = real::env().clock;
        let shared = &self.shared;
        let all_read = async {
            while shared.read.load(Ordering::SeqCst) < records && shared.failure.lock().is_none() {
                shared.news.notified().await;
            }
        };
        tokio::select! {
            biased;
            () = all_read => {}
            () = clock.sleep(patience) => {}
        }
        if let Some(error) = shared.failure.lock().take() {
            return Err(error.into());
        }
        let read = shared.read.load(Ordering::SeqCst);
        anyhow::ensure!(read >= records, "{records} records were acknowledged and {read} could be read");
        let from = shared.tally.lock().from;
        Ok(std::mem::replace(&mut *shared.tally.lock(), Tally::new(from)?))
    }
}

impl Drop for RunningReaders {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|task| task.abort());
    }
}
