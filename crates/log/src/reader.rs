//! Reading: planned without a call, loaded after.
//!
//! ```text
//!   tail cache ── shared bytes, no call
//!   sealed     ── offset index ─► header hops within one interval ─► a slice of the map ─┐
//!   not sealed ── the same ────────────────────────────────────────► one read ───────────┴► cut at the last whole batch that fits
//! ```
//! A reader that can send from a file is answered a range of it instead (`located`).
//! What an earlier process wrote is checked before it is served: sealed blocks against their seal, batches of a
//! segment without a seal against their own checksum. Nothing at or above the high watermark is answered, but
//! to replicas.

mod located;
mod time;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use millrace_env::{File, is_out_of_files};
use millrace_record::{Batch, BatchHeader};
use millrace_types::{LeaderEpoch, Offset, OffsetRange};

use crate::damage::DamagedRange;
use crate::epochs::EpochCache;
use crate::inner::LogInner;
use crate::names::SegmentFile;
use crate::segment::{BatchSpot, Offsets, Pages, SealedPart, Segment, Walk, WalkEnd, read_fully};
use crate::tail_cache::{CachedRange, Piece, ReadBounds};
use crate::{Isolation, ReadAnswer, ReadError, ReadRequest};

pub use located::{Extent, FileRange};

/// How often a read, or a look-up by time, is planned anew because its segment was unlinked or replaced meanwhile.
const REPLANS_MAX: usize = 8;

/// Bytes of a sealed segment that are copied where they are asked for. More are taken as a slice of the map, on a thread that may
/// block: the hop there and back costs as much as copying so many.
const SEALED_COPY_BYTES_MAX: u64 = 256 * 1024;

/// Which bytes answer a read.
#[derive(Debug)]
pub struct ReadPlan {
    log: Arc<LogInner>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Nothing to read yet.
    Nothing(Offset),
    Cached(CachedRange),
    Stored(StoredRead),
}

/// A read of one segment.
#[derive(Debug)]
struct StoredRead {
    segment: Arc<Segment>,
    /// Where the segment should end: the base of the next one, or the end of the log.
    segment_end: Offset,
    from: Offset,
    bounds: ReadBounds,
    isolation: Isolation,
    size_max: usize,
}

impl ReadPlan {
    pub(crate) fn make(
        log: &Arc<LogInner>,
        request: &ReadRequest,
        isolation: Isolation,
    ) -> Result<ReadPlan, ReadError> {
        log.check_open()?;
        let ReadRequest { from, until, bytes_max } = *request;
        let (segments, readable_end) = {
            let view = log.view.read();
            let range = OffsetRange { start: view.log_start, end: view.end };
            if from < range.start || from > range.end {
                return Err(ReadError::OutOfRange { offset: from, range });
            }
            let readable_end = match isolation {
                Isolation::Committed => view.high_watermark,
                Isolation::Held => view.end,
            };
            (Arc::clone(&view.segments), readable_end)
        };
        let until = until.map_or(readable_end, |until| until.min(readable_end));
        let bounds = ReadBounds { until, readable_end, bytes_max };
        let plan = |source| Ok(ReadPlan { log: Arc::clone(log), source });
        if from >= until {
            return plan(Source::Nothing(from));
        }
        if let Some(cached) = log.tail.read(from, bounds) {
            return plan(Source::Cached(cached));
        }
        let index = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        let Some(segment) = segments.get(index).map(Arc::clone) else {
            return plan(Source::Nothing(from));
        };
        let segment_end = segments.get(index + 1).map_or(readable_end, |next| next.base);
        let size = usize::try_from(segment.size()).unwrap_or(usize::MAX);
        let size_max = bytes_max.max(log.config().batch_bytes_max).min(size);
        plan(Source::Stored(StoredRead { segment, segment_end, from, bounds, isolation, size_max }))
    }

    /// A read of one segment, which ends or should end with the range: of whoever copies it, so that the log start does not count.
    pub(crate) fn of_segment(
        log: &Arc<LogInner>,
        segment: &Arc<Segment>,
        range: OffsetRange,
        bytes_max: usize,
    ) -> ReadPlan {
        let bounds = ReadBounds { until: range.end, readable_end: range.end, bytes_max };
        let stored = StoredRead {
            segment: Arc::clone(segment),
            segment_end: range.end,
            from: range.start,
            bounds,
            isolation: Isolation::Committed,
            size_max: bytes_max,
        };
        ReadPlan { log: Arc::clone(log), source: Source::Stored(stored) }
    }

    /// Whether [`ReadPlan::load`] is certain not to block, because all bytes lie in the tail cache (or there are none).
    #[must_use]
    pub fn is_resident(&self) -> bool {
        !matches!(self.source, Source::Stored(_))
    }

    /// How many bytes the answer will hold: exact if [`ReadPlan::is_resident`], else the most that it can be under the
    /// topic's present `max.message.bytes`.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match &self.source {
            Source::Nothing(_) => 0,
            Source::Cached(cached) => cached.pieces.iter().map(Piece::size).sum(),
            Source::Stored(stored) => stored.size_max,
        }
    }

    /// Brings the bytes into memory, checks blocks that were not checked since the log was opened, and answers them.
    /// May block unless [`ReadPlan::is_resident`].
    ///
    /// # Errors
    /// [`ReadError::Corrupt`], [`ReadError::Io`], [`ReadError::Closed`].
    pub fn load(&self) -> Result<ReadAnswer, ReadError> {
        match self.load_once() {
            Err(_) if self.has_lost() => self.load_anew(),
            Err(ReadError::Io(what)) => {
                self.note_unreadable(&what);
                Err(ReadError::Io(what))
            }
            answer => answer,
        }
    }

    /// Bytes that the medium does not give are as good as damaged.
    fn note_unreadable(&self, what: &str) {
        if let Source::Stored(StoredRead { segment, segment_end, from, .. }) = &self.source
            && !self.log.is_closed()
        {
            self.log.damage.note(DamagedRange {
                path: segment.path(SegmentFile::Log),
                bytes: 0..segment.size(),
                offsets: OffsetRange { start: *from, end: (*segment_end).max(from.next()) },
                what: format!("the medium does not give the bytes: {what}"),
            });
        }
    }

    /// As [`ReadPlan::load`], without blocking: `None` if bytes are wanted that may not be in memory, or that look damaged.
    #[must_use]
    pub fn load_resident(&self) -> Option<Result<ReadAnswer, ReadError>> {
        match self.load_of(Pages::Resident) {
            Ok(answer) => Some(answer),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock || self.has_lost() => None,
            Err(e) => Some(Err(io_error(&e))),
        }
    }

    fn load_once(&self) -> Result<ReadAnswer, ReadError> {
        self.load_of(Pages::Any).unwrap_or_else(|e| Err(io_error(&e)))
    }

    /// Whether the segment was unlinked or replaced since the plan was made.
    fn has_lost(&self) -> bool {
        matches!(&self.source, Source::Stored(stored) if stored.is_lost(&self.log))
    }

    /// Plans anew, within the memory that was granted for what was planned at first. Answers nothing, so that the
    /// reader asks again, where that is not enough.
    fn load_anew(&self) -> Result<ReadAnswer, ReadError> {
        let Source::Stored(StoredRead { from, bounds, isolation, size_max, .. }) = &self.source else {
            return self.load_once();
        };
        let bytes_max = bounds.bytes_max.min(*size_max);
        for _ in 0..REPLANS_MAX {
            self.log.after_change()?;
            let request = ReadRequest { from: *from, until: Some(bounds.until), bytes_max };
            let plan = ReadPlan::make(&self.log, &request, *isolation)?;
            if plan.size_bytes() > *size_max {
                break;
            }
            let answer = plan.load_once();
            if answer.is_ok() || !plan.has_lost() {
                return answer;
            }
        }
        Ok(ReadAnswer { extents: Vec::new(), range: OffsetRange { start: *from, end: *from } })
    }

    fn load_of(&self, pages: Pages) -> io::Result<Result<ReadAnswer, ReadError>> {
        if let Err(closed) = self.log.check_open() {
            return Ok(Err(closed));
        }
        match &self.source {
            Source::Nothing(from) => {
                Ok(Ok(ReadAnswer { extents: Vec::new(), range: OffsetRange { start: *from, end: *from } }))
            }
            Source::Cached(CachedRange { pieces, first, end }) => {
                let extents = pieces.iter().map(Piece::bytes).collect();
                Ok(Ok(ReadAnswer { extents, range: OffsetRange { start: *first, end: *end } }))
            }
            Source::Stored(stored) => stored.load(&self.log, pages),
        }
    }
}

impl StoredRead {
    /// Whether the segment was unlinked or replaced since, or cut where only replicas may read.
    fn is_lost(&self, log: &LogInner) -> bool {
        self.segment.is_lost() || (self.isolation == Isolation::Held && !self.is_current(log))
    }

    /// Whether the log still has the very segment: each truncation puts another one in its place.
    fn is_current(&self, log: &LogInner) -> bool {
        log.view.read().segments.iter().rev().any(|segment| Arc::ptr_eq(segment, &self.segment))
    }

    /// Fails where a truncation is why the bytes are not what was planned: that is no damage. Nothing below the high
    /// watermark is cut off in place.
    fn check_not_truncated(&self, log: &Arc<LogInner>) -> io::Result<()> {
        if self.isolation == Isolation::Committed {
            return Ok(());
        }
        // A truncation that is under way has the writer.
        drop(log.turn());
        if self.is_current(log) { Ok(()) } else { Err(io::Error::other("the log was truncated")) }
    }

    fn load(&self, log: &Arc<LogInner>, pages: Pages) -> io::Result<Result<ReadAnswer, ReadError>> {
        let sealed = self.segment.sealed();
        let spot = match find(log, &self.segment, self.from, pages)? {
            // Unless the segment was compacted, a batch that begins behind the offset is not all there was.
            Found::Batch(spot) if spot.base > self.from && self.segment.offsets == Offsets::Dense => {
                return self.gone(log, &spot, pages);
            }
            Found::Batch(spot) if spot.base > self.from => match self.damage_before(log, &spot, pages)? {
                Some(position) => return self.corrupt(log, position, pages),
                None => spot,
            },
            Found::Batch(spot) => spot,
            Found::Damage(position) => return self.corrupt(log, position, pages),
        };
        let size = self.segment.size();
        let wanted = (self.bounds.bytes_max as u64).max(spot.size).min(size - spot.position);
        let range = spot.position..spot.position + wanted;
        let (bytes, checks) = match sealed {
            Some(sealed) if pages != Pages::Resident => (sealed_bytes(&sealed, &self.segment, range)?, None),
            // Whether the pages of a map are in memory is not known without touching them: a few bytes are copied.
            Some(sealed) if wanted > SEALED_COPY_BYTES_MAX || !sealed.has_passed(&range) => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            sealed => {
                let file = self.segment.file_for(pages)?;
                let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
                let bytes = pages.read_some(&*file, wanted, spot.position)?;
                (bytes.into(), sealed.is_none().then(|| log.served_epochs()))
            }
        };
        let whole = self.whole_batches(&bytes, spot.base, checks.as_deref());
        if whole.length == 0 {
            return self.corrupt(log, spot.position, pages);
        }
        let range = OffsetRange { start: spot.base, end: whole.end };
        Ok(Ok(ReadAnswer { extents: vec![bytes.slice(..whole.length)], range }))
    }

    /// How far whole batches within the bounds go, from the one that begins at `base`. What no seal vouches for is
    /// checked, against its own checksum and against what that does not cover: the offset that must come next, and the
    /// leader epoch that the log has for it.
    fn whole_batches(&self, bytes: &Bytes, base: Offset, checks: Option<&EpochCache>) -> Whole {
        let mut whole = Whole { length: 0, end: base };
        let ReadBounds { until, readable_end, bytes_max } = self.bounds;
        while let Some(rest) = bytes.get(whole.length..).filter(|rest| !rest.is_empty()) {
            let Ok(header) = BatchHeader::parse(rest) else { break };
            let Some(spot) = BatchSpot::of(&header, whole.length as u64) else { break };
            let length = whole.length + header.size();
            let is_first = whole.length == 0;
            let follows = self.segment.offsets.allow(whole.end, spot.base);
            let fits = length <= bytes.len() && (is_first || length <= bytes_max);
            let wanted = spot.last < readable_end && (is_first || spot.base < until);
            if !follows || !fits || !wanted {
                break;
            }
            if let Some(epochs) = checks {
                let is_of_epoch = epochs.agrees(spot.base, LeaderEpoch(header.partition_leader_epoch));
                if !is_of_epoch || Batch::parse_stored(&bytes.slice(whole.length..length)).is_err() {
                    break;
                }
            }
            whole = Whole { length, end: spot.last.next() };
        }
        whole
    }

    /// Where the bytes that were stepped over to find the `spot` behind a hole are not what they should be. What the headers
    /// of those batches say is why there is a hole: it is believed once they are checked.
    fn damage_before(&self, log: &LogInner, spot: &BatchSpot, pages: Pages) -> io::Result<Option<u64>> {
        if pages == Pages::Resident {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let segment = &self.segment;
        let sealed = segment.sealed();
        let fs = &*log.shared.env.fs;
        let entry = segment.with_offset_index(fs, |index| index.lookup(segment.base, self.from))?;
        let start = entry.map_or(0, |entry| u64::from(entry.position)).min(spot.position);
        if let Some(sealed) = sealed {
            return Ok(sealed.check(segment, start..spot.end_position())?.map(|bad| bad.start.max(start)));
        }
        let file = segment.file()?;
        let mut walk = walk_from(log, &*file, segment, start..segment.size());
        while walk.position() < spot.position {
            let position = walk.position();
            match walk.step()? {
                Ok((passed, _)) if is_whole(segment, None, &passed)? => {}
                Ok(_) | Err(_) => return Ok(Some(position)),
            }
        }
        Ok(None)
    }

    /// The answer where the first batch that there is begins behind the offset asked for.
    fn gone(
        &self,
        log: &Arc<LogInner>,
        next: &BatchSpot,
        pages: Pages,
    ) -> io::Result<Result<ReadAnswer, ReadError>> {
        if pages == Pages::Resident {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.check_not_truncated(log)?;
        let offsets = OffsetRange { start: self.from, end: next.base };
        log.damage.note(DamagedRange {
            path: self.segment.path(SegmentFile::Log),
            bytes: next.position..next.position,
            offsets,
            what: "the records before this place are gone".to_owned(),
        });
        Ok(Err(ReadError::Corrupt(offsets)))
    }

    /// The answer where the batch that should lie at `position` is damaged: up to the next one that is not.
    fn corrupt(
        &self,
        log: &Arc<LogInner>,
        position: u64,
        pages: Pages,
    ) -> io::Result<Result<ReadAnswer, ReadError>> {
        if pages == Pages::Resident {
            // How far the damage goes is found out by reading on.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.check_not_truncated(log)?;
        let next = next_intact(log, &self.segment, position, self.from);
        // In front of the first segment there is nothing, and all of it may be there.
        let behind = if self.from < self.segment.base { self.segment.base } else { self.segment_end };
        let end = next.map_or(behind, |next| next.base).max(self.from.next());
        let offsets = OffsetRange { start: self.from, end };
        let size = self.segment.size();
        log.damage.note(DamagedRange {
            path: self.segment.path(SegmentFile::Log),
            bytes: position..next.map_or(size, |next| next.position).max(position),
            offsets,
            what: "a read found no valid batch here".to_owned(),
        });
        Ok(Err(ReadError::Corrupt(offsets)))
    }
}

/// The bytes of a sealed segment, up to the first block that is not what was sealed.
fn sealed_bytes(sealed: &SealedPart, segment: &Segment, range: Range<u64>) -> io::Result<Bytes> {
    let mut bytes = sealed.bytes(segment, range.clone())?;
    let read = range.start..range.start + bytes.len() as u64;
    if let Some(bad) = sealed.check(segment, read)? {
        bytes.truncate(usize::try_from(bad.start.saturating_sub(range.start)).unwrap_or(0));
    }
    Ok(bytes)
}

struct Whole {
    length: usize,
    end: Offset,
}

enum Found {
    Batch(BatchSpot),
    /// Bytes at this position are not the batch that they should be.
    Damage(u64),
}

/// The batch that holds `offset`, or the first one behind it: index, then header hops.
fn find(log: &LogInner, segment: &Segment, offset: Offset, pages: Pages) -> io::Result<Found> {
    let (size, end) = {
        let body = segment.body.read();
        (body.size, body.end)
    };
    if offset >= end {
        return Ok(Found::Damage(size));
    }
    let file = segment.file_for(pages)?;
    let fs = &*log.shared.env.fs;
    let entry = segment.with_offset_index_in(pages, fs, |index| index.lookup(segment.base, offset))?;
    if let Some(entry) = entry.filter(|entry| u64::from(entry.position) < size) {
        let mut walk = walk_from(log, &*file, segment, entry.position.into()..size).pages(pages);
        // An index is a hint: it is believed if the batch that it names is the one that it says.
        if let Ok((spot, _)) = walk.step()?
            && spot.last == entry.last_offset(segment.base)
        {
            return if spot.last >= offset { Ok(Found::Batch(spot)) } else { hop(walk, offset) };
        }
    }
    hop(walk_from(log, &*file, segment, 0..size).pages(pages), offset)
}

/// Walks a range of the `file` of a segment, and reads no more than an index interval ahead.
fn walk_from<'a>(log: &LogInner, file: &'a dyn File, segment: &Segment, range: Range<u64>) -> Walk<'a> {
    let walk = Walk::new(file, range.start, segment.base, range.end).offsets(segment.offsets);
    walk.window(log.config().index_interval_bytes)
}

fn hop(mut walk: Walk<'_>, offset: Offset) -> io::Result<Found> {
    loop {
        match walk.step()? {
            Ok((spot, _)) if spot.last >= offset => return Ok(Found::Batch(spot)),
            Ok(_) => {}
            Err(WalkEnd::End | WalkEnd::Bad) => return Ok(Found::Damage(walk.position())),
        }
    }
}

/// The first batch behind `position` that an index entry names and that is what it says.
fn next_intact(log: &LogInner, segment: &Segment, position: u64, from: Offset) -> Option<BatchSpot> {
    let size = segment.size();
    let file = segment.file().ok()?;
    let entries: Vec<_> = segment
        .with_offset_index(&*log.shared.env.fs, |index| {
            index.iter().filter(|entry| u64::from(entry.position) > position).collect()
        })
        .ok()?;
    entries.into_iter().find_map(|entry| {
        let mut walk = walk_from(log, &*file, segment, entry.position.into()..size);
        let (spot, _) = walk.step().ok()?.ok()?;
        let named = spot.last == entry.last_offset(segment.base) && spot.base > from;
        (named && is_intact(segment, &spot)).then_some(spot)
    })
}

fn is_intact(segment: &Segment, spot: &BatchSpot) -> bool {
    is_whole(segment, segment.sealed().as_deref(), spot).unwrap_or(false)
}

/// Whether a batch passes the check that it stands under: its seal's, or its own.
fn is_whole(segment: &Segment, sealed: Option<&SealedPart>, spot: &BatchSpot) -> io::Result<bool> {
    if let Some(sealed) = sealed {
        return Ok(sealed.check(segment, spot.position..spot.end_position())?.is_none());
    }
    let mut buffer = vec![0; usize::try_from(spot.size).unwrap_or(0)];
    let file = segment.file()?;
    let read = read_fully(&*file, &mut buffer, spot.position)?;
    Ok(read == buffer.len() && Batch::parse_stored(&Bytes::from(buffer)).is_ok())
}

fn io_error(error: &io::Error) -> ReadError {
    if is_out_of_files(error) { ReadError::OutOfFiles } else { ReadError::Io(error.to_string()) }
}
