//! The flusher: the only code that syncs data. One file is synced by one caller at a time, many files side by side.
//!
//! ```text
//!   idle ──begin (by a ticket, the pool or the janitor)──► in flight ──ok──► idle, the synced end has moved
//!                                                              └──error──► the data directory has failed
//! ```
//! What is written while a sync is in flight rides on the next one. No barrier across files: the next sync of a file
//! begins when its last one returned and somebody waits. Who waits is a matter of the sync mode:
//!
//! ```text
//!   always    ├──────── synced = held ────────┤── written: waits ──┤
//!   interval  ├── synced ──┤── held: young, and few bytes ──┤── over a bound: waits ──┤     synced from half a bound on
//!   os        ├── synced ──┤── held = written ──┤                                         synced at a roll
//! ```
//! What is held may be acknowledged, and read unless the high watermark is given. `due` keeps the times by which intervals want a sync that nobody waits for.

mod due;
mod leaders;
mod pool;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::Monotonic;
use millrace_types::{Offset, SyncInterval, SyncMode};

use crate::handles::PinnedFile;
use crate::inner::{LogInner, View};
use crate::segment::Segment;
use crate::ticket::{Cell, Unsynced};

pub(crate) use due::DueSyncs;
pub use due::SyncDueWait;
pub(crate) use leaders::Leaders;
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
    /// Everything below it may be acknowledged, and where there is no other replica, read: a moment before it is published.
    held: Offset,
    unsynced_bytes: u64,
    /// When the oldest byte was written that the sync in flight covers, and the oldest that it does not.
    oldest_in_flight: Option<Monotonic>,
    oldest_behind: Option<Monotonic>,
    /// Under which time the log stands among the due syncs.
    due: Option<Monotonic>,
    /// Files with bytes that no sync has covered, in the order of the log.
    dirty: Vec<PinnedFile>,
    /// The name of a file in it was never synced.
    dir_dirty: bool,
    waiting: Vec<Unsynced>,
    /// Rolled segments that still need a seal, in order.
    pub(crate) rolled: Vec<Arc<Segment>>,
}

/// A write that went well.
#[derive(Debug)]
pub(crate) struct Wrote {
    pub(crate) file: PinnedFile,
    pub(crate) bytes: u64,
    pub(crate) until: Mark,
    /// A time before it.
    pub(crate) began: Monotonic,
}

/// One sync of a log: what it covers.
#[derive(Debug)]
struct SyncJob {
    until: Mark,
    bytes: u64,
    files: Vec<PinnedFile>,
    dir: bool,
}

impl SyncState {
    pub(crate) fn new(view: &View, mark: Mark, rolled: Vec<Arc<Segment>>) -> SyncState {
        debug_assert!(view.synced_end == mark.offset && view.held == mark.offset, "a log opens synced");
        SyncState {
            in_flight: false,
            in_pool: false,
            written: mark,
            synced: mark,
            held: mark.offset,
            unsynced_bytes: 0,
            oldest_in_flight: None,
            oldest_behind: None,
            due: None,
            dirty: Vec::new(),
            dir_dirty: false,
            waiting: Vec::new(),
            rolled,
        }
    }

    /// Takes note of bytes that were written. Hands the file back if it is held open already: to be dropped outside of
    /// the lock, because that may close another one.
    pub(crate) fn wrote(&mut self, wrote: Wrote) -> Option<PinnedFile> {
        let Wrote { file, bytes, until, began } = wrote;
        self.written = until;
        self.unsynced_bytes += bytes;
        self.oldest_behind.get_or_insert(began);
        if bytes == 0 || self.dirty.last().is_some_and(|last| last.is(&file)) {
            return Some(file);
        }
        self.dirty.push(file);
        None
    }

    /// Takes note of who waits for bytes that were written. Tells whether some of them are held already.
    pub(crate) fn wait_for(&mut self, waiting: &mut Vec<Unsynced>) -> bool {
        let held = self.held;
        let some_held = waiting.iter().any(|waiting| waiting.last < held);
        self.waiting.append(waiting);
        some_held
    }

    /// Takes those whose batches end before `held`, which everybody can see to be held.
    pub(crate) fn take_held(&mut self, held: Offset) -> Vec<Unsynced> {
        let (safe, waiting) = self.waiting.drain(..).partition(|waiting| waiting.last < held);
        self.waiting = waiting;
        safe
    }

    /// Moves what is held as far as the sync mode allows at this time. Hands back who need not wait any more, to be woken
    /// once the high watermark has followed.
    pub(crate) fn advance(&mut self, mode: SyncMode, now: Monotonic) -> Vec<Unsynced> {
        let to = match mode {
            SyncMode::Always => self.synced.offset,
            SyncMode::Interval(bounds) if !self.is_within(bounds, now) => self.synced.offset,
            SyncMode::Interval(_) | SyncMode::Os => self.written.offset,
        };
        if to <= self.held {
            return Vec::new();
        }
        self.held = to;
        self.take_held(to)
    }

    /// Whether all that is written may be acknowledged before a sync: a power cut takes the unsynced bytes, and those were
    /// acknowledged after the oldest of them was written and before now.
    fn is_within(&self, bounds: SyncInterval, now: Monotonic) -> bool {
        let oldest = self.oldest_in_flight.or(self.oldest_behind);
        self.unsynced_bytes <= bounds.bytes_max()
            && oldest.is_none_or(|oldest| now.since(oldest) < bounds.age_max())
    }

    pub(crate) fn held(&self) -> Offset {
        self.held
    }

    /// Whether there is something written that only a sync can make safe.
    fn is_awaited(&self) -> bool {
        self.held < self.written.offset
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
        self.held = mark.offset;
        self.unsynced_bytes = 0;
        self.oldest_behind = None;
        self.dirty.clear();
        self.dir_dirty = false;
        std::mem::take(&mut self.waiting)
    }

    /// Takes the files that no sync has covered, for a caller that syncs or unlinks them itself.
    pub(crate) fn take_dirty(&mut self) -> Vec<PinnedFile> {
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
        self.oldest_in_flight = self.oldest_behind.take();
        Some(SyncJob {
            until: self.written,
            bytes: self.unsynced_bytes,
            files: std::mem::take(&mut self.dirty),
            dir: std::mem::take(&mut self.dir_dirty),
        })
    }

    fn succeed(&mut self, job: &SyncJob) {
        self.synced = job.until;
        self.unsynced_bytes -= job.bytes;
        self.oldest_in_flight = None;
    }
}

/// The age at which a sync begins that nobody waits for yet. With half of the time left for the sync itself, a disk that
/// keeps up lets no append wait.
fn sync_age(bounds: SyncInterval) -> Duration {
    bounds.age_max() / 2
}

/// The bytes at which a sync begins that nobody waits for yet, for the same reason.
fn sync_bytes(bounds: SyncInterval) -> u64 {
    bounds.bytes_max() / 2
}

impl LogInner {
    /// Runs one sync on this thread if somebody may have to wait for it and nobody else is at it; where too many threads sync
    /// already, the pool will. Tells whether it ran.
    pub(crate) fn lead_sync(self: &Arc<Self>) -> bool {
        let Some(_leading) = self.shared.leaders.enter() else {
            self.sync_if_awaited();
            return false;
        };
        let Some(job) = self.begin_sync_if(SyncState::is_awaited) else {
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
    pub(crate) fn while_no_sync<R>(self: &Arc<Self>, work: impl FnOnce() -> R) -> R {
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
        // A ticket that was polled meanwhile took this for a sync that would wake it.
        self.hand_over();
        result
    }

    /// Lets the pool sync if somebody may have to wait for it.
    pub(crate) fn sync_if_awaited(self: &Arc<Self>) {
        if self.sync.lock().is_awaited() {
            self.sync_in_background();
        }
    }

    /// Sees to it that the bounds of an interval are kept without anybody having to wait.
    pub(crate) fn plan_sync(self: &Arc<Self>) {
        let SyncMode::Interval(bounds) = self.sync_mode() else {
            return;
        };
        let (many, due) = {
            let mut sync = self.sync.lock();
            // Over the bound somebody waits, and leads.
            let many = sync.unsynced_bytes >= sync_bytes(bounds) && !sync.is_awaited();
            let due = sync.oldest_behind.map(|oldest| oldest.after(sync_age(bounds)));
            let due = due.filter(|due| sync.due.is_none_or(|planned| *due < planned));
            sync.due = due.or(sync.due);
            (many, due)
        };
        if let Some(due) = due {
            self.shared.due.add(due, self);
        }
        if many {
            self.sync_in_background();
        }
    }

    /// Syncs in the background if that is what the log stands among the due syncs for. What a sync in flight leaves over
    /// is planned when it ends.
    pub(crate) fn sync_if_due(self: &Arc<Self>, planned: Monotonic, now: Monotonic) {
        let mode = self.sync_mode();
        let is_due = {
            let mut sync = self.sync.lock();
            if sync.due != Some(planned) {
                return;
            }
            // It has left the set, whatever comes of it.
            sync.due = None;
            let SyncMode::Interval(bounds) = mode else { return };
            sync.oldest_behind.is_some_and(|oldest| now.since(oldest) >= sync_age(bounds))
        };
        if is_due {
            self.sync_in_background();
        } else {
            self.plan_sync();
        }
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
        self.begin_sync_if(|_| true)
    }

    fn begin_sync_if(self: &Arc<Self>, wanted: impl FnOnce(&SyncState) -> bool) -> Option<SyncJob> {
        if self.shared.failure.is_failed() {
            self.refuse_all();
            return None;
        }
        let mut sync = self.sync.lock();
        if wanted(&sync) { sync.begin() } else { None }
    }

    fn run_sync(&self, job: &SyncJob) -> io::Result<()> {
        let began = self.shared.env.clock.monotonic();
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
        if !job.files.is_empty() {
            self.shared.tallies.synced(self.shared.env.clock.monotonic().since(began));
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
        let (held, safe) = {
            let (mode, now) = (self.sync_mode(), self.shared.env.clock.monotonic());
            let mut sync = self.sync.lock();
            sync.succeed(job);
            let safe = sync.advance(mode, now);
            (sync.held, safe)
        };
        {
            let mut view = self.view.write();
            view.synced_end = view.synced_end.max(job.until.offset);
        }
        self.publish_held(held);
        let late = {
            let mut sync = self.sync.lock();
            sync.in_flight = false;
            // Who came between the two looks saw that the batch is held, and could not be told so yet.
            sync.take_held(held)
        };
        self.sync_idle.notify_all();
        let wakers = safe.iter().chain(&late).filter_map(|waiting| waiting.cell.settle());
        wakers.chain(self.take_passed()).for_each(std::task::Waker::wake);
        self.plan_sync();
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
