//! The result of an append, and the wait for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use millrace_types::{Offset, TimestampMs};

use crate::AppendError;

/// Where a batch came to lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Offset of the batch's first record. Of an exact retry: the offset that it got the first time.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The timestamp that the append gave to the records, where the topic says `LogAppendTime`.
    pub log_append_time: Option<TimestampMs>,
    /// The log start at that moment.
    pub log_start: Offset,
    /// Whether this was an exact retry and nothing new was written.
    pub duplicate: bool,
}

/// The wait for an append to be safe at the topic's sync mode.
///
/// A future that may *lead*: whoever polls it while no sync of the file is in flight runs the sync in a blocking
/// section, on the calling thread, so that the latency path has no thread hop. Dropping a ticket abandons the wait,
/// not the append.
#[derive(Debug)]
pub struct Ticket {}

impl Ticket {
    /// Starts the sync on a flusher thread, so that several partitions of one request sync side by side.
    /// Callers with more than one ticket call it on all but the one they poll first.
    pub fn sync_in_background(&self) {
        unimplemented!()
    }

    /// Waits on the calling thread. Not to be called from a task.
    ///
    /// # Errors
    /// As the future.
    pub fn wait(self) -> Result<Appended, AppendError> {
        unimplemented!()
    }
}

impl Future for Ticket {
    type Output = Result<Appended, AppendError>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        unimplemented!()
    }
}
