//! One data directory: its identity, its logs, its flusher.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_env::Env;
use millrace_types::{ClusterId, DirectoryId, NodeId, TopicPartition};

use crate::{DirError, Log, LogConfig, PartitionMeta};

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

/// One data directory, locked by this process. Its flusher is the only code that syncs data.
#[derive(Debug)]
pub struct LogDir {}

impl LogDir {
    /// Locks and opens a directory, formatting an empty one, and writes the running mark before anything else.
    ///
    /// # Errors
    /// [`DirError`].
    pub fn open(_env: &Env, _options: LogDirOptions) -> Result<OpenedDir, DirError> {
        unimplemented!()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        unimplemented!()
    }

    /// The cluster it belongs to.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        unimplemented!()
    }

    /// Its own id.
    #[must_use]
    pub fn directory_id(&self) -> DirectoryId {
        unimplemented!()
    }

    /// Makes the log of a new partition; its files and directory entries are synced before it returns.
    ///
    /// # Errors
    /// [`DirError::Conflict`] if there is one.
    pub fn create(&self, _meta: PartitionMeta, _config: LogConfig) -> Result<Arc<Log>, DirError> {
        unimplemented!()
    }

    /// Opens a log that was found, recovering it if the last stop was not clean. Blocks.
    ///
    /// # Errors
    /// [`DirError`].
    pub fn open_log(&self, _id: TopicPartition, _config: LogConfig) -> Result<Arc<Log>, DirError> {
        unimplemented!()
    }

    /// Deletes a log: renamed to `.gone` and synced before this returns, unlinked later by the janitor.
    ///
    /// # Errors
    /// [`DirError`].
    pub fn delete(&self, _id: TopicPartition) -> Result<(), DirError> {
        unimplemented!()
    }

    /// What recovery has found in the logs that were opened so far.
    #[must_use]
    pub fn start_report(&self) -> StartReport {
        unimplemented!()
    }

    /// Completes with the reason if the directory fails. Whoever serves it then stops the process.
    pub fn on_fatal(&self, _callback: Box<dyn FnOnce(Fatal) + Send>) {
        unimplemented!()
    }

    /// Work off the writer's path, called every second or so by whoever serves the directory: seals rolled segments,
    /// writes the synced marks, syncs what nobody waits for, rolls by age, unlinks what was deleted. Blocks.
    pub fn janitor_step(&self) {
        unimplemented!()
    }

    /// Syncs and closes every log and writes the clean mark last. Appends after this answer `Closed`.
    ///
    /// # Errors
    /// [`DirError`]; then the next start counts as unclean.
    pub fn close(&self) -> Result<(), DirError> {
        unimplemented!()
    }
}
