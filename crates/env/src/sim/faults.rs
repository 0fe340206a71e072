//! Faults that a test plants: the nth call of a kind fails, transfers fall short.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::counting::CallKind;

/// Calls that fail. A failed sync also lies: its pages count as clean, and never reach the medium.
///
/// ```
/// use millrace_env::{counting::CallKind, sim::Fault};
/// let third_sync_of_that_file = Fault::io(CallKind::SyncData).on("00000000000000000000.log").after(2);
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    kind: CallKind,
    errno: Errno,
    path_part: Option<String>,
    skip: u64,
    times: u64,
}

impl Fault {
    fn new(kind: CallKind, errno: Errno) -> Fault {
        Fault { kind, errno, path_part: None, skip: 0, times: 1 }
    }

    /// The next call of `kind` answers EIO.
    #[must_use]
    pub fn io(kind: CallKind) -> Fault {
        Fault::new(kind, Errno::IO)
    }

    /// The next call of `kind` answers ENOSPC.
    #[must_use]
    pub fn no_space(kind: CallKind) -> Fault {
        Fault::new(kind, Errno::NOSPC)
    }

    /// The next call of `kind` answers EMFILE: no more open files.
    #[must_use]
    pub fn too_many_files(kind: CallKind) -> Fault {
        Fault::new(kind, Errno::MFILE)
    }

    /// Only calls on paths that contain `part`.
    #[must_use]
    pub fn on(self, part: &str) -> Fault {
        Fault { path_part: Some(part.to_owned()), ..self }
    }

    /// Lets `calls` calls pass first.
    #[must_use]
    pub fn after(self, calls: u64) -> Fault {
        Fault { skip: calls, ..self }
    }

    /// Fails that many calls in a row, not one.
    #[must_use]
    pub fn times(self, calls: u64) -> Fault {
        Fault { times: calls, ..self }
    }

    /// Fails every call from then on.
    #[must_use]
    pub fn for_ever(self) -> Fault {
        self.times(u64::MAX)
    }

    fn matches(&self, kind: CallKind, path: &Path) -> bool {
        let on_path = |part: &String| path.to_string_lossy().contains(part.as_str());
        self.kind == kind && self.times > 0 && self.path_part.as_ref().is_none_or(on_path)
    }
}

/// How much a read or a write moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transfers {
    /// All that was asked for.
    #[default]
    Full,
    /// At least one byte, and anything up to all, drawn from the seed.
    Short,
}

/// The faults that are planted now.
#[derive(Default, Debug)]
pub(super) struct Faults {
    planted: Vec<Fault>,
    pub(super) transfers: Transfers,
}

impl Faults {
    pub(super) fn plant(&mut self, fault: Fault) {
        self.planted.push(fault);
    }

    pub(super) fn heal(&mut self) {
        *self = Faults::default();
    }

    /// Counts a call down and tells whether it fails. The fault that was planted first decides.
    pub(super) fn check(&mut self, kind: CallKind, path: &Path) -> io::Result<()> {
        let mut answer = Ok(());
        for fault in &mut self.planted {
            if !fault.matches(kind, path) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if answer.is_ok() {
                fault.times -= u64::from(fault.times != u64::MAX);
                answer = Err(fault.errno.into());
            }
        }
        self.planted.retain(|fault| fault.times > 0);
        answer
    }
}
