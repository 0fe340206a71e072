//! The consumer: a member of a group. The group's members share the partitions of its topics; the broker assigns them.
//!
//! ```text
//!   broker ── member stream ── membership task: join, heartbeats, assignments, leave
//!          ── fetches ──────── reading task ──► buffer (bounded in bytes) ──► Consumer::poll ──► your code
//!          ◄─ commits ──────── committing task ◄── what earlier polls handed out, or what you say
//! ```
//! - The membership does not depend on polling: whoever takes an hour over a record stays a member.
//! - What is to go to another member is handed out no more from the moment at which the consumer hears of it. The other one gets it
//!   when the application has come back for records, so is done with those that it has (and has committed them), or when three
//!   quarters of the rebalance timeout are over.
//! - Nothing is committed that was not handed out. A consumer that dies is followed by another one, which goes on at the last
//!   commit: every record is handed out at least once.
//! - [`Consumer::close`] leaves the group, and others take over at once. A consumer that is dropped without it is to the group like
//!   one that was killed: its partitions wait for five seconds, in case it comes back, and what it did since the last commit is
//!   done again.

mod builder;
mod callbacks;
mod commits;
mod driver;
mod error;
mod fetcher;
mod handle;
mod held;
mod starts;
mod state;
mod steps;
mod stream;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;
use millrace_env::TaskHandle;
use millrace_types::{Offset, PartitionIndex, TopicPartition};

use self::builder::GroupOptions;
pub use self::builder::{ConsumerBuilder, GroupAssignor, ReadIsolation};
pub use self::callbacks::RebalanceCallbacks;
pub use self::error::{CommitError, CommitFailure, ConsumeError};
pub use self::handle::{ConsumerHandle, PendingCommit};
pub use self::held::AssignedPartition;
use self::state::{HandedOut, Membership, Queued, State};
use crate::reader::{ConsumedBatch, ConsumedRecords};
use crate::{ClientError, ConsumedRecord};

/// How a consumer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leaving {
    ForGood,
    ForNow,
}

/// A member of a consumer group. Made by [`crate::Client::consumer`].
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn run(client: millrace_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut consumer = client.consumer("billing").topic("orders").start().await?;
/// loop {
///     for record in consumer.poll(Duration::from_secs(1)).await? {
///         println!("{:?}", record.value);
///     }
///     if std::path::Path::new("stop").exists() {
///         break;
///     }
/// }
/// consumer.close().await;
/// # Ok(())
/// # }
/// ```
///
/// Each call for records says that the application is done with those that it was handed before: that is what automatic commits
/// commit. As a [`Stream`] it hands out one record at a time; whoever takes records ahead of their processing (as
/// `buffered` does) commits explicitly.
#[derive(Debug)]
pub struct Consumer {
    handle: ConsumerHandle,
    tasks: Vec<Box<dyn TaskHandle>>,
    current: Option<Current>,
    poll_records_max: usize,
    is_static: bool,
}

/// The batch that is being handed out.
#[derive(Debug)]
struct Current {
    key: TopicPartition,
    feed: u64,
    batch: ConsumedBatch,
    records: ConsumedRecords,
}

/// The next thing for the application.
enum Next {
    Record(ConsumedRecord),
    Error(ConsumeError),
    /// A batch, to be decompressed outside of the lock.
    Batch(Queued),
    Nothing,
    Over,
}

impl Consumer {
    fn new(
        handle: ConsumerHandle,
        tasks: Vec<Box<dyn TaskHandle>>,
        poll_records_max: usize,
        is_static: bool,
    ) -> Consumer {
        Consumer { handle, tasks, current: None, poll_records_max, is_static }
    }

    /// A handle for other tasks: commits, pausing, seeking.
    #[must_use]
    pub fn handle(&self) -> ConsumerHandle {
        self.handle.clone()
    }

    /// The name of the group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.handle.group()
    }

    /// The id of this member of the group, as the broker knows it now; `None` while it is none.
    #[must_use]
    pub fn member_id(&self) -> Option<String> {
        match &*self.handle.shared().membership.borrow() {
            Membership::In(identity) => Some(identity.member.clone()),
            _ => None,
        }
    }

    /// The records that are there, or come within `timeout`: none, if none do. The application is done with those of earlier
    /// polls. Nothing is lost if the call is dropped before it returned.
    ///
    /// # Errors
    /// [`ConsumeError`]: one partition is read no more, or the consumer is no member any more and reads nothing.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumedRecord>, ConsumeError> {
        self.handle.shared().check_in();
        let max = self.poll_records_max;
        let sleep = self.handle.client().env().clock.sleep(timeout);
        let records = std::future::poll_fn(|cx| self.poll_records(cx, max));
        tokio::select! {
            biased;
            records = records => records,
            () = sleep => Ok(Vec::new()),
        }
    }

    /// The next record of any partition; `None` when the consumer is no member any more and will not be one. The application is
    /// done with the record before. Nothing is lost if the call is dropped before it returned.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    pub async fn next(&mut self) -> Option<Result<ConsumedRecord, ConsumeError>> {
        std::future::poll_fn(|cx| self.poll_record(cx)).await
    }

    /// What is assigned, sorted.
    #[must_use]
    pub fn assignment(&self) -> Vec<AssignedPartition> {
        self.handle.assignment()
    }

    /// The next offset of a partition to be handed out; `None` if it is not assigned, or nobody knows yet where it begins.
    #[must_use]
    pub fn position(&self, topic: &str, partition: PartitionIndex) -> Option<Offset> {
        self.handle.position(topic, partition)
    }

    /// See [`ConsumerHandle::pause`].
    pub fn pause(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.handle.pause(topic, partition)
    }

    /// See [`ConsumerHandle::resume`].
    pub fn resume(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.handle.resume(topic, partition)
    }

    /// See [`ConsumerHandle::seek`].
    pub fn seek(&self, topic: &str, partition: PartitionIndex, offset: Offset) -> bool {
        self.handle.seek(topic, partition, offset)
    }

    /// Commits all that was handed out, the last records included: the application is done with them.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit_sync(&self) -> Result<(), CommitError> {
        self.handle.shared().check_in();
        self.handle.commit_sync().await
    }

    /// The same without waiting.
    pub fn commit_async(&self) -> PendingCommit {
        self.handle.shared().check_in();
        self.handle.commit_async()
    }

    /// Commits that this record, and all before it in its partition, are done.
    ///
    /// # Errors
    /// [`CommitError`]; also if the record was handed out before the partition went to somebody else and came back.
    pub async fn commit_record(&self, record: &ConsumedRecord) -> Result<(), CommitError> {
        self.handle.commit_record(record).await
    }

    /// Stops reading and leaves the group. The application is done with all that it was handed; with automatic commits that is
    /// committed, and [`RebalanceCallbacks::revoked`] is called for what was assigned, before the consumer goes. A static member
    /// ([`ConsumerBuilder::instance_id`]) leaves for now: its partitions wait for it for the session timeout.
    pub async fn close(self) {
        let leaving = if self.is_static { Leaving::ForNow } else { Leaving::ForGood };
        self.leave(leaving).await;
    }

    /// Leaves for good, also as a static member: others take over at once.
    pub async fn close_for_good(self) {
        self.leave(Leaving::ForGood).await;
    }

    async fn leave(mut self, leaving: Leaving) {
        self.current = None;
        let shared = self.handle.shared();
        let mut membership = shared.membership.subscribe();
        shared.lock().closing = Some(leaving);
        shared.news.notify_one();
        // The membership ends by itself, at the latest when the request timeout is over.
        let _ = membership.wait_for(|membership| matches!(membership, Membership::Over(_))).await;
    }

    fn poll_records(
        &mut self,
        cx: &Context<'_>,
        max: usize,
    ) -> Poll<Result<Vec<ConsumedRecord>, ConsumeError>> {
        let mut records = Vec::new();
        loop {
            let next = {
                let mut state = self.handle.shared().lock();
                loop {
                    // An error waits until what came before it was handed out.
                    if records.len() >= max || (state.has_error() && !records.is_empty()) {
                        break Next::Nothing;
                    }
                    match next_of(&mut self.current, &mut state, cx.waker()) {
                        Next::Record(record) => records.push(record),
                        other => break other,
                    }
                }
            };
            match next {
                Next::Batch(queued) => self.open(queued),
                _ if !records.is_empty() => break,
                Next::Error(error) => return Poll::Ready(Err(error)),
                Next::Over => return Poll::Ready(Err(self.over())),
                Next::Record(_) | Next::Nothing => {
                    self.tell_fetcher();
                    return Poll::Pending;
                }
            }
        }
        self.tell_fetcher();
        Poll::Ready(Ok(records))
    }

    fn poll_record(&mut self, cx: &Context<'_>) -> Poll<Option<Result<ConsumedRecord, ConsumeError>>> {
        self.handle.shared().check_in();
        loop {
            let next = next_of(&mut self.current, &mut self.handle.shared().lock(), cx.waker());
            let ready = match next {
                Next::Batch(queued) => {
                    self.open(queued);
                    continue;
                }
                Next::Record(record) => Poll::Ready(Some(Ok(record))),
                Next::Error(error) => Poll::Ready(Some(Err(error))),
                Next::Over => Poll::Ready(None),
                Next::Nothing => Poll::Pending,
            };
            self.tell_fetcher();
            return ready;
        }
    }

    /// Decompresses a batch, so that its records can be handed out.
    fn open(&mut self, queued: Queued) {
        let Queued { key, feed, batch } = queued;
        match batch.records() {
            Ok(records) => self.current = Some(Current { key, feed, batch, records }),
            Err(error) => self.handle.shared().lock().fail(key, error),
        }
    }

    fn tell_fetcher(&self) {
        let shared = self.handle.shared();
        if shared.lock().take_wants_fetcher() {
            shared.work.notify_one();
        }
    }

    fn over(&self) -> ConsumeError {
        let error = match &*self.handle.shared().membership.borrow() {
            Membership::Over(Some(error)) => error.clone(),
            _ => ClientError::Answer("the consumer has ended".to_owned()),
        };
        ConsumeError::Membership { group: self.group().to_owned(), error }
    }
}

/// Under the lock: what is handed out is still this consumer's.
fn next_of(current: &mut Option<Current>, state: &mut State, waker: &Waker) -> Next {
    loop {
        if let Some(error) = state.next_error() {
            return Next::Error(error);
        }
        if state.is_over {
            return Next::Over;
        }
        if let Some(open) = current {
            match state.hand_out(open.key, open.feed, &mut open.records) {
                HandedOut::Record(record) => return Next::Record(record),
                HandedOut::Held => {
                    state.listen(waker);
                    return Next::Nothing;
                }
                HandedOut::AtEnd => state.pass(open.key, open.feed, open.batch.next_offset()),
                HandedOut::Stale | HandedOut::Failed => {}
            }
            *current = None;
            continue;
        }
        if let Some(queued) = state.next_batch() {
            return Next::Batch(queued);
        }
        if !state.has_error() {
            state.listen(waker);
            return Next::Nothing;
        }
    }
}

impl Stream for Consumer {
    type Item = Result<ConsumedRecord, ConsumeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(cx)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|task| task.abort());
    }
}
