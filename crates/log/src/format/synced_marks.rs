//! `synced.marks`: up to where each partition was synced, for recovery to tell a torn tail from damage.
//!
//! ```text
//!  0                4096               4096+c             4096+2c
//!  ┌────────────────┬──────────────────┬──────────────────┐      c: slot bytes, a multiple of 4096
//!  │ head           │ slot 0           │ slot 1           │      written in turn, each over its old self
//!  └────────────────┴──────────────────┴──────────────────┘
//!  head: envelope(kind SyncedMarksHead, version 1) of c as u32
//!  slot: envelope(kind SyncedMarksSlot, version 1), then bytes without meaning:
//!  0            8        12
//!  ┌────────────┬────────┬──────────┬───────────┬──────┬──────────┬────────┬─
//!  │ generation │ count  │ topic id │ partition │ base │ position │ offset │ ...   by rising topic id and partition
//!  │ u64        │ u32    │ 16 bytes │ u32       │ i64  │ u64      │ i64    │
//!  └────────────┴────────┴──────────┴───────────┴──────┴──────────┴────────┴─
//! ```
//! The slot that opens and has the higher generation counts. Whoever writes calls [`SyncedMarksFile::sync`] before the
//! next write (from a thread that no ack waits for): then at most one slot is on its way to the medium at any moment,
//! and a power cut costs the last write at most. Without, both may be torn, and there are no marks.
//!
//! Marks may lag behind the truth (recovery then reads more), never run ahead of it: a partition that is truncated
//! below its mark first has a lower mark written *and synced*.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_env::{File, Fs, FsExt, OpenMode};
use millrace_types::{Offset, PartitionIndex, TopicId, TopicPartition};

use super::envelope::{self, DecodeError, FileKind};
use super::fields::Fields;

/// The newest version that this build reads, and the one that it writes.
pub const VERSION: u16 = 1;
/// The most partitions that can be listed: more than a data directory can serve.
pub const MARKS_MAX: usize = 100_000;
/// The largest file.
pub const BYTES_MAX: usize = HEAD_BYTES + 2 * slot_bytes_for(MARKS_MAX);

/// Whole pages, so that no page is shared by what is written at different times.
const PAGE_BYTES: usize = 4096;
const HEAD_BYTES: usize = PAGE_BYTES;
const MARK_BYTES: usize = 44;
/// Far beyond one write in each nanosecond of a century; counting on from what was read cannot overflow.
const GENERATION_MAX: u64 = u64::MAX / 2;

/// Up to where one partition was synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncedMark {
    /// The partition.
    pub partition: TopicPartition,
    /// The base offset of the file that was being written.
    pub base: Offset,
    /// The bytes of that file that a sync has covered; all files before it are covered whole.
    pub position: u64,
    /// The first offset that is not synced.
    pub offset: Offset,
}

/// What a file holds: the marks of the slot that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncedMarks {
    /// Rises with each write.
    pub generation: u64,
    /// By rising topic id and partition.
    pub marks: Vec<SyncedMark>,
}

/// Why there are no marks to go by. Everything after the last seal counts as not synced then.
#[derive(Debug, thiserror::Error)]
pub enum ReadMarksError {
    /// The file cannot be read (or is not there).
    #[error("synced marks: {0}")]
    Io(#[from] io::Error),
    /// The head or both slots are damaged, or a newer version wrote them.
    #[error("synced marks: {0}")]
    Decode(#[from] DecodeError),
}

/// Bytes of a slot that has room for `marks`.
const fn slot_bytes_for(marks: usize) -> usize {
    (envelope::OVERHEAD_BYTES + 12 + marks * MARK_BYTES).next_multiple_of(PAGE_BYTES)
}

/// The content of one slot, without what follows it. `marks` must rise by partition.
#[must_use]
pub fn encode_slot(generation: u64, marks: &[SyncedMark]) -> Vec<u8> {
    let mut body = Vec::with_capacity(12 + marks.len() * MARK_BYTES);
    body.extend_from_slice(&generation.to_be_bytes());
    body.extend_from_slice(&u32::try_from(marks.len()).unwrap_or(u32::MAX).to_be_bytes());
    for mark in marks {
        body.extend_from_slice(&mark.partition.topic.0);
        body.extend_from_slice(&mark.partition.partition.0.to_be_bytes());
        body.extend_from_slice(&mark.base.get().to_be_bytes());
        body.extend_from_slice(&mark.position.to_be_bytes());
        body.extend_from_slice(&mark.offset.get().to_be_bytes());
    }
    envelope::seal(FileKind::SyncedMarksSlot, VERSION, &body)
}

/// Reads one slot; what follows the envelope has no meaning.
///
/// # Errors
/// Damage, a newer version, or marks that do not rise.
pub fn decode_slot(slot: &[u8]) -> Result<SyncedMarks, DecodeError> {
    let (opened, _) = envelope::open_prefix(FileKind::SyncedMarksSlot, VERSION, slot)?;
    let mut fields = Fields::new(opened.body);
    let generation = fields.u64()?;
    if generation > GENERATION_MAX {
        return Err(DecodeError::Invalid("a generation that nobody reaches"));
    }
    let count = fields.length()?;
    let count = fields.count_of(count, MARK_BYTES)?;
    let mut marks: Vec<SyncedMark> = Vec::with_capacity(count);
    for _ in 0..count {
        let partition =
            TopicPartition { topic: TopicId(fields.array()?), partition: PartitionIndex(fields.u32()?) };
        let mark = SyncedMark {
            partition,
            base: fields.offset()?,
            position: fields.u64()?,
            offset: fields.offset()?,
        };
        if marks.last().is_some_and(|last| last.partition >= partition) {
            return Err(DecodeError::Invalid("partitions that do not rise"));
        }
        if mark.offset < mark.base {
            return Err(DecodeError::Invalid("a mark before its file"));
        }
        marks.push(mark);
    }
    fields.end()?;
    Ok(SyncedMarks { generation, marks })
}

/// The content of a whole new file: one slot written, the other empty.
#[must_use]
pub fn encode_file(slot_bytes: usize, generation: u64, marks: &[SyncedMark]) -> Vec<u8> {
    let slot = encode_slot(generation, marks);
    let slot_bytes = slot_bytes.max(slot.len()).next_multiple_of(PAGE_BYTES);
    let stored = u32::try_from(slot_bytes).unwrap_or(u32::MAX);
    let mut out = envelope::seal(FileKind::SyncedMarksHead, VERSION, &stored.to_be_bytes());
    out.resize(HEAD_BYTES, 0);
    if generation % 2 == 1 {
        out.resize(HEAD_BYTES + slot_bytes, 0);
    }
    out.extend_from_slice(&slot);
    out.resize(HEAD_BYTES + 2 * slot_bytes, 0);
    out
}

/// Reads a whole file.
///
/// # Errors
/// The head does not open, or neither slot does (the error is then the first slot's).
pub fn decode_file(bytes: &[u8]) -> Result<SyncedMarks, DecodeError> {
    let (head, _) = envelope::open_prefix(FileKind::SyncedMarksHead, VERSION, bytes)?;
    let mut fields = Fields::new(head.body);
    let slot_bytes = fields.length()?;
    fields.end()?;
    if slot_bytes == 0 || slot_bytes % PAGE_BYTES != 0 {
        return Err(DecodeError::Invalid("slots that are not whole pages"));
    }
    let mut rest = Fields::new(bytes);
    rest.take(HEAD_BYTES)?;
    // A slot of which the file holds only a part may still hold its whole envelope.
    let slots = rest.rest();
    let (even, odd) = slots.split_at_checked(slot_bytes).unwrap_or((slots, &[]));
    match (decode_slot(even), decode_slot(odd)) {
        (Ok(even), Ok(odd)) => Ok(if even.generation > odd.generation { even } else { odd }),
        (Ok(marks), Err(_)) | (Err(_), Ok(marks)) => Ok(marks),
        (Err(error), Err(_)) => Err(error),
    }
}

/// Reads the marks that the last run left.
///
/// # Errors
/// There are none to go by.
pub fn read(fs: &dyn Fs, path: &Path) -> Result<SyncedMarks, ReadMarksError> {
    Ok(decode_file(&fs.read_small(path, BYTES_MAX)?)?)
}

/// The file of a run. One owner, who writes after syncs have returned.
#[derive(Debug)]
pub struct SyncedMarksFile {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    file: Arc<dyn File>,
    slot_bytes: usize,
    generation: u64,
}

impl SyncedMarksFile {
    /// The generation that was written last.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Replaces whatever is at `path` by a file that holds the marks of `previous` under the next generation, synced.
    /// Where there were none, `previous` is empty and of generation 0.
    ///
    /// # Errors
    /// The file system's. After a failed sync the data directory has failed.
    pub fn create(fs: Arc<dyn Fs>, path: &Path, previous: &SyncedMarks) -> io::Result<SyncedMarksFile> {
        let generation = previous.generation + 1;
        let slot_bytes = slot_bytes_for(previous.marks.len().max(64));
        fs.replace(path, &encode_file(slot_bytes, generation, &previous.marks))?;
        let file = fs.open(path, OpenMode::ReadWrite)?;
        Ok(SyncedMarksFile { fs, path: path.to_owned(), file, slot_bytes, generation })
    }

    /// Writes `marks` (rising by partition, all of them true by now) over the older slot, without a sync. If they no
    /// longer fit, the file is replaced by one with twice the room, which does sync.
    ///
    /// # Errors
    /// The file system's; `InvalidInput` beyond [`MARKS_MAX`] or for marks that do not rise. After a failed sync the
    /// data directory has failed; after a failed write the other slot still counts.
    pub fn write(&mut self, marks: &[SyncedMark]) -> io::Result<()> {
        let rising = marks.windows(2).all(|pair| match pair {
            [a, b] => a.partition < b.partition,
            _ => true,
        });
        if marks.len() > MARKS_MAX || !rising {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "marks that do not rise or are too many",
            ));
        }
        let generation = self.generation + 1;
        let slot = encode_slot(generation, marks);
        if slot.len() > self.slot_bytes {
            let slot_bytes = slot_bytes_for((marks.len() * 2).min(MARKS_MAX));
            self.fs.replace(&self.path, &encode_file(slot_bytes, generation, marks))?;
            self.file = self.fs.open(&self.path, OpenMode::ReadWrite)?;
            self.slot_bytes = slot_bytes;
        } else {
            let number = usize::from(generation % 2 == 1);
            let position = HEAD_BYTES + number * self.slot_bytes;
            self.file.write_all_at(&slot, position as u64)?;
        }
        self.generation = generation;
        Ok(())
    }

    /// Brings the last write to the medium: before a truncation below a mark, and at a clean stop. Doing so now and
    /// then between writes also keeps a power cut from tearing both slots at once.
    ///
    /// # Errors
    /// The file system's: the data directory has failed.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests;
