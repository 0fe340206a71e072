//! A segment under its seal: mapped when first asked for, indexes and log, and checked block by block at the first read.
//!
//! What is sealed never changes and never becomes shorter, so slices of the map are handed out as they are: a read of
//! history copies nothing. Pages are populated before anybody touches them, on the thread that may block.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use millrace_env::{Fs, FsExt, Map, OpenMode};
use millrace_types::limits::INDEX_INTERVAL_BYTES_DEFAULT;
use parking_lot::Mutex;

use super::{Body, LiveIndexes, Pages, Segment, Stage, Walk, read_fully};
use crate::format::offset_index::OffsetIndex;
use crate::format::seal::Seal;
use crate::format::time_index::TimeIndex;
use crate::handles::{HandleCache, MapSlot, MappedFile, is_gone};
use crate::names::SegmentFile;

/// The seal of a segment and what was checked against it since the log was opened.
#[derive(Debug)]
pub(crate) struct SealedPart {
    seal: Seal,
    /// For each block of the `.log`, whether it passed.
    checked: Mutex<Vec<bool>>,
    /// Blocks of the `.log` that failed a check. They stay out of every answer until the log is opened again, even where
    /// a page that is still cached looks right.
    bad: Mutex<BTreeSet<usize>>,
    log: MapSlot,
    offsets: SealedIndex,
    times: SealedIndex,
}

/// An index under a seal.
#[derive(Debug)]
struct SealedIndex {
    map: MapSlot,
    /// Whether the file was found to be what was sealed. It holds for maps that are made later, too.
    passed: AtomicBool,
    /// The index built anew from the log, because the file is not what was sealed.
    built: OnceLock<Bytes>,
}

impl SealedIndex {
    fn new(handles: &Arc<HandleCache>) -> SealedIndex {
        SealedIndex { map: MapSlot::new(handles), passed: AtomicBool::new(false), built: OnceLock::new() }
    }
}

/// The bytes of an index, and the map that they lie in.
struct IndexBytes {
    bytes: Bytes,
    map: Option<Arc<dyn Map>>,
}

impl IndexBytes {
    /// Looks into it, and believes what was found only if all of it was there.
    fn look<R>(&self, look: impl FnOnce(&[u8]) -> R) -> io::Result<R> {
        let found = look(&self.bytes);
        let is_intact = self.map.as_ref().is_none_or(|map| map.is_intact());
        if is_intact { Ok(found) } else { Err(not_intact()) }
    }
}

impl From<Bytes> for IndexBytes {
    fn from(bytes: Bytes) -> IndexBytes {
        IndexBytes { bytes, map: None }
    }
}

/// Zeros were read where a page of the file should have been.
fn not_intact() -> io::Error {
    io::Error::other("a page of the mapped file could not be read")
}

/// Why the file of an index is of no use.
enum NotMapped {
    /// It is gone, or not what was sealed.
    Other,
    Failed(io::Error),
}

impl From<io::Error> for NotMapped {
    fn from(error: io::Error) -> NotMapped {
        match error.kind() {
            io::ErrorKind::NotFound => NotMapped::Other,
            _ => NotMapped::Failed(error),
        }
    }
}

impl SealedPart {
    pub(crate) fn new(seal: Seal, handles: &Arc<HandleCache>) -> SealedPart {
        let checked = Mutex::new(vec![false; seal.block_count()]);
        let bad = Mutex::default();
        let (offsets, times) = (SealedIndex::new(handles), SealedIndex::new(handles));
        SealedPart { seal, checked, bad, log: MapSlot::new(handles), offsets, times }
    }

    /// The seal of bytes that were read to the last one to make it.
    pub(crate) fn just_sealed(seal: Seal, handles: &Arc<HandleCache>) -> SealedPart {
        let part = SealedPart::new(seal, handles);
        part.checked.lock().fill(true);
        part
    }

    pub(crate) fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Serves a block no more.
    pub(crate) fn quarantine(&self, block: usize) {
        self.bad.lock().insert(block);
    }

    /// Lets go of the maps, for ever.
    pub(super) fn lose(&self) {
        for map in [&self.log, &self.offsets.map, &self.times.map] {
            map.lose();
        }
    }

    fn index(&self, segment: &Segment, fs: &dyn Fs, file: SegmentFile) -> io::Result<IndexBytes> {
        let index = if file == SegmentFile::OffsetIndex { &self.offsets } else { &self.times };
        if let Some(built) = index.built.get() {
            return Ok(built.clone().into());
        }
        let sealed = self.seal.files().iter().find(|sealed| sealed.file == file);
        let mapped = match sealed.map(|sealed| sealed.bytes) {
            Some(0) => return Ok(Bytes::new().into()),
            Some(size) => self.map_index(index, segment, fs, (file, size)),
            None => Err(NotMapped::Other),
        };
        match mapped {
            Ok(bytes) => Ok(bytes),
            Err(NotMapped::Failed(error)) => Err(error),
            Err(NotMapped::Other) => {
                let built = self.rebuild_index(segment, file)?;
                Ok(index.built.get_or_init(|| built).clone().into())
            }
        }
    }

    /// As [`SealedPart::index`], if that takes no call that may block: the index was looked into before and is in memory.
    fn index_resident(&self, file: SegmentFile) -> io::Result<IndexBytes> {
        let index = if file == SegmentFile::OffsetIndex { &self.offsets } else { &self.times };
        if let Some(built) = index.built.get() {
            return Ok(built.clone().into());
        }
        let has_passed = index.passed.load(Ordering::Acquire);
        match index.map.map_if_made().filter(|mapped| has_passed && mapped.map.is_resident()) {
            Some(MappedFile { bytes, map }) => Ok(IndexBytes { bytes, map: Some(map) }),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Whether all blocks of the `.log` that hold `range` have passed their check.
    pub(crate) fn has_passed(&self, range: &Range<u64>) -> bool {
        let mut blocks = Seal::block_of(range.start)..=Seal::block_of(range.end.saturating_sub(1));
        let (checked, bad) = (self.checked.lock(), self.bad.lock());
        blocks.all(|block| checked.get(block).copied().unwrap_or(false) && !bad.contains(&block))
    }

    /// The bytes of the file as it was sealed.
    fn map_index(
        &self,
        index: &SealedIndex,
        segment: &Segment,
        fs: &dyn Fs,
        (file, size): (SegmentFile, u64),
    ) -> Result<IndexBytes, NotMapped> {
        let mut other = false;
        let make = || -> io::Result<Arc<dyn Map>> {
            let opened = fs.open(&segment.path(file), OpenMode::Read)?;
            if opened.size()? != size {
                other = true;
                return Err(io::ErrorKind::InvalidData.into());
            }
            let map = opened.map(size)?;
            map.populate(0..map.bytes().len())?;
            if !index.passed.load(Ordering::Acquire) {
                if self.seal.check_file(file, map.bytes()).is_err() {
                    other = true;
                    return Err(io::ErrorKind::InvalidData.into());
                }
                index.passed.store(true, Ordering::Release);
            }
            Ok(map)
        };
        let mapped = index.map.map(make);
        if other {
            return Err(NotMapped::Other);
        }
        match mapped {
            Ok(MappedFile { bytes, map }) => Ok(IndexBytes { bytes, map: Some(map) }),
            // The machine has no maps left: it may have memory.
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                let read = fs.read_small(&segment.path(file), usize::try_from(size).unwrap_or(usize::MAX))?;
                if self.seal.check_file(file, &read).is_ok() {
                    Ok(read.into())
                } else {
                    Err(NotMapped::Other)
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn rebuild_index(&self, segment: &Segment, file: SegmentFile) -> io::Result<Bytes> {
        tracing::warn!(path = %segment.path(file).display(), "the index is not the one that was sealed; building it anew");
        let mut body = Body::empty(segment.base);
        let log = segment.file()?;
        let walk = Walk::new(&*log, 0, segment.base, self.seal.log_bytes());
        let mut walk = walk.offsets(segment.offsets);
        while let Ok((spot, _)) = walk.step()? {
            body.append(segment.base, &spot, INDEX_INTERVAL_BYTES_DEFAULT);
        }
        let largest = body.largest;
        let indexes = match &mut body.stage {
            Stage::Live(indexes) => std::mem::take(indexes),
            Stage::Sealed(_) => LiveIndexes::default(),
        };
        Ok(Bytes::from(match file {
            SegmentFile::OffsetIndex => indexes.offsets,
            _ => {
                let mut indexes = indexes;
                indexes.note_largest(segment.base, largest);
                indexes.times
            }
        }))
    }

    /// The bytes of the `.log` in `range`, resident: a slice of its map. Fewer if the file is shorter than its seal says.
    pub(crate) fn bytes(&self, segment: &Segment, range: Range<u64>) -> io::Result<Bytes> {
        match self.mapped(segment, &range) {
            Ok(bytes) => Ok(bytes),
            // The file is shorter than it was, or the machine has no maps left: reading it tells which.
            Err(error) if is_gone(&error) => Err(error),
            Err(error) => {
                tracing::debug!(path = %segment.path(SegmentFile::Log).display(), %error, "reading instead of mapping");
                let mut buffer = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
                let read = read_fully(&*segment.file()?, &mut buffer, range.start)?;
                buffer.truncate(read);
                Ok(buffer.into())
            }
        }
    }

    fn mapped(&self, segment: &Segment, range: &Range<u64>) -> io::Result<Bytes> {
        let log = self.log.map(|| segment.file()?.map(self.seal.log_bytes()))?;
        let index = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
        let range = index(range.start)..index(range.end).min(log.bytes.len());
        log.map.populate(range.clone())?;
        if log.map.is_intact() { Ok(log.bytes.slice(range)) } else { Err(not_intact()) }
    }

    /// Checks the blocks of the `.log` that hold `range` and were not checked before. Answers the first range of
    /// bytes that are not the ones that were sealed.
    pub(crate) fn check(&self, segment: &Segment, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
        let last = Seal::block_of(range.end.saturating_sub(1));
        for block in Seal::block_of(range.start)..=last {
            if self.bad.lock().contains(&block) {
                return Ok(Some(self.seal.block_range(block)));
            }
            if self.checked.lock().get(block).copied().unwrap_or(true) {
                continue;
            }
            let bytes = self.seal.block_range(block);
            let content = self.bytes(segment, bytes.clone())?;
            if let Err(e) = self.seal.check_block(block, &content) {
                let path = segment.path(SegmentFile::Log);
                tracing::error!(path = %path.display(), block, error = %e, "sealed bytes are damaged");
                self.quarantine(block);
                return Ok(Some(bytes));
            }
            if let Some(checked) = self.checked.lock().get_mut(block) {
                *checked = true;
            }
        }
        Ok(None)
    }
}

impl Segment {
    /// Looks into the offset index. Reads it whole, once, if the segment is sealed.
    pub(crate) fn with_offset_index<R>(
        &self,
        fs: &dyn Fs,
        look: impl FnOnce(OffsetIndex<'_>) -> R,
    ) -> io::Result<R> {
        self.with_offset_index_in(Pages::Any, fs, look)
    }

    /// As [`Segment::with_offset_index`], touching only these pages.
    pub(crate) fn with_offset_index_in<R>(
        &self,
        pages: Pages,
        fs: &dyn Fs,
        look: impl FnOnce(OffsetIndex<'_>) -> R,
    ) -> io::Result<R> {
        let body = self.body.read();
        match &body.stage {
            Stage::Live(indexes) => Ok(look(indexes.offset_index())),
            Stage::Sealed(sealed) => {
                let sealed = Arc::clone(sealed);
                drop(body);
                let index = match pages {
                    Pages::Any | Pages::Medium => sealed.index(self, fs, SegmentFile::OffsetIndex)?,
                    Pages::Resident => sealed.index_resident(SegmentFile::OffsetIndex)?,
                };
                index.look(|bytes| look(OffsetIndex::whole_entries(bytes)))
            }
        }
    }

    /// Looks into the time index. Reads it whole, once, if the segment is sealed.
    pub(crate) fn with_time_index<R>(
        &self,
        fs: &dyn Fs,
        look: impl FnOnce(TimeIndex<'_>) -> R,
    ) -> io::Result<R> {
        let body = self.body.read();
        match &body.stage {
            Stage::Live(indexes) => Ok(look(indexes.time_index())),
            Stage::Sealed(sealed) => {
                let sealed = Arc::clone(sealed);
                drop(body);
                let index = sealed.index(self, fs, SegmentFile::TimeIndex)?;
                index.look(|bytes| look(TimeIndex::whole_entries(bytes)))
            }
        }
    }
}
