//! One data directory: its identity, its logs, its flusher.

mod closing;
mod janitor;
mod layout;
mod marks;
mod opening;
pub(crate) mod pace;
mod scrub;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_env::{DirLock, Env, FsExt, Monotonic};
use millrace_types::{ClusterId, DirectoryId, NodeId, TopicPartition};
use parking_lot::Mutex;

use crate::cleaning::Round;
use crate::compaction::Compaction;
use crate::failure::Failure;
use crate::flusher::{DueSyncs, Leaders, Pool, SyncDueWait};
use crate::format::node_meta::NodeMeta;
use crate::format::run_mark::{CleanLog, CleanMark};
use crate::handles::{HandleCache, HandleLimits, HandlesOpen, RoomyFs};
use crate::names::CLEAN_MARK;
use crate::passing::{is_passing, is_storage_full};
use crate::recovery::LastStop;
use crate::room::{Claim, Room, StorageRoom};
use crate::tail_cache::TailBudget;
use crate::tally::{DirStats, DirTallies};
use crate::{DirError, Log, PartitionMeta};
use janitor::Expiry;
use layout::FoundPartitions;
use marks::Marks;
use pace::Pace;
use scrub::Scrub;

pub(crate) use opening::SharedSyncs;
pub use opening::StagedLog;
pub use scrub::ScrubReport;

/// Why the process must end: the data directory failed and this process must not try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// What failed, with the path.
    pub reason: String,
}

/// How a data directory is opened.
#[derive(Clone, Debug)]
pub struct LogDirOptions {
    /// The directory; created if it does not exist.
    pub path: PathBuf,
    /// The node that serves it; a directory of another node is refused.
    pub node: NodeId,
    /// Bytes of recently appended batches that all logs together keep for readers at the tail.
    pub tail_cache_bytes: usize,
    /// How many open files and maps they keep; the logs' share of what the process may have if nothing is said.
    pub handles: Option<HandleLimits>,
}

/// What was found at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartReport {
    /// Whether the last stop was a clean one.
    pub clean: bool,
    /// Whether the page cache may have been lost since: the boot or the mount is another.
    pub cache_may_be_lost: bool,
    /// Bytes that recovery read from the medium.
    pub bytes_read: u64,
    /// Torn tails that were cut, as text for the operator, one for each log.
    pub cut: Vec<String>,
    /// Damage that was found below a synced mark; it is kept and not served.
    pub damaged: Vec<String>,
}

/// An opened data directory.
#[derive(Debug)]
pub struct OpenedDir {
    /// The directory.
    pub dir: Arc<LogDir>,
    /// Partitions that have a log in it, sorted. None is open yet.
    pub found: Vec<PartitionMeta>,
}

/// What all logs of a directory share.
#[derive(Debug)]
pub(crate) struct DirShared {
    /// Its file system closes idle files where the process has none left to open.
    pub(crate) env: Env,
    pub(crate) path: PathBuf,
    pub(crate) node: NodeMeta,
    pub(crate) failure: Failure,
    pub(crate) pool: Arc<Pool>,
    pub(crate) leaders: Leaders,
    pub(crate) due: Arc<DueSyncs>,
    pub(crate) tail_budget: TailBudget,
    pub(crate) room: Room,
    pub(crate) marks: Marks,
    pub(crate) handles: Arc<HandleCache>,
    /// Bytes that were appended to its logs: what works in the background yields to them.
    pub(crate) appended: AtomicU64,
    pub(crate) tallies: DirTallies,
    /// Whether its logs are recovered with syncs of the whole file system.
    pub(crate) shared_syncs: SharedSyncs,
    /// Whether there may be a deleted log that is not unlinked yet. Held while one is renamed or unlinked.
    gone: Mutex<bool>,
    report: Mutex<StartReport>,
}

/// Something that opening a log has found.
#[derive(Debug)]
pub(crate) enum Finding {
    /// A torn tail was cut.
    Cut(String),
    /// Bytes that were synced are bad or gone.
    Damaged(String),
    /// So many bytes were read.
    Read(u64),
}

impl DirShared {
    fn sync_due(&self) {
        let now = self.env.clock.monotonic();
        for (planned, log) in self.due.take(now) {
            log.sync_if_due(planned, now);
        }
    }

    pub(crate) fn note(&self, finding: Finding) {
        let mut report = self.report.lock();
        match finding {
            Finding::Cut(text) => {
                tracing::warn!(text, "a torn tail was cut");
                report.cut.push(text);
            }
            Finding::Damaged(text) => {
                tracing::warn!(text, "damage was found at the start");
                report.damaged.push(text);
            }
            Finding::Read(bytes) => report.bytes_read += bytes,
        }
    }

    pub(crate) fn io_error(&self, context: &str, source: io::Error) -> DirError {
        if is_storage_full(&source) {
            self.room.look();
        }
        DirError::Io { context: context.to_owned(), source }
    }

    /// What a write of a file that later starts believe has answered: want of room or of open files passes, anything else
    /// is the end of the directory.
    pub(crate) fn soft_error(&self, context: &str, source: io::Error) -> DirError {
        if is_passing(&source) { self.io_error(context, source) } else { self.fail(context, source) }
    }

    /// A failed write or sync of a file that later starts believe: the directory has failed.
    pub(crate) fn fail(&self, context: &str, source: io::Error) -> DirError {
        self.failure.fail(&format!("{context}: {source}"));
        self.io_error(context, source)
    }
}

/// One data directory, locked by this process. Its flusher is the only code that syncs data.
#[derive(Debug)]
pub struct LogDir {
    shared: Arc<DirShared>,
    logs: Arc<Mutex<Logs>>,
    /// Held for the janitor, so that two callers do not do the same work, and for closing.
    upkeep: Mutex<Upkeep>,
    scrubbed: Mutex<ScrubReport>,
    /// What the last stop, if it was a clean one, has left of logs that nobody has opened since.
    left: Mutex<BTreeMap<TopicPartition, CleanLog>>,
    _lock: Box<dyn DirLock>,
}

/// What the janitor remembers from step to step.
#[derive(Debug, Default)]
struct Upkeep {
    expiry: Expiry,
    retention: Round,
    scrub: Scrub,
    compaction: Compaction,
    pace: Pace,
}

#[derive(Debug, Default)]
struct Logs {
    open: BTreeMap<TopicPartition, Arc<Log>>,
    /// Partitions that somebody is opening, creating or deleting.
    busy: BTreeSet<TopicPartition>,
    /// Partitions that were found after an unclean stop and not recovered since: nobody asked for them, or they do not
    /// open.
    unrecovered: BTreeSet<TopicPartition>,
    closed: bool,
}

impl LogDir {
    /// Locks and opens a directory, formatting an empty one, and writes the running mark before anything else.
    ///
    /// # Errors
    /// [`DirError`].
    pub fn open(env: &Env, options: LogDirOptions) -> Result<OpenedDir, DirError> {
        let LogDirOptions { path, node, tail_cache_bytes, handles } = options;
        let handles = handles.unwrap_or_else(|| HandleLimits::within(env.fs.handles_max()));
        let handles = HandleCache::new(Arc::clone(&env.fs), handles);
        let env = &Env { fs: Arc::new(RoomyFs::new(&handles)), ..env.clone() };
        let layout = layout::open(env, &path, node)?;
        let FoundPartitions { readable: found, damaged, .. } = layout.partitions;
        let shared_syncs = opening::prepare(&*env.fs, &path, (layout.last_stop, found.len()))
            .inspect_err(|_| layout::doubt_cache(&*env.fs, &path))?;
        let all = found.iter().map(|meta| meta.id).chain(damaged.iter().map(|(id, _)| *id));
        let unrecovered = all.filter(|_| layout.last_stop == LastStop::Unclean).collect();
        let report = StartReport {
            clean: layout.last_stop == LastStop::Clean,
            cache_may_be_lost: layout.cache_may_be_lost,
            bytes_read: 0,
            cut: Vec::new(),
            damaged: damaged.into_iter().map(|(_, what)| what).collect(),
        };
        let shared = Arc::new(DirShared {
            env: env.clone(),
            room: Room::new(Arc::clone(&env.fs), path.clone()),
            path,
            node: layout.node,
            failure: Failure::default(),
            pool: Pool::new(env.clone()),
            leaders: Leaders::default(),
            due: Arc::default(),
            tail_budget: TailBudget::new(tail_cache_bytes),
            marks: Marks::new(layout.marks_file, layout.previous_marks),
            handles,
            appended: AtomicU64::new(0),
            tallies: DirTallies::default(),
            shared_syncs,
            gone: Mutex::new(true),
            report: Mutex::new(report),
        });
        let (fs, marked) = (Arc::clone(&shared.env.fs), shared.path.clone());
        shared.failure.on_fatal(Box::new(move |_| layout::doubt_cache(&*fs, &marked)));
        let logs = Arc::new(Mutex::new(Logs { unrecovered, ..Logs::default() }));
        let left = Mutex::new(layout.left);
        let scrubbed = Mutex::new(ScrubReport::nothing());
        let dir = LogDir { shared, logs, upkeep: Mutex::default(), scrubbed, left, _lock: layout.lock };
        Ok(OpenedDir { dir: Arc::new(dir), found })
    }

    /// Makes an empty directory one of a cluster that there is already; [`LogDir::open`] would let it be of a new one. A
    /// directory that is of any cluster stays so.
    ///
    /// # Errors
    /// [`DirError`]; a directory that is another node's is a conflict.
    pub fn format(env: &Env, path: &Path, node: NodeId, cluster: ClusterId) -> Result<(), DirError> {
        layout::format(env, path, node, cluster)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The cluster it belongs to.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.shared.node.cluster
    }

    /// Its own id.
    #[must_use]
    pub fn directory_id(&self) -> DirectoryId {
        self.shared.node.directory
    }

    /// How much room the file system had when it was looked at last: each second, and whenever room ran short.
    #[must_use]
    pub fn storage(&self) -> StorageRoom {
        self.shared.room.seen()
    }

    /// Takes room for something of a user's that is about to be made, as every append does for its batch. `false` says that
    /// what is left is kept for commits, metadata and deletions.
    #[must_use]
    pub fn take_room(&self, bytes: u64) -> bool {
        self.shared.room.take(Claim::User, bytes)
    }

    /// Deletes a log: renamed to `.gone` and synced before this returns, unlinked later by the janitor.
    ///
    /// # Errors
    /// [`DirError`].
    pub fn delete(&self, id: TopicPartition) -> Result<(), DirError> {
        self.shared.failure.check()?;
        let log = {
            let mut logs = self.logs.lock();
            if logs.busy.contains(&id) {
                return Err(DirError::Conflict(format!("partition {id} is being opened or deleted")));
            }
            logs.busy.insert(id);
            logs.open.remove(&id)
        };
        if let Some(log) = log {
            log.inner().end_without_sync();
        }
        let outcome = match layout::delete_partition(&self.shared, id) {
            Ok(()) => {
                self.shared.marks.forget(id);
                Ok(())
            }
            // What lies there is still judged by its mark.
            Err(error @ DirError::Io { .. }) => Err(error),
            // There is nothing, and nothing that tells that it was deleted.
            Err(error) => self.shared.marks.forget_for_good(&self.shared, id).and(Err(error)),
        };
        self.left.lock().remove(&id);
        let mut logs = self.logs.lock();
        logs.busy.remove(&id);
        if outcome.is_ok() {
            logs.unrecovered.remove(&id);
        }
        outcome
    }

    /// Takes a log that is not open out of the way: its directory is renamed, and no start looks into it again. Nothing
    /// is deleted. Answers where it lies now; `None` if there was none.
    ///
    /// # Errors
    /// [`DirError`]; a log that is open is a conflict.
    pub fn set_aside(&self, id: TopicPartition) -> Result<Option<PathBuf>, DirError> {
        self.shared.failure.check()?;
        let mut logs = self.logs.lock();
        if logs.open.contains_key(&id) || logs.busy.contains(&id) {
            return Err(DirError::Conflict(format!("partition {id} is open")));
        }
        let aside = layout::set_aside(&self.shared, id)?;
        self.shared.marks.forget_for_good(&self.shared, id)?;
        self.left.lock().remove(&id);
        logs.unrecovered.remove(&id);
        Ok(aside)
    }

    /// What recovery has found in the logs that were opened so far.
    #[must_use]
    pub fn start_report(&self) -> StartReport {
        self.shared.report.lock().clone()
    }

    /// What was counted since it was opened.
    #[must_use]
    pub fn stats(&self) -> DirStats {
        self.shared.tallies.snapshot()
    }

    /// The open files and maps that its logs keep now.
    #[must_use]
    pub fn handles(&self) -> HandlesOpen {
        self.shared.handles.open_now()
    }

    /// Completes with the reason if the directory fails. Whoever serves it then stops the process.
    pub fn on_fatal(&self, callback: Box<dyn FnOnce(Fatal) + Send>) {
        self.shared.failure.on_fatal(callback);
    }

    /// Work off the writer's path, called every second or so by whoever serves the directory: seals rolled segments,
    /// writes the synced marks, syncs what nobody waits for, rolls by age, lets go what topics do not keep, unlinks what was
    /// deleted, and reads some sealed bytes back from the medium. Blocks.
    pub fn janitor_step(&self) {
        let mut upkeep = self.upkeep.lock();
        if self.shared.failure.is_failed() || self.logs.lock().closed {
            return;
        }
        let logs = self.open_logs();
        let Upkeep { expiry, retention, scrub, compaction, pace } = &mut *upkeep;
        janitor::step(&self.shared, &logs, (expiry, retention));
        let now = self.shared.env.clock.monotonic();
        pace.earn(now, self.shared.appended.load(Ordering::Relaxed));
        compaction.step(&logs, pace);
        if let Err(error) = scrub.step((&self.shared, pace), &logs, &self.scrubbed) {
            tracing::warn!(%error, "the scrub could not note how far it is");
        }
    }

    /// What the scrub has done since this process opened the directory.
    #[must_use]
    pub fn scrub_report(&self) -> ScrubReport {
        *self.scrubbed.lock()
    }

    /// How many damaged ranges are known in all open logs together.
    #[must_use]
    pub fn damaged_ranges(&self) -> usize {
        self.open_logs().iter().map(|log| log.inner().damage.count()).sum()
    }

    /// When [`LogDir::sync_due`] has something to do: the sync of a log whose topic has an interval. `None` while no such
    /// log has anything unsynced.
    #[must_use]
    pub fn sync_due_at(&self) -> Option<Monotonic> {
        self.shared.due.next()
    }

    /// Completes when something is due sooner than `known`, which is what [`LogDir::sync_due_at`] has answered. The
    /// directory has one timer, so there is one of these at a time.
    #[must_use]
    pub fn sync_due_sooner(&self, known: Option<Monotonic>) -> SyncDueWait {
        SyncDueWait::new(Arc::clone(&self.shared.due), known)
    }

    /// Begins the syncs that are due, on the flusher's threads. Called by whoever serves the directory, at the time that
    /// [`LogDir::sync_due_at`] answers. Without it, what an interval promises still holds: appends wait.
    pub fn sync_due(&self) {
        self.shared.sync_due();
    }

    /// Syncs and closes every log and writes the clean mark last. Appends after this answer `Closed`.
    ///
    /// No mark is written while logs that an unclean stop left behind were not recovered: believed to be clean, their
    /// torn tails would count as damage the next time, and their cached pages as what is on the medium.
    ///
    /// # Errors
    /// [`DirError`]; then the next start counts as unclean.
    pub fn close(&self) -> Result<(), DirError> {
        let _upkeep = self.upkeep.lock();
        {
            let mut logs = self.logs.lock();
            if logs.closed {
                return Ok(());
            }
            if !logs.busy.is_empty() {
                return Err(DirError::Conflict("logs are being opened or deleted".to_owned()));
            }
            logs.closed = true;
        }
        let logs = self.open_logs();
        let mut left = self.left.lock().clone();
        left.append(&mut closing::close_all(&self.shared, logs.clone())?);
        self.shared.pool.stop();
        self.shared.failure.check()?;
        self.shared.marks.write_and_sync(&self.shared, logs.iter())?;
        let unrecovered = self.logs.lock().unrecovered.len();
        if unrecovered > 0 {
            tracing::warn!(
                unrecovered,
                "logs are left that were not recovered, so the next start recovers again"
            );
            return Ok(());
        }
        let path = self.shared.path.join(CLEAN_MARK);
        let mark = CleanMark { generation: self.shared.marks.generation(), logs: left };
        let written = self.shared.env.fs.replace(&path, &mark.encode());
        written.map_err(|e| self.shared.soft_error("writing the clean mark", e))
    }

    fn open_logs(&self) -> Vec<Arc<Log>> {
        self.logs.lock().open.values().map(Arc::clone).collect()
    }
}

impl Drop for LogDir {
    fn drop(&mut self) {
        // Without a `close` this is a crash as far as the files are concerned; the threads must not outlive it.
        self.shared.pool.abandon();
    }
}

#[cfg(test)]
mod tests;
