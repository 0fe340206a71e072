//! The files of the directory itself: identity, lock, marks, and the directories of partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_env::{DirLock, EntryKind, Env, Fs, FsExt, OpenMode, RngExt};
use millrace_types::{ClusterId, DirectoryId, LeaderEpoch, NodeId, Offset, TopicPartition};

use super::DirShared;
use super::janitor::unlink_dir;
use crate::epochs::EpochCache;
use crate::format::envelope::DecodeError;
use crate::format::node_meta::{self, DIRECTORY_FORMAT, NodeMeta};
use crate::format::run_mark::{self, CleanLog, CleanMark, RunningMark};
use crate::format::synced_marks::{self, SyncedMark, SyncedMarks, SyncedMarksFile};
use crate::format::{epoch_file, partition_meta};
use crate::names::{
    self, CLEAN_MARK, LEADER_EPOCHS, NODE_META, PARTITION_META, RUNNING_MARK, SYNCED_MARKS, SegmentFile,
    segment_file,
};
use crate::recovery::LastStop;
use crate::{DirError, PartitionMeta, Replication};

/// A directory as it was found, locked, with its marks renewed.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) lock: Box<dyn DirLock>,
    pub(super) node: NodeMeta,
    pub(super) last_stop: LastStop,
    /// What a clean stop has left of each log.
    pub(super) left: BTreeMap<TopicPartition, CleanLog>,
    pub(super) cache_may_be_lost: bool,
    pub(super) previous_marks: BTreeMap<TopicPartition, SyncedMark>,
    pub(super) marks_file: SyncedMarksFile,
    pub(super) partitions: FoundPartitions,
}

/// The directories of partitions.
#[derive(Debug, Default)]
pub(super) struct FoundPartitions {
    /// Those that say what they are, sorted.
    pub(super) readable: Vec<PartitionMeta>,
    /// What is wrong with the others, and their names.
    pub(super) damaged: Vec<(TopicPartition, String)>,
    /// Those that were deleted and are not unlinked yet, and have no other directory.
    deleted: BTreeSet<TopicPartition>,
}

/// Opens a directory. Nothing is written before the lock is held; the running mark is written before anything else.
pub(super) fn open(env: &Env, path: &Path, node: NodeId) -> Result<Layout, DirError> {
    let fs = &*env.fs;
    let context = |source| DirError::Io { context: format!("opening {}", path.display()), source };
    make_dir(fs, path).map_err(context)?;
    let lock = fs.lock_dir(path).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => DirError::Locked(path.display().to_string()),
        _ => context(e),
    })?;
    let (node, is_new) = identify(env, path, (node, None))?;
    let mount = fs.mount_identity(path).map_err(context)?;
    let mut previous = read_marks(fs, path);
    let (last_stop, left, cache_may_be_lost) = if is_new {
        (LastStop::Clean, BTreeMap::new(), false)
    } else {
        let (last_stop, left) = read_clean_mark(fs, path, &previous).map_err(context)?;
        let running = read_running_mark(fs, path).map_err(context)?;
        (last_stop, left, running.is_none_or(|mark| mark.cache_may_be_lost(&mount)))
    };
    remove_clean_mark(fs, path).map_err(context)?;
    fs.replace(&path.join(RUNNING_MARK), &RunningMark { mount }.encode()).map_err(context)?;
    let partitions = find_partitions(fs, path)?;
    // A run died before it wrote them without a partition that it had deleted.
    let is_deleted = |id: &TopicPartition| partitions.deleted.contains(id);
    #[cfg(feature = "teeth")]
    let is_deleted =
        |id: &TopicPartition| millrace_types::planted!(MarkOfDeletedBelieved, false, else is_deleted(id));
    previous.marks.retain(|mark| !is_deleted(&mark.partition));
    let marks_path = path.join(SYNCED_MARKS);
    let marks_file = SyncedMarksFile::create(Arc::clone(&env.fs), &marks_path, &previous).map_err(context)?;
    let previous_marks = previous.marks.into_iter().map(|mark| (mark.partition, mark)).collect();
    Ok(Layout { lock, node, last_stop, left, cache_may_be_lost, previous_marks, marks_file, partitions })
}

/// Makes an empty directory one of a cluster that there is already. A directory that has an identity keeps it.
pub(super) fn format(env: &Env, path: &Path, node: NodeId, cluster: ClusterId) -> Result<(), DirError> {
    let fs = &*env.fs;
    let context = |source| DirError::Io { context: format!("formatting {}", path.display()), source };
    make_dir(fs, path).map_err(context)?;
    let _lock = fs.lock_dir(path).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => DirError::Locked(path.display().to_string()),
        _ => context(e),
    })?;
    identify(env, path, (node, Some(cluster))).map(|_| ())
}

/// Makes the directory and those above it that are missing. Each has its entry in the one above synced: a power cut must
/// not take the way to what was synced.
fn make_dir(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    let is_missing = |dir: &Path| fs.read_dir(dir).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    let named = path.ancestors().filter(|dir| !dir.as_os_str().is_empty());
    let missing: Vec<&Path> = named.take_while(|dir| is_missing(dir)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    fs.create_dir_all(path)?;
    for dir in missing {
        match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => fs.sync_dir(parent)?,
            None => fs.sync_dir(Path::new("."))?,
        }
    }
    Ok(())
}

/// Reads `node.meta`, or makes it in a directory that holds nothing.
fn identify(
    env: &Env,
    path: &Path,
    (node, cluster): (NodeId, Option<ClusterId>),
) -> Result<(NodeMeta, bool), DirError> {
    let fs = &*env.fs;
    let file = path.join(NODE_META);
    let context = |source| DirError::Io { context: format!("reading {}", file.display()), source };
    match fs.read_small(&file, node_meta::BYTES_MAX) {
        Ok(bytes) => {
            let meta = node_meta::decode(&bytes).map_err(|e| decode_error(&file, e))?;
            if meta.node != node {
                let text = format!("{} belongs to node {}, not to node {node}", path.display(), meta.node);
                return Err(DirError::Conflict(text));
            }
            Ok((meta, false))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            refuse_foreign(fs, path)?;
            let meta = NodeMeta {
                cluster: cluster.unwrap_or_else(|| ClusterId(env.rng.uuid_v4())),
                node,
                directory: DirectoryId(env.rng.uuid_v4()),
                format: DIRECTORY_FORMAT,
            };
            fs.replace(&file, &node_meta::encode(&meta)).map_err(context)?;
            Ok((meta, true))
        }
        Err(e) => Err(context(e)),
    }
}

/// Only an empty directory is formatted: what lies in another one is somebody's.
fn refuse_foreign(fs: &dyn Fs, path: &Path) -> Result<(), DirError> {
    let entries = fs.read_dir(path);
    let entries =
        entries.map_err(|source| DirError::Io { context: format!("listing {}", path.display()), source })?;
    let half_made = format!("{NODE_META}{}", names::TEMPORARY_SUFFIX);
    let harmless = ["lock", "lost+found", half_made.as_str()];
    match entries.iter().find(|entry| !harmless.contains(&entry.name.as_str())) {
        Some(entry) => Err(DirError::Conflict(format!(
            "{} has no {NODE_META} and is not empty (there is {:?}); only an empty directory is formatted",
            path.display(),
            entry.name
        ))),
        None => Ok(()),
    }
}

/// How the last run ended, and what a clean end has left of each log.
type FoundStop = (LastStop, BTreeMap<TopicPartition, CleanLog>);

const UNCLEAN: FoundStop = (LastStop::Unclean, BTreeMap::new());

/// A clean mark counts if it was written with these synced marks: one that was put back from an earlier stop, or marks that
/// were, say nothing of this one.
fn read_clean_mark(fs: &dyn Fs, path: &Path, marks: &SyncedMarks) -> io::Result<FoundStop> {
    #[cfg(feature = "teeth")]
    millrace_types::planted!(CleanMarkNotBelieved => return Ok(UNCLEAN));
    #[cfg(feature = "teeth")]
    millrace_types::planted!(CleanMarkNotNeeded => return Ok((LastStop::Clean, BTreeMap::new())));
    match fs.read_small(&path.join(CLEAN_MARK), run_mark::CLEAN_BYTES_MAX) {
        Ok(bytes) => Ok(match CleanMark::decode(&bytes) {
            Ok(mark) if mark.generation == marks.generation => (LastStop::Clean, mark.logs),
            _ => UNCLEAN,
        }),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(UNCLEAN),
        Err(e) => Err(e),
    }
}

fn read_running_mark(fs: &dyn Fs, path: &Path) -> io::Result<Option<RunningMark>> {
    match fs.read_small(&path.join(RUNNING_MARK), run_mark::BYTES_MAX) {
        Ok(bytes) => Ok(RunningMark::decode(&bytes).ok()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The marks of the last run. Without them everything behind the last seal counts as not synced.
fn read_marks(fs: &dyn Fs, path: &Path) -> SyncedMarks {
    synced_marks::read(fs, &path.join(SYNCED_MARKS)).unwrap_or_else(|error| {
        tracing::debug!(%error, "no synced marks");
        SyncedMarks { generation: 0, marks: Vec::new() }
    })
}

/// A sync has failed: what was written before it may be in the cache only, and goes from there whenever it likes. Without the
/// running mark the next start says that the cache may be lost, which needs no sync: a power cut says so anyway.
pub(super) fn doubt_cache(fs: &dyn Fs, path: &Path) {
    #[cfg(feature = "teeth")]
    millrace_types::planted!(CacheTrustedAfterFailedSync => return);
    match fs.unlink(&path.join(RUNNING_MARK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(%error, "the running mark is left, though the cache may be lost");
        }
        _ => {}
    }
}

fn remove_clean_mark(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.unlink(&path.join(CLEAN_MARK)) {
        Ok(()) => fs.sync_dir(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn find_partitions(fs: &dyn Fs, path: &Path) -> Result<FoundPartitions, DirError> {
    let context = |source| DirError::Io { context: format!("listing {}", path.display()), source };
    let mut found = FoundPartitions::default();
    let mut dirs = BTreeSet::new();
    for entry in fs.read_dir(path).map_err(context)?.iter().filter(|entry| entry.kind == EntryKind::Dir) {
        found.deleted.extend(names::parse_gone_partition_dir(&entry.name));
        let Some(id) = names::parse_partition_dir(&entry.name) else { continue };
        dirs.insert(id);
        match read_partition_meta(fs, &path.join(&entry.name)) {
            Ok(Some(meta)) if meta.id == id => found.readable.push(meta),
            Ok(Some(meta)) => {
                let what = format!("{}: its {PARTITION_META} names {}", entry.name, meta.id);
                found.damaged.push((id, what));
            }
            // A directory that was being made when the process died: nothing was ever written to it.
            Ok(None) => {}
            Err(error @ DirError::NewerFormat { .. }) => return Err(error),
            Err(error) => found.damaged.push((id, error.to_string())),
        }
    }
    found.deleted.retain(|id| !dirs.contains(id));
    found.readable.sort_by_key(|meta| meta.id);
    Ok(found)
}

/// What partition a directory holds; `None` if that was not written yet.
pub(super) fn read_partition_meta(fs: &dyn Fs, dir: &Path) -> Result<Option<PartitionMeta>, DirError> {
    let file = dir.join(PARTITION_META);
    match fs.read_small(&file, partition_meta::BYTES_MAX) {
        Ok(bytes) => partition_meta::decode(&bytes).map(Some).map_err(|e| decode_error(&file, e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DirError::Io { context: format!("reading {}", file.display()), source }),
    }
}

fn decode_error(file: &Path, error: DecodeError) -> DirError {
    let path = file.display().to_string();
    match error {
        DecodeError::Newer { found, known, .. } => DirError::NewerFormat { path, found, known },
        other => DirError::Damaged { path, what: other.to_string() },
    }
}

/// Whether a directory holds a log that is not empty.
fn holds_records(fs: &dyn Fs, dir: &Path) -> io::Result<bool> {
    let entries = match fs.read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    for entry in entries.iter().filter(|entry| entry.name.ends_with(".log")) {
        if fs.open(&dir.join(&entry.name), OpenMode::Read)?.size()? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the directory of a partition. `partition.meta` comes last: without it there is no partition.
pub(super) fn create_partition(
    shared: &DirShared,
    path: &Path,
    (meta, replication): (&PartitionMeta, Replication),
) -> Result<(), DirError> {
    let fs = &*shared.env.fs;
    if read_partition_meta(fs, path)?.is_some() {
        return Err(DirError::Conflict(format!("there is a log of partition {} already", meta.id)));
    }
    if holds_records(fs, path).map_err(|e| shared.io_error(&format!("creating {}", path.display()), e))? {
        let what = format!("there are records but no {PARTITION_META}; they are left alone");
        return Err(DirError::Damaged { path: path.display().to_string(), what });
    }
    let make = || -> io::Result<()> {
        unlink_deleted(shared, meta.id)?;
        fs.create_dir_all(path)?;
        let file =
            fs.open(&path.join(segment_file(Offset::ZERO, SegmentFile::Log)), OpenMode::CreateOrTruncate)?;
        file.sync_data()?;
        let mut epochs = EpochCache::default();
        if replication == Replication::Alone {
            let _changed = epochs.assign(LeaderEpoch::default(), Offset::ZERO);
        }
        fs.replace(&path.join(LEADER_EPOCHS), &epoch_file::encode(&epochs))?;
        fs.replace(&path.join(PARTITION_META), &partition_meta::encode(meta))?;
        #[cfg(feature = "teeth")]
        millrace_types::planted!(CreateWithoutDirSync => return Ok(()));
        fs.sync_dir(&shared.path)
    };
    make().map_err(|e| {
        let context = format!("creating {}", path.display());
        // A full disk is no broken promise: nothing of the partition counts before its last file is there.
        shared.soft_error(&context, e)
    })
}

/// Unlinks what is left of a deleted partition that is made anew: from now on nothing says that a log of that name was deleted.
fn unlink_deleted(shared: &DirShared, id: TopicPartition) -> io::Result<()> {
    let _gone = shared.gone.lock();
    match unlink_dir(&*shared.env.fs, &shared.path.join(names::gone(&names::partition_dir(id)))) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Renames the directory of a partition to a name that nobody looks into.
pub(super) fn set_aside(shared: &DirShared, id: TopicPartition) -> Result<Option<PathBuf>, DirError> {
    let fs = &*shared.env.fs;
    let name = names::partition_dir(id);
    let entries = fs.read_dir(&shared.path).map_err(|e| shared.io_error("setting a log aside", e))?;
    let is_taken = |name: &str| entries.iter().any(|entry| entry.name == name);
    if !is_taken(&name) {
        return Ok(None);
    }
    let free = (1_u32..).map(|number| format!("{name}{}{number}", names::ASIDE_SUFFIX));
    let Some(free) = free.into_iter().find(|free| !is_taken(free)) else { return Ok(None) };
    let to = shared.path.join(free);
    let renamed = fs.rename(&shared.path.join(&name), &to).and_then(|()| fs.sync_dir(&shared.path));
    renamed.map_err(|e| shared.fail("setting a log aside", e))?;
    Ok(Some(to))
}

/// Takes the directory of a partition out of the way; it is unlinked later.
pub(super) fn delete_partition(shared: &DirShared, id: TopicPartition) -> Result<(), DirError> {
    let fs = &*shared.env.fs;
    let name = names::partition_dir(id);
    let (from, to) = (shared.path.join(&name), shared.path.join(names::gone(&name)));
    let mut gone = shared.gone.lock();
    // A partition that was deleted, made again and deleted again before the janitor came.
    match unlink_dir(fs, &to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(shared.io_error(&format!("unlinking {}", to.display()), e));
        }
        _ => *gone = true,
    }
    match fs.rename(&from, &to) {
        Ok(()) => fs.sync_dir(&shared.path).map_err(|e| shared.fail("deleting a log", e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(DirError::Conflict(format!("there is no log of partition {id}")))
        }
        Err(e) => Err(shared.io_error(&format!("deleting {}", from.display()), e)),
    }
}
