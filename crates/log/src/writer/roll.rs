//! Rolling: a new active segment, from a file that was made ahead.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use millrace_env::{File, Fs, OpenMode};
use millrace_record::Batch;
use millrace_types::Offset;
use parking_lot::RwLock;

use super::Writer;
use super::group::Group;
use crate::LogConfig;
use crate::dir::DirShared;
use crate::format::offset_index::relative_offset;
use crate::handles::{FileSlot, PinnedFile};
use crate::inner::LogInner;
use crate::names::{SPARE, SegmentFile, segment_file};
use crate::producers::ProducerState;
use crate::room::{Claim, Room};
use crate::segment::{Body, Offsets, Segment, Stage};

/// Room that is reserved for a new file. Small, because there may be ten thousand of them.
pub(crate) const ALLOCATION_FIRST_BYTES: u64 = 64 * 1024;
/// The most that is reserved ahead in one step.
const ALLOCATION_STEP_BYTES: u64 = 64 * 1024 * 1024;
/// The size at which an offset index is full (Kafka's `segment.index.bytes`).
const INDEX_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Snapshots of producers that may wait for the janitor.
const SNAPSHOTS_MAX: usize = 4;

/// A file that the next roll renames.
#[derive(Debug)]
pub(crate) struct Spare {
    allocated: u64,
}

/// The producer state before the record at `offset`, for the janitor to write.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) offset: Offset,
    pub(crate) state: ProducerState,
}

impl Spare {
    /// Makes the file, and closes it: there may be one for every partition. Its name is synced with the roll's.
    pub(crate) fn make(fs: &dyn Fs, dir: &Path, room: &Room) -> io::Result<Spare> {
        let file = fs.open(&dir.join(SPARE), OpenMode::CreateOrTruncate)?;
        let allocated = allocate(&*file, 0..ALLOCATION_FIRST_BYTES, room);
        Ok(Spare { allocated })
    }
}

/// Reserves room; answers up to where it is reserved now. Failing is no failure: a full disk shows at the write, and one
/// that is nearly full is left to those who write.
fn allocate(file: &dyn File, range: Range<u64>, room: &Room) -> u64 {
    if !room.take(Claim::Ahead, range.end.saturating_sub(range.start)) {
        return range.start;
    }
    match file.allocate_keep_size(range.clone()) {
        Ok(()) => range.end,
        Err(e) if e.kind() == io::ErrorKind::Unsupported => u64::MAX,
        Err(_) => range.start,
    }
}

/// Whether `batch` must start a new segment.
pub(super) fn is_due(writer: &Writer, group: &Group, config: &LogConfig, batch: &Batch) -> bool {
    if group.position() == 0 {
        return false;
    }
    let too_large = group.position() + batch.size() as u64 > config.segment_bytes;
    let last = group.end().saturating_add(batch.offset_count()).saturating_sub(1);
    let too_far = relative_offset(writer.active.base, last).is_none();
    too_large || too_far || is_too_old(writer, config, group.now.0) || index_is_full(writer)
}

/// Whether the active segment has lived its time, counted from its first append.
pub(crate) fn is_too_old(writer: &Writer, config: &LogConfig, now_ms: i64) -> bool {
    // A record in the active segment is not compacted, so it must not lie there for longer than it may be dirty.
    let lag_max = config.compacts().map_or(u64::MAX, |compaction| compaction.lag_ms_max);
    let limit = i64::try_from(config.segment_ms.min(lag_max)).unwrap_or(i64::MAX);
    writer.first_append.is_some_and(|first| now_ms.saturating_sub(first.0) >= limit)
}

fn index_is_full(writer: &Writer) -> bool {
    match &writer.active.body.read().stage {
        Stage::Live(indexes) => indexes.offsets.len() >= INDEX_BYTES_MAX,
        Stage::Sealed(_) => true,
    }
}

/// Makes an empty segment under its own name. Its directory entry is not synced yet.
pub(crate) fn create_segment_file(
    shared: &DirShared,
    dir: &Arc<Path>,
    base: Offset,
) -> io::Result<Arc<Segment>> {
    let path = dir.join(segment_file(base, SegmentFile::Log));
    let file = shared.env.fs.open(&path, OpenMode::CreateNew)?;
    Ok(Arc::new(new_segment(dir, base, FileSlot::opened(&shared.handles, &file))))
}

fn new_segment(dir: &Arc<Path>, base: Offset, slot: FileSlot) -> Segment {
    let body = RwLock::new(Body::empty(base));
    let offsets = Offsets::Dense;
    Segment { base, dir: Arc::clone(dir), slot: Arc::new(slot), inherited_bytes: 0, offsets, body }
}

impl LogInner {
    /// Makes the end the base of a new active segment. Its name is synced with the first sync in it.
    pub(crate) fn roll(&self, writer: &mut Writer) -> io::Result<()> {
        self.trim_ragged(writer)?;
        let fs = &self.shared.env.fs;
        let spare = match writer.spare.take() {
            Some(spare) => spare,
            None => Spare::make(&**fs, &self.path, &self.shared.room)?,
        };
        let base = writer.end;
        fs.rename(&self.path.join(SPARE), &self.path.join(segment_file(base, SegmentFile::Log)))?;
        let active = Arc::new(new_segment(&self.path, base, FileSlot::closed(&self.shared.handles)));
        let old = std::mem::replace(&mut writer.active, Arc::clone(&active));
        writer.position = 0;
        writer.allocated = spare.allocated;
        writer.first_append = None;
        writer.bytes_since_snapshot = 0;
        if writer.snapshots.len() >= SNAPSHOTS_MAX {
            // A snapshot that is missing costs a longer replay, nothing else.
            writer.snapshots.remove(0);
        }
        writer.snapshots.push(Snapshot { offset: base, state: writer.producers.clone() });
        {
            let mut view = self.view.write();
            let mut segments = Vec::clone(&view.segments);
            segments.push(active);
            view.segments = Arc::new(segments);
        }
        let mut sync = self.sync.lock();
        sync.rolled(&old, writer.mark());
        self.owe_for(sync.rolled.len());
        Ok(())
    }

    /// Reserves room on the disk up to `position`, in steps that double.
    pub(super) fn reserve(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        (file, position): (&PinnedFile, u64),
    ) {
        if position <= writer.allocated {
            return;
        }
        let step = writer.allocated.clamp(ALLOCATION_FIRST_BYTES, ALLOCATION_STEP_BYTES);
        let target = (writer.allocated + step).min(config.segment_bytes).max(position);
        writer.allocated = allocate(&**file, writer.allocated..target, &self.shared.room).max(position);
    }
}
