//! The reader: any partitions, from a position to an optional bound, with prefetch, every batch checked.
//!
//! ```text
//!   broker <- fetch - fetcher (a cursor per partition) -> bounded queue -> Reader::next (decode) -> your code
//!                         prefetch_bytes ------------------------|
//! ```
//!
//! The task fetches ahead within `prefetch_bytes`; decompressing and decoding happen in the caller's own time. A
//! broker that restarts is waited for: the cursors keep their offsets.

mod batch;
pub(crate) mod cursor;
mod error;
mod fetcher;
mod range;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use millrace_env::TaskHandle;
use millrace_record::Batch;
use millrace_types::limits::{FETCH_BYTES_MAX, FETCH_WAIT_MS_MAX};
use millrace_types::{LeaderEpoch, Offset, PartitionIndex, TopicName};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

pub use self::batch::{ConsumedBatch, ConsumedRecords};
use self::cursor::{Cursor, CursorRules};
pub use self::error::ReadError;
use self::fetcher::{Fetcher, HighWatermarks, Item, WAIT_MAX_DEFAULT};
pub use self::range::{Position, Until};
use self::range::{Wanted, resolve};
use crate::{Client, ConsumedRecord, OffsetCommit};

/// Answers that wait for the reader; their bytes are bounded by the prefetch memory.
const ITEMS_MAX: usize = 64;

/// What happens when a partition does not hold the next offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnOutOfRange {
    /// Reading the partition ends with [`ReadError::OutOfRange`].
    #[default]
    Error,
    /// Goes on from the first readable record; what was deleted is skipped, with a warning in the log.
    Earliest,
    /// Goes on from the end, with a warning in the log.
    Latest,
}

/// How records are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asking {
    /// One fetch after the other.
    Fetch,
    /// One stream for all.
    Subscribe,
}

/// How fetches are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchRules {
    pub(crate) asking: Asking,
    pub(crate) fetch_bytes: usize,
    pub(crate) prefetch_bytes: usize,
    pub(crate) wait_max: Duration,
    pub(crate) on_out_of_range: OnOutOfRange,
    pub(crate) give_up_after: Option<Duration>,
}

/// Sets up a [`Reader`]. Made by [`Client::reader`].
#[derive(Clone, Debug)]
pub struct ReaderBuilder {
    client: Client,
    topics: Vec<String>,
    partitions: BTreeMap<(String, PartitionIndex), Option<Position>>,
    from: Position,
    until: Until,
    rules: FetchRules,
}

impl ReaderBuilder {
    pub(crate) fn new(client: Client) -> ReaderBuilder {
        ReaderBuilder {
            client,
            topics: Vec::new(),
            partitions: BTreeMap::new(),
            from: Position::default(),
            until: Until::default(),
            rules: FetchRules {
                asking: Asking::Fetch,
                fetch_bytes: 4 * 1024 * 1024,
                prefetch_bytes: 16 * 1024 * 1024,
                wait_max: WAIT_MAX_DEFAULT,
                on_out_of_range: OnOutOfRange::default(),
                give_up_after: None,
            },
        }
    }

    /// All partitions of a topic, as many as it has at the start.
    #[must_use]
    pub fn topic(mut self, name: impl Into<String>) -> ReaderBuilder {
        self.topics.push(name.into());
        self
    }

    /// One partition of a topic.
    #[must_use]
    pub fn partition(mut self, topic: impl Into<String>, partition: PartitionIndex) -> ReaderBuilder {
        self.partitions.entry((topic.into(), partition)).or_default();
        self
    }

    /// One partition of a topic, from a position of its own.
    #[must_use]
    pub fn partition_from(
        mut self,
        topic: impl Into<String>,
        partition: PartitionIndex,
        from: Position,
    ) -> ReaderBuilder {
        self.partitions.insert((topic.into(), partition), Some(from));
        self
    }

    /// Where to begin in partitions without a position of their own. [`Position::Beginning`].
    #[must_use]
    pub fn from(mut self, from: Position) -> ReaderBuilder {
        self.from = from;
        self
    }

    /// Where to end. [`Until::Forever`].
    #[must_use]
    pub fn until(mut self, until: Until) -> ReaderBuilder {
        self.until = until;
        self
    }

    /// The most bytes of one fetch, unless a single batch is larger. 4 MiB.
    #[must_use]
    pub fn fetch_bytes(mut self, bytes: usize) -> ReaderBuilder {
        self.rules.fetch_bytes = bytes;
        self
    }

    /// Memory for what was fetched and not read yet, in bytes as stored; raised to the size of one fetch. 16 MiB.
    #[must_use]
    pub fn prefetch_bytes(mut self, bytes: usize) -> ReaderBuilder {
        self.rules.prefetch_bytes = bytes;
        self
    }

    /// Reads by a subscription: the broker sends as records come, without being asked for each answer. For readers that
    /// follow; [`ReaderBuilder::wait_max`] means nothing then, and [`ReaderBuilder::fetch_bytes`] is the size of a message.
    #[must_use]
    pub fn subscribe(mut self) -> ReaderBuilder {
        self.rules.asking = Asking::Subscribe;
        self
    }

    /// How long a fetch waits at the broker for records to come. 5 s. Records that come are answered at once.
    #[must_use]
    pub fn wait_max(mut self, wait: Duration) -> ReaderBuilder {
        self.rules.wait_max = wait;
        self
    }

    /// What happens when a partition does not hold the next offset. [`OnOutOfRange::Error`].
    #[must_use]
    pub fn on_out_of_range(mut self, rule: OnOutOfRange) -> ReaderBuilder {
        self.rules.on_out_of_range = rule;
        self
    }

    /// Ends a partition with [`ReadError::GaveUp`] when nothing was answered for that long. Without it, the reader
    /// waits for a broker that is away for as long as it takes.
    #[must_use]
    pub fn give_up_after(mut self, patience: Duration) -> ReaderBuilder {
        self.rules.give_up_after = Some(patience);
        self
    }

    /// Finds where to begin and end, and starts fetching. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ReadError`]: an option, an unknown topic or partition, or offsets that could not be found.
    pub async fn start(self) -> Result<Reader, ReadError> {
        let rules = self.checked_rules()?;
        let wanted = self.wanted().await?;
        let ranges = resolve(&self.client, &wanted).await?;
        let cursor_rules =
            CursorRules { on_out_of_range: rules.on_out_of_range, give_up_after: rules.give_up_after };
        let (mut cursors, mut partitions) = (Vec::new(), Vec::new());
        for (wanted, range) in wanted.into_iter().zip(ranges) {
            partitions.push(PartitionState {
                topic: wanted.topic.name.clone(),
                partition: wanted.partition,
                position: range.0,
                end: range.1,
                last_epoch: None,
                has_failed: false,
            });
            cursors.push(Cursor::new(wanted.topic, wanted.partition, range, cursor_rules));
        }
        let high_watermarks: HighWatermarks = Arc::new(Mutex::new(vec![None; cursors.len()]));
        let (sender, items) = mpsc::channel(ITEMS_MAX);
        let tasks = Arc::clone(&self.client.env().tasks);
        let fetcher = Fetcher::new(self.client, rules, cursors, Arc::clone(&high_watermarks), sender);
        let task = match rules.asking {
            Asking::Fetch => tasks.spawn("reader", Box::pin(fetcher.run())),
            Asking::Subscribe => tasks.spawn("reader", Box::pin(fetcher.run_subscribed())),
        };
        Ok(Reader { partitions, high_watermarks, items, task, chunk: None, records: None })
    }

    fn checked_rules(&self) -> Result<FetchRules, ReadError> {
        let mut rules = self.rules;
        let refuse = |option, reason: &str| Err(ReadError::Config { option, reason: reason.to_owned() });
        if rules.fetch_bytes == 0 || rules.fetch_bytes > FETCH_BYTES_MAX {
            return refuse("fetch_bytes", "not in 1..=64 MiB");
        }
        if rules.prefetch_bytes > PREFETCH_BYTES_MAX {
            return refuse("prefetch_bytes", "more than 4 GiB");
        }
        if rules.wait_max.as_millis() > u128::from(FETCH_WAIT_MS_MAX) {
            return refuse("wait_max", "longer than 60 s");
        }
        if self.topics.is_empty() && self.partitions.is_empty() {
            return refuse("topic", "there is nothing to read");
        }
        rules.prefetch_bytes = rules.prefetch_bytes.max(rules.fetch_bytes);
        Ok(rules)
    }

    async fn wanted(&self) -> Result<Vec<Wanted>, ReadError> {
        let mut all: BTreeMap<(String, PartitionIndex), Option<Position>> = BTreeMap::new();
        for topic in &self.topics {
            // A topic may have been created again since it was remembered.
            self.client.topics().forget(topic);
            let info = self.client.topic(topic).await.map_err(ReadError::Start)?;
            all.extend((0..info.partitions).map(|index| ((topic.clone(), PartitionIndex(index)), None)));
        }
        all.extend(self.partitions.clone());
        let mut wanted = Vec::new();
        for ((name, partition), from) in all {
            let topic = self.client.topic(&name).await.map_err(ReadError::Start)?;
            if partition.0 >= topic.partitions {
                let (topic, partitions) = (topic.name.clone(), topic.partitions);
                return Err(ReadError::NoSuchPartition { topic, partition, partitions });
            }
            let from = from.unwrap_or(self.from);
            wanted.push(Wanted { topic, partition, from, until: self.until });
        }
        Ok(wanted)
    }
}

/// What the permits of the prefetch memory can count.
pub(crate) const PREFETCH_BYTES_MAX: usize = 0xffff_ffff;

/// Reads records, in order within each partition.
///
/// An error concerns one partition, which is read no more; the others go on. `None` means that every partition has
/// reached its bound or failed. Dropping the reader stops it.
#[derive(Debug)]
pub struct Reader {
    partitions: Vec<PartitionState>,
    high_watermarks: HighWatermarks,
    items: mpsc::Receiver<Item>,
    task: Box<dyn TaskHandle>,
    /// What is being handed out.
    chunk: Option<Chunk>,
    /// The records of the batch that is being handed out.
    records: Option<(usize, ConsumedBatch, ConsumedRecords)>,
}

#[derive(Debug)]
struct PartitionState {
    topic: TopicName,
    partition: PartitionIndex,
    /// The next offset to be handed out.
    position: Offset,
    end: Option<Offset>,
    last_epoch: Option<LeaderEpoch>,
    has_failed: bool,
}

#[derive(Debug)]
struct Chunk {
    index: usize,
    batches: std::vec::IntoIter<Batch>,
    memory: Option<OwnedSemaphorePermit>,
}

/// How far a partition was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionProgress {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next offset to be handed out.
    pub position: Offset,
    /// Where it ends, if it does.
    pub end: Option<Offset>,
    /// The high watermark as last seen: the lag is its distance from `position`.
    pub high_watermark: Option<Offset>,
    /// Whether its bound was reached.
    pub is_at_end: bool,
    /// Whether an error has ended it.
    pub has_failed: bool,
}

impl Reader {
    /// The next record of any partition; `None` when all have ended. Nothing is lost if the call is dropped before
    /// it returned.
    ///
    /// # Errors
    /// [`ReadError`]: one partition is read no more.
    pub async fn next(&mut self) -> Option<Result<ConsumedRecord, ReadError>> {
        std::future::poll_fn(|cx| self.poll_record(cx)).await
    }

    /// The next batch of any partition, not decompressed: the fast way for whoever copies or counts. After
    /// [`Reader::next`] it begins with what is left of the batch of the last record.
    ///
    /// # Errors
    /// [`ReadError`]: one partition is read no more.
    pub async fn next_batch(&mut self) -> Option<Result<ConsumedBatch, ReadError>> {
        if let Some((index, mut batch, _)) = self.records.take()
            && let Some(state) = self.partitions.get_mut(index)
            && state.position < batch.next_offset()
        {
            batch.from = state.position;
            state.position = batch.next_offset();
            return Some(Ok(batch));
        }
        let next = std::future::poll_fn(|cx| self.poll_batch(cx)).await;
        next.map(|batch| {
            batch.map(|(index, batch)| {
                self.pass(index, &batch);
                batch
            })
        })
    }

    /// The next offset of a partition to be handed out; `None` if it is not read.
    #[must_use]
    pub fn position(&self, topic: &str, partition: PartitionIndex) -> Option<Offset> {
        let mut states = self.partitions.iter();
        let state = states.find(|state| state.topic.as_str() == topic && state.partition == partition)?;
        Some(state.position)
    }

    /// The positions of all partitions, ready for [`crate::Admin::commit_offsets`].
    #[must_use]
    pub fn positions(&self) -> Vec<OffsetCommit> {
        let states = self.partitions.iter();
        let commit = |state: &PartitionState| OffsetCommit {
            topic: state.topic.to_string(),
            partition: state.partition,
            offset: state.position,
            leader_epoch: state.last_epoch,
            metadata: String::new(),
        };
        states.map(commit).collect()
    }

    /// How far each partition was read.
    #[must_use]
    pub fn progress(&self) -> Vec<PartitionProgress> {
        let seen = self.high_watermarks.lock();
        let states = self.partitions.iter().enumerate();
        let progress = |(index, state): (usize, &PartitionState)| PartitionProgress {
            topic: state.topic.clone(),
            partition: state.partition,
            position: state.position,
            end: state.end,
            high_watermark: seen.get(index).copied().flatten(),
            is_at_end: state.end.is_some_and(|end| end <= state.position),
            has_failed: state.has_failed,
        };
        states.map(progress).collect()
    }

    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ConsumedRecord, ReadError>>> {
        loop {
            if let Some((index, batch, records)) = &mut self.records {
                let index = *index;
                match records.next() {
                    Some(Ok(record)) => {
                        if let Some(state) = self.partitions.get_mut(index) {
                            state.position = record.offset.next();
                            state.last_epoch = Some(record.leader_epoch).filter(|epoch| epoch.0 >= 0);
                        }
                        return Poll::Ready(Some(Ok(record)));
                    }
                    Some(Err(error)) => {
                        self.records = None;
                        return Poll::Ready(Some(Err(self.fail(index, error))));
                    }
                    None => {
                        let next = batch.next_offset();
                        self.records = None;
                        if let Some(state) = self.partitions.get_mut(index) {
                            state.position = state.position.max(next);
                        }
                    }
                }
            }
            match std::task::ready!(self.poll_batch(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok((index, batch))) => match batch.records() {
                    Ok(records) => self.records = Some((index, batch, records)),
                    Err(error) => return Poll::Ready(Some(Err(self.fail(index, error)))),
                },
            }
        }
    }

    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(usize, ConsumedBatch), ReadError>>> {
        loop {
            if let Some(found) = self.next_of_chunk() {
                return Poll::Ready(Some(Ok(found)));
            }
            match std::task::ready!(self.items.poll_recv(cx)) {
                None => return Poll::Ready(None),
                Some(Item::Batches { index, batches, memory }) => {
                    self.chunk = Some(Chunk { index, batches: batches.into_iter(), memory });
                }
                Some(Item::At { index, offset }) => {
                    if let Some(state) = self.partitions.get_mut(index) {
                        state.position = offset;
                    }
                }
                Some(Item::Failed { index, error }) => {
                    return Poll::Ready(Some(Err(self.fail(index, error))));
                }
            }
        }
    }

    fn next_of_chunk(&mut self) -> Option<(usize, ConsumedBatch)> {
        let chunk = self.chunk.as_mut()?;
        let state = self.partitions.get(chunk.index).filter(|state| !state.has_failed);
        let (Some(state), Some(batch)) = (state, chunk.batches.next()) else {
            self.chunk = None;
            return None;
        };
        let memory = chunk.memory.as_mut().and_then(|held| held.split(batch.size().min(held.num_permits())));
        let (topic, partition) = (state.topic.clone(), state.partition);
        let (from, end) = (state.position, state.end);
        Some((chunk.index, ConsumedBatch { topic, partition, batch, from, end, memory }))
    }

    /// Moves the position behind a batch that is handed out whole.
    fn pass(&mut self, index: usize, batch: &ConsumedBatch) {
        if let Some(state) = self.partitions.get_mut(index) {
            state.position = state.position.max(batch.next_offset());
            state.last_epoch = Some(batch.batch().leader_epoch()).filter(|epoch| epoch.0 >= 0);
        }
    }

    fn fail(&mut self, index: usize, error: ReadError) -> ReadError {
        if let Some(state) = self.partitions.get_mut(index) {
            state.has_failed = true;
        }
        error
    }
}

impl Stream for Reader {
    type Item = Result<ConsumedRecord, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(cx)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}
