//! The wait for an append: a future that leads a sync when nobody else does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use millrace_types::{Offset, TopicPartition};
use parking_lot::{Condvar, Mutex};

use crate::inner::LogInner;
use crate::{AppendError, Appended};

/// What became of one queued batch, shared between its ticket, the writer and the flusher.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    fate: Fate,
    /// It was held, and could be seen to be: a truncation that comes later does not take that back.
    held: bool,
    waker: Option<Waker>,
}

#[derive(Clone, Debug, Default)]
enum Fate {
    /// Not written yet.
    #[default]
    Queued,
    /// In the file; safe once its last offset is held.
    Written(Appended),
    /// Will never be safe.
    Refused(AppendError),
}

impl Cell {
    /// The batch was written (or is an exact retry). Hands back whom to wake, once everything is published.
    pub(crate) fn written(&self, appended: Appended) -> Option<Waker> {
        let mut state = self.state.lock();
        state.fate = Fate::Written(appended);
        state.waker.take()
    }

    /// The batch was refused. Hands back whom to wake.
    pub(crate) fn refuse(&self, error: AppendError) -> Option<Waker> {
        let mut state = self.state.lock();
        state.fate = Fate::Refused(error);
        state.waker.take()
    }

    /// Why the batch was refused, if it was.
    pub(crate) fn refusal(&self) -> Option<AppendError> {
        match &self.state.lock().fate {
            Fate::Refused(error) => Some(error.clone()),
            Fate::Queued | Fate::Written(_) => None,
        }
    }

    /// The batch is held. Hands back whom to wake.
    pub(crate) fn settle(&self) -> Option<Waker> {
        let mut state = self.state.lock();
        state.held = true;
        state.waker.take()
    }

    /// The answer, if there is one by now; else `waker`, if there is one, is kept.
    fn answer(&self, log: &LogInner, waker: Option<&Waker>) -> Option<Result<Appended, AppendError>> {
        let mut state = self.state.lock();
        let answer = match &state.fate {
            Fate::Refused(error) => Some(Err(error.clone())),
            Fate::Written(appended) => {
                let last = (!state.held).then_some(appended.last_offset);
                log.acknowledgement(last).map(|safe| safe.map(|()| *appended))
            }
            Fate::Queued => None,
        };
        if answer.is_none() && waker.is_some() {
            state.waker = waker.cloned();
        }
        answer
    }
}

/// A written batch that waits to be held.
#[derive(Debug)]
pub(crate) struct Unsynced {
    pub(crate) last: Offset,
    pub(crate) cell: Arc<Cell>,
}

/// The wait for an append to be safe at the topic's sync mode.
///
/// A future that may *lead*: whoever polls it while the sync mode wants a sync first and none of the file is in flight
/// runs it in a blocking section, on the calling thread, so that the latency path has no thread hop. Dropping a ticket abandons the wait,
/// not the append.
#[derive(Debug)]
pub struct Ticket {
    log: Arc<LogInner>,
    cell: Arc<Cell>,
}

impl Ticket {
    pub(crate) fn new(log: Arc<LogInner>, cell: Arc<Cell>) -> Ticket {
        Ticket { log, cell }
    }

    /// The partition that the batch was appended to.
    #[must_use]
    pub fn partition(&self) -> TopicPartition {
        self.log.meta.id
    }

    /// Starts the sync on a flusher thread, if one is waited for, so that several partitions of one request sync side by
    /// side.
    /// Callers with more than one ticket call it on all but the one they poll first.
    pub fn sync_in_background(&self) {
        LogInner::sync_if_awaited(&self.log);
    }

    /// Waits on the calling thread. Not to be called from a task.
    ///
    /// # Errors
    /// As the future.
    pub fn wait(mut self) -> Result<Appended, AppendError> {
        let signal = Arc::new(Signal::default());
        let waker = Waker::from(Arc::clone(&signal));
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(answer) = Pin::new(&mut self).poll(&mut cx) {
                return answer;
            }
            signal.wait();
        }
    }
}

impl Future for Ticket {
    type Output = Result<Appended, AppendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(answer) = self.cell.answer(&self.log, None) {
                return Poll::Ready(answer);
            }
            // Every turn of this loop is a sync that this caller ran. A batch that waits in the queue for unsynced
            // bytes to become fewer needs two: one makes room, one covers it.
            if LogInner::lead_sync(&self.log) {
                continue;
            }
            // Whoever leads may have finished before the waker was there: look once more.
            return match self.cell.answer(&self.log, Some(cx.waker())) {
                Some(answer) => Poll::Ready(answer),
                None => Poll::Pending,
            };
        }
    }
}

/// A waker for a thread that waits.
#[derive(Debug, Default)]
struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn wait(&self) {
        let mut raised = self.raised.lock();
        while !*raised {
            self.changed.wait(&mut raised);
        }
        *raised = false;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.raised.lock() = true;
        self.changed.notify_one();
    }
}
