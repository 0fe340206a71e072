//! Opening a log: from what lies on the medium to what may be served and appended to.
//!
//! ```text
//!   listing ─► sealed segments (believed, checked at their first read)
//!           ─► segments without a seal: sync, drop the cache, read back from the mark on (see `tail`)
//!                 torn tail: copied to `<base>.cut`, cut         damage: kept, reported, not served
//!           ─► leader epochs, producer state ─► a new leader epoch after an unclean stop
//! ```
//! After a clean stop nothing of the log is read but the header hops behind the last index entry.
//!
//! How far behind bad bytes a valid batch makes them damage depends on how much may have been unsynced, and the sync mode
//! may have been another one then. So a log says so itself: `sync.os` is in its directory, synced, before the first append
//! that `os` lets through, and is unlinked only after all of the log was synced and another mode is in force. Where it is
//! (or where the mode is `os` now), bad bytes above the mark are always a torn tail.

mod listing;
mod replay;
mod tail;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_env::{File, Fs, FsExt, OpenMode};
use millrace_types::{LeaderEpoch, Offset, OffsetRange, SyncMode, TimestampMs};
use parking_lot::RwLock;

use crate::damage::DamagedRange;
use crate::dir::{DirShared, Finding, SharedSyncs};
use crate::epochs::EpochCache;
use crate::format::run_mark::CleanLog;
use crate::format::seal::{self, Seal};
use crate::format::synced_marks::SyncedMark;
use crate::format::{epoch_file, offset_index, time_index};
use crate::handles::{FileSlot, HandleCache};
use crate::inner::{LogInner, Parts, View};
use crate::names::{LEADER_EPOCHS, SegmentFile, segment_file};
use crate::passing::is_storage_full;
use crate::replacement;
use crate::segment::{Body, Largest, Offsets, SealedPart, Segment, Stage};
use crate::upkeep::{mark_os, unmark_os};
use crate::writer::{Role, Writer, create_segment_file};
use crate::{DirError, LogConfig, PartitionMeta, Replication};
use listing::HasSeal;
use tail::TailReport;

pub(crate) use listing::{Listing, unlink_if_there, unlink_indexes, unlink_segment, unlink_suffix};
pub(crate) use replay::{ReplayRequest, replay};
pub(crate) use tail::{StoredIndexes, TailRequest, TimeEntries, UnsyncedMax, read_tail};

/// The largest index file that is believed to be one: Kafka's `segment.index.bytes` with time to spare.
const INDEX_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is known of a log before it is opened.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    pub(crate) meta: PartitionMeta,
    pub(crate) path: Arc<Path>,
    pub(crate) config: LogConfig,
    /// Up to where the last run had synced it, if it is known.
    pub(crate) mark: Option<SyncedMark>,
    pub(crate) last_stop: LastStop,
    /// What a clean stop has left of it.
    pub(crate) left: Option<CleanLog>,
}

/// How the last run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LastStop {
    Clean,
    Unclean,
}

/// A log that is recovered, but for what was left to be made durable together with others.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) inner: Arc<LogInner>,
    /// The leader epochs that have to be in their file before anything is appended.
    pub(crate) epochs: Option<StagedFile>,
}

/// A small file that is to be replaced: its temporary file is written, and nothing is synced.
#[derive(Debug)]
pub(crate) struct StagedFile {
    pub(crate) path: PathBuf,
    pub(crate) temporary: PathBuf,
    pub(crate) content: Vec<u8>,
}

/// A log while it is being opened.
struct Opening<'a> {
    shared: &'a Arc<DirShared>,
    fs: &'a dyn Fs,
    request: &'a OpenRequest,
    log_start: Offset,
    /// Segments without a seal that begin below it may have holes.
    compacted_to: Offset,
    segments: Vec<Arc<Segment>>,
    epochs: EpochCache,
    epochs_on_disk: EpochCache,
    epochs_staged: Option<StagedFile>,
    /// The epochs of the file, if it opens.
    known_epochs: Option<EpochCache>,
    bytes_read: u64,
    unsynced_max: UnsyncedMax,
    damaged: Vec<DamagedRange>,
    /// The base of the last segment.
    base_last: Option<Offset>,
    /// The base of the last segment that has a seal. A seal is written after a sync, and that covers older files too.
    sealed_last: Option<Offset>,
}

/// Opens a log, recovering it if need be.
pub(crate) fn open(shared: &Arc<DirShared>, request: OpenRequest) -> Result<Recovered, DirError> {
    let context = |source| shared.io_error(&format!("opening {}", request.path.display()), source);
    let fs = &*shared.env.fs;
    let mut listing = Listing::read(fs, &request.path).map_err(context)?;
    if !listing.swaps.is_empty() {
        for base in &listing.swaps {
            if let Some(damage) = replacement::finish_swap(fs, &request.path, *base).map_err(context)? {
                shared.note(Finding::Damaged(damage));
            }
        }
        listing = Listing::read(fs, &request.path).map_err(context)?;
    }
    listing.sweep(fs, &request.path).map_err(context)?;
    let first = listing.segments.first_key_value().map(|(base, _)| *base);
    let epochs = read_epochs(shared, &request.path).map_err(context)?;
    let log_start = find_log_start(shared, &request.path, &listing, epochs.as_ref());
    drop_trimmed(fs, &request.path, &mut listing, log_start).map_err(context)?;
    let compacted_to = find_compacted_to(shared, &request.path, &listing);
    drop_replaced(fs, &request.path, &mut listing, compacted_to).map_err(context)?;
    let mut opening = Opening {
        shared,
        fs,
        request: &request,
        log_start,
        compacted_to,
        segments: Vec::new(),
        epochs_on_disk: epochs.clone().unwrap_or_default(),
        epochs_staged: None,
        known_epochs: epochs.clone(),
        epochs: epochs.clone().unwrap_or_default(),
        bytes_read: 0,
        unsynced_max: if listing.os_marked || request.config.sync_mode == SyncMode::Os {
            UnsyncedMax::Unbounded
        } else {
            UnsyncedMax::Bounded
        },
        damaged: Vec::new(),
        base_last: listing.segments.last_key_value().map(|(base, _)| *base),
        sealed_last: listing
            .segments
            .iter()
            .rev()
            .find(|(_, has)| **has == HasSeal::Yes)
            .map(|(base, _)| *base),
    };
    if let Some(first) = first.filter(|first| *first > log_start) {
        let path = request.path.join(segment_file(first, SegmentFile::Log));
        let offsets = OffsetRange { start: log_start, end: first };
        opening.note_damage(&path, 0..0, offsets, "the segments before it are gone");
    }
    opening.read_segments(&listing).map_err(context)?;
    if epochs.is_none() {
        opening.rebuild_epochs().map_err(context)?;
    }
    let parts = opening.finish(&mut listing).map_err(context)?;
    shared.note(Finding::Read(opening.bytes_read));
    let epochs = opening.epochs_staged.take();
    Ok(Recovered { inner: LogInner::new(Arc::clone(shared), parts), epochs })
}

/// Unlinks segments that a trim had left below the log start.
fn drop_trimmed(fs: &dyn Fs, dir: &Path, listing: &mut Listing, log_start: Offset) -> io::Result<()> {
    let bases: Vec<Offset> = listing.segments.keys().copied().collect();
    for pair in bases.windows(2) {
        if let [base, next] = pair
            && *next <= log_start
        {
            unlink_segment(fs, dir, *base)?;
            listing.segments.remove(base);
        }
    }
    Ok(())
}

/// Below which offset there may be compacted segments. A file that does not open counts as one that names all of them: then
/// holes in a segment whose seal is damaged too pass for compacted ones.
fn find_compacted_to(shared: &DirShared, dir: &Path, listing: &Listing) -> Offset {
    match &listing.compacted_to {
        None => Offset::ZERO,
        Some(Ok(offset)) => *offset,
        Some(Err(what)) => {
            let path = dir.join(crate::names::COMPACTED_TO);
            shared.note(Finding::Damaged(format!("{}: {what}", path.display())));
            Offset::MAX
        }
    }
}

/// Unlinks segments whose place a compacted one has taken.
fn drop_replaced(fs: &dyn Fs, dir: &Path, listing: &mut Listing, compacted_to: Offset) -> io::Result<()> {
    let below = listing.segments.range(..compacted_to).map(|(base, has)| (*base, *has));
    let sealed: Vec<Offset> = below.filter(|(_, has)| *has == HasSeal::Yes).map(|(base, _)| base).collect();
    for base in sealed {
        if !listing.segments.contains_key(&base) {
            continue;
        }
        let bytes = fs.read_small(&dir.join(segment_file(base, SegmentFile::Seal)), seal::BYTES_MAX);
        // What is wrong with a seal is told when its segment is read.
        let Some(seal) = bytes.ok().and_then(|bytes| Seal::decode(&bytes).ok()) else { continue };
        if seal.compacted.is_none() || seal.records.base != base {
            continue;
        }
        let within = base.next()..seal.records.last_offset.next();
        let replaced: Vec<Offset> = listing.segments.range(within).map(|(base, _)| *base).collect();
        for base in replaced {
            unlink_segment(fs, dir, base)?;
            listing.segments.remove(&base);
        }
    }
    Ok(())
}

/// The leader epochs as stored; `None` if they must be built from the batches.
fn read_epochs(shared: &DirShared, dir: &Path) -> io::Result<Option<EpochCache>> {
    let path = dir.join(LEADER_EPOCHS);
    let rebuild = |what: &str| {
        shared
            .note(Finding::Damaged(format!("{}: {what}; the epochs are built from the log", path.display())));
        Ok(None)
    };
    match shared.env.fs.read_small(&path, epoch_file::BYTES_MAX) {
        Ok(bytes) => match epoch_file::decode(&bytes) {
            Ok(epochs) => Ok(Some(epochs)),
            Err(error) => rebuild(&error.to_string()),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => rebuild("the file is gone"),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => rebuild(&e.to_string()),
        Err(e) => Err(e),
    }
}

/// Where the log begins. Most logs have no `log.start`: they begin where their epochs do, and if no segment does, the first is
/// lost. A trim writes the log start first and cuts the epochs to it next: where they begin later than what the file (or
/// without one, the first segment) says, it is gone or an older one, and what was trimmed would come back.
fn find_log_start(shared: &DirShared, dir: &Path, listing: &Listing, epochs: Option<&EpochCache>) -> Offset {
    let path = dir.join(crate::names::LOG_START);
    let stored = match &listing.log_start {
        Some(Ok(offset)) => Some(*offset),
        Some(Err(what)) => {
            shared.note(Finding::Damaged(format!("{}: {what}", path.display())));
            None
        }
        None => None,
    };
    let first = listing.segments.first_key_value().map(|(base, _)| *base);
    let of_epochs = epochs.and_then(|epochs| epochs.entries().first()).map(|first| first.start);
    if let (Some(trimmed), Some(told)) = (of_epochs, stored.or(first))
        && trimmed > told
    {
        let what = format!("the log was trimmed to {trimmed}, and the file does not say so");
        shared.note(Finding::Damaged(format!("{}: {what}", path.display())));
    }
    stored.max(of_epochs).or(first).unwrap_or(Offset::ZERO)
}

impl Opening<'_> {
    fn is_unclean(&self) -> bool {
        self.request.last_stop == LastStop::Unclean
    }

    fn read_segments(&mut self, listing: &Listing) -> io::Result<()> {
        let bases: Vec<(Offset, HasSeal)> =
            listing.segments.iter().map(|(base, has)| (*base, *has)).collect();
        for (number, (base, has_seal)) in bases.iter().enumerate() {
            // Whatever follows a torn tail was never acknowledged: a sync covers older files first.
            if self.follows_torn_tail(*base, *has_seal) {
                return bases.iter().skip(number).rev().try_for_each(|(later, _)| self.set_aside(*later));
            }
            let torn = self.read_segment(*base, *has_seal)?;
            self.report_gap(*base);
            if let Some(torn) = torn {
                bases.iter().skip(number + 1).rev().try_for_each(|(later, _)| self.set_aside(*later))?;
                return self.cut(torn);
            }
        }
        Ok(())
    }

    /// Whether the file before lost its last batches whole, and this one was never synced: not damage, but a torn tail
    /// that happens to end on a batch.
    fn follows_torn_tail(&self, base: Offset, has_seal: HasSeal) -> bool {
        let synced =
            has_seal == HasSeal::Yes || self.request.mark.as_ref().is_some_and(|mark| mark.base >= base);
        let synced = synced || self.is_before_a_seal(base);
        let gap = self.segments.last().is_some_and(|before| before.end() != base);
        self.is_unclean() && gap && !synced
    }

    /// Adds one segment. Answers its torn tail, if it has one.
    fn read_segment(&mut self, base: Offset, has_seal: HasSeal) -> io::Result<Option<Range<u64>>> {
        let dir = &self.request.path;
        let handles = &self.shared.handles;
        let seal = if has_seal == HasSeal::Yes { self.read_seal(base)? } else { None };
        let offsets = match &seal {
            Some(seal) if seal.compacted.is_some() => Offsets::WithHoles,
            Some(_) => Offsets::Dense,
            None => self.offsets_unsealed(base),
        };
        let (slot, body, torn) = match seal {
            // Opened when somebody reads it.
            Some(seal) => (FileSlot::closed(handles), sealed_body(seal, handles), None),
            None => {
                let path = dir.join(segment_file(base, SegmentFile::Log));
                let file = self.fs.open(&path, OpenMode::ReadWrite)?;
                let report = self.read_tail_of(&*file, base, file.size()?, has_seal)?;
                (FileSlot::opened(handles, &file), report.body, report.torn)
            }
        };
        let segment = Segment {
            base,
            dir: Arc::clone(dir),
            slot: Arc::new(slot),
            inherited_bytes: body.size,
            offsets,
            body: RwLock::new(body),
        };
        self.segments.push(Arc::new(segment));
        Ok(torn)
    }

    /// What is known of the offsets of a segment without a seal, or with one that does not open.
    fn offsets_unsealed(&self, base: Offset) -> Offsets {
        if base < self.compacted_to { Offsets::WithHoles } else { Offsets::Dense }
    }

    fn read_seal(&mut self, base: Offset) -> io::Result<Option<Seal>> {
        let path = self.request.path.join(segment_file(base, SegmentFile::Seal));
        let decoded = match self.fs.read_small(&path, seal::BYTES_MAX) {
            Ok(bytes) => Seal::decode(&bytes).map_err(|e| e.to_string()),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(e.to_string()),
            Err(e) => return Err(e),
        };
        match decoded {
            Ok(seal) if seal.records.base == base => Ok(Some(seal)),
            Ok(_) => Ok(self.bad_seal(base, &path, "it is another segment's")),
            Err(what) => Ok(self.bad_seal(base, &path, &what)),
        }
    }

    fn bad_seal(&mut self, base: Offset, path: &Path, what: &str) -> Option<Seal> {
        self.note_damage(path, 0..0, OffsetRange { start: base, end: base }, &format!("the seal: {what}"));
        None
    }

    fn note_damage(&mut self, path: &Path, bytes: Range<u64>, offsets: OffsetRange, what: &str) {
        let range = DamagedRange { path: path.to_owned(), bytes, offsets, what: what.to_owned() };
        self.shared.note(Finding::Damaged(range.to_string()));
        self.damaged.push(range);
    }

    fn read_tail_of(
        &mut self,
        file: &dyn File,
        base: Offset,
        size: u64,
        seal: HasSeal,
    ) -> io::Result<TailReport> {
        if self.is_unclean() {
            prepare_medium(file, self.shared.shared_syncs)?;
        }
        let (synced_position, synced_offset) = self.synced_part(base, size, seal);
        let request = TailRequest {
            file,
            base,
            size,
            synced_position,
            synced_offset,
            indexes: self.read_indexes(base)?,
            interval: self.request.config.index_interval_bytes,
            unsynced_max: self.unsynced_max,
            epochs: self.known_epochs.as_ref(),
            offsets: self.offsets_unsealed(base),
        };
        let mut report = read_tail(request)?;
        if self.is_unclean() {
            self.bytes_read += report.bytes_read;
            // The files may name batches that did not survive. Once other batches lie there, a stale time entry would
            // be believed, so the files go; the file of the leader epochs syncs the directory.
            unlink_indexes(self.fs, &self.request.path, base)?;
            if let Some(indexes) = report.body.live() {
                indexes.nothing_is_written();
            }
        }
        let path = self.request.path.join(segment_file(base, SegmentFile::Log));
        for (bytes, offsets) in &report.damaged {
            self.note_damage(&path, bytes.clone(), *offsets, "no valid batches, below what was synced");
        }
        if synced_position > size && synced_offset > report.body.end {
            let offsets = OffsetRange { start: report.body.end, end: synced_offset };
            self.note_damage(&path, size..synced_position, offsets, "the synced end of the file is gone");
        }
        let newest = report.epochs.iter().map(|(epoch, _)| *epoch).max();
        if self.known_epochs.as_ref().is_some_and(|known| known.latest() < newest) {
            let path = self.request.path.join(LEADER_EPOCHS);
            let what = "the file is older than the log";
            self.note_damage(&path, 0..0, OffsetRange { start: base, end: base }, what);
        }
        for (epoch, start) in &report.epochs {
            let _changed = self.epochs.assign(*epoch, *start);
        }
        Ok(report)
    }

    /// Up to where a segment without a seal was synced, and the offset there.
    fn synced_part(&self, base: Offset, size: u64, seal: HasSeal) -> (u64, Offset) {
        #[cfg(feature = "teeth")]
        millrace_types::planted!(CutBelowMark => return (0, base));
        let mark = self.request.mark.as_ref();
        match mark {
            Some(mark) if mark.base == base => (mark.position, mark.offset),
            // A sync of a later file covers the ones before it; so did the one that came before a seal.
            Some(mark) if mark.base > base => (size, base),
            _ if seal == HasSeal::Yes || self.is_before_a_seal(base) || !self.is_unclean() => (size, base),
            _ => (0, base),
        }
    }

    fn is_before_a_seal(&self, base: Offset) -> bool {
        self.sealed_last.is_some_and(|sealed| sealed > base)
    }

    fn read_indexes(&self, base: Offset) -> io::Result<StoredIndexes> {
        let read = |file, entry_bytes: usize| {
            let path = self.request.path.join(segment_file(base, file));
            match self.fs.read_small(&path, INDEX_FILE_BYTES_MAX) {
                Ok(bytes) => {
                    Ok(bytes.get(..bytes.len() - bytes.len() % entry_bytes).unwrap_or_default().to_vec())
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                    Ok(Vec::new())
                }
                Err(e) => Err(e),
            }
        };
        let offsets = read(SegmentFile::OffsetIndex, offset_index::ENTRY_BYTES)?;
        let times = read(SegmentFile::TimeIndex, time_index::ENTRY_BYTES)?;
        let left = self.request.left.filter(|_| !self.is_unclean() && self.base_last == Some(base));
        Ok(match left {
            None => StoredIndexes { offsets, times, time_entries: TimeEntries::Unsure },
            Some(left) if left.indexes == CleanLog::of(&offsets, &times, &[], Offset::ZERO).indexes => {
                StoredIndexes { offsets, times, time_entries: TimeEntries::Complete }
            }
            Some(_) => {
                tracing::warn!(
                    path = %self.request.path.display(),
                    "the indexes are not the ones that a clean stop has left; building them anew"
                );
                StoredIndexes::default()
            }
        })
    }

    /// Reports offsets that were synced and that no file holds.
    fn report_gap(&mut self, base: Offset) {
        let [.., before, _] = self.segments.as_slice() else { return };
        let before = Arc::clone(before);
        let end = before.end();
        if end != base {
            let (path, size) = (before.path(SegmentFile::Log), before.size());
            let offsets = OffsetRange { start: end.min(base), end: base };
            self.note_damage(&path, size..size, offsets, "no file holds the records up to the next segment");
        }
    }

    /// Takes a segment out of the log and keeps it for people to look at.
    fn set_aside(&self, base: Offset) -> io::Result<()> {
        let dir = &self.request.path;
        let log = dir.join(segment_file(base, SegmentFile::Log));
        let cut = dir.join(segment_file(base, SegmentFile::Cut));
        self.fs.rename(&log, &cut)?;
        unlink_segment(self.fs, dir, base)?;
        self.fs.sync_dir(dir)?;
        self.shared.note(Finding::Cut(format!("{}: set aside, it follows a torn tail", log.display())));
        Ok(())
    }

    /// Copies the torn tail of the last segment aside and cuts it.
    fn cut(&self, torn: Range<u64>) -> io::Result<()> {
        let Some(segment) = self.segments.last() else { return Ok(()) };
        let path = segment.path(SegmentFile::Log);
        let file = segment.pin()?;
        let copied = copy_range(self.fs, &*file, torn.clone(), &segment.path(SegmentFile::Cut))?;
        if copied {
            self.fs.sync_dir(&self.request.path)?;
        }
        file.set_len(torn.start)?;
        file.sync_data()?;
        let bytes = torn.end - torn.start;
        self.shared.note(Finding::Cut(format!(
            "{}: {bytes} bytes cut at position {}",
            path.display(),
            torn.start
        )));
        Ok(())
    }

    /// Builds the leader epochs from the header of every batch.
    fn rebuild_epochs(&mut self) -> io::Result<()> {
        self.epochs = EpochCache::default();
        for segment in &self.segments {
            let file = segment.file()?;
            let walk = crate::segment::Walk::new(&*file, 0, segment.base, segment.size());
            let mut walk = walk.offsets(segment.offsets);
            while let Ok((spot, header)) = walk.step()? {
                // Nothing is known of what lies before the first batch, if that is damaged.
                let is_first = self.epochs.entries().is_empty();
                let start = if is_first { spot.base.min(self.log_start) } else { spot.base };
                let _changed = self.epochs.assign(LeaderEpoch(header.partition_leader_epoch), start);
            }
            self.bytes_read += walk.bytes_read();
        }
        Ok(())
    }

    fn finish(&mut self, listing: &mut Listing) -> io::Result<Parts> {
        let shared = self.shared;
        let now = shared.env.clock.wall();
        let active = self.active_segment(now)?;
        let end = active.end();
        let position = active.size();
        let log_start = self.log_start.min(end);
        self.check_state(log_start);
        let epoch = self.renew_epochs(log_start, end)?;
        listing.drop_snapshots_above(self.fs, &self.request.path, end)?;
        let replayed = replay(&ReplayRequest {
            fs: self.fs,
            dir: &self.request.path,
            segments: &self.segments,
            snapshots: &listing.snapshots,
            log_start,
            end,
            now,
        })?;
        self.bytes_read += replayed.bytes_read;
        let rolled = self.segments.iter().rev().skip(1).rev().filter(|segment| segment.sealed().is_none());
        let rolled: Vec<Arc<Segment>> = rolled.map(Arc::clone).collect();
        for segment in &rolled {
            // Nothing says when it was appended to. It is kept no shorter than it should be.
            segment.body.write().appended_last = now;
        }
        let writer = Writer {
            active,
            end,
            position,
            allocated: position,
            role: match self.request.config.replication {
                Replication::Alone => Role::Leading,
                Replication::Replicated => Role::Following,
            },
            epoch,
            epochs: self.epochs.clone(),
            producers: replayed.state,
            spare: None,
            ragged: false,
            first_append: (position > 0).then_some(now),
            snapshots: Vec::new(),
            bytes_since_snapshot: if replayed.from == end { 0 } else { position },
        };
        let os_marked = self.follow_sync_mode(listing.os_marked)?;
        let segments = Arc::new(std::mem::take(&mut self.segments));
        let high_watermark = match self.request.config.replication {
            Replication::Alone => end,
            // What is committed is known to those who replicate it.
            Replication::Replicated => log_start,
        };
        Ok(Parts {
            meta: self.request.meta.clone(),
            path: Arc::clone(&self.request.path),
            config: self.request.config.clone(),
            view: View { log_start, synced_end: end, held: end, high_watermark, end, segments },
            writer,
            rolled,
            os_marked,
            damaged: std::mem::take(&mut self.damaged),
        })
    }

    /// Brings `sync.os` in line with the sync mode; all of the log is synced now. Tells whether it is there.
    fn follow_sync_mode(&self, marked: bool) -> io::Result<bool> {
        let dir = &self.request.path;
        match (self.request.config.sync_mode, marked) {
            (SyncMode::Os, false) => match mark_os(self.fs, dir) {
                Ok(()) => Ok(true),
                Err(e) if is_storage_full(&e) => {
                    tracing::warn!(path = %dir.display(), "no room for sync mode os; keeping to always");
                    Ok(false)
                }
                Err(e) => Err(e),
            },
            (SyncMode::Os, true) => Ok(true),
            (_, true) => unmark_os(self.fs, dir).map(|()| false),
            (_, false) => Ok(false),
        }
    }

    /// The segment that appends go to: the last one, or a new one where the last one must not grow.
    fn active_segment(&mut self, now: TimestampMs) -> io::Result<Arc<Segment>> {
        let mark = self.request.mark.as_ref();
        let found = self.segments.last().map_or(self.log_start, |segment| segment.end());
        // Offsets that were synced and are lost are never given to other records.
        let end = mark.map_or(found, |mark| found.max(mark.offset)).max(self.log_start);
        if let Some(last) = self.segments.last()
            && last.sealed().is_none()
            && last.end() == end
        {
            last.body.write().appended_last = now;
            return Ok(Arc::clone(last));
        }
        let segment = create_segment_file(self.shared, &self.request.path, end)?;
        self.fs.sync_dir(&self.request.path)?;
        if end > found && self.damaged.iter().all(|known| known.offsets.end < end) {
            let offsets = OffsetRange { start: found, end };
            self.note_damage(
                &segment.path(SegmentFile::Log),
                0..0,
                offsets,
                "synced records before it are gone",
            );
        }
        self.segments.push(Arc::clone(&segment));
        Ok(segment)
    }

    /// Holds leader epochs and log start against what a clean stop has left.
    fn check_state(&mut self, log_start: Offset) {
        let epochs = epoch_file::encode(&self.epochs_on_disk);
        let found = CleanLog::of(&[], &[], &epochs, log_start).state;
        if self.request.left.is_some_and(|left| !self.is_unclean() && left.state != found) {
            let path = self.request.path.join(LEADER_EPOCHS);
            let none = OffsetRange { start: log_start, end: log_start };
            self.note_damage(&path, 0..0, none, "this or log.start is not what a clean stop has left");
        }
    }

    /// Brings the leader epochs in line with the log, and begins a new one after an unclean stop: a reader that was
    /// beyond the new end must be told, not served other records (KIP-320). A replicated log is given its epochs.
    ///
    /// Answers the latest epoch that is known, even if nothing that was appended in it has survived.
    fn renew_epochs(&mut self, log_start: Offset, end: Offset) -> io::Result<LeaderEpoch> {
        let _changed = self.epochs.truncate_from_end(end);
        let _changed = self.epochs.trim_from_start(log_start);
        let latest = self.epochs.latest().max(self.epochs_on_disk.latest());
        let epoch = match (self.request.config.replication, latest) {
            (Replication::Replicated, latest) => latest.unwrap_or(LeaderEpoch::NONE),
            (Replication::Alone, Some(latest)) if self.is_unclean() => latest.next(),
            (Replication::Alone, latest) => latest.unwrap_or_default(),
        };
        if self.request.config.replication == Replication::Alone {
            let _changed = self.epochs.assign(epoch, end);
        }
        // After an unclean stop the file is written in any case: this syncs the directory, from which indexes were unlinked.
        if self.epochs == self.epochs_on_disk && !self.is_unclean() {
            return Ok(epoch);
        }
        let path = self.request.path.join(LEADER_EPOCHS);
        let content = epoch_file::encode(&self.epochs);
        if self.is_unclean() && self.shared.shared_syncs == SharedSyncs::Yes {
            let temporary = self.fs.write_temporary(&path, &content)?;
            self.epochs_staged = Some(StagedFile { path, temporary, content });
            return Ok(epoch);
        }
        self.fs.replace(&path, &content)?;
        Ok(epoch)
    }
}

/// Makes the next reads answer what is on the medium, and all that was written be there. The cache lies after a failed
/// sync, to the next process too.
fn prepare_medium(file: &dyn File, shared_syncs: SharedSyncs) -> io::Result<()> {
    #[cfg(feature = "teeth")]
    millrace_types::planted!(RecoverWithoutSync => return file.drop_cache());
    match shared_syncs {
        SharedSyncs::No => file.sync_data()?,
        // All of the file system was synced when the directory was opened, and nobody has written to the file since.
        SharedSyncs::Yes => {}
    }
    #[cfg(feature = "teeth")]
    millrace_types::planted!(RecoverThroughCache => return Ok(()));
    file.drop_cache()
}

fn sealed_body(seal: Seal, handles: &Arc<HandleCache>) -> Body {
    let records = seal.records;
    let largest = Largest { timestamp: records.largest_timestamp, last: records.last_offset };
    Body {
        size: seal.log_bytes(),
        end: records.last_offset.next(),
        largest: records.largest_timestamp.is_some().then_some(largest),
        appended_last: records.last_append,
        stage: Stage::Sealed(Arc::new(SealedPart::new(seal, handles))),
    }
}

/// Copies a range of a file into another one and syncs it. A tail of zeros is not worth a copy: it is what a file
/// system shows that had written the length and not the data.
fn copy_range(fs: &dyn Fs, file: &dyn File, range: Range<u64>, to: &Path) -> io::Result<bool> {
    let mut target: Option<Arc<dyn File>> = None;
    let mut buffer = vec![0; 1024 * 1024];
    let mut position = range.start;
    while position < range.end {
        let wanted = usize::try_from(range.end - position).unwrap_or(usize::MAX).min(buffer.len());
        let Some(chunk) = buffer.get_mut(..wanted) else { break };
        let read = crate::segment::read_fully(file, chunk, position)?;
        let bytes = chunk.get(..read).unwrap_or_default();
        if target.is_none() && bytes.iter().any(|byte| *byte != 0) {
            target = Some(fs.open(to, OpenMode::CreateOrTruncate)?);
        }
        if let Some(target) = &target {
            target.write_all_at(bytes, position - range.start)?;
        }
        if read == 0 {
            break;
        }
        position += read as u64;
    }
    if let Some(target) = &target {
        target.sync_data()?;
    }
    Ok(target.is_some())
}
