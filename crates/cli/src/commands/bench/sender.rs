//! One producer's loop: what is due is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_client::{Delivery, ProduceError, Producer, ProducerRecord};
use tokio::sync::{Semaphore, mpsc};

use super::counts::Shared;
use super::groups::{Awaited, Group};
use super::pace::Pace;
use super::values::Values;

/// What makes producers send.
#[derive(Clone, Debug)]
pub(super) enum Drive {
    /// A schedule.
    Open {
        /// How far it has come.
        pace: Arc<Pace>,
        /// When what is still to be sent is given up, in nanoseconds since the start.
        give_up: u64,
    },
    /// Nothing but the broker.
    Closed {
        /// Records that are sent before do not count, in nanoseconds since the start.
        warm_up: u64,
        /// When nothing is sent any more.
        until: Option<u64>,
        /// How many records count at most.
        records: Option<u64>,
        /// Records that count, of all producers.
        taken: Arc<AtomicU64>,
        /// How many records of a producer may wait for their outcome.
        outstanding: Option<usize>,
    },
}

impl Drive {
    /// What bounds the records of a producer that wait, if anything but its buffer does.
    pub(super) fn permits(&self) -> Option<Arc<Semaphore>> {
        match self {
            Drive::Closed { outstanding: Some(count), .. } => Some(Arc::new(Semaphore::new(*count))),
            _ => None,
        }
    }
}

/// A producer at work.
pub(super) struct Sender {
    pub(super) shared: Arc<Shared>,
    /// Which of all.
    pub(super) number: u64,
    pub(super) producer: Producer,
    pub(super) topic: Arc<str>,
    pub(super) values: Values,
    pub(super) permits: Option<Arc<Semaphore>>,
    pub(super) groups: mpsc::Sender<Awaited>,
    /// The batch of the record before.
    pub(super) last: Option<(Delivery, Arc<Group>)>,
}

impl Sender {
    /// Sends until there is nothing more to send. Failures are counted.
    pub(super) async fn run(mut self, drive: Drive) {
        let sent = match &drive {
            Drive::Open { pace, give_up } => self.open_loop(pace, *give_up).await,
            Drive::Closed { .. } => self.closed_loop(&drive).await,
        };
        if let Err(error) = sent {
            if let Some(tally) = self.shared.tally(self.number) {
                tally.lock().fail(1, error);
            }
            self.shared.is_stopped.store(true, Ordering::SeqCst);
        }
    }

    async fn open_loop(&mut self, pace: &Pace, give_up: u64) -> Result<(), ProduceError> {
        let mut sent = 0;
        while let Some(due) = pace.next(self.number, sent).await {
            let now = self.shared.clock.now();
            if self.is_stopped() {
                pace.stop();
                return Ok(());
            }
            if now > give_up {
                pace.stop();
                let unsent = pace.schedule.share(pace.schedule.total, self.number) - sent;
                if let Some(tally) = self.shared.tally(self.number) {
                    tally.lock().unsent += unsent;
                }
                return Ok(());
            }
            if let Some(tally) = self.shared.tally(self.number) {
                tally.lock().called(due, now);
            }
            self.send(due).await?;
            sent += 1;
        }
        Ok(())
    }

    async fn closed_loop(&mut self, drive: &Drive) -> Result<(), ProduceError> {
        let Drive::Closed { warm_up, until, records, taken, .. } = drive else { return Ok(()) };
        while !self.is_stopped() {
            if let Some(permits) = &self.permits {
                let Ok(permit) = permits.acquire().await else { return Ok(()) };
                // Given back when the outcome is there.
                permit.forget();
            }
            let now = self.shared.clock.now();
            if until.is_some_and(|until| now >= until) {
                return Ok(());
            }
            let is_full = |records| taken.fetch_add(1, Ordering::Relaxed) >= records;
            if now >= *warm_up && records.is_some_and(is_full) {
                return Ok(());
            }
            self.send(now).await?;
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.shared.is_stopped.load(Ordering::Relaxed)
    }

    async fn send(&mut self, due: u64) -> Result<(), ProduceError> {
        let value = self.values.next(due);
        let bytes = u64::try_from(value.len()).unwrap_or(0);
        let delivery = self.producer.send(ProducerRecord::new(Arc::clone(&self.topic), value)).await?;
        if let Some((last, group)) = &self.last
            && last.shares_batch_with(&delivery)
        {
            if group.add(due, &self.shared, self.number)
                && let Some(permits) = &self.permits
            {
                permits.add_permits(1);
            }
            return Ok(());
        }
        let group = Group::new(due, bytes);
        self.last = Some((delivery.clone(), Arc::clone(&group)));
        // Nobody listens only if the run is being torn down.
        self.groups.send((group, delivery)).await.ok();
        Ok(())
    }
}
