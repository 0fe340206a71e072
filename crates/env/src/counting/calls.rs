//! The counters, the log of calls, and the hooks that run before a call.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Hold;
use crate::OpenMode;

/// The log keeps this many calls; the oldest go first. Counters go on.
const LOGGED_CALLS_MAX: usize = 100_000;

/// What is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CallKind {
    /// `open` of an existing file.
    Open,
    /// `open` that creates or empties a file.
    Create,
    /// `create_dir_all`.
    CreateDir,
    /// `remove_dir`.
    RemoveDir,
    /// `rename`; the path is the old one.
    Rename,
    /// `unlink`.
    Unlink,
    /// `read_dir`.
    ReadDir,
    /// `sync_dir`.
    SyncDir,
    /// `sync_fs`.
    SyncFs,
    /// `lock_dir`.
    LockDir,
    /// `mount_identity`.
    MountIdentity,
    /// `space_left`.
    SpaceLeft,
    /// `File::read_at`.
    Read,
    /// `File::write_vectored_at`.
    Write,
    /// `File::size`.
    Size,
    /// `File::sync_data`.
    SyncData,
    /// `File::set_len`; the position is the new length.
    SetLen,
    /// `File::allocate_keep_size`.
    Allocate,
    /// `File::drop_cache`.
    DropCache,
    /// `File::map`.
    Map,
    /// `Map::populate`.
    Populate,
}

impl CallKind {
    /// Every kind, in the order in which they are listed here.
    pub const ALL: [CallKind; 21] = [
        CallKind::Open,
        CallKind::Create,
        CallKind::CreateDir,
        CallKind::RemoveDir,
        CallKind::Rename,
        CallKind::Unlink,
        CallKind::ReadDir,
        CallKind::SyncDir,
        CallKind::SyncFs,
        CallKind::LockDir,
        CallKind::MountIdentity,
        CallKind::SpaceLeft,
        CallKind::Read,
        CallKind::Write,
        CallKind::Size,
        CallKind::SyncData,
        CallKind::SetLen,
        CallKind::Allocate,
        CallKind::DropCache,
        CallKind::Map,
        CallKind::Populate,
    ];

    /// Whether opening in `mode` is an [`CallKind::Open`] or a [`CallKind::Create`].
    #[must_use]
    pub fn of_open(mode: OpenMode) -> CallKind {
        match mode {
            OpenMode::Read | OpenMode::ReadWrite => CallKind::Open,
            OpenMode::CreateNew | OpenMode::CreateOrTruncate => CallKind::Create,
        }
    }
}

/// A call as it was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// What was called.
    pub kind: CallKind,
    /// On which path; for calls on a file, the path that it was opened by.
    pub path: PathBuf,
    /// Where in the file, in bytes.
    pub position: u64,
    /// How many bytes were asked for.
    pub bytes: u64,
}

/// A call that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoggedCall {
    /// The call.
    pub call: Call,
    /// How many bytes it moved; `None` if it failed.
    pub moved: Option<u64>,
}

/// The counters of one kind of call.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Calls that were made, those that failed or still run included.
    pub calls: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Bytes that were moved.
    pub bytes: u64,
    /// Calls that run now.
    pub in_flight: u64,
    /// The most calls that ever ran at once.
    pub in_flight_max: u64,
}

type Hook = Arc<dyn Fn(&Call) + Send + Sync>;

#[derive(Default)]
struct State {
    tallies: BTreeMap<CallKind, Tally>,
    log: VecDeque<LoggedCall>,
    hooks: BTreeMap<CallKind, Hook>,
}

/// Counters, log and hooks of the calls to one or several file systems.
#[derive(Default)]
pub struct Calls {
    state: Mutex<State>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("tallies", &self.state.lock().tallies).finish_non_exhaustive()
    }
}

impl Calls {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Arc<Calls> {
        Arc::default()
    }

    /// The counters of `kind`.
    #[must_use]
    pub fn tally(&self, kind: CallKind) -> Tally {
        self.state.lock().tallies.get(&kind).copied().unwrap_or_default()
    }

    /// How many calls of `kind` were made.
    #[must_use]
    pub fn count(&self, kind: CallKind) -> u64 {
        self.tally(kind).calls
    }

    /// How many calls of all kinds were made.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.state.lock().tallies.values().map(|tally| tally.calls).sum()
    }

    /// How many bytes the calls of `kind` moved.
    #[must_use]
    pub fn bytes(&self, kind: CallKind) -> u64 {
        self.tally(kind).bytes
    }

    /// The most calls of `kind` that ran at once.
    #[must_use]
    pub fn in_flight_max(&self, kind: CallKind) -> u64 {
        self.tally(kind).in_flight_max
    }

    /// The calls that ended, in that order; the last 100,000 of them.
    #[must_use]
    pub fn log(&self) -> Vec<LoggedCall> {
        self.state.lock().log.iter().cloned().collect()
    }

    /// Sets every counter to zero and empties the log; calls that run now stay in flight.
    pub fn reset(&self) {
        let mut state = self.state.lock();
        state.log.clear();
        for tally in state.tallies.values_mut() {
            *tally = Tally { in_flight: tally.in_flight, in_flight_max: tally.in_flight, ..Tally::default() };
        }
    }

    /// Runs `hook` in the calling thread before every call of `kind`, counted as part of the call. It replaces the
    /// hook that was there, and may block.
    pub fn on_call(&self, kind: CallKind, hook: Box<dyn Fn(&Call) + Send + Sync>) {
        self.state.lock().hooks.insert(kind, Arc::from(hook));
    }

    /// Removes the hook of `kind`. A call that is inside the hook stays there.
    pub fn remove_hook(&self, kind: CallKind) {
        self.state.lock().hooks.remove(&kind);
    }

    /// Holds every call of `kind` from now on, until the answer is released or dropped.
    #[must_use]
    pub fn hold(self: &Arc<Self>, kind: CallKind) -> Hold {
        Hold::new(self, kind)
    }

    pub(super) fn run<T>(
        &self,
        call: Call,
        moved: impl FnOnce(&T) -> u64,
        work: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let hook = self.begin(call.kind);
        if let Some(hook) = hook {
            hook(&call);
        }
        let answer = work();
        let moved = answer.as_ref().ok().map(moved);
        self.end(LoggedCall { call, moved });
        answer
    }

    fn begin(&self, kind: CallKind) -> Option<Hook> {
        let mut state = self.state.lock();
        let tally = state.tallies.entry(kind).or_default();
        tally.calls += 1;
        tally.in_flight += 1;
        tally.in_flight_max = tally.in_flight_max.max(tally.in_flight);
        state.hooks.get(&kind).cloned()
    }

    fn end(&self, ended: LoggedCall) {
        let mut state = self.state.lock();
        let tally = state.tallies.entry(ended.call.kind).or_default();
        tally.in_flight -= 1;
        match ended.moved {
            Some(bytes) => tally.bytes += bytes,
            None => tally.failed += 1,
        }
        if state.log.len() == LOGGED_CALLS_MAX {
            state.log.pop_front();
        }
        state.log.push_back(ended);
    }
}
