//! The producer: batches, compresses, partitions, pipelines, retries without duplicates, and tells every record's
//! outcome.
//!
//! ```text
//!   send() -> accumulator (a batch per partition) -> lane (sequence, in flight, retries) -> stream -> broker
//!                                                      ^                                     |
//!   Delivery <--------------- outcome -----------------+------------- answer <---------------+
//! ```
//!
//! `send` puts the record into the open batch of its partition under a lock held for the copy alone. One task per
//! producer, the driver, does the rest. Accumulator and lane are pure.

mod accumulator;
mod config;
mod delivery;
mod driver;
mod error;
mod lane;
mod partitioner;
mod stamp;
mod stream;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millrace_env::TaskHandle;
use millrace_record::{AppendError, Compression, HEADER_BYTES, partition_for_key};
use millrace_types::TopicPartition;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use self::accumulator::{Accumulator, BatchRules, StampedRecord, Ticket};
use self::config::ProducerConfig;
pub use self::config::{Durability, Idempotence};
pub use self::delivery::Delivery;
use self::delivery::{BatchAck, Completion};
use self::driver::Driver;
pub use self::error::ProduceError;
use self::partitioner::Sticky;
use crate::metadata::TopicInfo;
use crate::{Client, ProducerRecord};

/// What a record takes in the buffer and in its batch beside key, value and headers, at most.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// Sets up a [`Producer`]. Made by [`Client::producer`].
#[derive(Clone, Debug)]
pub struct ProducerBuilder {
    client: Client,
    config: ProducerConfig,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client) -> ProducerBuilder {
        ProducerBuilder { client, config: ProducerConfig::default() }
    }

    /// How long a batch waits for more records. 5 ms; zero sends at once, and batches form only while others are on
    /// their way.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> ProducerBuilder {
        self.config.linger = linger;
        self
    }

    /// The size at which a batch is sent without waiting, in bytes before compression. 256 KiB.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> ProducerBuilder {
        self.config.batch_bytes = bytes;
        self
    }

    /// How batches are compressed. Not at all by default.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> ProducerBuilder {
        self.config.compression = compression;
        self
    }

    /// How many batches of one partition may be on their way at once, 1 to 5. 5.
    #[must_use]
    pub fn max_in_flight(mut self, batches: usize) -> ProducerBuilder {
        self.config.max_in_flight = batches;
        self
    }

    /// How long a record may take from [`Producer::send`] to its outcome, retries included. 120 s.
    #[must_use]
    pub fn delivery_timeout(mut self, timeout: Duration) -> ProducerBuilder {
        self.config.delivery_timeout = timeout;
        self
    }

    /// When a record counts as delivered. [`Durability::Committed`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> ProducerBuilder {
        self.config.durability = durability;
        self
    }

    /// Whether retries may store a record twice. [`Idempotence::On`]: never.
    #[must_use]
    pub fn idempotence(mut self, idempotence: Idempotence) -> ProducerBuilder {
        self.config.idempotence = idempotence;
        self
    }

    /// Memory for records without an outcome, in bytes before compression; [`Producer::send`] waits while it is
    /// used up. 32 MiB. (Compressed copies of what is on its way come on top: less than this again.)
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> ProducerBuilder {
        self.config.buffer_bytes = bytes;
        self
    }

    /// Starts the producer's task. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ProduceError::Config`] for an option that is not allowed.
    pub fn build(self) -> Result<Producer, ProduceError> {
        let ProducerBuilder { client, config } = self;
        config.check()?;
        let rules = BatchRules {
            linger: config.linger,
            batch_bytes: config.batch_bytes,
            compression: config.compression,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                accumulator: Accumulator::new(rules),
                sticky: Sticky::default(),
                unsettled: BTreeMap::new(),
                is_closed: false,
            }),
            news: Notify::new(),
            memory: Arc::new(Semaphore::new(config.buffer_bytes)),
            waiting: AtomicUsize::new(0),
        });
        let buffer_bytes = config.buffer_bytes;
        let (driver, events) = Driver::new(client.clone(), config, Arc::clone(&shared));
        let task = client.env().tasks.spawn("producer", Box::pin(driver.run(events)));
        let task = Mutex::new(Some(task));
        Ok(Producer { inner: Arc::new(Inner { client, shared, buffer_bytes, task }) })
    }
}

/// Sends records. Cloning is cheap and shares the buffer, the connections and the producer id.
///
/// Per partition, records are stored in the order in which their `send` calls returned. When the last clone is
/// dropped, what is buffered is still sent in the background; [`Producer::close`] waits for it.
#[derive(Clone, Debug)]
pub struct Producer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    shared: Arc<Shared>,
    buffer_bytes: usize,
    task: Mutex<Option<Box<dyn TaskHandle>>>,
}

/// What senders and the driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// Wakes the driver.
    pub(crate) news: Notify,
    memory: Arc<Semaphore>,
    /// Senders that wait for memory; while there are any, no batch lingers.
    waiting: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) accumulator: Accumulator,
    sticky: Sticky,
    /// Every batch without an outcome, by number.
    unsettled: BTreeMap<u64, Arc<Completion>>,
    pub(crate) is_closed: bool,
}

impl Shared {
    pub(crate) fn settle(&self, ticket: Ticket, result: Result<BatchAck, ProduceError>) {
        self.state.lock().unsettled.remove(&ticket.number);
        ticket.settle(result);
    }

    fn close_batches(&self) {
        self.state.lock().accumulator.close_all();
        self.news.notify_one();
    }
}

/// A sender that waits for memory, that is for batches to leave.
struct Waiting<'a> {
    shared: &'a Shared,
}

impl Waiting<'_> {
    fn begin(shared: &Shared) -> Waiting<'_> {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        shared.close_batches();
        Waiting { shared }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.state.lock().is_closed = true;
        self.shared.close_batches();
    }
}

impl Producer {
    /// Takes a record into the buffer; waits while the buffer is full, and for the topic's metadata when it is not
    /// known yet. The returned [`Delivery`] resolves to where the record came to lie.
    ///
    /// A call that is dropped before it returned has not taken the record.
    ///
    /// # Errors
    /// [`ProduceError`], always definite: the record was not taken.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ProduceError> {
        let topic = self.inner.client.topic(&record.topic).await.map_err(ProduceError::Metadata)?;
        let bytes = record.payload_bytes() + RECORD_OVERHEAD_BYTES;
        let max = topic.batch_bytes_max.min(self.inner.buffer_bytes);
        if bytes + HEADER_BYTES > max {
            return Err(ProduceError::TooLarge { bytes: bytes + HEADER_BYTES, max });
        }
        if let Some(partition) = record.partition.filter(|partition| partition.0 >= topic.partitions) {
            let (topic, partitions) = (topic.name.clone(), topic.partitions);
            return Err(ProduceError::NoSuchPartition { topic, partition, partitions });
        }
        let memory = self.reserve(bytes).await?;
        self.append(&topic, &record, memory)
    }

    /// Sends what is buffered without lingering, and waits until every record taken before this call has its
    /// outcome.
    ///
    /// # Errors
    /// The first failure among the batches that had no outcome when this was called; their deliveries tell the
    /// same.
    pub async fn flush(&self) -> Result<(), ProduceError> {
        self.inner.shared.close_batches();
        let unsettled: Vec<_> = self.inner.shared.state.lock().unsettled.values().cloned().collect();
        let mut result = Ok(());
        for batch in unsettled {
            let outcome = batch.wait().await;
            if result.is_ok() {
                result = outcome.map(drop);
            }
        }
        result
    }

    /// Takes no more records (from any clone), waits until all have their outcomes, and ends the producer's task.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub async fn close(self) -> Result<(), ProduceError> {
        self.inner.shared.state.lock().is_closed = true;
        let result = self.flush().await;
        let task = self.inner.task.lock().take();
        if let Some(task) = task {
            task.join().await;
        }
        result
    }

    /// Records that were taken and have no outcome yet, in bytes of buffer.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.inner.buffer_bytes.saturating_sub(self.inner.shared.memory.available_permits())
    }

    /// Waits for room in the buffer. Senders are served in the order of their calls.
    async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ProduceError> {
        let memory = Arc::clone(&self.inner.shared.memory);
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(permit) = Arc::clone(&memory).try_acquire_many_owned(wanted) {
            return Ok(permit);
        }
        let _waiting = Waiting::begin(&self.inner.shared);
        memory.acquire_many_owned(wanted).await.map_err(|_| ProduceError::Closed)
    }

    fn append(
        &self,
        topic: &Arc<TopicInfo>,
        record: &ProducerRecord,
        memory: OwnedSemaphorePermit,
    ) -> Result<Delivery, ProduceError> {
        let env = self.inner.client.env();
        let now = env.clock.monotonic();
        let timestamp = record.timestamp.unwrap_or_else(|| env.clock.wall());
        let mut state = self.inner.shared.state.lock();
        if state.is_closed {
            return Err(ProduceError::Closed);
        }
        let State { accumulator, sticky, unsettled, .. } = &mut *state;
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, topic.partitions),
            (None, None) => sticky.choose(topic.id, topic.partitions, accumulator, &*env.rng),
        };
        let to = TopicPartition { topic: topic.id, partition };
        let stamped = StampedRecord { record, timestamp, now };
        let appended = accumulator.append(topic, to, &stamped, &mut Some(memory)).map_err(refusal_of)?;
        if let Some(batch) = appended.opened {
            unsettled.insert(appended.number, batch);
        }
        let is_awaited = self.inner.shared.waiting.load(Ordering::Relaxed) > 0;
        if is_awaited {
            accumulator.close_all();
        }
        drop(state);
        if appended.is_news || is_awaited {
            self.inner.shared.news.notify_one();
        }
        Ok(appended.delivery)
    }
}

fn refusal_of(error: AppendError) -> ProduceError {
    match error {
        AppendError::TooLarge { bytes, max } => ProduceError::TooLarge { bytes, max },
        AppendError::Timestamp(_) | AppendError::Headers { .. } => ProduceError::Record(error.to_string()),
    }
}
