//! The load: producers at work until the plan is done, and what they have counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use millrace_client::{Client, Producer};
use millrace_env::{TaskHandle, real};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::counts::Shared;
use super::groups::collect;
use super::pace::{Pace, Schedule};
use super::sender::{Drive, Sender};
use super::tally::Tally;
use super::values::{STAMP_BYTES, Values, new_stamp};
use super::{RunClock, nanos, usage};
use crate::args::{BenchLoadArgs, BenchRecordArgs};
use crate::commands::produce::{compression, durability};
use crate::watching;

/// Counts are kept apart, so that producers do not wait for each other to count; these are enough.
const TALLIES_MAX: usize = 16;
/// Batches without an outcome that a collector has not looked at yet.
const GROUPS_MAX: usize = 1024;
/// How long a record may take.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(30);
/// How much longer than its schedule an open loop may take to send what was due, beside as long again.
const LAG_PATIENCE: Duration = Duration::from_secs(10);

/// Where a load ends: whatever comes first. The warm-up does not count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// After so many records.
    pub(super) records: Option<u64>,
    /// After that long.
    pub(super) duration: Option<Duration>,
}

/// A load that is about to run.
pub(super) struct Load {
    shared: Arc<Shared>,
    producers: Vec<Producer>,
    topic: Arc<str>,
    values: Values,
    drive: Drive,
}

/// What a load came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The counts of all.
    pub(super) tally: Tally,
    /// Records that were acknowledged, those of the warm-up with them.
    pub(super) acknowledged: u64,
}

impl Outcome {
    /// Whether all that was due was sent and acknowledged.
    pub(super) fn check(self) -> anyhow::Result<()> {
        let Tally { failed, unsent, failure, .. } = self.tally;
        if let Some(error) = failure {
            return Err(anyhow!(error).context(format!("{failed} records were not acknowledged; the first")));
        }
        anyhow::ensure!(
            unsent == 0,
            "the rate was not kept: {unsent} records were due and had not been sent when the run was given up"
        );
        Ok(())
    }
}

impl Load {
    /// Producers for each client. The clock of the run starts here.
    pub(super) fn new(
        clients: &[Client],
        record: &BenchRecordArgs,
        load: &BenchLoadArgs,
        (topic, stop): (&str, Stop),
    ) -> anyhow::Result<Load> {
        let size = usize::try_from(record.record_size.as_u64())?;
        let producers: Result<Vec<_>, _> = clients
            .iter()
            .map(|client| {
                let producer = client.producer().linger(record.linger).delivery_timeout(DELIVERY_PATIENCE);
                producer
                    .batch_bytes(usize::try_from(record.batch.as_u64()).unwrap_or(usize::MAX))
                    .buffer_bytes(usize::try_from(record.buffer.as_u64()).unwrap_or(usize::MAX))
                    .compression(compression(record.compression))
                    .durability(durability(record.durability))
                    .build()
            })
            .collect();
        let producers = producers?;
        let values = Values::new(size);
        let from = nanos(load.warm_up);
        let tallies: anyhow::Result<Vec<_>> =
            (0..producers.len().min(TALLIES_MAX)).map(|_| Ok(Mutex::new(Tally::new(from)?))).collect();
        let shared = Arc::new(Shared {
            tallies: tallies?,
            acknowledged: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
            progress: watching::counter("acknowledged"),
            clock: RunClock::start(),
        });
        let drive = drive(load, stop, u64::try_from(producers.len())?);
        Ok(Load { shared, producers, topic: topic.into(), values, drive })
    }

    /// Lets every value carry the time at which its record is due, behind this mark.
    pub(super) fn stamped(mut self) -> anyhow::Result<(Load, u64)> {
        if self.values.size() < STAMP_BYTES {
            return Err(usage(format!(
                "--record-size is at least {STAMP_BYTES}: readers find the time in it"
            )));
        }
        let stamp = new_stamp();
        self.values.stamp = Some(stamp);
        Ok((self, stamp))
    }

    /// The clock of the run.
    pub(super) fn clock(&self) -> RunClock {
        self.shared.clock.clone()
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// Of the machine; records that failed are in the outcome.
    pub(super) async fn run(self) -> anyhow::Result<Outcome> {
        let Load { shared, producers, topic, values, drive } = self;
        let tasks = real::env().tasks;
        let pacing = match &drive {
            Drive::Open { pace, .. } => {
                let (pace, clock) = (Arc::clone(pace), shared.clock.clone());
                Some(tasks.thread("pace", Box::new(move || pace.run(&clock))).context("no thread to pace")?)
            }
            Drive::Closed { .. } => None,
        };
        let mut running = Running { shared: Arc::clone(&shared), drive: drive.clone(), handles: Vec::new() };
        for (number, producer) in (0_u64..).zip(&producers) {
            let (groups, incoming) = mpsc::channel(GROUPS_MAX);
            let permits = drive.permits();
            let collecting = collect(Arc::clone(&shared), number, incoming, permits.clone());
            let sender = Sender {
                shared: Arc::clone(&shared),
                number,
                producer: producer.clone(),
                topic: Arc::clone(&topic),
                values: values.of_producer(number),
                permits,
                groups,
                last: None,
            };
            running.handles.push(tasks.spawn("bench send", Box::pin(sender.run(drive.clone()))));
            running.handles.push(tasks.spawn("bench collect", Box::pin(collecting)));
        }
        for handle in std::mem::take(&mut running.handles) {
            handle.join().await;
        }
        drop(running);
        if let Some(pacing) = pacing {
            // It has ended, or does within a nap.
            tasks.on_io_pool(Box::new(move || pacing.join())).await;
        }
        shared.progress.finish_and_clear();
        finish(producers, &shared).await
    }
}

/// All counts together.
async fn finish(producers: Vec<Producer>, shared: &Shared) -> anyhow::Result<Outcome> {
    for producer in producers {
        // Whatever it says the deliveries have said before.
        producer.close().await.ok();
    }
    let from = shared.tallies.first().map_or(0, |tally| tally.lock().from);
    let mut all = Tally::new(from)?;
    for tally in &shared.tallies {
        let counted = std::mem::replace(&mut *tally.lock(), Tally::new(from)?);
        all.merge(counted)?;
    }
    Ok(Outcome { tally: all, acknowledged: shared.acknowledged.load(Ordering::SeqCst) })
}

fn drive(load: &BenchLoadArgs, stop: Stop, producers: u64) -> Drive {
    let warm_up = nanos(load.warm_up);
    let until = stop.duration.map(|duration| warm_up.saturating_add(nanos(duration)));
    let Some(rate) = load.rate else {
        let outstanding = load.outstanding.map(std::num::NonZeroUsize::get);
        let taken = Arc::new(AtomicU64::new(0));
        return Drive::Closed { warm_up, until, records: stop.records, taken, outstanding };
    };
    let rate = rate.get();
    let endless = Schedule { rate, total: u64::MAX, producers };
    let by_time = until.map_or(u64::MAX, |until| endless.due_by(until.saturating_sub(1)));
    let warming = endless.due_by(warm_up.saturating_sub(1)).min(u64::MAX / 2);
    let warming = if warm_up == 0 { 0 } else { warming };
    let by_count = stop.records.map_or(u64::MAX, |records| warming.saturating_add(records));
    let schedule = Schedule { total: by_time.min(by_count), ..endless };
    let length = schedule.due_at(schedule.total);
    let give_up = length.saturating_mul(2).saturating_add(nanos(LAG_PATIENCE));
    Drive::Open { pace: Pace::new(schedule), give_up }
}

/// Tasks at work; dropping it stops them.
struct Running {
    shared: Arc<Shared>,
    drive: Drive,
    handles: Vec<Box<dyn TaskHandle>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        if let Drive::Open { pace, .. } = &self.drive {
            pace.stop();
        }
        self.handles.iter().for_each(|handle| handle.abort());
    }
}
