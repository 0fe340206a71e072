//! What one step under the lock wants written and told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_group::classic::ClassicAnswer;
use millrace_group::consumer::Assignment;
use millrace_group::{CommitRefusal, MemberId, OffsetRecord, PersistId, RecordBytes};
use millrace_record::{Batch, BatchBuilder, BatchOptions, NO_HEADERS};
use millrace_types::{ErrorCode, GroupId, TimestampMs, limits};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::streams::Stream;
use crate::ApiError;

/// What a step answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answered {
    /// Of each position of a commit.
    Commits(Vec<Result<(), CommitRefusal>>),
    /// What the member is to own.
    Assignment(Assignment),
    /// What a classic group says to a member.
    Classic(ClassicAnswer),
    /// A member of a classic group is to join again with this id.
    ComeBackAs(MemberId),
    /// It is done.
    Done,
}

pub(super) type Answer = Result<Answered, ApiError>;

/// Where an answer goes, and the answer.
type Untold = (oneshot::Sender<Answer>, Answer);

/// Somebody who waits for an answer that is known, and may not be told yet.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    untold: Arc<Mutex<Option<Untold>>>,
    persisted: Arc<AtomicBool>,
    written: Arc<AtomicBool>,
}

impl Waiter {
    pub(super) fn new(sender: oneshot::Sender<Answer>, answer: Answer) -> Waiter {
        Waiter {
            untold: Arc::new(Mutex::new(Some((sender, answer)))),
            persisted: Arc::default(),
            written: Arc::default(),
        }
    }

    /// Its step has records of its own, whose outcome tells it.
    pub(super) fn set_persisted(&self) {
        self.persisted.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_persisted(&self) -> bool {
        self.persisted.load(Ordering::Relaxed)
    }

    /// Whether the step that answers it has put something into the log, for it or for others.
    pub(super) fn has_written(&self) -> bool {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether it is told that what it asked for was done.
    pub(super) fn accepts(&self) -> bool {
        self.untold.lock().as_ref().is_some_and(|(_, answer)| answer.is_ok())
    }

    /// Tells the answer, unless something was told before.
    pub(super) fn tell(&self) {
        if let Some((sender, answer)) = self.untold.lock().take() {
            // Nobody to receive: whoever asked has given up.
            let _sent = sender.send(answer);
        }
    }

    /// Tells that it did not come to that, unless something was told before.
    pub(super) fn tell_instead(&self, error: ApiError) {
        if let Some((sender, _)) = self.untold.lock().take() {
            let _sent = sender.send(Err(error));
        }
    }

    /// Its records are stored, but what they were decided on is gone. A commit is a commit all the same; what a member owns is
    /// asked for again.
    pub(super) fn tell_if_it_stands(&self, instead: impl FnOnce() -> ApiError) {
        let mut waiting = self.untold.lock();
        if let Some((sender, answer)) = waiting.take() {
            let answer = match answer {
                Ok(Answered::Assignment(_) | Answered::Classic(_)) => Err(instead()),
                answer => answer,
            };
            let _sent = sender.send(answer);
        }
    }
}

/// What others may see once the records before it are committed.
#[derive(Debug)]
pub(super) enum Delivery {
    /// To who has asked.
    Reply(Waiter),
    /// The member is reached by this stream from now on.
    Open(GroupId, MemberId, Arc<Stream>),
    /// The member would hear something new.
    Due(GroupId, MemberId),
    /// The member is none any more.
    Lost(GroupId, MemberId, millrace_group::consumer::LostBecause),
}

impl Delivery {
    /// Its step has put something into the log.
    pub(super) fn set_written(&self) {
        if let Delivery::Reply(waiter) = self {
            waiter.written.store(true, Ordering::Relaxed);
        }
    }
}

/// What a step has gathered: the records of one batch, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) records: Vec<RecordBytes>,
    /// The persist of the committed offsets that is among them.
    pub(super) offsets: Option<PersistId>,
    /// Whether something of a group is among them: it cannot be undone.
    pub(super) of_groups: bool,
    pub(super) deliveries: Vec<Delivery>,
    /// Who has asked.
    pub(super) waiter: Option<Waiter>,
}

impl Draft {
    pub(super) fn offsets(&mut self, id: PersistId, records: &[OffsetRecord]) {
        self.offsets = Some(id);
        let bytes =
            |record: &OffsetRecord| (record.key.encode(), record.value.as_ref().map(|value| value.encode()));
        self.records.extend(records.iter().map(bytes));
    }

    pub(super) fn group_record(&mut self, record: RecordBytes) {
        self.of_groups = true;
        self.records.push(record);
    }

    pub(super) fn reply(&mut self, sender: oneshot::Sender<Answer>, answer: Answer) {
        let waiter = Waiter::new(sender, answer);
        self.waiter = Some(waiter.clone());
        self.deliveries.push(Delivery::Reply(waiter));
    }

    /// One of several answers, perhaps to somebody who has asked in an earlier step. None of them stands if the records of
    /// this step do not, so that no outcome is told apart from them.
    pub(super) fn reply_of_many(&mut self, sender: oneshot::Sender<Answer>, answer: Answer) {
        self.deliveries.push(Delivery::Reply(Waiter::new(sender, answer)));
    }
}

/// The records as one batch: the log has all of them or none.
pub(super) fn batch_of(records: &[RecordBytes], now: TimestampMs) -> Result<Batch, ApiError> {
    let bytes_max = limits::BATCH_BYTES_MAX;
    let mut builder =
        BatchBuilder::new(BatchOptions { bytes_target: bytes_max, bytes_max, ..BatchOptions::default() });
    let too_large = |error: String| ApiError::new(ErrorCode::BatchTooLarge, format!("the commit: {error}"));
    for (key, value) in records {
        builder
            .append(now, Some(key), value.as_deref(), NO_HEADERS)
            .map_err(|error| too_large(error.to_string()))?;
    }
    builder.build().map_err(|error| too_large(error.to_string()))
}

/// A group answered what nobody asked it.
pub(super) fn of_another_kind() -> ApiError {
    ApiError::new(ErrorCode::Internal, "the group gave an answer of another kind")
}

/// What a group answers while its partition is read again.
pub(super) fn loading() -> ApiError {
    let message = "groups and committed offsets are being read again from their log";
    ApiError::new(ErrorCode::CoordinatorLoading, message)
}
