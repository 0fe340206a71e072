//! The flusher: the only code that syncs data. One file is synced by one caller at a time, many files side by side.
//!
//! ```text
//!   idle ──begin (by a ticket, the pool or the janitor)──► in flight ──ok──► idle, the synced end has moved
//!                                                              └──error──► the data directory has failed
//! ```
//! What is written while a sync is in flight rides on the next one. No timer and no barrier across files: the next
//! sync of a file begins when its last one returned and somebody waits.

mod pool;

use std::io;
use std::sync::Arc;

use millrace_env::File;
use millrace_types::Offset;

use crate::inner::{LogInner, View};
use crate::segment::Segment;
use crate::ticket::{Cell, Unsynced};

pub(crate) use pool::Pool;

/// A place in a log: up to `offset` everything lies below `position` of the segment `segment`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub(crate) offset: Offset,
    pub(crate) segment: Offset,
    pub(crate) position: u64,
}

/// What of a log is written and not synced, and who waits for it.
#[derive(Debug)]
pub(crate) struct SyncState {
    in_flight: bool,
    in_pool: bool,
    written: Mark,
    /// Everything below it is on the medium.
    pub(crate) synced: Mark,
    unsynced_bytes: u64,
    /// Files with bytes that no sync has covered, in the order of the log.
    dirty: Vec<Arc<dyn File>>,
    /// The name of a file in it was never synced.
    dir_dirty: bool,
    waiting: Vec<Unsynced>,
    /// Rolled segments that still need a seal, in order.
    pub(crate) rolled: Vec<Arc<Segment>>,
}

/// One sync of a log: what it covers.
#[derive(Debug)]
struct SyncJob {
    until: Mark,
    bytes: u64,
    files: Vec<Arc<dyn File>>,
    dir: bool,
}

impl SyncState {
    pub(crate) fn new(view: &View, mark: Mark, rolled: Vec<Arc<Segment>>) -> SyncState {
        debug_assert_eq!(view.synced_end, mark.offset, "a log opens synced");
        SyncState {
            in_flight: false,
            in_pool: false,
            written: mark,
            synced: mark,
            unsynced_bytes: 0,
            dirty: Vec::new(),
            dir_dirty: false,
            waiting: Vec::new(),
            rolled,
        }
    }

    /// Takes note of bytes that were written to `file`, and of who waits for them.
    pub(crate) fn wrote(
        &mut self,
        file: &Arc<dyn File>,
        bytes: u64,
        until: Mark,
        waiting: &mut Vec<Unsynced>,
    ) {
        self.written = until;
        self.unsynced_bytes += bytes;
        if bytes > 0 && !self.dirty.last().is_some_and(|last| Arc::ptr_eq(last, file)) {
            self.dirty.push(Arc::clone(file));
        }
        self.wait_for(waiting);
    }

    /// Takes note of who waits for bytes that were written earlier.
    pub(crate) fn wait_for(&mut self, waiting: &mut Vec<Unsynced>) {
        let synced = self.synced.offset;
        self.waiting.extend(waiting.drain(..).filter(|waiting| waiting.last >= synced));
    }

    /// A new file took over: its name must be synced together with the first bytes in it.
    pub(crate) fn rolled(&mut self, old: &Arc<Segment>, mark: Mark) {
        self.dir_dirty = true;
        self.written = mark;
        self.rolled.push(Arc::clone(old));
    }

    /// Up to where the log is synced, for the file that says so to the next start.
    pub(crate) fn mark(&self) -> Mark {
        #[cfg(feature = "teeth")]
        millrace_types::planted!(MarkAheadOfSync => return self.written);
        self.synced
    }

    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    /// The log was cut to `mark`, all of it synced, while no sync was in flight. Hands back who waited.
    pub(crate) fn reset(&mut self, mark: Mark) -> Vec<Unsynced> {
        self.written = mark;
        self.synced = mark;
        self.unsynced_bytes = 0;
        self.dirty.clear();
        self.dir_dirty = false;
        std::mem::take(&mut self.waiting)
    }

    /// Takes the files that no sync has covered, for a caller that syncs or unlinks them itself.
    pub(crate) fn take_dirty(&mut self) -> Vec<Arc<dyn File>> {
        std::mem::take(&mut self.dirty)
    }

    /// Forgets what is unsynced and who waits: the log is deleted.
    pub(crate) fn abandon(&mut self) -> Vec<Arc<Cell>> {
        self.reset(self.written).into_iter().map(|waiting| waiting.cell).collect()
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.written != self.synced || !self.dirty.is_empty() || self.dir_dirty
    }

    fn begin(&mut self) -> Option<SyncJob> {
        if self.in_flight || !self.is_dirty() {
            return None;
        }
        self.in_flight = true;
        Some(SyncJob {
            until: self.written,
            bytes: self.unsynced_bytes,
            files: std::mem::take(&mut self.dirty),
            dir: std::mem::take(&mut self.dir_dirty),
        })
    }

    fn succeed(&mut self, job: &SyncJob) -> Vec<Unsynced> {
        self.synced = job.until;
        self.unsynced_bytes -= job.bytes;
        let (safe, waiting) = self.waiting.drain(..).partition(|waiting| waiting.last < job.until.offset);
        self.waiting = waiting;
        safe
    }
}

impl LogInner {
    /// Runs one sync on this thread if there is something to sync and nobody else is at it. Tells whether it ran.
    pub(crate) fn lead_sync(self: &Arc<Self>) -> bool {
        let Some(job) = self.begin_sync() else {
            return false;
        };
        let mut outcome = Ok(());
        self.shared.env.tasks.blocking_section(&mut || outcome = self.run_sync(&job));
        self.end_sync(&job, outcome);
        self.hand_over();
        true
    }

    /// Syncs on this thread until everything that was written is synced, or the directory has failed.
    pub(crate) fn sync_now(self: &Arc<Self>) {
        loop {
            while let Some(job) = self.begin_sync() {
                let outcome = self.run_sync(&job);
                self.end_sync(&job, outcome);
            }
            let mut sync = self.sync.lock();
            while sync.in_flight {
                self.sync_idle.wait(&mut sync);
            }
            if !sync.is_dirty() || self.shared.failure.is_failed() {
                return;
            }
        }
    }

    /// Runs `work` while no sync is in flight and none can begin. The caller holds the writer, so nothing is written.
    pub(crate) fn while_no_sync<R>(&self, work: impl FnOnce() -> R) -> R {
        {
            let mut sync = self.sync.lock();
            while sync.in_flight {
                self.sync_idle.wait(&mut sync);
            }
            sync.in_flight = true;
        }
        let result = work();
        self.sync.lock().in_flight = false;
        self.sync_idle.notify_all();
        result
    }

    /// Lets the pool sync, unless it is going to anyway.
    pub(crate) fn sync_in_background(self: &Arc<Self>) {
        {
            let mut sync = self.sync.lock();
            if sync.in_pool || sync.in_flight || !sync.is_dirty() {
                return;
            }
            sync.in_pool = true;
        }
        Pool::submit(&self.shared.pool, Arc::clone(self));
    }

    /// What a pool thread does for a log: syncs as long as somebody waits.
    fn sync_from_pool(self: &Arc<Self>) {
        loop {
            if let Some(job) = self.begin_sync() {
                let outcome = self.run_sync(&job);
                self.end_sync(&job, outcome);
            }
            let mut sync = self.sync.lock();
            let go_on = !sync.in_flight && sync.is_dirty() && !sync.waiting.is_empty();
            if !go_on || self.shared.failure.is_failed() {
                sync.in_pool = false;
                return;
            }
        }
    }

    /// After a sync by a ticket: those who still wait must not depend on a ticket being polled again.
    fn hand_over(self: &Arc<Self>) {
        if !self.sync.lock().waiting.is_empty() {
            self.sync_in_background();
        }
    }

    fn begin_sync(self: &Arc<Self>) -> Option<SyncJob> {
        if self.shared.failure.is_failed() {
            self.refuse_all();
            return None;
        }
        self.sync.lock().begin()
    }

    fn run_sync(&self, job: &SyncJob) -> io::Result<()> {
        for file in &job.files {
            #[cfg(feature = "teeth")]
            millrace_types::planted!(RetryFailedSync => drop(file.sync_data()));
            file.sync_data()?;
        }
        #[cfg(feature = "teeth")]
        millrace_types::planted!(RollWithoutDirSync => return Ok(()));
        if job.dir {
            self.shared.env.fs.sync_dir(&self.path)?;
        }
        Ok(())
    }

    /// Publishes the outcome of a sync. A success counts only if nothing in the directory has failed before.
    fn end_sync(self: &Arc<Self>, job: &SyncJob, outcome: io::Result<()>) {
        if let Err(e) = &outcome {
            self.shared.failure.fail(&format!("sync of {}: {e}", self.path.display()));
        }
        if outcome.is_err() || self.shared.failure.is_failed() {
            self.sync.lock().in_flight = false;
            self.sync_idle.notify_all();
            return self.refuse_all();
        }
        {
            let mut view = self.view.write();
            let end = job.until.offset.max(view.synced_end);
            self.set_synced_end(&mut view, end);
        }
        let safe = {
            let mut sync = self.sync.lock();
            let safe = sync.succeed(job);
            sync.in_flight = false;
            safe
        };
        self.sync_idle.notify_all();
        for waker in safe.iter().filter_map(|waiting| waiting.cell.take_waker()) {
            waker.wake();
        }
        self.waiters.wake_below(job.until.offset);
        self.combine();
    }

    /// After a failure: nobody waits for an acknowledgement that will not come.
    pub(crate) fn refuse_all(&self) {
        let Some(error) = self.shared.failure.append_error() else {
            return;
        };
        let waiting = std::mem::take(&mut self.sync.lock().waiting);
        let queued = self.queue.take_all();
        let cells = waiting.iter().map(|w| &w.cell).chain(queued.iter().map(|p| &p.cell));
        let wakers: Vec<_> = cells.filter_map(|cell| cell.refuse(error.clone())).collect();
        wakers.into_iter().for_each(std::task::Waker::wake);
    }
}
