//! One partition log, as the broker sees it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use millrace_record::Batch;
use millrace_types::{LeaderEpoch, Offset, TimestampMs, TopicName, TopicPartition};

use crate::cut::Loss;
use crate::inner::LogInner;
use crate::queue::{self, Pending};
use crate::ticket::Cell;
use crate::waiters::Edge;
use crate::writer::Holes;
use crate::{
    ActiveProducer, AppendError, DamageTotal, DamagedRange, DirError, Isolation, LogConfig, OffsetWait,
    ReadError, ReadPlan, ReadRequest, ReplicaAppendError, Ticket, TimeHit,
};

/// What `partition.meta` says: enough to rebuild the cluster's metadata from the data directories alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionMeta {
    /// Topic id and partition.
    pub id: TopicPartition,
    /// The topic's name when the partition was made.
    pub name: TopicName,
    /// How many partitions the topic had.
    pub partitions: u32,
    /// The topic's replication factor.
    pub replication_factor: u32,
}

/// The marks of a log, taken together at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogOffsets {
    /// First readable offset.
    pub log_start: Offset,
    /// First offset that this node holds itself.
    pub local_start: Offset,
    /// First offset that is not committed: consumers read below it. On a single node what is held; on a replicated log what
    /// it was raised to.
    pub high_watermark: Offset,
    /// First offset that this node does not hold as the sync mode wants it: the synced end with `always`, else what the mode
    /// lets be acknowledged before a sync.
    pub held: Offset,
    /// First offset of an undecided transaction; the high watermark until there are any.
    pub last_stable: Offset,
    /// First offset that is not synced.
    pub synced_end: Offset,
    /// First unwritten offset.
    pub end: Offset,
}

/// An open partition log. Shared by reference count; all methods may be called from any thread.
#[derive(Debug)]
pub struct Log {
    inner: Arc<LogInner>,
}

impl Log {
    pub(crate) fn new(inner: Arc<LogInner>) -> Log {
        Log { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<LogInner> {
        &self.inner
    }

    /// What the log belongs to.
    #[must_use]
    pub fn meta(&self) -> &PartitionMeta {
        &self.inner.meta
    }

    /// The marks.
    #[must_use]
    pub fn offsets(&self) -> LogOffsets {
        self.inner.offsets()
    }

    /// Bytes of all segments together.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let segments = Arc::clone(&self.inner.view.read().segments);
        segments.iter().map(|segment| segment.size()).sum()
    }

    /// The damaged ranges that are known: found at the start, by a read or by the scrub. At most
    /// [`DAMAGED_RANGES_PER_LOG_MAX`](millrace_types::limits::DAMAGED_RANGES_PER_LOG_MAX).
    #[must_use]
    pub fn damaged(&self) -> Vec<DamagedRange> {
        self.inner.damage.list()
    }

    /// How much damage is known.
    #[must_use]
    pub fn damage(&self) -> DamageTotal {
        self.inner.damage.total()
    }

    /// Queues a checked batch, writes what is queued if no other thread is writing, and answers a ticket.
    ///
    /// Batches of one caller are appended in the order of its calls. Base offset and leader epoch are written into the
    /// batch's head, outside its checksum; the payload is not copied.
    ///
    /// # Errors
    /// Definite refusals that are known at once ([`AppendError::QueueFull`], [`AppendError::TooLarge`],
    /// [`AppendError::Closed`], [`AppendError::StorageFailed`] after an earlier failure); the ticket answers the rest.
    pub fn append(&self, batch: Batch) -> Result<Ticket, AppendError> {
        self.queue(batch, None)
    }

    /// As [`Log::append`], in this leader epoch or not at all. What was decided by whoever led in it must not be written by whoever
    /// leads again in a later one, and knows more.
    ///
    /// # Errors
    /// As [`Log::append`]; the ticket answers [`AppendError::NotLeading`] if the epoch is another one.
    pub fn append_in(&self, epoch: LeaderEpoch, batch: Batch) -> Result<Ticket, AppendError> {
        self.queue(batch, Some(epoch))
    }

    fn queue(&self, batch: Batch, epoch: Option<LeaderEpoch>) -> Result<Ticket, AppendError> {
        if let Some(error) = self.inner.shared.failure.append_error() {
            return Err(error);
        }
        let max = self.inner.config().batch_bytes_max;
        if batch.size() > max {
            return Err(AppendError::TooLarge { bytes: batch.size(), max });
        }
        let cell = Arc::new(Cell::default());
        self.inner.queue.push(Pending { batch, epoch, cell: Arc::clone(&cell) })?;
        self.inner.combine();
        Ok(Ticket::new(Arc::clone(&self.inner), cell))
    }

    /// Appends whole batches, one behind the other, as a leader has stored them: nothing of them is changed, neither offsets
    /// nor leader epochs. The producers' state and the leader epochs follow them. The ticket is that of the last batch.
    ///
    /// Blocks where an epoch begins, whose file is synced first, and where as much is unsynced as may be. The memory of `bytes`
    /// may live on in the tail cache.
    ///
    /// # Errors
    /// [`ReplicaAppendError`]: damage, a gap or an overlap with the end of the log, an epoch that falls; a log that leads.
    pub fn append_replica(&self, bytes: &Bytes) -> Result<Ticket, ReplicaAppendError> {
        self.inner.append_replica(bytes, Holes::Refused)
    }

    /// As [`Log::append_replica`], of a leader whose log is compacted: a batch without a record takes the place of each hole
    /// that this has left, between two batches and in front of the first.
    ///
    /// # Errors
    /// As [`Log::append_replica`], but for gaps.
    pub fn append_compacted_replica(&self, bytes: &Bytes) -> Result<Ticket, ReplicaAppendError> {
        self.inner.append_replica(bytes, Holes::Filled)
    }

    /// Raises the high watermark of a replicated log, as far as this node holds it: what its leader has computed, or has told
    /// a follower. Wakes who waits for it; never lowers it. Answers where it is then. Without effect on a log whose high
    /// watermark is what is held.
    pub fn raise_high_watermark(&self, to: Offset) -> Offset {
        self.inner.raise_high_watermark(to)
    }

    /// Whether the append queue takes a batch of any size now, or the log is closed. Of use to whoever is the only one that
    /// appends: then the next append is not refused for want of room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.inner.queue.takes_more()
    }

    /// Completes when the append queue has room again (or the log is closed).
    #[must_use]
    pub fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        queue::room(Arc::clone(&self.inner))
    }

    /// Decides which bytes answer a read, without touching a page that may not be resident.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] and [`ReadError::Closed`]. An offset equal to the readable end is no error: the plan is empty.
    pub fn read(&self, request: &ReadRequest) -> Result<ReadPlan, ReadError> {
        self.read_as(Isolation::Committed, request)
    }

    /// As [`Log::read`], for a reader of this isolation.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn read_as(&self, isolation: Isolation, request: &ReadRequest) -> Result<ReadPlan, ReadError> {
        ReadPlan::make(&self.inner, request, isolation)
    }

    /// The first record at or after `timestamp`, below the high watermark. Reads at most one index and one index
    /// interval of log, and the batch that it finds; may block.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn offset_for_time(&self, timestamp: TimestampMs) -> Result<Option<TimeHit>, ReadError> {
        self.inner.offset_for_time(timestamp)
    }

    /// The largest record timestamp and its offset, or `None` for an empty log. May block.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn largest_timestamp(&self) -> Result<Option<TimeHit>, ReadError> {
        self.inner.largest_timestamp()
    }

    /// When the record at `offset` was written, as nearly as one header tells: the time of the first record of its batch, or
    /// of the first batch behind it that there still is. `None` at the high watermark, and of a batch without times. May block.
    ///
    /// The header is not checked against anything: good for a figure to look at, not for a decision.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn time_near(&self, offset: Offset) -> Result<Option<TimestampMs>, ReadError> {
        self.inner.time_near(offset)
    }

    /// Completes when the high watermark is above `offset`, or the log is closed. Makes no call until then.
    #[must_use]
    pub fn wait_above(&self, offset: Offset) -> OffsetWait {
        OffsetWait::new(Arc::clone(&self.inner), Edge::HighWatermark, offset)
    }

    /// As [`Log::wait_above`], for what is held.
    #[must_use]
    pub fn wait_held_above(&self, offset: Offset) -> OffsetWait {
        OffsetWait::new(Arc::clone(&self.inner), Edge::Held, offset)
    }

    /// As [`Log::wait_above`], for the end of what is written: what a read with [`Isolation::Held`] may answer.
    #[must_use]
    pub fn wait_end_above(&self, offset: Offset) -> OffsetWait {
        OffsetWait::new(Arc::clone(&self.inner), Edge::End, offset)
    }

    /// The epoch that appends carry now; of a follower, the latest that it knows. [`LeaderEpoch::NONE`] if it knows none.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.inner.leader_epoch()
    }

    /// Begins a leader epoch, which this replica leads: batches appended from now on carry it. Synced before it returns.
    /// Answers the offset at which it begins.
    ///
    /// # Errors
    /// [`DirError`]; an epoch that is not above the latest one is a conflict.
    pub fn begin_epoch(&self, epoch: LeaderEpoch) -> Result<Offset, DirError> {
        self.inner.begin_epoch(epoch)
    }

    /// Leads no longer: an append of a client, also one that is queued, is refused, and [`Log::append_replica`] is not. Without
    /// effect on a log that is not replicated.
    pub fn follow(&self) {
        self.inner.follow();
    }

    /// The leader epoch of the last record: what a follower tells with its fetch (KIP-595, KIP-903). `None` if there is no
    /// record, or not any more, and the log does not know.
    #[must_use]
    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.inner.turn().last_epoch()
    }

    /// The largest epoch at or below `epoch` and where it ended (KIP-101, KIP-279), for readers that may be ahead.
    #[must_use]
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let writer = self.inner.turn();
        // An epoch may be written down whose first batch could not be.
        writer.epochs.end_of(epoch, writer.end).map(|found| (found.epoch, found.end.min(writer.end)))
    }

    /// The epoch in which the record at `offset` was appended, if the log knows.
    #[must_use]
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.inner.turn().epochs.epoch_of(offset)
    }

    /// How many idempotent producers are remembered.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.inner.turn().producers.len()
    }

    /// The idempotent producers that are remembered, sorted by id; the first `max` of them. Nothing is appended meanwhile.
    #[must_use]
    pub fn producers(&self, max: usize) -> Vec<ActiveProducer> {
        self.inner.turn().producers.active().take(max).collect()
    }

    /// Drops the suffix from `end` on; a batch that reaches past it goes whole. Synced before it returns.
    ///
    /// # Errors
    /// [`DirError`]; an end below the log start is a conflict. So is, on a replicated log, one that would take a record below
    /// the high watermark, and any while it leads.
    pub fn truncate_to(&self, end: Offset) -> Result<(), DirError> {
        self.inner.truncate_to(end, Loss::Unacknowledged)
    }

    /// As [`Log::truncate_to`], below the high watermark too: committed records are lost. For a follower of a leader that was
    /// elected uncleanly, which is reported wherever it is decided.
    ///
    /// # Errors
    /// [`DirError`]; an end below the log start is a conflict.
    pub fn truncate_uncleanly_to(&self, end: Offset) -> Result<(), DirError> {
        self.inner.truncate_to(end, Loss::Anything)
    }

    /// Raises the log start and drops the segments that lie below it.
    ///
    /// # Errors
    /// [`DirError`]; a log start above the high watermark is a conflict.
    pub fn trim_to(&self, log_start: Offset) -> Result<(), DirError> {
        self.inner.trim_to(log_start)
    }

    /// Empties the log, its indexes and its producer state: start and end are `offset`. Synced before it returns.
    ///
    /// # Errors
    /// [`DirError`].
    pub fn reset_to(&self, offset: Offset) -> Result<(), DirError> {
        self.inner.reset_to(offset)
    }

    /// Follows a changed topic configuration: appends after this do. A log that was alone and is replicated now goes on
    /// leading its epoch, and the other way round a follower goes on following until it begins one. A sync mode of `always` also syncs what is not
    /// synced yet. May block.
    ///
    /// # Errors
    /// [`DirError`]; the configuration that is in force is then either of the two.
    pub fn configure(&self, config: LogConfig) -> Result<(), DirError> {
        self.inner.configure(config)
    }
}
