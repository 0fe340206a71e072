//! One segment: a `.log` file, its two indexes, and once it is full, its seal.
//!
//! ```text
//!   active ──roll──► rolled ──(synced, indexes and seal written)──► sealed
//!   indexes in memory; files follow later         │     indexes mapped; blocks checked at their first read
//! ```
//! The file and the maps are opened when they are needed and closed when others need the room (see `handles`). Whoever
//! unlinks or replaces the file *loses* the segment first: readers that come later plan anew.

mod indexes;
mod medium;
mod sealed;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_env::File;
use millrace_record::BatchHeader;
use millrace_types::{Offset, TimestampMs};
use parking_lot::RwLock;

use crate::handles::{FileSlot, HandleCache, PinnedFile};
use crate::names::{SegmentFile, segment_file};

pub(crate) use indexes::LiveIndexes;
pub(crate) use sealed::SealedPart;
pub(crate) use walk::{Offsets, Pages, Walk, WalkEnd, read_fully};

/// Where a batch lies, and what its header says that the indexes need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BatchSpot {
    pub(crate) position: u64,
    pub(crate) size: u64,
    pub(crate) base: Offset,
    pub(crate) last: Offset,
    pub(crate) max_timestamp: TimestampMs,
}

impl BatchSpot {
    /// The batch whose header was read at `position`; `None` if its numbers are no offsets.
    pub(crate) fn of(header: &BatchHeader, position: u64) -> Option<BatchSpot> {
        let last = Offset::new(header.last_offset()?).filter(|last| *last < Offset::MAX)?;
        Some(BatchSpot {
            position,
            size: header.size() as u64,
            base: Offset::new(header.base_offset)?,
            last,
            max_timestamp: TimestampMs(header.max_timestamp),
        })
    }

    pub(crate) fn end_position(&self) -> u64 {
        self.position + self.size
    }
}

/// The largest timestamp of a segment and the last offset of the batch that holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Largest {
    pub(crate) timestamp: TimestampMs,
    pub(crate) last: Offset,
}

/// What changes as a segment grows.
#[derive(Debug)]
pub(crate) struct Body {
    /// Bytes of whole batches in the `.log`.
    pub(crate) size: u64,
    /// The offset behind the last batch.
    pub(crate) end: Offset,
    pub(crate) largest: Option<Largest>,
    /// Wall time of the last append; for an older segment, of the last one that is known.
    pub(crate) appended_last: TimestampMs,
    pub(crate) stage: Stage,
}

/// How the indexes of a segment are kept.
#[derive(Debug)]
pub(crate) enum Stage {
    /// In memory, while the segment grows or waits for its seal.
    Live(LiveIndexes),
    /// In their files, under a seal.
    Sealed(Arc<SealedPart>),
}

impl Body {
    /// A segment without a batch.
    pub(crate) fn empty(base: Offset) -> Body {
        Body {
            size: 0,
            end: base,
            largest: None,
            appended_last: TimestampMs::NONE,
            stage: Stage::Live(LiveIndexes::default()),
        }
    }

    /// Takes note of the batch that now lies at the end.
    pub(crate) fn append(&mut self, base: Offset, spot: &BatchSpot, interval: u64) {
        self.size = spot.end_position();
        self.end = spot.last.next();
        if spot.max_timestamp.is_some()
            && self.largest.is_none_or(|largest| largest.timestamp < spot.max_timestamp)
        {
            self.largest = Some(Largest { timestamp: spot.max_timestamp, last: spot.last });
        }
        if let Stage::Live(indexes) = &mut self.stage {
            indexes.note(base, spot, interval, self.largest);
        }
    }

    /// The indexes in memory, unless the segment is sealed.
    pub(crate) fn live(&mut self) -> Option<&mut LiveIndexes> {
        match &mut self.stage {
            Stage::Live(indexes) => Some(indexes),
            Stage::Sealed(_) => None,
        }
    }
}

/// A segment of a log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: Offset,
    /// The directory of the partition.
    pub(crate) dir: Arc<Path>,
    pub(crate) slot: Arc<FileSlot>,
    /// Bytes that an earlier process wrote: they are checked before they are served.
    pub(crate) inherited_bytes: u64,
    /// Whether compaction has left holes between its batches.
    pub(crate) offsets: Offsets,
    pub(crate) body: RwLock<Body>,
}

impl Segment {
    /// The path of one of its files.
    pub(crate) fn path(&self, file: SegmentFile) -> PathBuf {
        self.dir.join(segment_file(self.base, file))
    }

    /// The `.log`, opened if need be.
    pub(crate) fn file(&self) -> io::Result<Arc<dyn File>> {
        self.slot.file(|| self.path(SegmentFile::Log))
    }

    /// The `.log`, for a read of these pages: `WouldBlock` if it is closed and opening it might block.
    pub(crate) fn file_for(&self, pages: Pages) -> io::Result<Arc<dyn File>> {
        match pages {
            Pages::Any | Pages::Medium => self.file(),
            Pages::Resident => self.slot.file_if_open().ok_or_else(|| io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The `.log`, to be written: it stays open until a sync of it has returned and the answer is dropped.
    pub(crate) fn pin(&self) -> io::Result<PinnedFile> {
        self.slot.pin(|| self.path(SegmentFile::Log))
    }

    /// Lets go of the files, for ever: they are about to be unlinked or replaced.
    pub(crate) fn lose(&self) {
        self.slot.lose();
        if let Some(sealed) = self.sealed() {
            sealed.lose();
        }
    }

    /// Whether the files were unlinked or replaced.
    pub(crate) fn is_lost(&self) -> bool {
        self.slot.is_lost()
    }

    /// Where its handles are kept.
    pub(crate) fn handles(&self) -> &Arc<HandleCache> {
        self.slot.cache()
    }

    pub(crate) fn end(&self) -> Offset {
        self.body.read().end
    }

    pub(crate) fn size(&self) -> u64 {
        self.body.read().size
    }

    /// The seal and what hangs on it, once the segment has one.
    pub(crate) fn sealed(&self) -> Option<Arc<SealedPart>> {
        match &self.body.read().stage {
            Stage::Sealed(sealed) => Some(Arc::clone(sealed)),
            Stage::Live(_) => None,
        }
    }
}
