//! A segment under its seal: mapped when first asked for, indexes and log, and checked block by block at the first read.
//!
//! What is sealed never changes and never becomes shorter, so slices of the map are handed out as they are: a read of
//! history copies nothing. Pages are populated before anybody touches them, on the thread that may block.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use millrace_env::{Fs, Map, OpenMode};
use millrace_types::limits::INDEX_INTERVAL_BYTES_DEFAULT;
use parking_lot::Mutex;

use super::{Body, LiveIndexes, Segment, Stage, Walk, read_fully};
use crate::format::offset_index::OffsetIndex;
use crate::format::seal::Seal;
use crate::format::time_index::TimeIndex;
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
    log: OnceLock<MappedLog>,
    offsets: OnceLock<IndexBytes>,
    times: OnceLock<IndexBytes>,
}

/// The `.log`, mapped whole.
#[derive(Debug)]
struct MappedLog {
    map: Arc<dyn Map>,
    /// The bytes of `map`, which they keep alive.
    bytes: Bytes,
}

impl MappedLog {
    fn new(map: Arc<dyn Map>) -> MappedLog {
        let bytes = Bytes::from_owner(MapOwner(Arc::clone(&map)));
        MappedLog { map, bytes }
    }
}

/// A map as the owner of [`Bytes`].
struct MapOwner(Arc<dyn Map>);

impl AsRef<[u8]> for MapOwner {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// The bytes of an index.
#[derive(Debug)]
enum IndexBytes {
    /// As sealed.
    Mapped(Arc<dyn Map>),
    /// Built anew from the log, because the file is not what was sealed.
    Built(Vec<u8>),
}

impl IndexBytes {
    fn bytes(&self) -> &[u8] {
        match self {
            IndexBytes::Mapped(map) => map.bytes(),
            IndexBytes::Built(bytes) => bytes,
        }
    }
}

impl SealedPart {
    pub(crate) fn new(seal: Seal) -> SealedPart {
        let checked = Mutex::new(vec![false; seal.block_count()]);
        let bad = Mutex::default();
        SealedPart {
            seal,
            checked,
            bad,
            log: OnceLock::new(),
            offsets: OnceLock::new(),
            times: OnceLock::new(),
        }
    }

    /// The seal of bytes that were read to the last one to make it.
    pub(crate) fn just_sealed(seal: Seal) -> SealedPart {
        let part = SealedPart::new(seal);
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

    fn index(&self, segment: &Segment, fs: &dyn Fs, file: SegmentFile) -> io::Result<&[u8]> {
        let slot = if file == SegmentFile::OffsetIndex { &self.offsets } else { &self.times };
        if let Some(loaded) = slot.get() {
            return Ok(loaded.bytes());
        }
        let loaded = match self.load_index(segment, fs, file)? {
            Some(loaded) => loaded,
            None => self.rebuild_index(segment, file)?,
        };
        Ok(slot.get_or_init(|| loaded).bytes())
    }

    /// The file as it was sealed; `None` if it is gone or another.
    fn load_index(
        &self,
        segment: &Segment,
        fs: &dyn Fs,
        file: SegmentFile,
    ) -> io::Result<Option<IndexBytes>> {
        let opened = match fs.open(&segment.path(file), OpenMode::Read) {
            Ok(opened) => opened,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let size = opened.size()?;
        let sealed = self.seal.files().iter().find(|sealed| sealed.file == file);
        if sealed.is_none_or(|sealed| sealed.bytes != size) {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(IndexBytes::Built(Vec::new())));
        }
        let map = opened.map(size)?;
        map.populate(0..map.bytes().len())?;
        Ok(self.seal.check_file(file, map.bytes()).is_ok().then_some(IndexBytes::Mapped(map)))
    }

    fn rebuild_index(&self, segment: &Segment, file: SegmentFile) -> io::Result<IndexBytes> {
        tracing::warn!(path = %segment.path(file).display(), "the index is not the one that was sealed; building it anew");
        let mut body = Body::empty(segment.base);
        let mut walk = Walk::new(&*segment.file, 0, segment.base, self.seal.log_bytes());
        while let Ok((spot, _)) = walk.step()? {
            body.append(segment.base, &spot, INDEX_INTERVAL_BYTES_DEFAULT);
        }
        let largest = body.largest;
        let indexes = match &mut body.stage {
            Stage::Live(indexes) => std::mem::take(indexes),
            Stage::Sealed(_) => LiveIndexes::default(),
        };
        Ok(IndexBytes::Built(match file {
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
            Err(error) => {
                tracing::debug!(path = %segment.path(SegmentFile::Log).display(), %error, "reading instead of mapping");
                let mut buffer = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
                let read = read_fully(&*segment.file, &mut buffer, range.start)?;
                buffer.truncate(read);
                Ok(buffer.into())
            }
        }
    }

    fn mapped(&self, segment: &Segment, range: &Range<u64>) -> io::Result<Bytes> {
        let log = match self.log.get() {
            Some(log) => log,
            None => {
                let map = segment.file.map(self.seal.log_bytes())?;
                self.log.get_or_init(|| MappedLog::new(map))
            }
        };
        let index = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
        let range = index(range.start)..index(range.end).min(log.bytes.len());
        log.map.populate(range.clone())?;
        Ok(log.bytes.slice(range))
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
        let body = self.body.read();
        match &body.stage {
            Stage::Live(indexes) => Ok(look(indexes.offset_index())),
            Stage::Sealed(sealed) => {
                let sealed = Arc::clone(sealed);
                drop(body);
                Ok(look(OffsetIndex::whole_entries(sealed.index(self, fs, SegmentFile::OffsetIndex)?)))
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
                Ok(look(TimeIndex::whole_entries(sealed.index(self, fs, SegmentFile::TimeIndex)?)))
            }
        }
    }
}
