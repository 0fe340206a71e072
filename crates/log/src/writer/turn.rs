//! Turns at the writer, and the promise that goes with each: whoever ends one looks at the queue once more.
//!
//! An append that finds the writer taken leaves its batch in the queue and goes. If the one who had the writer did not look
//! after letting go of it, the batch would lie there until somebody else appended or the janitor came by: up to a second
//! in which nobody is told anything. So nobody gets at the writer but through [`Turns`].

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::Writer;
use crate::inner::LogInner;

/// The writer of a log, one holder at a time.
#[derive(Debug)]
pub(crate) struct Turns {
    writer: Mutex<Writer>,
}

/// The writer, until it is dropped; then what was queued meanwhile is written.
///
/// Not to be dropped while a lock that comes after the writer's is held.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    log: &'a Arc<LogInner>,
    /// There until the drop.
    writer: Option<MutexGuard<'a, Writer>>,
}

impl Turns {
    pub(crate) fn new(writer: Writer) -> Turns {
        Turns { writer: Mutex::new(writer) }
    }

    /// The writer if nobody has it. Only for the loop that drains the queue, which looks again by itself.
    pub(super) fn try_take(&self) -> Option<MutexGuard<'_, Writer>> {
        self.writer.try_lock()
    }
}

impl LogInner {
    /// Waits for the writer.
    pub(crate) fn turn(self: &Arc<Self>) -> Turn<'_> {
        Turn { log: self, writer: Some(self.writer.writer.lock()) }
    }
}

impl Deref for Turn<'_> {
    type Target = Writer;

    #[expect(clippy::expect_used, reason = "taken out by the drop alone")]
    fn deref(&self) -> &Writer {
        self.writer.as_deref().expect("a turn has the writer")
    }
}

impl DerefMut for Turn<'_> {
    #[expect(clippy::expect_used, reason = "taken out by the drop alone")]
    fn deref_mut(&mut self) -> &mut Writer {
        self.writer.as_deref_mut().expect("a turn has the writer")
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.writer = None;
        if self.log.has_writable() {
            self.log.combine();
        }
    }
}
