//! Changing what a log holds other than by appending: truncate the suffix, trim the prefix, reset.
//!
//! Every one of them leaves, at every moment, files that recovery reads as the log before or the log after (or, of a
//! truncation and a reset, something in between that ends on a batch). The synced mark is lowered before bytes that it
//! covers go, or recovery would call their absence damage.

mod leading;
mod trim;

use std::io;
use std::sync::Arc;

use millrace_env::{FsExt, OpenMode};
use millrace_types::{Offset, OffsetRange};
use parking_lot::RwLock;

use crate::flusher::Mark;
use crate::format::log_start;
use crate::handles::FileSlot;
use crate::inner::LogInner;
use crate::names::{COMPACTED_TO, LOG_START, SegmentFile, TEMPORARY_SUFFIX, segment_file};
use crate::producers::ProducerState;
use crate::recovery::{Listing, unlink_if_there, unlink_indexes, unlink_suffix};
use crate::recovery::{
    ReplayRequest, StoredIndexes, TailRequest, TimeEntries, UnsyncedMax, read_tail, replay,
};
use crate::segment::{Body, Segment, Walk, WalkEnd, read_fully};
use crate::ticket::{Cell, Unsynced};
use crate::writer::{Role, Writer, create_segment_file};
use crate::{AppendError, DirError, Replication};

/// Bytes that one step of a copy takes.
const COPY_BYTES: usize = 1024 * 1024;

impl LogInner {
    /// Drops the suffix from `end` on; a batch that reaches past it goes whole.
    pub(crate) fn truncate_to(self: &Arc<Self>, end: Offset, loss: Loss) -> Result<(), DirError> {
        self.change(|writer| {
            if end >= writer.end {
                return Ok(Waited::default());
            }
            let replication = self.replication();
            if replication == Replication::Replicated && writer.role == Role::Leading {
                return Err(DirError::Conflict(format!("cannot truncate to {end}, this replica leads")));
            }
            let start = self.view.read().log_start;
            if end < start {
                return Err(DirError::Conflict(format!(
                    "cannot truncate to {end}, the log starts at {start}"
                )));
            }
            let cut = || -> io::Result<Result<Waited, DirError>> {
                let place = self.boundary(end)?;
                if replication == Replication::Replicated
                    && loss == Loss::Unacknowledged
                    && let Err(high_watermark) = self.let_go_from(place.mark.offset)
                {
                    let text = format!("cannot truncate to {end}, the high watermark is {high_watermark}");
                    return Ok(Err(DirError::Conflict(text)));
                }
                self.cut(writer, place).map(Ok)
            };
            self.while_no_sync(cut).map_err(|e| self.fail("truncating", e))?
        })
    }

    /// Holds nothing from `end` on any more, before it goes: then the high watermark is not raised above it either. Answers
    /// the high watermark if it is there already.
    fn let_go_from(&self, end: Offset) -> Result<(), Offset> {
        let mut view = self.view.write();
        if view.high_watermark > end {
            return Err(view.high_watermark);
        }
        let held = view.held.min(end);
        self.set_held(&mut view, held);
        Ok(())
    }

    /// Empties the log: start and end are `offset`.
    pub(crate) fn reset_to(self: &Arc<Self>, offset: Offset) -> Result<(), DirError> {
        self.change(|writer| {
            self.while_no_sync(|| self.reset(writer, offset)).map_err(|e| self.fail("resetting", e))
        })
    }

    /// Runs `change` as the only writer, then tells those whose batches are gone, and goes on with the queue.
    fn change(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Writer) -> Result<Waited, DirError>,
    ) -> Result<(), DirError> {
        self.shared.failure.check()?;
        let _upkeep = self.upkeep.lock();
        self.check_not_closed()?;
        let mut waited = Waited::default();
        let outcome = change(&mut self.turn()).map(|found| waited = found);
        let gone = waited.gone.iter().filter_map(|cell| cell.refuse(AppendError::Truncated));
        let wakers: Vec<_> = gone.chain(waited.safe.iter().filter_map(|cell| cell.settle())).collect();
        wakers.into_iter().for_each(std::task::Waker::wake);
        self.combine();
        outcome
    }

    fn check_not_closed(&self) -> Result<(), DirError> {
        if self.is_closed() {
            return Err(DirError::Conflict(format!("the log of partition {} is closed", self.meta.id)));
        }
        Ok(())
    }

    fn write_log_start(&self, start: Offset) -> io::Result<()> {
        self.shared.env.fs.replace(&self.path.join(LOG_START), &log_start::encode(start))
    }

    /// Makes the synced mark no higher than `mark`, in memory first: the janitor writes what it finds there.
    fn lower_mark(&self, mark: Mark) -> io::Result<()> {
        {
            let mut sync = self.sync.lock();
            if sync.synced.offset > mark.offset {
                sync.synced = mark;
            }
        }
        self.shared.marks.lower(&self.shared, self.meta.id, mark).map_err(|e| io::Error::other(e.to_string()))
    }

    /// Where the log is cut that must end at `end` or before.
    fn boundary(&self, end: Offset) -> io::Result<Place> {
        let segments = Arc::clone(&self.view.read().segments);
        let index = segments.partition_point(|segment| segment.base <= end).saturating_sub(1);
        let Some(segment) = segments.get(index) else {
            return Err(io::Error::other("a log without a segment"));
        };
        let (position, offset) = boundary(segment, end)?;
        let mark = Mark { offset, segment: segment.base, position };
        Ok(Place { mark, segments, index })
    }

    fn cut(&self, writer: &mut Writer, place: Place) -> io::Result<Waited> {
        let fs = &*self.shared.env.fs;
        let Place { mark, segments, index } = place;
        let Mark { offset: end, position, .. } = mark;
        let Some(segment) = segments.get(index) else { return Ok(Waited::default()) };
        let high_watermark = self.high_watermark();
        self.lower_mark(mark)?;
        for file in self.sync.lock().take_dirty() {
            file.sync_data()?;
        }
        let later = segments.get(index + 1..).unwrap_or_default();
        later.iter().for_each(|segment| segment.lose());
        unlink_suffix(fs, &self.path, &bases_of(later))?;
        // Entries of what is cut must not be found again once other batches lie there.
        let indexes = self.copy_indexes(segment)?;
        unlink_indexes(fs, &self.path, segment.base)?;
        fs.sync_dir(&self.path)?;
        let in_place = later.is_empty() && end >= high_watermark;
        let slot = if in_place { shorten(segment, position)? } else { self.copy_prefix(segment, position)? };
        let kept = self.cut_segment(segment, slot, position, indexes)?;
        let kept = Arc::new(kept);
        writer.end = kept.end();
        writer.position = position;
        writer.allocated = position;
        writer.active = Arc::clone(&kept);
        let mut list: Vec<Arc<Segment>> = segments.get(..index).unwrap_or_default().to_vec();
        list.push(kept);
        if self.view.read().log_start > writer.end {
            // The log start lay inside of the batch that went.
            self.write_log_start(writer.end)?;
        }
        self.publish(writer, list);
        self.rewind(writer)?;
        let mut sync = self.sync.lock();
        sync.rolled.retain(|rolled| rolled.base < mark.segment);
        self.owe_for(sync.rolled.len());
        Ok(Waited::split(sync.reset(writer.mark()), writer.end))
    }

    /// Puts a copy of the first bytes in the place of a segment. Whoever has the old file open keeps it.
    fn copy_prefix(&self, segment: &Segment, position: u64) -> io::Result<Arc<FileSlot>> {
        let fs = &*self.shared.env.fs;
        let old = segment.file()?;
        unlink_if_there(fs, &segment.path(SegmentFile::Seal))?;
        fs.sync_dir(&self.path)?;
        let name = segment_file(segment.base, SegmentFile::Log);
        let temporary = self.path.join(format!("{name}{TEMPORARY_SUFFIX}"));
        let copy = fs.open(&temporary, OpenMode::CreateOrTruncate)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = 0;
        while at < position {
            let wanted = usize::try_from(position - at).unwrap_or(usize::MAX).min(COPY_BYTES);
            let Some(chunk) = buffer.get_mut(..wanted) else { break };
            if read_fully(&*old, chunk, at)? < wanted {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            copy.write_all_at(chunk, at)?;
            at += wanted as u64;
        }
        copy.sync_data()?;
        segment.lose();
        fs.rename(&temporary, &self.path.join(name))?;
        fs.sync_dir(&self.path)?;
        Ok(Arc::new(FileSlot::opened(&self.shared.handles, &copy)))
    }

    /// The indexes of a segment as they are now, complete.
    fn copy_indexes(&self, segment: &Segment) -> io::Result<StoredIndexes> {
        let fs = &*self.shared.env.fs;
        let offsets =
            segment.with_offset_index(fs, |index| index.iter().flat_map(|entry| entry.encode()).collect())?;
        let times =
            segment.with_time_index(fs, |index| index.iter().flat_map(|entry| entry.encode()).collect())?;
        Ok(StoredIndexes { offsets, times, time_entries: TimeEntries::Complete })
    }

    /// A segment that ends at `position`, with the indexes that belong to it.
    fn cut_segment(
        &self,
        old: &Segment,
        slot: Arc<FileSlot>,
        position: u64,
        indexes: StoredIndexes,
    ) -> io::Result<Segment> {
        let file = slot.file(|| old.path(SegmentFile::Log))?;
        let request = TailRequest {
            file: &*file,
            base: old.base,
            size: position,
            synced_position: position,
            synced_offset: old.base,
            indexes,
            interval: self.config().index_interval_bytes,
            epochs: None,
            unsynced_max: UnsyncedMax::Bounded,
            offsets: old.offsets,
        };
        let mut body = read_tail(request)?.body;
        body.appended_last = old.body.read().appended_last;
        if let Some(indexes) = body.live() {
            indexes.nothing_is_written();
        }
        Ok(Segment {
            base: old.base,
            dir: Arc::clone(&old.dir),
            inherited_bytes: old.inherited_bytes.min(position),
            offsets: old.offsets,
            slot,
            body: RwLock::new(body),
        })
    }

    /// Shows readers the log as it is now; all of it is synced.
    fn publish(&self, writer: &Writer, segments: Vec<Arc<Segment>>) {
        self.tail.clear();
        self.damage.keep_within(extent_of(&segments, writer.end));
        let mut view = self.view.write();
        view.segments = Arc::new(segments);
        view.end = writer.end;
        view.log_start = view.log_start.min(writer.end);
        view.synced_end = writer.end;
        self.set_held(&mut view, writer.end);
        let high_watermark = match self.replication() {
            Replication::Alone => writer.end,
            Replication::Replicated => view.high_watermark.min(writer.end),
        };
        self.set_high_watermark(&mut view, high_watermark);
    }

    /// Brings leader epochs and producer state back to what they were at the end of the log.
    fn rewind(&self, writer: &mut Writer) -> io::Result<()> {
        let fs = &*self.shared.env.fs;
        let _changed = writer.epochs.truncate_from_end(writer.end);
        self.assign_own_epoch(writer);
        self.write_epochs(&writer.epochs)?;
        let end = writer.end;
        writer.snapshots.retain(|snapshot| snapshot.offset <= end);
        let mut listing = Listing::read(fs, &self.path)?;
        listing.drop_snapshots_above(fs, &self.path, end)?;
        let (segments, log_start) = {
            let view = self.view.read();
            (Arc::clone(&view.segments), view.log_start)
        };
        let replayed = replay(&ReplayRequest {
            fs,
            dir: &self.path,
            segments: &segments,
            snapshots: &listing.snapshots,
            log_start,
            end,
            now: self.shared.env.clock.wall(),
        })?;
        writer.producers = replayed.state;
        Ok(())
    }

    fn reset(&self, writer: &mut Writer, offset: Offset) -> io::Result<Waited> {
        let fs = &*self.shared.env.fs;
        let segments = Arc::clone(&self.view.read().segments);
        let first = segments.first().map_or(offset, |segment| segment.base).min(offset);
        self.lower_mark(Mark { offset: first, segment: first, position: 0 })?;
        // Closed once they are unlinked: nobody will ask what became of their bytes.
        let _unsynced = self.sync.lock().take_dirty();
        segments.iter().for_each(|segment| segment.lose());
        let bases = bases_of(&segments);
        let (lowest, later) = bases.split_at(bases.len().min(1));
        unlink_suffix(fs, &self.path, later)?;
        unlink_suffix(fs, &self.path, lowest)?;
        unlink_if_there(fs, &self.path.join(COMPACTED_TO))?;
        for base in Listing::read(fs, &self.path)?.snapshots {
            unlink_if_there(fs, &self.path.join(segment_file(base, SegmentFile::Producers)))?;
        }
        fs.sync_dir(&self.path)?;
        writer.epochs.clear();
        writer.end = offset;
        self.assign_own_epoch(writer);
        // Epochs that begin behind the log start say that `log.start` is lost: they never may, between the two either.
        let is_lower = offset < self.view.read().log_start;
        if is_lower {
            self.write_epochs(&writer.epochs)?;
        }
        self.write_log_start(offset)?;
        let active = create_segment_file(&self.shared, &self.path, offset)?;
        if is_lower {
            fs.sync_dir(&self.path)?;
        } else {
            // This syncs the name of the segment, too.
            self.write_epochs(&writer.epochs)?;
        }
        writer.active = Arc::clone(&active);
        writer.position = 0;
        writer.allocated = 0;
        writer.first_append = None;
        writer.producers = match self.replication() {
            // Its leader has trimmed what comes before, and knows producers of whom nothing is left.
            Replication::Replicated if offset > Offset::ZERO => {
                ProducerState::lost(self.shared.env.clock.wall())
            }
            Replication::Alone | Replication::Replicated => ProducerState::new(),
        };
        writer.snapshots.clear();
        writer.bytes_since_snapshot = 0;
        self.publish(writer, vec![active]);
        {
            let mut view = self.view.write();
            view.log_start = offset;
            // All that there was is committed, or gone.
            self.set_high_watermark(&mut view, offset);
        }
        let mut sync = self.sync.lock();
        sync.rolled.clear();
        self.owe_for(0);
        Ok(Waited::split(sync.reset(writer.mark()), Offset::ZERO))
    }
}

/// What a truncation may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// What is not committed: on a replicated log nothing below the high watermark.
    Unacknowledged,
    /// Whatever there is.
    Anything,
}

/// Where a log is cut.
#[derive(Debug)]
struct Place {
    mark: Mark,
    segments: Arc<Vec<Arc<Segment>>>,
    /// Of the segment that will be the last.
    index: usize,
}

/// The offsets that these segments hold.
fn extent_of(segments: &[Arc<Segment>], end: Offset) -> OffsetRange {
    OffsetRange { start: segments.first().map_or(end, |segment| segment.base), end }
}

fn bases_of(segments: &[Arc<Segment>]) -> Vec<Offset> {
    segments.iter().map(|segment| segment.base).collect()
}

/// Who waited for a sync while the log was changed.
#[derive(Debug, Default)]
struct Waited {
    /// Their batches are gone.
    gone: Vec<Arc<Cell>>,
    /// Their batches are synced by now.
    safe: Vec<Arc<Cell>>,
}

impl Waited {
    /// Tells those whose batches ended before `end` from the others.
    fn split(waiting: Vec<Unsynced>, end: Offset) -> Waited {
        let (safe, gone): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|waiting| waiting.last < end);
        let cells = |waiting: Vec<Unsynced>| waiting.into_iter().map(|waiting| waiting.cell).collect();
        Waited { gone: cells(gone), safe: cells(safe) }
    }
}

/// Cuts bytes that no reader was ever given.
fn shorten(segment: &Segment, position: u64) -> io::Result<Arc<FileSlot>> {
    let file = segment.pin()?;
    file.set_len(position)?;
    file.sync_data()?;
    Ok(Arc::clone(&segment.slot))
}

/// Where the batch that holds `end` begins, and with which offset: the place to cut.
fn boundary(segment: &Segment, end: Offset) -> io::Result<(u64, Offset)> {
    let (size, segment_end) = {
        let body = segment.body.read();
        let Body { size, end, .. } = &*body;
        (*size, *end)
    };
    if end >= segment_end {
        return Ok((size, segment_end));
    }
    let file = segment.file()?;
    let mut walk = Walk::new(&*file, 0, segment.base, size).offsets(segment.offsets);
    loop {
        let (position, expected) = (walk.position(), walk.expected());
        match walk.step()? {
            Ok((spot, _)) if spot.last >= end => return Ok((position, expected)),
            Ok(_) => {}
            Err(WalkEnd::End | WalkEnd::Bad) => return Ok((position, expected)),
        }
    }
}
