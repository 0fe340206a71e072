//! Logs in a scratch directory, and raw files beside them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use millrace_env::Env;
use millrace_log::{Log, LogConfig, LogDir, LogDirOptions, PartitionMeta};
use millrace_types::{NodeId, PartitionIndex, TopicId, TopicName, TopicPartition};
use rustix::fs::{FallocateFlags, fallocate};

/// Bytes of the tail caches together, as a broker with the default budget has.
const TAIL_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// A data directory with the logs of one topic.
#[derive(Debug)]
pub struct Store {
    /// The directory.
    pub dir: Arc<LogDir>,
    /// Its logs, by partition.
    pub logs: Vec<Arc<Log>>,
}

impl Store {
    /// Makes a data directory at `path` with so many logs.
    ///
    /// # Errors
    /// What the log says.
    pub fn create(env: &Env, path: &Path, partitions: u32, config: &LogConfig) -> Result<Store> {
        let dir = open(env, path)?;
        let name = TopicName::new("measured").map_err(|e| anyhow!("{e}"))?;
        let logs = (0..partitions)
            .map(|index| {
                let meta =
                    PartitionMeta { id: id(index), name: name.clone(), partitions, replication_factor: 1 };
                Ok(dir.create(meta, config.clone())?)
            })
            .collect::<Result<_>>()?;
        Ok(Store { dir, logs })
    }

    /// Opens what [`Store::create`] made.
    ///
    /// # Errors
    /// What the log says.
    pub fn open(env: &Env, path: &Path, partitions: u32, config: &LogConfig) -> Result<Store> {
        let dir = open(env, path)?;
        let logs = (0..partitions)
            .map(|index| Ok(dir.open_log(id(index), config.clone())?))
            .collect::<Result<_>>()?;
        Ok(Store { dir, logs })
    }

    /// The log of partition 0.
    ///
    /// # Errors
    /// There is none.
    pub fn log(&self) -> Result<&Arc<Log>> {
        self.logs.first().context("a store without logs")
    }
}

fn id(index: u32) -> TopicPartition {
    TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(index) }
}

fn open(env: &Env, path: &Path) -> Result<Arc<LogDir>> {
    let options = LogDirOptions {
        path: path.to_owned(),
        node: NodeId(0),
        tail_cache_bytes: TAIL_CACHE_BYTES,
        handles: None,
    };
    Ok(LogDir::open(env, options)?.dir)
}

/// A file that is appended to with nothing around it.
#[derive(Debug)]
pub struct RawFile {
    file: File,
    position: u64,
}

impl RawFile {
    /// An empty file with room reserved for `bytes`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create(path: &Path, bytes: u64) -> Result<RawFile> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        fallocate(&file, FallocateFlags::KEEP_SIZE, 0, bytes)?;
        Ok(RawFile { file, position: 0 })
    }

    /// Writes at the end.
    ///
    /// # Errors
    /// The operating system's.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, self.position)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// How many bytes were written.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.position
    }

    /// Brings it to the medium.
    ///
    /// # Errors
    /// The operating system's.
    pub fn sync(&self) -> Result<()> {
        Ok(self.file.sync_data()?)
    }

    /// A second handle, to sync from another thread.
    ///
    /// # Errors
    /// The operating system's.
    pub fn handle(&self) -> Result<File> {
        Ok(self.file.try_clone()?)
    }
}
