//! Making, opening and recovering logs: few each with syncs of its own, many with syncs of the whole file system.
//!
//! ```text
//!   few:    for each log     sync its files ─► read them ─► leader.epochs.tmp, sync, rename, sync of the directory
//!   many:   one sync of all ─► for each log   read its files ─► leader.epochs.tmp ─┐
//!           one sync of all ◄──────────────────────────────────────────────────────┘
//!                 └─► for each log   rename ─► one sync of all
//! ```
//! A log that was recovered the second way is *staged*: nobody gets at it before its new leader epoch is on the medium, or
//! a crash could give the epoch twice, to different records.

use std::io;
use std::path::Path;
use std::sync::Arc;

use millrace_env::{Fs, FsExt};
use millrace_types::{Offset, TopicPartition};
use parking_lot::Mutex;

use super::{DirShared, LogDir, Logs, layout};
use crate::inner::LogInner;
use crate::names;
use crate::recovery::{self, LastStop, OpenRequest, Recovered, StagedFile};
use crate::{DirError, Log, LogConfig, PartitionMeta};

/// Threads that rename, and files that the calling thread renames by itself.
const RENAME_THREADS: usize = 16;
const RENAMES_PER_THREAD: usize = 64;

/// Whether the logs of a directory share the syncs of their recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SharedSyncs {
    /// Yes: and all that earlier processes wrote is on the medium by now.
    Yes,
    /// Each log syncs what it needs.
    No,
}

/// Syncs what an unclean stop may have left unsynced, if it is many logs that want it.
pub(super) fn prepare(
    fs: &dyn Fs,
    path: &Path,
    (last_stop, logs): (LastStop, usize),
) -> Result<SharedSyncs, DirError> {
    if last_stop == LastStop::Clean || logs < fs.sync_fs_from() {
        return Ok(SharedSyncs::No);
    }
    #[cfg(feature = "teeth")]
    millrace_types::planted!(RecoverWithoutSync => return Ok(SharedSyncs::Yes));
    let synced = fs.sync_fs(path);
    synced.map_err(|source| DirError::Io { context: format!("syncing {}", path.display()), source })?;
    Ok(SharedSyncs::Yes)
}

/// A log that is open but for what [`LogDir::settle`] makes durable.
#[derive(Debug)]
pub struct StagedLog {
    inner: Arc<LogInner>,
    epochs: Option<StagedFile>,
    reservation: Reservation,
}

/// A partition that nobody else opens, makes or deletes meanwhile.
#[derive(Debug)]
struct Reservation {
    logs: Arc<Mutex<Logs>>,
    /// `None` once it has ended.
    id: Option<TopicPartition>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.logs.lock().busy.remove(&id);
        }
    }
}

impl LogDir {
    /// Makes the log of a new partition; its files and directory entries are synced before it returns.
    ///
    /// # Errors
    /// [`DirError::Conflict`] if there is one; [`DirError::Damaged`] if there was one that held records: made anew it
    /// would be empty, and look as if they had never been.
    pub fn create(&self, meta: PartitionMeta, config: LogConfig) -> Result<Arc<Log>, DirError> {
        let id = meta.id;
        let reservation = self.reserve(id)?;
        let path: Arc<Path> = self.shared.path.join(names::partition_dir(id)).into();
        if let Some(mark) = self.shared.marks.written(id).filter(|mark| mark.offset > Offset::ZERO) {
            let what = format!("it was synced up to offset {}, and now it is gone", mark.offset);
            return Err(DirError::Damaged { path: path.display().to_string(), what });
        }
        self.shared.marks.forget_for_good(&self.shared, id)?;
        layout::create_partition(&self.shared, &path, (&meta, config.replication))?;
        let last_stop = LastStop::Clean;
        let request = OpenRequest { meta, path, config, mark: None, last_stop, left: None };
        let Recovered { inner, epochs } = recovery::open(&self.shared, request)?;
        self.settle_one(StagedLog { inner, epochs, reservation })
    }

    /// Opens a log that was found, recovering it if the last stop was not clean. Blocks.
    ///
    /// # Errors
    /// [`DirError`].
    pub fn open_log(&self, id: TopicPartition, config: LogConfig) -> Result<Arc<Log>, DirError> {
        if let Some(log) = self.logs.lock().open.get(&id) {
            return Ok(Arc::clone(log));
        }
        self.settle_one(self.stage_log(id, config)?)
    }

    /// As [`LogDir::open_log`] for a log that is not open, for callers who open many of them: [`LogDir::settle`] hands the
    /// log out. Blocks; may be called from several threads at once.
    ///
    /// # Errors
    /// [`DirError`].
    pub fn stage_log(&self, id: TopicPartition, config: LogConfig) -> Result<StagedLog, DirError> {
        let reservation = self.reserve(id)?;
        let path: Arc<Path> = self.shared.path.join(names::partition_dir(id)).into();
        let meta = layout::read_partition_meta(&*self.shared.env.fs, &path)?;
        let meta = meta.ok_or_else(|| DirError::Conflict(format!("there is no log of partition {id}")))?;
        let mark = self.shared.marks.written(id);
        let clean = self.shared.report.lock().clean;
        // A mark that says where a clean stop ended, and files that say otherwise: believe neither.
        let last_stop = if clean { LastStop::Clean } else { LastStop::Unclean };
        let left = self.left.lock().get(&id).copied();
        let request = OpenRequest { meta, path, config, mark, last_stop, left };
        let recovered = recovery::open(&self.shared, request);
        // It may have been the sync of what an earlier process has written.
        let recovered =
            recovered.inspect_err(|_| layout::doubt_cache(&*self.shared.env.fs, &self.shared.path));
        let Recovered { inner, epochs } = recovered?;
        self.left.lock().remove(&id);
        Ok(StagedLog { inner, epochs, reservation })
    }

    /// Makes the new leader epochs of staged logs durable, with as few syncs as that takes, and hands the logs out in
    /// their order. Blocks.
    ///
    /// # Errors
    /// [`DirError`]: what could not be written or synced is in doubt for all of them, and the directory has failed.
    pub fn settle(&self, staged: Vec<StagedLog>) -> Result<Vec<Arc<Log>>, DirError> {
        self.shared.failure.check()?;
        let (mut staged, fs) = (staged, &*self.shared.env.fs);
        let files: Vec<StagedFile> = staged.iter_mut().filter_map(|staged| staged.epochs.take()).collect();
        let outcome = if files.len() < fs.sync_fs_from() {
            files.iter().try_for_each(|file| fs.replace(&file.path, &file.content))
        } else {
            replace_all(&self.shared, files)
        };
        outcome.map_err(|e| self.shared.soft_error("beginning leader epochs", e))?;
        Ok(staged.into_iter().map(|staged| self.admit(staged)).collect())
    }

    fn settle_one(&self, staged: StagedLog) -> Result<Arc<Log>, DirError> {
        let id = staged.inner.meta.id;
        let log = self.settle(vec![staged])?.pop();
        log.ok_or_else(|| DirError::Conflict(format!("the log of partition {id} is lost")))
    }

    fn reserve(&self, id: TopicPartition) -> Result<Reservation, DirError> {
        self.shared.failure.check()?;
        let mut logs = self.logs.lock();
        if logs.closed {
            return Err(DirError::Conflict("the data directory is closed".to_owned()));
        }
        if logs.open.contains_key(&id) || !logs.busy.insert(id) {
            return Err(DirError::Conflict(format!("there is a log of partition {id} already")));
        }
        Ok(Reservation { logs: Arc::clone(&self.logs), id: Some(id) })
    }

    fn admit(&self, staged: StagedLog) -> Arc<Log> {
        let StagedLog { inner, mut reservation, .. } = staged;
        let id = inner.meta.id;
        let log = Arc::new(Log::new(inner));
        let mut logs = self.logs.lock();
        // Under this lock: from now on the partition is somebody else's to reserve.
        reservation.id = None;
        logs.busy.remove(&id);
        logs.unrecovered.remove(&id);
        logs.open.insert(id, Arc::clone(&log));
        log
    }
}

/// As [`FsExt::replace`] for each, with two syncs in all. The temporary files are written.
fn replace_all(shared: &DirShared, files: Vec<StagedFile>) -> io::Result<()> {
    let fs = &shared.env.fs;
    #[cfg(feature = "teeth")]
    let sync_files = millrace_types::planted!(RenameWithoutFileSync, false, else true);
    #[cfg(not(feature = "teeth"))]
    let sync_files = true;
    if sync_files {
        fs.sync_fs(&shared.path)?;
    }
    rename_all(shared, files)?;
    #[cfg(feature = "teeth")]
    millrace_types::planted!(RenameWithoutDirSync => return Ok(()));
    fs.sync_fs(&shared.path)
}

/// Renames side by side: where a file system gives the blocks of the replaced file back to the device at once (ext4 without
/// a journal, mounted with `discard`), each rename waits for that.
fn rename_all(shared: &DirShared, files: Vec<StagedFile>) -> io::Result<()> {
    let helpers = (files.len() / RENAMES_PER_THREAD).min(RENAME_THREADS - 1);
    let work = Arc::new(Mutex::new(Renames { files, failed: None }));
    let threads: Vec<_> = (0..helpers)
        .filter_map(|number| {
            let (fs, work) = (Arc::clone(&shared.env.fs), Arc::clone(&work));
            // Fewer threads take longer, nothing else.
            shared
                .env
                .tasks
                .thread(&format!("opening-{number}"), Box::new(move || rename_some(&*fs, &work)))
                .ok()
        })
        .collect();
    rename_some(&*shared.env.fs, &work);
    threads.into_iter().for_each(|thread| thread.join());
    work.lock().failed.take().map_or(Ok(()), Err)
}

/// What is left to rename, and what went wrong first.
struct Renames {
    files: Vec<StagedFile>,
    failed: Option<io::Error>,
}

fn rename_some(fs: &dyn Fs, work: &Mutex<Renames>) {
    loop {
        let next = {
            let mut work = work.lock();
            if work.failed.is_some() { None } else { work.files.pop() }
        };
        let Some(file) = next else { return };
        if let Err(error) = fs.rename(&file.temporary, &file.path) {
            work.lock().failed.get_or_insert(error);
        }
    }
}
