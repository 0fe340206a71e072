//! Entries in the log: one batch of one record each, at the offset that is the entry's index.
//!
//! ```text
//!   purged (quorum.purged)   log start            end
//!            │                   │                 │
//!   ─ gone ──┴─ may lie there ───┴── entries ──────┤      index of an entry = offset of its batch
//! ```
//! The log is in `always`: what it lets be read is synced. Its high watermark says nothing of what a majority holds; that
//! only openraft knows.

use std::sync::Arc;

use millrace_env::Env;
use millrace_log::{AppendError, Log, LogConfig, ReadRequest, Ticket};
use millrace_record::{Batch, BatchBuilder, BatchOptions, NO_HEADERS, split_batches};
use millrace_schema::{QuorumEntry, QuorumPosition};
use millrace_types::{Offset, SyncMode, limits};

/// Size of a segment: whole ones go when entries are purged.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes that one read of the log asks for.
const READ_BYTES: usize = 1024 * 1024;

/// Why the log does not give or take entries.
#[derive(Debug, thiserror::Error)]
pub enum EntriesError {
    /// The log refuses an append, or cannot tell how it ended.
    #[error("appending to the quorum's log: {0}")]
    Append(#[from] AppendError),
    /// The log does not give what it holds.
    #[error("reading the quorum's log: {0}")]
    Read(#[from] millrace_log::ReadError),
    /// The log cannot be cut.
    #[error("changing the quorum's log: {0}")]
    Change(#[from] millrace_log::DirError),
    /// What is at an index is no entry, or another one.
    #[error("index {index} of the quorum's log: {what}")]
    Entry {
        /// The index.
        index: u64,
        /// What is wrong.
        what: String,
    },
}

/// How the log of the quorum is kept: every entry synced before it counts, nothing deleted but what is purged.
#[must_use]
pub fn quorum_log_config() -> LogConfig {
    let sync_mode = SyncMode::Always;
    #[cfg(feature = "teeth")]
    let sync_mode = millrace_types::planted!(QuorumAppendBeforeSync, SyncMode::Os, else sync_mode);
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        batch_bytes_max: limits::BATCH_BYTES_MAX,
        sync_mode,
        ..LogConfig::default()
    }
}

/// The entries of one node.
#[derive(Clone, Debug)]
pub(crate) struct Entries {
    env: Arc<Env>,
    log: Arc<Log>,
}

fn offset(index: u64) -> Offset {
    Offset::from_count(index)
}

fn index(offset: Offset) -> u64 {
    offset.get().unsigned_abs()
}

impl Entries {
    pub(crate) fn new(env: Arc<Env>, log: Arc<Log>) -> Entries {
        Entries { env, log }
    }

    /// The index of the first entry that is there, and the one behind the last.
    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        let offsets = self.log.offsets();
        index(offsets.log_start)..index(offsets.end)
    }

    /// Ranges of the log that are damaged, from `first` on.
    pub(crate) fn damage(&self, first: u64) -> Option<String> {
        let damaged = self.log.damaged();
        damaged.iter().find(|damage| damage.offsets.end > offset(first)).map(|damage| format!("{damage:?}"))
    }

    /// Appends entries in order; answers when all of them are synced.
    pub(crate) async fn append(&self, entries: &[QuorumEntry]) -> Result<(), EntriesError> {
        let mut tickets = Vec::with_capacity(entries.len());
        for entry in entries {
            let ticket = self.enqueue(entry).await?;
            tickets.push((entry.at.index, ticket));
        }
        // The sync that the first of them leads covers those behind it.
        for (expected, ticket) in tickets {
            let appended = ticket.await?;
            if appended.base_offset != offset(expected) {
                let what = format!("the entry was appended at {}", appended.base_offset);
                return Err(EntriesError::Entry { index: expected, what });
            }
        }
        Ok(())
    }

    async fn enqueue(&self, entry: &QuorumEntry) -> Result<Ticket, EntriesError> {
        let batch = self.batch_of(entry)?;
        loop {
            match self.log.append(batch.clone()) {
                Err(AppendError::QueueFull) => self.log.room().await,
                answer => return Ok(answer?),
            }
        }
    }

    fn batch_of(&self, entry: &QuorumEntry) -> Result<Batch, EntriesError> {
        let bytes_max = limits::BATCH_BYTES_MAX;
        let options = BatchOptions { bytes_target: bytes_max, bytes_max, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        let too_large = |what: String| EntriesError::Entry { index: entry.at.index, what };
        builder
            .append(self.env.clock.wall(), None, Some(&entry.encode()), NO_HEADERS)
            .map_err(|error| too_large(error.to_string()))?;
        builder.build().map_err(|error| too_large(error.to_string()))
    }

    /// The first entries of a range, as many as one read gives: one at least, if the range is not empty. Blocks.
    pub(crate) fn read(&self, range: std::ops::Range<u64>) -> Result<Vec<QuorumEntry>, EntriesError> {
        let mut entries = Vec::new();
        if range.is_empty() {
            return Ok(entries);
        }
        let request =
            ReadRequest { from: offset(range.start), until: Some(offset(range.end)), bytes_max: READ_BYTES };
        let answer = self.log.read(&request)?.load()?;
        for batch in answer.extents.into_iter().flat_map(split_batches) {
            let place = range.start + entries.len() as u64;
            let wrong = |what: String| EntriesError::Entry { index: place, what };
            let batch = batch.map_err(|error| wrong(error.to_string()))?;
            if place >= range.end {
                break;
            }
            if batch.base_offset() != offset(place) || batch.offset_count() != 1 {
                return Err(wrong(format!(
                    "a batch of {} from {}",
                    batch.offset_count(),
                    batch.base_offset()
                )));
            }
            let records = batch.records().map_err(|error| wrong(error.to_string()))?;
            let record = records.into_iter().next();
            let record = record.ok_or_else(|| wrong("no record".to_owned()))?;
            let value = record.map_err(|error| wrong(error.to_string()))?.value;
            let value = value.ok_or_else(|| wrong("a record without a value".to_owned()))?;
            let entry = QuorumEntry::decode(&value).map_err(|error| wrong(error.to_string()))?;
            if entry.at.index != place {
                return Err(wrong(format!("the entry of index {}", entry.at.index)));
            }
            entries.push(entry);
        }
        if entries.is_empty() {
            let what = format!("nothing can be read of {range:?}");
            return Err(EntriesError::Entry { index: range.start, what });
        }
        Ok(entries)
    }

    /// Where the entry at `index` stands. Blocks.
    pub(crate) fn position(&self, index: u64) -> Result<QuorumPosition, EntriesError> {
        let entries = self.read(index..index + 1)?;
        let entry = entries.first().ok_or_else(|| EntriesError::Entry { index, what: "gone".to_owned() })?;
        Ok(entry.at)
    }

    /// Drops the entries from `index` on; synced when it returns. Blocks.
    pub(crate) fn truncate(&self, index: u64) -> Result<(), EntriesError> {
        Ok(self.log.truncate_to(offset(index))?)
    }

    /// Drops the entries below `index`, and begins there if there are none behind it. Blocks.
    pub(crate) fn begin_at(&self, index: u64) -> Result<(), EntriesError> {
        let range = self.range();
        if index > range.end {
            self.log.reset_to(offset(index))?;
        } else if index > range.start {
            self.log.trim_to(offset(index))?;
        }
        Ok(())
    }

    /// Begins at `index` with nothing. Blocks.
    pub(crate) fn reset(&self, index: u64) -> Result<(), EntriesError> {
        Ok(self.log.reset_to(offset(index))?)
    }
}
