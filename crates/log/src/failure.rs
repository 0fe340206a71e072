//! The end of a data directory: after the first failed sync or write nothing in it is believed or acknowledged.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::{AppendError, DirError, Fatal};

type Callback = Box<dyn FnOnce(Fatal) + Send>;

/// Whether the data directory has failed, and whom to tell.
///
/// A failed sync marks pages clean without moving them, so a later sync would claim success for lost bytes: the only
/// way out is a new process that reads the medium again (RELIABILITY S5, S12).
#[derive(Default)]
pub(crate) struct Failure {
    failed: AtomicBool,
    reason: OnceLock<String>,
    callbacks: Mutex<Vec<Callback>>,
}

impl Failure {
    /// Notes the first failure and tells everyone who asked. Later ones change nothing.
    pub(crate) fn fail(&self, reason: &str) {
        if self.reason.set(reason.to_owned()).is_err() {
            return;
        }
        self.failed.store(true, Ordering::SeqCst);
        tracing::error!(
            reason,
            "the data directory failed; nothing is accepted until a new process has read it"
        );
        let callbacks = std::mem::take(&mut *self.callbacks.lock());
        for callback in callbacks {
            callback(Fatal { reason: reason.to_owned() });
        }
    }

    /// Calls back with the first failure, at once if it has happened.
    pub(crate) fn on_fatal(&self, callback: Callback) {
        let mut callbacks = self.callbacks.lock();
        match self.reason.get() {
            Some(reason) => {
                drop(callbacks);
                callback(Fatal { reason: reason.clone() });
            }
            None => callbacks.push(callback),
        }
    }

    /// Whether it has failed.
    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// What an append hears after the failure.
    pub(crate) fn append_error(&self) -> Option<AppendError> {
        self.is_failed().then(|| AppendError::StorageFailed(self.reason()))
    }

    /// Refuses an operation on the directory after the failure.
    pub(crate) fn check(&self) -> Result<(), DirError> {
        if self.is_failed() { Err(DirError::Failed(self.reason())) } else { Ok(()) }
    }

    fn reason(&self) -> String {
        self.reason.get().cloned().unwrap_or_default()
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure").field("reason", &self.reason.get()).finish_non_exhaustive()
    }
}
