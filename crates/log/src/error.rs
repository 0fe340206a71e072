//! One error enum per operation.

use millrace_record::BatchError;
use millrace_types::{LeaderEpoch, Offset, OffsetRange, ProducerEpoch, ProducerId};

/// Why an append was refused, or why its outcome is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Definite. The batch is larger than the topic takes.
    #[error("the batch has {bytes} bytes, the topic takes {max}")]
    TooLarge {
        /// Size of the refused batch.
        bytes: usize,
        /// `max.message.bytes` of the topic.
        max: usize,
    },
    /// Definite. The batch leaves a gap behind the producer's last one.
    #[error("sequence {found} came where {expected} was expected")]
    OutOfOrderSequence {
        /// The sequence that would have been accepted.
        expected: i32,
        /// The one that came.
        found: i32,
    },
    /// Definite. Stored earlier, too long ago to tell the offset.
    #[error("the batch with sequence {found} was stored earlier")]
    DuplicateSequence {
        /// The batch's first sequence.
        found: i32,
    },
    /// Definite. A newer incarnation of the producer has written.
    #[error("the producer's epoch is {current} by now")]
    ProducerFenced {
        /// The newest epoch seen.
        current: ProducerEpoch,
    },
    /// Definite. The partition has forgotten this producer, so it cannot tell a retry from a gap.
    #[error("nothing is known of producer {id} any more")]
    UnknownProducer {
        /// The producer.
        id: ProducerId,
    },
    /// Definite. The append queue is full; try again when [`crate::Log::room`] completes.
    #[error("the append queue of the partition is full")]
    QueueFull,
    /// Definite. The disk has no room; nothing of the batch was kept.
    #[error("no room left on the disk")]
    StorageFull,
    /// Definite. The process has no open files left, and none of the logs' own was idle; try again later.
    #[error("the process has too many open files")]
    OutOfFiles,
    /// Definite. The log was deleted or closed before the batch was written.
    #[error("the log is closed")]
    Closed,
    /// Definite. This replica does not lead the partition (any more).
    #[error("this replica does not lead the partition")]
    NotLeading,
    /// Indefinite. The batch was cut off while it waited to be held: another replica leads, and may have it.
    #[error("the batch was truncated: another replica leads the partition")]
    Truncated,
    /// Definite. The partition has reached the largest offset there is.
    #[error("the partition has no offsets left")]
    OffsetsExhausted,
    /// Indefinite. A write or sync failed: whether the batch is on the disk shows after the next start.
    #[error("the data directory failed: {0}")]
    StorageFailed(String),
}

/// Why a follower did not append what its leader has sent. Unless it is [`ReplicaAppendError::Append`], nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaAppendError {
    /// There is nothing in it.
    #[error("there is no batch to append")]
    Empty,
    /// Bytes that are no whole batch, or not what their checksum says.
    #[error("the bytes at position {position} are no batch: {error}")]
    Batch {
        /// Where in the bytes.
        position: usize,
        /// What is wrong.
        error: BatchError,
    },
    /// A batch does not begin where the one before it, or the log, ends.
    #[error("a batch begins at offset {found} where {expected} was expected")]
    NotNext {
        /// The end.
        expected: Offset,
        /// The base offset.
        found: Offset,
    },
    /// The leader epoch of a batch is below that of the record before it, or none.
    #[error("the batch at offset {at} is of epoch {found}, behind one of epoch {latest}")]
    EpochFell {
        /// The batch's base offset.
        at: Offset,
        /// Its epoch.
        found: LeaderEpoch,
        /// That of the record before it.
        latest: LeaderEpoch,
    },
    /// The log has no leader elsewhere: it leads, or there is no other replica.
    #[error("this replica does not follow a leader")]
    NotFollowing,
    /// As an append by a client. Batches before the one that was refused may have been appended: the end of the log tells.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The file of leader epochs could not be written, for now or for ever.
    #[error("beginning a leader epoch: {0}")]
    Epochs(String),
}

/// Why a read gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The offset lies below the log start or above the end offset.
    #[error("offset {offset} is outside of {range:?}")]
    OutOfRange {
        /// What was asked for.
        offset: Offset,
        /// What there is: from the log start to the end offset.
        range: OffsetRange,
    },
    /// The stored bytes of this range failed their check and are not served.
    #[error("the stored records {0:?} are damaged")]
    Corrupt(OffsetRange),
    /// The medium failed.
    #[error("reading failed: {0}")]
    Io(String),
    /// The process has no open files left, and none of the logs' own was idle; try again later.
    #[error("the process has too many open files")]
    OutOfFiles,
    /// The log was deleted or closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a data directory cannot be served, or an operation on it failed.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another process serves it.
    #[error("another process serves {0}")]
    Locked(String),
    /// It was written by a newer version.
    #[error("{path} has format {found}, this version reads up to {known}")]
    NewerFormat {
        /// The file that says so.
        path: String,
        /// Its format.
        found: u32,
        /// The newest that this build reads.
        known: u32,
    },
    /// A file of ours fails its check, in a way that must not be guessed around.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The damaged file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// There is already, or no longer, a log of that partition.
    #[error("{0}")]
    Conflict(String),
    /// The directory failed earlier and accepts nothing until a new process has re-read it.
    #[error("the data directory failed: {0}")]
    Failed(String),
    /// The file system's.
    #[error("{context}: {source}")]
    Io {
        /// What was being done, with the path.
        context: String,
        /// The error.
        source: std::io::Error,
    },
}
