//! Changing what a log holds other than by appending: truncate the suffix, trim the prefix, reset.
//!
//! Every one of them leaves, at every moment, files that recovery reads as the log before or the log after (or, of a
//! truncation and a reset, something in between that ends on a batch). The synced mark is lowered before bytes that it
//! covers go, or recovery would call their absence damage.

use std::io;
use std::sync::Arc;

use millrace_env::{FsExt, OpenMode};
use millrace_types::{LeaderEpoch, Offset, OffsetRange};
use parking_lot::RwLock;

use crate::epochs::EpochCache;
use crate::flusher::Mark;
use crate::format::{epoch_file, log_start};
use crate::handles::FileSlot;
use crate::inner::LogInner;
use crate::names::{COMPACTED_TO, LEADER_EPOCHS, LOG_START, SegmentFile, TEMPORARY_SUFFIX, segment_file};
use crate::passing::is_storage_full;
use crate::producers::ProducerState;
use crate::recovery::{Listing, unlink_if_there, unlink_indexes, unlink_segment, unlink_suffix};
use crate::recovery::{
    ReplayRequest, StoredIndexes, TailRequest, TimeEntries, UnsyncedMax, read_tail, replay,
};
use crate::segment::{Body, Segment, Walk, WalkEnd, read_fully};
use crate::ticket::{Cell, Unsynced};
use crate::writer::{Snapshot, Writer, create_segment_file};
use crate::{AppendError, DirError};

/// Bytes that one step of a copy takes.
const COPY_BYTES: usize = 1024 * 1024;

impl LogInner {
    /// Drops the suffix from `end` on; a batch that reaches past it goes whole.
    pub(crate) fn truncate_to(self: &Arc<Self>, end: Offset) -> Result<(), DirError> {
        self.change(|writer| {
            if end >= writer.end {
                return Ok(Waited::default());
            }
            let start = self.view.read().log_start;
            if end < start {
                return Err(DirError::Conflict(format!(
                    "cannot truncate to {end}, the log starts at {start}"
                )));
            }
            self.while_no_sync(|| self.cut(writer, end)).map_err(|e| self.fail("truncating", e))
        })
    }

    /// Raises the log start and drops the segments below it.
    pub(crate) fn trim_to(self: &Arc<Self>, start: Offset) -> Result<(), DirError> {
        self.shared.failure.check()?;
        let _upkeep = self.upkeep.lock();
        self.check_not_closed()?;
        let (old, high_watermark) = {
            let view = self.view.read();
            (view.log_start, view.high_watermark)
        };
        if start > high_watermark {
            let text = format!("cannot trim to {start}, the high watermark is {high_watermark}");
            return Err(DirError::Conflict(text));
        }
        if start > old { self.trim(start) } else { Ok(()) }
    }

    /// Empties the log: start and end are `offset`.
    pub(crate) fn reset_to(self: &Arc<Self>, offset: Offset) -> Result<(), DirError> {
        self.change(|writer| {
            self.while_no_sync(|| self.reset(writer, offset)).map_err(|e| self.fail("resetting", e))
        })
    }

    /// Begins a leader epoch at the end of the log.
    pub(crate) fn begin_epoch(self: &Arc<Self>, epoch: LeaderEpoch) -> Result<(), DirError> {
        self.change(|writer| {
            if epoch <= writer.epoch {
                let text = format!("leader epoch {epoch} is not above {}", writer.epoch);
                return Err(DirError::Conflict(text));
            }
            let before = writer.epochs.clone();
            let _changed = writer.epochs.assign(epoch, writer.end);
            if let Err(e) = self.write_epochs(&writer.epochs) {
                writer.epochs = before;
                return Err(self.soft_error("beginning an epoch", e));
            }
            writer.epoch = epoch;
            self.set_leader_epoch(epoch);
            Ok(Waited::default())
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
        let reason = AppendError::StorageFailed("the batch was truncated".to_owned());
        let gone = waited.gone.iter().filter_map(|cell| cell.refuse(reason.clone()));
        let wakers: Vec<_> = gone.chain(waited.safe.iter().filter_map(|cell| cell.take_waker())).collect();
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

    /// Writes what `writer.epochs` says. The caller holds `upkeep`, so nobody else does.
    fn write_epochs(&self, epochs: &EpochCache) -> io::Result<()> {
        self.shared.env.fs.replace(&self.path.join(LEADER_EPOCHS), &epoch_file::encode(epochs))?;
        self.set_served_epochs(epochs);
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

    fn cut(&self, writer: &mut Writer, end: Offset) -> io::Result<Waited> {
        let fs = &*self.shared.env.fs;
        let segments = Arc::clone(&self.view.read().segments);
        let index = segments.partition_point(|segment| segment.base <= end).saturating_sub(1);
        let Some(segment) = segments.get(index) else { return Ok(Waited::default()) };
        let (position, end) = boundary(segment, end)?;
        let mark = Mark { offset: end, segment: segment.base, position };
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
        self.set_high_watermark(&mut view, writer.end);
    }

    /// Brings leader epochs and producer state back to what they were at the end of the log.
    fn rewind(&self, writer: &mut Writer) -> io::Result<()> {
        let fs = &*self.shared.env.fs;
        let _changed = writer.epochs.truncate_from_end(writer.end);
        let _changed = writer.epochs.assign(writer.epoch, writer.end);
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

    /// Raises the log start, with whole segments below it gone. The caller holds `upkeep` and nothing else: an append waits
    /// for none of the files that are written and unlinked here.
    pub(crate) fn trim(self: &Arc<Self>, start: Offset) -> Result<(), DirError> {
        let segments = Arc::clone(&self.view.read().segments);
        let kept_from = segments.partition_point(|segment| segment.base <= start).saturating_sub(1);
        let (below, kept) = segments.split_at(kept_from.min(segments.len()));
        let first_kept = kept.first().map_or(start, |segment| segment.base);
        // What the dropped segments say of producers must survive them, and a power cut: a snapshot of an end that is synced.
        let snapshot = (!below.is_empty()).then(|| {
            let writer = self.turn();
            Snapshot { offset: writer.end, state: writer.producers.clone() }
        });
        if snapshot.is_some() || start > self.view.read().synced_end {
            // A log does not start behind what a power cut leaves of it.
            self.sync_now();
            self.shared.failure.check()?;
        }
        #[cfg(feature = "teeth")]
        millrace_types::planted!(UnlinkBeforeLogStart => for gone in below { drop(unlink_segment(&*self.shared.env.fs, &self.path, gone.base)); });
        self.write_trim(start, snapshot.as_ref()).map_err(|e| self.soft_error("trimming", e))?;
        let end = {
            let mut view = self.view.write();
            view.log_start = start;
            // Others may have been rolled meanwhile.
            view.segments = Arc::new(
                view.segments.iter().filter(|segment| segment.base >= first_kept).cloned().collect(),
            );
            view.end
        };
        self.damage.keep_within(OffsetRange { start: first_kept, end });
        {
            let mut sync = self.sync.lock();
            sync.rolled.retain(|rolled| rolled.base >= first_kept);
            self.owe_for(sync.rolled.len());
        }
        below.iter().for_each(|segment| segment.lose());
        self.finish_trim(start, below).map_err(|e| self.soft_error("trimming", e))
    }

    fn write_trim(&self, start: Offset, snapshot: Option<&Snapshot>) -> io::Result<()> {
        if let Some(snapshot) = snapshot {
            self.write_snapshot(snapshot)?;
            self.drop_old_snapshots()?;
        }
        self.write_log_start(start)
    }

    /// Unlinks what was dropped, and writes the epochs that are left. A crash in between is no matter: the next start does it.
    fn finish_trim(self: &Arc<Self>, start: Offset, below: &[Arc<Segment>]) -> io::Result<()> {
        for gone in below {
            unlink_segment(&*self.shared.env.fs, &self.path, gone.base)?;
        }
        let epochs = {
            let mut writer = self.turn();
            let _changed = writer.epochs.trim_from_start(start);
            writer.epochs.clone()
        };
        match self.write_epochs(&epochs) {
            // The log is trimmed. Epochs of what is gone do no harm, and go with the next epoch that is written.
            Err(e) if is_storage_full(&e) => {
                tracing::debug!(path = %self.path.display(), error = %e, "the file of leader epochs was not trimmed");
                Ok(())
            }
            written => written,
        }
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
        let _changed = writer.epochs.assign(writer.epoch, offset);
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
        writer.end = offset;
        writer.position = 0;
        writer.allocated = 0;
        writer.first_append = None;
        writer.producers = ProducerState::new();
        writer.snapshots.clear();
        writer.bytes_since_snapshot = 0;
        self.publish(writer, vec![active]);
        self.view.write().log_start = offset;
        let mut sync = self.sync.lock();
        sync.rolled.clear();
        self.owe_for(0);
        Ok(Waited::split(sync.reset(writer.mark()), Offset::ZERO))
    }
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
