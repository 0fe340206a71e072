//! How a broker's process ends.

/// Why the process ends, as the exit code says it (the numbers are those of `sysexits.h` where it has one).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Drained; the clean mark is left.
    Clean,
    /// Something of ours failed while stopping; the next start recovers.
    Failed,
    /// The data directory failed. Only a new process may read it again: a supervisor should restart at once.
    StorageFailed,
    /// A second signal came while draining; the next start recovers.
    Interrupted,
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Exit::Clean => 0,
            Exit::Failed => 70,
            Exit::StorageFailed => 74,
            Exit::Interrupted => 130,
        }
    }
}
