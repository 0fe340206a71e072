//! One partition log, as the broker sees it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use millrace_record::Batch;
use millrace_types::{LeaderEpoch, Offset, TimestampMs, TopicName, TopicPartition};

use crate::{AppendError, DirError, LogConfig, ReadError, ReadPlan, ReadRequest, Ticket, TimeHit};

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
    /// First offset that is not committed: consumers read below it.
    pub high_watermark: Offset,
    /// First offset of an undecided transaction; the high watermark until there are any.
    pub last_stable: Offset,
    /// First offset that is not synced.
    pub synced_end: Offset,
    /// First unwritten offset.
    pub end: Offset,
}

/// An open partition log. Shared by reference count; all methods may be called from any thread.
#[derive(Debug)]
pub struct Log {}

impl Log {
    /// What the log belongs to.
    #[must_use]
    pub fn meta(&self) -> &PartitionMeta {
        unimplemented!()
    }

    /// The marks.
    #[must_use]
    pub fn offsets(&self) -> LogOffsets {
        unimplemented!()
    }

    /// Bytes of all segments together.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Queues a checked batch, writes what is queued if no other thread is writing, and answers a ticket.
    ///
    /// Batches of one caller are appended in the order of its calls. Base offset and leader epoch are written into the
    /// batch's head, outside its checksum; the payload is not copied.
    ///
    /// # Errors
    /// Definite refusals that are known at once ([`AppendError::QueueFull`], [`AppendError::TooLarge`],
    /// [`AppendError::Closed`], [`AppendError::StorageFailed`] after an earlier failure); the ticket answers the rest.
    pub fn append(&self, _batch: Batch) -> Result<Ticket, AppendError> {
        unimplemented!()
    }

    /// Completes when the append queue has room again (or the log is closed).
    #[must_use]
    pub fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        unimplemented!()
    }

    /// Decides which bytes answer a read, without touching a page that may not be resident.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] and [`ReadError::Closed`]. An offset equal to the readable end is no error: the plan is empty.
    pub fn read(&self, _request: &ReadRequest) -> Result<ReadPlan, ReadError> {
        unimplemented!()
    }

    /// The first record at or after `timestamp`, below the high watermark. Reads at most one index and one index
    /// interval of log; may block.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn offset_for_time(&self, _timestamp: TimestampMs) -> Result<Option<TimeHit>, ReadError> {
        unimplemented!()
    }

    /// The largest record timestamp and its offset, or `None` for an empty log. May block.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn largest_timestamp(&self) -> Result<Option<TimeHit>, ReadError> {
        unimplemented!()
    }

    /// Completes when the high watermark is above `offset`, or the log is closed. Makes no call until then.
    #[must_use]
    pub fn wait_above(&self, _offset: Offset) -> HighWatermarkWait {
        unimplemented!()
    }

    /// The epoch that appends carry now.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        unimplemented!()
    }

    /// Begins a leader epoch: batches appended from now on carry it. Synced before it returns.
    ///
    /// # Errors
    /// [`DirError`]; an epoch that is not above the current one is a conflict.
    pub fn begin_epoch(&self, _epoch: LeaderEpoch) -> Result<(), DirError> {
        unimplemented!()
    }

    /// The largest epoch at or below `epoch` and where it ended (KIP-101, KIP-279), for readers that may be ahead.
    #[must_use]
    pub fn end_of_epoch(&self, _epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        unimplemented!()
    }

    /// Drops the suffix from `end` on. Synced before it returns.
    ///
    /// # Errors
    /// [`DirError`].
    pub fn truncate_to(&self, _end: Offset) -> Result<(), DirError> {
        unimplemented!()
    }

    /// Raises the log start and drops the segments that lie below it.
    ///
    /// # Errors
    /// [`DirError`]; a log start above the high watermark is a conflict.
    pub fn trim_to(&self, _log_start: Offset) -> Result<(), DirError> {
        unimplemented!()
    }

    /// Empties the log, its indexes and its producer state: start and end are `offset`. Synced before it returns.
    ///
    /// # Errors
    /// [`DirError`].
    pub fn reset_to(&self, _offset: Offset) -> Result<(), DirError> {
        unimplemented!()
    }

    /// Follows a changed topic configuration.
    pub fn configure(&self, _config: LogConfig) {
        unimplemented!()
    }
}

/// A registered waiter for the high watermark.
#[derive(Debug)]
pub struct HighWatermarkWait {}

impl Future for HighWatermarkWait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        unimplemented!()
    }
}
