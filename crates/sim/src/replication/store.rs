//! The real log of one replica, on the simulated disk of its broker.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use millrace_env::FsExt;
use millrace_env::sim::Sim;
use millrace_log::{
    Isolation, Log, LogConfig, LogDir, LogDirOptions, OpenedDir, PartitionMeta, ReadRequest, Replication,
    Ticket,
};
use millrace_record::Batch;
use millrace_replication::{EpochEnd, LogFacts};
use millrace_types::{
    LeaderEpoch, NodeId, Offset, PartitionIndex, SyncMode, TopicId, TopicName, TopicPartition,
};

use super::wire::{Entry, entries};

const DATA: &str = "/data";
/// What a follower is sent at most, in bytes: a few batches.
const FETCH_BYTES: usize = 400;

pub(crate) fn partition_of(topic: TopicId) -> TopicPartition {
    TopicPartition { topic, partition: PartitionIndex(0) }
}

pub(crate) fn open_dir(sim: &Sim, node: NodeId) -> Result<OpenedDir, String> {
    let options = LogDirOptions { path: PathBuf::from(DATA), node, tail_cache_bytes: 0, handles: None };
    LogDir::open(&sim.env(), options).map_err(|error| format!("the directory does not open: {error}"))
}

/// Whether something may be lost, as a broker asks before it opens its directory: it was used, and not stopped cleanly.
pub(crate) fn may_have_lost(sim: &Sim) -> Result<bool, String> {
    let (fs, dir) = (sim.env().fs, Path::new(DATA));
    let exists = |name: &str| fs.exists(&dir.join(name));
    let may = || Ok(exists("node.meta")? && !exists("clean.mark")?);
    may().map_err(|error: io::Error| format!("before the directory is opened: {error}"))
}

fn config(mode: SyncMode) -> LogConfig {
    LogConfig { sync_mode: mode, replication: Replication::Replicated, ..LogConfig::default() }
}

/// What became of an append.
#[derive(Debug)]
pub(crate) enum Outcome {
    Appended(Offset),
    /// Nothing was written: an exact retry, or the log has something against it. Who asks the ticket may sync.
    Unchanged(Ticket),
    Refused(String),
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) log: Arc<Log>,
    /// Of the newest append: who waits for it syncs the log.
    ticket: Option<Ticket>,
}

impl Store {
    pub(crate) fn open(dir: &LogDir, topic: TopicId, mode: SyncMode) -> Result<Store, String> {
        let id = partition_of(topic);
        let log =
            dir.open_log(id, config(mode)).map_err(|error| format!("the log does not open: {error}"))?;
        Ok(Store { log, ticket: None })
    }

    pub(crate) fn create(dir: &LogDir, topic: TopicId, mode: SyncMode) -> Result<Store, String> {
        let name = TopicName::new("orders").map_err(|error| error.to_string())?;
        let meta = PartitionMeta { id: partition_of(topic), name, partitions: 1, replication_factor: 3 };
        let log = dir.create(meta, config(mode)).map_err(|error| format!("no log is made: {error}"))?;
        Ok(Store { log, ticket: None })
    }

    pub(crate) fn facts(&self) -> LogFacts {
        let offsets = self.log.offsets();
        LogFacts {
            start: offsets.log_start,
            held: offsets.held,
            end: offsets.end,
            last_epoch: self.log.last_epoch().unwrap_or(LeaderEpoch::NONE),
        }
    }

    pub(crate) fn end_of(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.log.end_of_epoch(epoch).map(|(epoch, end)| EpochEnd { epoch, end })
    }

    pub(crate) fn append(&mut self, batch: Batch) -> Outcome {
        let before = self.log.offsets().end;
        match self.log.append(batch) {
            Ok(ticket) => {
                if self.log.offsets().end > before {
                    self.ticket = Some(ticket);
                    Outcome::Appended(before)
                } else {
                    Outcome::Unchanged(ticket)
                }
            }
            Err(error) => Outcome::Refused(error.to_string()),
        }
    }

    pub(crate) fn append_replica(&mut self, bytes: &Bytes) -> Result<(), String> {
        let ticket = self.log.append_replica(bytes).map_err(|error| format!("a replica append: {error}"))?;
        self.ticket = Some(ticket);
        Ok(())
    }

    /// Syncs what is written. Whoever polls a ticket leads the sync, on this thread.
    pub(crate) fn sync(&mut self) -> Result<(), String> {
        match self.ticket.take() {
            Some(ticket) => ticket.wait().map(|_| ()).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    /// What waited for a sync may be gone.
    pub(crate) fn was_cut(&mut self) {
        self.ticket = None;
    }

    /// Stored batches from `from` on, as replicas read them.
    pub(crate) fn read(&self, from: Offset, until: Option<Offset>) -> Result<Bytes, String> {
        let request = ReadRequest { from, until, bytes_max: FETCH_BYTES };
        let plan = self.log.read_as(Isolation::Held, &request).map_err(|error| format!("a read: {error}"))?;
        let answer = plan.load().map_err(|error| format!("a read: {error}"))?;
        let mut bytes = BytesMut::new();
        answer.extents.iter().for_each(|extent| bytes.extend_from_slice(extent));
        Ok(bytes.freeze())
    }

    /// All that the log holds, from its start.
    pub(crate) fn all(&self) -> Result<Vec<Entry>, String> {
        let offsets = self.log.offsets();
        let (mut from, mut found) = (offsets.log_start, Vec::new());
        while from < offsets.end {
            for (offset, entry) in entries(&self.read(from, None)?)? {
                if offset != from {
                    return Err(format!("offset {offset} where {from} was due"));
                }
                found.push(entry);
                from = from.next();
            }
        }
        Ok(found)
    }
}
