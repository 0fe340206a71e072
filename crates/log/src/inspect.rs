//! Looks at a log that nobody serves: what `millrace log dump` and `millrace log verify` print.
//!
//! Reads only. Takes a data directory, the directory of a partition, or one `.log` file (one of Kafka's too), and
//! answers plain data. While it looks, it holds the lock of the data directory, so that nobody begins to serve it.
//!
//! ```text
//!  Inspection::open(path) ─► partitions ─► segments ─► SegmentWalk: one batch after the other   (dump)
//!                                               └────► verify: batches, offsets, indexes, seals (verify)
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_env::{DirLock, EntryKind, Fs, FsExt};
use millrace_types::{Offset, TopicPartition};

use crate::format::envelope::DecodeError;
use crate::format::{node_meta, partition_meta, synced_marks};
use crate::names::{self, PartitionEntry, SegmentFile};
use crate::{PartitionMeta, format::node_meta::NodeMeta};

mod report;
mod verify;
mod walk;

pub use report::{Finding, PartitionReport, Problem, SealState, SegmentReport, Severity, VerifyReport};
pub use verify::{Depth, FINDINGS_PER_SEGMENT_MAX};
pub use walk::{Found, FoundBatch, SegmentWalk};

/// The name of the file whose lock says that a data directory is served.
const LOCK_FILE: &str = "lock";

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A process serves the directory; what is read would change meanwhile.
    #[error("{0} is being served; stop the broker first")]
    Served(PathBuf),
    /// Neither a data directory, nor the directory of a partition, nor a `.log` file.
    #[error("{0} is no data directory, no partition directory and no .log file")]
    NotALog(PathBuf),
    /// The directory was written by a newer version.
    #[error("{path}: {source}")]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// Which version.
        source: DecodeError,
    },
    /// The file system's.
    #[error("{path}: {source}")]
    Io {
        /// What was being read.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

impl InspectError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> InspectError + '_ {
        move |source| InspectError::Io { path: path.to_owned(), source }
    }
}

/// A segment and the files that belong to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentPath {
    /// The base offset, from the name of the file; `None` if the name is another.
    pub base: Option<Offset>,
    /// The `.log` file.
    pub log: PathBuf,
}

impl SegmentPath {
    /// Another file of the same segment.
    #[must_use]
    pub fn sibling(&self, file: SegmentFile) -> PathBuf {
        self.log.with_extension(file.suffix())
    }
}

/// A partition, or a single `.log` file that stands for one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionPath {
    /// The directory; of a single file, where it lies.
    pub dir: PathBuf,
    /// The partition, from the name of the directory.
    pub id: Option<TopicPartition>,
    /// The content of `partition.meta`, if it opens.
    pub meta: Option<PartitionMeta>,
    /// Whether these are all segments of the directory.
    pub extent: Extent,
    /// The segments by rising base offset.
    pub segments: Vec<SegmentPath>,
}

/// How much of a partition is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// All segments of the directory.
    Whole,
    /// One `.log` file, named by the caller.
    OneFile,
}

/// Something to look at, and the lock on it.
#[derive(Debug)]
pub struct Inspection {
    fs: Arc<dyn Fs>,
    node: Option<NodeMeta>,
    partitions: Vec<PartitionPath>,
    marks: Option<synced_marks::SyncedMarks>,
    stopped_clean: bool,
    _lock: Option<Box<dyn DirLock>>,
}

impl Inspection {
    /// Finds out what `path` is and what there is to look at in it.
    ///
    /// # Errors
    /// It is served, is nothing of ours, or cannot be read.
    pub fn open(fs: Arc<dyn Fs>, path: &Path) -> Result<Inspection, InspectError> {
        let entries = match fs.read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Self::open_file(fs, path),
            Err(source) => return Err(InspectError::Io { path: path.to_owned(), source }),
        };
        let partition_dirs: Vec<(PathBuf, TopicPartition)> = entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Dir)
            .filter_map(|entry| Some((path.join(&entry.name), names::parse_partition_dir(&entry.name)?)))
            .collect();
        let of_node = entries.iter().any(|entry| entry.name == names::NODE_META);
        if of_node || !partition_dirs.is_empty() {
            return Self::open_data_dir(fs, path, partition_dirs);
        }
        if entries.iter().all(|entry| names::partition_entry(&entry.name) == PartitionEntry::Foreign) {
            return Err(InspectError::NotALog(path.to_owned()));
        }
        let (lock, marks, stopped_clean) = surroundings(fs.as_ref(), path.parent())?;
        let partition = partition(fs.as_ref(), path)?;
        Ok(Inspection { fs, node: None, partitions: vec![partition], marks, stopped_clean, _lock: lock })
    }

    fn open_data_dir(
        fs: Arc<dyn Fs>,
        path: &Path,
        dirs: Vec<(PathBuf, TopicPartition)>,
    ) -> Result<Inspection, InspectError> {
        let (lock, marks, stopped_clean) = surroundings(fs.as_ref(), Some(path))?;
        let node = node(fs.as_ref(), &path.join(names::NODE_META))?;
        let mut partitions = Vec::with_capacity(dirs.len());
        for (dir, _) in dirs {
            partitions.push(partition(fs.as_ref(), &dir)?);
        }
        partitions.sort_by_key(|partition| partition.id);
        Ok(Inspection { fs, node, partitions, marks, stopped_clean, _lock: lock })
    }

    fn open_file(fs: Arc<dyn Fs>, path: &Path) -> Result<Inspection, InspectError> {
        if path.extension().and_then(|suffix| suffix.to_str()) != Some(SegmentFile::Log.suffix()) {
            return Err(InspectError::NotALog(path.to_owned()));
        }
        let dir = path.parent().unwrap_or(Path::new("."));
        let (lock, marks, stopped_clean) = surroundings(fs.as_ref(), dir.parent())?;
        let base = file_name(path).and_then(names::parse_segment_file).map(|(base, _)| base);
        let partition = PartitionPath {
            dir: dir.to_owned(),
            id: file_name(dir).and_then(names::parse_partition_dir),
            meta: meta(fs.as_ref(), dir),
            extent: Extent::OneFile,
            segments: vec![SegmentPath { base, log: path.to_owned() }],
        };
        Ok(Inspection { fs, node: None, partitions: vec![partition], marks, stopped_clean, _lock: lock })
    }

    /// Whose data directory it is, if it is one and says so.
    #[must_use]
    pub fn node(&self) -> Option<&NodeMeta> {
        self.node.as_ref()
    }

    /// What there is to look at.
    #[must_use]
    pub fn partitions(&self) -> &[PartitionPath] {
        &self.partitions
    }

    /// Walks the batches of a segment.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn walk(&self, segment: &SegmentPath) -> Result<SegmentWalk, InspectError> {
        SegmentWalk::open(self.fs.as_ref(), &segment.log).map_err(InspectError::io(&segment.log))
    }

    /// Checks everything there is: batches, offsets, indexes, seals, the other files.
    #[must_use]
    pub fn verify(&self, depth: Depth) -> VerifyReport {
        let partitions = self.partitions.iter().map(|partition| self.verify_partition(partition, depth));
        VerifyReport { partitions: partitions.collect() }
    }

    /// Checks one partition. What cannot be read is a finding, not an error.
    #[must_use]
    pub fn verify_partition(&self, partition: &PartitionPath, depth: Depth) -> PartitionReport {
        let marks = self.marks.iter().flat_map(|marks| &marks.marks);
        let mark = partition.id.and_then(|id| marks.into_iter().find(|mark| mark.partition == id));
        let synced = verify::Synced { mark: mark.copied(), stopped_clean: self.stopped_clean };
        verify::partition(self.fs.as_ref(), partition, synced, depth)
    }
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

fn node(fs: &dyn Fs, path: &Path) -> Result<Option<NodeMeta>, InspectError> {
    let Ok(bytes) = fs.read_small(path, node_meta::BYTES_MAX) else {
        return Ok(None);
    };
    match node_meta::decode(&bytes) {
        Ok(meta) => Ok(Some(meta)),
        Err(source @ DecodeError::Newer { .. }) => Err(InspectError::Newer { path: path.to_owned(), source }),
        Err(_) => Ok(None),
    }
}

fn meta(fs: &dyn Fs, dir: &Path) -> Option<PartitionMeta> {
    let bytes = fs.read_small(&dir.join(names::PARTITION_META), partition_meta::BYTES_MAX).ok()?;
    partition_meta::decode(&bytes).ok()
}

fn partition(fs: &dyn Fs, dir: &Path) -> Result<PartitionPath, InspectError> {
    let entries = fs.read_dir(dir).map_err(InspectError::io(dir))?;
    let log = |name: &str| match names::partition_entry(name) {
        PartitionEntry::Segment { base, file: SegmentFile::Log } => {
            Some(SegmentPath { base: Some(base), log: dir.join(name) })
        }
        _ => None,
    };
    let mut segments: Vec<SegmentPath> = entries.iter().filter_map(|entry| log(&entry.name)).collect();
    segments.sort_by_key(|segment| segment.base);
    let id = file_name(dir).and_then(names::parse_partition_dir);
    Ok(PartitionPath { dir: dir.to_owned(), id, meta: meta(fs, dir), extent: Extent::Whole, segments })
}

/// The lock, the synced marks and the clean mark of what seems to be a data directory.
type Surroundings = (Option<Box<dyn DirLock>>, Option<synced_marks::SyncedMarks>, bool);

fn surroundings(fs: &dyn Fs, data_dir: Option<&Path>) -> Result<Surroundings, InspectError> {
    let Some(dir) = data_dir else {
        return Ok((None, None, false));
    };
    let here = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let exists = |name: &str| fs.exists(&here.join(name)).unwrap_or(false);
    if !exists(names::NODE_META) {
        return Ok((None, None, false));
    }
    // Taking a lock that is not there would create a file.
    let lock = match exists(LOCK_FILE).then(|| fs.lock_dir(here)) {
        Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(InspectError::Served(here.to_owned()));
        }
        // On a medium that cannot be written to nobody serves.
        Some(Err(_)) | None => None,
        Some(Ok(lock)) => Some(lock),
    };
    let marks = synced_marks::read(fs, &here.join(names::SYNCED_MARKS)).ok();
    Ok((lock, marks, exists(names::CLEAN_MARK)))
}

#[cfg(test)]
mod tests;
