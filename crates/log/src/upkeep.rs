//! What the janitor does for one log, and what closing it for good does: indexes, seals, snapshots, spares.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millrace_env::{File, Fs, FsExt, OpenMode};
use millrace_record::{Batch, BatchHeader, HEADER_BYTES};
use millrace_types::limits::UNSYNCED_BYTES_MAX;
use millrace_types::{LeaderEpoch, Offset, SyncMode, TimestampMs};

use crate::cleaning::RetentionPolicy;
use crate::epochs::EpochCache;
use crate::format::run_mark::CleanLog;
use crate::format::seal::{BlockSums, CompactedPart, Seal, SealedFile, SealedRecords};
use crate::format::{epoch_file, producer_snapshot};
use crate::handles::is_gone;
use crate::inner::LogInner;
use crate::names::{PartitionEntry, SYNC_OS, SegmentFile, partition_entry, segment_file};
use crate::recovery::unlink_if_there;
use crate::room::StorageLevel;
use crate::segment::{BatchSpot, Offsets, SealedPart, Segment, Stage, read_fully};
use crate::writer::{Snapshot, Spare, is_too_old};
use crate::{DirError, LogConfig};

/// Log bytes after which a snapshot of the producers is taken between rolls: a start replays the headers behind it, and
/// that must not be more than what may be unsynced.
const SNAPSHOT_EVERY_BYTES: u64 = UNSYNCED_BYTES_MAX;
/// Snapshots that are kept: the newest, and one to fall back on.
const SNAPSHOTS_KEPT: usize = 2;
/// Bytes of the log that one read takes while it is summed for a seal.
const CHUNK_BYTES: usize = 1024 * 1024;

impl LogInner {
    /// One round of the janitor.
    pub(crate) fn upkeep(self: &Arc<Self>) -> Result<(), DirError> {
        let _upkeep = self.upkeep.lock();
        if self.is_closed() {
            return Ok(());
        }
        self.combine();
        if self.sync_mode() == SyncMode::Always || !self.sync.lock().rolled.is_empty() {
            // What nobody waits for any more; or what a seal waits for.
            self.sync_now();
        }
        self.shared.failure.check()?;
        self.roll_if_old();
        self.tend_files()
    }

    /// Seals, snapshots, indexes and the spare. The log may be deleted under its hands, by somebody who does not wait.
    fn tend_files(self: &Arc<Self>) -> Result<(), DirError> {
        let work = || -> io::Result<()> {
            self.seal_rolled()?;
            self.write_snapshots()?;
            let active = Arc::clone(&self.turn().active);
            write_indexes(&*self.shared.env.fs, &active)?;
            self.make_spare(&active)
        };
        match work() {
            // The directory was renamed away. It is closed before that, so a file that is missing now is no failure.
            Err(e) if self.is_closed() && (e.kind() == io::ErrorKind::NotFound || is_gone(&e)) => Ok(()),
            outcome => outcome.map_err(|e| self.soft_error("upkeep", e)),
        }
    }

    /// A full disk passes, and so does a process without open files; anything else that a file of the log answers does
    /// not.
    pub(crate) fn soft_error(&self, context: &str, error: io::Error) -> DirError {
        self.shared.soft_error(&format!("{context} of {}", self.path.display()), error)
    }

    fn roll_if_old(self: &Arc<Self>) {
        let config = self.config();
        let now = self.shared.env.clock.wall();
        let retention = RetentionPolicy::of(&config);
        {
            let mut writer = self.turn();
            // The active segment is never deleted, so one that nobody appends to any more is rolled for retention's sake.
            let appended = writer.active.body.read().appended_last;
            let quiet_ms = u64::try_from(now.0.saturating_sub(appended.0)).unwrap_or(0);
            let is_due = is_too_old(&writer, &config, now.0) || retention.ms.is_some_and(|ms| quiet_ms > ms);
            // Whoever deletes the log closes it, and takes the writer once more before the directory goes.
            if self.is_closed() || writer.position == 0 || !is_due {
                return;
            }
            if let Err(e) = self.roll(&mut writer) {
                let _refusal = self.write_error("roll", &e);
            }
        }
        self.combine();
        self.sync_now();
    }

    /// Seals what was rolled and is synced.
    fn seal_rolled(&self) -> io::Result<()> {
        loop {
            let next = {
                let sync = self.sync.lock();
                let synced = sync.synced;
                sync.rolled.first().filter(|segment| segment.base < synced.segment).map(Arc::clone)
            };
            let Some(segment) = next else { return Ok(()) };
            seal(&*self.shared.env.fs, &segment, &self.served_epochs())?;
            let mut sync = self.sync.lock();
            sync.rolled.retain(|rolled| !Arc::ptr_eq(rolled, &segment));
            self.owe_for(sync.rolled.len());
        }
    }

    /// Writes the producer states of rolls, and one between rolls when much was appended since.
    fn write_snapshots(self: &Arc<Self>) -> io::Result<()> {
        let taken = {
            let mut writer = self.turn();
            let mut taken = std::mem::take(&mut writer.snapshots);
            if writer.bytes_since_snapshot >= SNAPSHOT_EVERY_BYTES {
                taken.push(Snapshot { offset: writer.end, state: writer.producers.clone() });
                writer.bytes_since_snapshot = 0;
            }
            taken
        };
        if taken.is_empty() {
            return Ok(());
        }
        if taken.iter().any(|snapshot| snapshot.offset > self.view.read().synced_end) {
            // A snapshot of an end that a power cut takes is of no use, and older ones go for it.
            self.sync_now();
        }
        for snapshot in taken {
            self.write_snapshot(&snapshot)?;
        }
        self.drop_old_snapshots()
    }

    pub(crate) fn write_snapshot(&self, snapshot: &Snapshot) -> io::Result<()> {
        let path = self.path.join(segment_file(snapshot.offset, SegmentFile::Producers));
        self.shared.env.fs.replace(&path, &producer_snapshot::encode(&snapshot.state, snapshot.offset))
    }

    pub(crate) fn drop_old_snapshots(&self) -> io::Result<()> {
        let fs = &self.shared.env.fs;
        let mut bases: Vec<Offset> = fs
            .read_dir(&self.path)?
            .iter()
            .filter_map(|entry| match partition_entry(&entry.name) {
                PartitionEntry::Segment { base, file: SegmentFile::Producers } => Some(base),
                _ => None,
            })
            .collect();
        bases.truncate(bases.len().saturating_sub(SNAPSHOTS_KEPT));
        for base in bases {
            unlink_if_there(&**fs, &self.path.join(segment_file(base, SegmentFile::Producers)))?;
        }
        Ok(())
    }

    /// Makes the file of the next roll once the active one is half full.
    fn make_spare(self: &Arc<Self>, active: &Segment) -> io::Result<()> {
        if active.size() < self.config().segment_bytes / 2 || self.turn().spare.is_some() {
            return Ok(());
        }
        if self.shared.room.seen().level >= StorageLevel::Scarce {
            return Ok(());
        }
        // The file is made under the writer's lock: a roll that finds none makes one under the same name.
        let mut writer = self.turn();
        if writer.spare.is_none() {
            writer.spare = Some(Spare::make(&*self.shared.env.fs, &self.path, &self.shared.room)?);
        }
        Ok(())
    }

    /// Follows a changed configuration.
    pub(crate) fn configure(self: &Arc<Self>, config: LogConfig) -> Result<(), DirError> {
        self.shared.failure.check()?;
        let _upkeep = self.upkeep.lock();
        if self.is_closed() {
            return Err(DirError::Conflict(format!("the log of partition {} is closed", self.meta.id)));
        }
        let fs = &*self.shared.env.fs;
        let mode = config.sync_mode;
        if mode == SyncMode::Os {
            mark_os(fs, &self.path).map_err(|e| self.soft_error("marking", e))?;
            self.set_os_marked(true);
        }
        *self.config.write() = Arc::new(config);
        {
            // Whoever was writing by the old configuration is done when this is.
            let _writer = self.turn();
            let now = self.shared.env.clock.monotonic();
            let (held, safe) = {
                let mut sync = self.sync.lock();
                let safe = sync.advance(self.sync_mode(), now);
                (sync.held(), safe)
            };
            self.publish_held(held);
            let wakers = safe.iter().filter_map(|waiting| waiting.cell.settle());
            let wakers: Vec<_> = wakers.chain(self.take_passed()).collect();
            wakers.into_iter().for_each(std::task::Waker::wake);
        }
        if mode == SyncMode::Always || (mode != SyncMode::Os && self.is_os_marked()) {
            self.sync_now();
            self.shared.failure.check()?;
        }
        if mode != SyncMode::Os && self.is_os_marked() {
            unmark_os(fs, &self.path).map_err(|e| self.soft_error("unmarking", e))?;
            self.set_os_marked(false);
        }
        self.plan_sync();
        self.combine();
        Ok(())
    }

    /// Syncs what is written, refuses what comes, and leaves the files as a clean start wants them. Answers what they are.
    pub(crate) fn close_for_good(self: &Arc<Self>) -> Result<CleanLog, DirError> {
        let _upkeep = self.upkeep.lock();
        self.queue.close();
        loop {
            self.combine();
            self.sync_now();
            if self.is_drained() || self.shared.failure.is_failed() {
                break;
            }
        }
        self.mark_closed();
        self.shared.failure.check()?;
        self.seal_rolled().map_err(|e| self.soft_error("closing", e))?;
        let mut writer = self.turn();
        self.trim_ragged(&mut writer).map_err(|e| self.soft_error("closing", e))?;
        let active = Arc::clone(&writer.active);
        let last = Snapshot { offset: writer.end, state: writer.producers.clone() };
        let epochs = epoch_file::encode(&writer.epochs);
        drop(writer);
        let finish = || -> io::Result<()> {
            finish_indexes(&*self.shared.env.fs, &active)?;
            self.write_snapshot(&last)?;
            self.drop_old_snapshots()
        };
        finish().map_err(|e| self.soft_error("closing", e))?;
        self.tail.clear();
        let log_start = self.view.read().log_start;
        let left = {
            let mut body = active.body.write();
            let (offsets, times) =
                body.live().map_or((&[][..], &[][..]), |indexes| (&indexes.offsets[..], &indexes.times[..]));
            CleanLog::of(offsets, times, &epochs, log_start)
        };
        self.lose_segments();
        Ok(left)
    }

    /// Whether nothing waits to be written or synced. The writer is asked for: batches that somebody has taken out of
    /// the queue and not written yet are in nobody's books.
    fn is_drained(self: &Arc<Self>) -> bool {
        let _writer = self.turn();
        self.queue.is_empty() && !self.sync.lock().is_dirty()
    }

    /// Refuses everything from now on, without a sync: the log is being deleted.
    pub(crate) fn end_without_sync(self: &Arc<Self>) {
        self.mark_closed();
        // The janitor, if it is at this log, finishes its turn and never comes back.
        let _upkeep = self.upkeep.lock();
        let writer = self.turn();
        let gone = self.while_no_sync(|| {
            let mut gone = self.sync.lock().abandon();
            gone.extend(self.queue.take_all().into_iter().map(|pending| pending.cell));
            gone
        });
        drop(writer);
        for waker in gone.iter().filter_map(|cell| cell.refuse(crate::AppendError::Closed)) {
            waker.wake();
        }
        self.tail.clear();
        self.lose_segments();
    }

    /// Closes all files. Another log may have their names soon: readers that come late hear that this one is closed.
    fn lose_segments(&self) {
        let segments = Arc::clone(&self.view.read().segments);
        segments.iter().for_each(|segment| segment.lose());
    }
}

/// Says in the directory of a log that any number of its bytes may be unsynced. Before it is there, no append counts as
/// `os` would have it.
pub(crate) fn mark_os(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    fs.open(&dir.join(SYNC_OS), OpenMode::CreateOrTruncate)?.sync_data()?;
    fs.sync_dir(dir)
}

/// Takes that back. All of the log is synced.
pub(crate) fn unmark_os(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    unlink_if_there(fs, &dir.join(SYNC_OS))
}

/// Brings both index files up to what is in memory. Not synced: they can be built anew.
fn write_indexes(fs: &dyn Fs, segment: &Segment) -> io::Result<()> {
    for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
        let missing = {
            let mut body = segment.body.write();
            let Some(indexes) = body.live() else { return Ok(()) };
            let (bytes, written) = match file {
                SegmentFile::OffsetIndex => (&indexes.offsets, indexes.offsets_written),
                _ => (&indexes.times, indexes.times_written),
            };
            let missing = bytes.get(written..).unwrap_or_default();
            (!missing.is_empty()).then(|| (written, missing.to_vec()))
        };
        let Some((written, missing)) = missing else { continue };
        let opened = open_index(fs, segment, file, written)?;
        #[cfg(feature = "teeth")]
        let written = millrace_types::planted!(HalfIndexEntry, usize::try_from(opened.size()?).unwrap_or(written), else written);
        opened.write_all_at(&missing, written as u64)?;
        let mut body = segment.body.write();
        if let Some(indexes) = body.live() {
            let end = written + missing.len();
            match file {
                SegmentFile::OffsetIndex => indexes.offsets_written = end,
                _ => indexes.times_written = end,
            }
        }
    }
    Ok(())
}

/// Opens an index file of which the first `kept` bytes are right, and cuts what follows.
fn open_index(
    fs: &dyn Fs,
    segment: &Segment,
    file: SegmentFile,
    kept: usize,
) -> io::Result<Arc<dyn millrace_env::File>> {
    let path = segment.path(file);
    if kept == 0 {
        return fs.open(&path, OpenMode::CreateOrTruncate);
    }
    let opened = fs.open(&path, OpenMode::ReadWrite)?;
    #[cfg(feature = "teeth")]
    millrace_types::planted!(HalfIndexEntry => return Ok(opened));
    if opened.size()? > kept as u64 {
        opened.set_len(kept as u64)?;
    }
    Ok(opened)
}

/// Enters the largest timestamp, writes both indexes to their real size and syncs them.
fn finish_indexes(fs: &dyn Fs, segment: &Segment) -> io::Result<()> {
    {
        let mut body = segment.body.write();
        let largest = body.largest;
        if let Some(indexes) = body.live() {
            indexes.note_largest(segment.base, largest);
        }
    }
    write_indexes(fs, segment)?;
    let lengths = segment.body.write().live().map(|indexes| (indexes.offsets.len(), indexes.times.len()));
    let Some((offsets, times)) = lengths else { return Ok(()) };
    for (file, length) in [(SegmentFile::OffsetIndex, offsets), (SegmentFile::TimeIndex, times)] {
        open_index(fs, segment, file, length)?.sync_data()?;
    }
    fs.sync_dir(&segment.dir)
}

/// A sync that failed for want of room has failed like any other, and is not tried again.
fn failed_sync(error: io::Error) -> io::Error {
    io::Error::other(format!("sync: {error}"))
}

/// Writes the seal of a segment that is synced and never written again. A segment in which a batch is damaged gets
/// none: its batches go on being checked one by one whenever they are read.
fn seal(fs: &dyn Fs, segment: &Segment, epochs: &EpochCache) -> io::Result<()> {
    let size = segment.size();
    {
        let log = segment.pin()?;
        log.set_len(size)?;
        log.sync_data().map_err(failed_sync)?;
    }
    finish_indexes(fs, segment)?;
    let Some(summed) = sum(segment, size, epochs)? else {
        tracing::warn!(path = %segment.path(SegmentFile::Log).display(), "not sealed, because it holds damaged batches");
        return Ok(());
    };
    let (offsets, times, records) = {
        let mut body = segment.body.write();
        let records = SealedRecords {
            base: segment.base,
            records: summed.records,
            last_offset: body.end.saturating_sub(1),
            largest_timestamp: body.largest.map_or(TimestampMs::NONE, |largest| largest.timestamp),
            last_append: body.appended_last,
        };
        let Some(indexes) = body.live() else { return Ok(()) };
        (indexes.offsets.clone(), indexes.times.clone(), records)
    };
    let files = vec![
        SealedFile::of(SegmentFile::OffsetIndex, &offsets),
        SealedFile::of(SegmentFile::TimeIndex, &times),
    ];
    let mut seal = Seal::build(records, summed.blocks, files);
    if segment.offsets == Offsets::WithHoles {
        // Its seal was lost, or the end of it was cut: what was cleaned of it is not known any more.
        let none = CompactedPart { cleaned_to: segment.base, tombstones_due: TimestampMs::NONE };
        seal.compacted = Some(none);
    }
    fs.replace(&segment.path(SegmentFile::Seal), &seal.encode())?;
    let sealed = SealedPart::just_sealed(seal, segment.handles());
    segment.body.write().stage = Stage::Sealed(Arc::new(sealed));
    Ok(())
}

struct Summed {
    blocks: BlockSums,
    records: u64,
}

/// Sums the log of a segment and counts its records; `None` if a batch is damaged. Of what an earlier process wrote, that is also one
/// whose offset or leader epoch, which no checksum covers, is another one than it must be.
fn sum(segment: &Segment, size: u64, epochs: &EpochCache) -> io::Result<Option<Summed>> {
    let mut blocks = BlockSums::new();
    let mut records = 0;
    let mut next_offset = segment.base;
    let mut next_header = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut position = 0;
    let log = segment.file()?;
    while position < size {
        let wanted = usize::try_from(size - position).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let Some(buffer) = chunk.get_mut(..wanted) else { return Ok(None) };
        if read_fully(&*log, buffer, position)? < wanted {
            return Ok(None);
        }
        blocks.push(buffer);
        while next_header < position + wanted as u64 {
            let Some(header) = header_at(&*log, next_header, buffer, position)? else { return Ok(None) };
            let Some(spot) = BatchSpot::of(&header, next_header) else { return Ok(None) };
            if next_header < segment.inherited_bytes {
                let follows = segment.offsets.allow(next_offset, spot.base);
                let is_of_epoch = epochs.agrees(spot.base, LeaderEpoch(header.partition_leader_epoch));
                if !follows || !is_of_epoch || !is_intact(&*log, next_header, header.size())? {
                    return Ok(None);
                }
            }
            next_offset = spot.last.next();
            records += u64::try_from(header.record_count).unwrap_or(0);
            next_header += header.size() as u64;
        }
        position += wanted as u64;
    }
    Ok((next_header == size).then_some(Summed { blocks, records }))
}

/// The header at a position, from the chunk at hand if it lies in it.
fn header_at(log: &dyn File, at: u64, chunk: &[u8], chunk_start: u64) -> io::Result<Option<BatchHeader>> {
    let skip = at.checked_sub(chunk_start).and_then(|skip| usize::try_from(skip).ok());
    if let Some(bytes) = skip.and_then(|skip| chunk.get(skip..)).filter(|bytes| bytes.len() >= HEADER_BYTES) {
        return Ok(BatchHeader::parse(bytes).ok());
    }
    let mut bytes = [0; HEADER_BYTES];
    let read = read_fully(log, &mut bytes, at)?;
    Ok(bytes.get(..read).and_then(|bytes| BatchHeader::parse(bytes).ok()))
}

fn is_intact(log: &dyn File, position: u64, size: usize) -> io::Result<bool> {
    let mut bytes = vec![0; size];
    let read = read_fully(log, &mut bytes, position)?;
    Ok(read == size && Batch::parse_stored(&Bytes::from(bytes)).is_ok())
}

#[cfg(test)]
mod tests;
