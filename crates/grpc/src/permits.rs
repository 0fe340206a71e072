//! The memory that one call holds: a permit for each message it has begun to read, one for its answer.

use std::collections::VecDeque;

use millrace_broker::Permit;
use parking_lot::Mutex;

/// The permits of one call, shared by the reader of its body, its handler and the writer of its answer. Whatever is
/// left in here goes back to the budget when the last of them lets go.
#[derive(Debug, Default)]
pub(crate) struct CallPermits {
    messages: Mutex<VecDeque<Permit>>,
    answers: Mutex<Vec<Permit>>,
}

impl CallPermits {
    /// The reader: the next message may be read.
    pub(crate) fn admit(&self, permit: Permit) {
        self.messages.lock().push_back(permit);
    }

    /// The handler: takes over the permit of the oldest message that nobody has claimed.
    pub(crate) fn claim(&self) -> Option<Permit> {
        self.messages.lock().pop_front()
    }

    /// How many bytes the messages that nobody has claimed were granted.
    pub(crate) fn unclaimed_bytes(&self) -> usize {
        self.messages.lock().iter().map(Permit::bytes).sum()
    }

    /// Gives back the permits of all messages so far.
    pub(crate) fn release(&self) {
        self.messages.lock().clear();
    }

    /// The handler: the answer's bytes, or those of the next message of a stream of them, are paid for with this until they
    /// have been written to the client.
    pub(crate) fn pay_answer(&self, permit: Permit) {
        self.answers.lock().push(permit);
    }

    /// The writer: takes over what pays for the next frame, which may hold several small messages.
    pub(crate) fn take_answers(&self) -> Vec<Permit> {
        std::mem::take(&mut *self.answers.lock())
    }
}
