//! Reading without reading: the range of a file that answers, for readers that can send from a file.
//!
//! What is answered stays as it is for as long as the answer is held. A sealed segment never changes; of an active one only
//! bytes below the high watermark are answered, which nothing overwrites and no truncation cuts off in place. The open
//! handle goes with the range, so that a file which is unlinked or replaced meanwhile can still be read.
//!
//! Everything was checked once since the log was opened: sealed blocks against their seal, other bytes when this process
//! appended them. Bytes of a segment without a seal that an earlier process wrote are read and checked, as always.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use millrace_env::File;
use millrace_types::{Offset, OffsetRange, limits};

use super::{Found, ReadPlan, Source, StoredRead, find, walk_from};
use crate::inner::LogInner;
use crate::segment::{BatchSpot, Pages, Walk};
use crate::{Isolation, ReadAnswer, ReadError};

/// A run of whole batches: in memory, or where it lies in a file.
#[derive(Clone, Debug)]
pub enum Extent {
    /// The bytes.
    Memory(Bytes),
    /// Where they are.
    File(FileRange),
}

impl Extent {
    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Extent::Memory(bytes) => bytes.len(),
            Extent::File(range) => range.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Extent {
    fn from(bytes: Bytes) -> Extent {
        Extent::Memory(bytes)
    }
}

/// Bytes of a file that do not change any more, and the file, which stays open with them.
#[derive(Clone, Debug)]
pub struct FileRange {
    file: Arc<dyn File>,
    bytes: Range<u64>,
}

impl FileRange {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// Where the bytes lie in it. They were in memory when the range was made.
    #[must_use]
    pub fn bytes(&self) -> Range<u64> {
        self.bytes.clone()
    }

    /// Leaves out the first `bytes`: they were sent.
    pub fn skip(&mut self, bytes: usize) {
        self.bytes.start = self.bytes.end.min(self.bytes.start.saturating_add(bytes as u64));
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.bytes.end.saturating_sub(self.bytes.start)).unwrap_or(usize::MAX)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl From<ReadAnswer> for ReadAnswer<Extent> {
    fn from(answer: ReadAnswer) -> ReadAnswer<Extent> {
        let ReadAnswer { extents, range } = answer;
        ReadAnswer { extents: extents.into_iter().map(Extent::Memory).collect(), range }
    }
}

impl ReadPlan {
    /// As [`ReadPlan::load`], but what lies in a file is brought into memory only, and its place answered: at least
    /// [`limits::FILE_RANGE_BYTES_MIN`] of it, fewer bytes are loaded.
    ///
    /// # Errors
    /// As [`ReadPlan::load`].
    pub fn locate(&self) -> Result<ReadAnswer<Extent>, ReadError> {
        match self.locate_in(Pages::Any) {
            Ok(Some(located)) => Ok(located),
            // Whatever is wrong, reading finds out and tells.
            Ok(None) | Err(_) => self.load().map(ReadAnswer::from),
        }
    }

    /// As [`ReadPlan::locate`], without blocking: `None` if bytes are wanted that may not be in memory, that were not
    /// checked yet, or that look damaged.
    #[must_use]
    pub fn locate_resident(&self) -> Option<Result<ReadAnswer<Extent>, ReadError>> {
        match self.locate_in(Pages::Resident) {
            Ok(Some(located)) => Some(Ok(located)),
            Ok(None) => self.load_resident().map(|loaded| loaded.map(ReadAnswer::from)),
            Err(_) => None,
        }
    }

    /// `None` where the bytes are to be loaded.
    fn locate_in(&self, pages: Pages) -> io::Result<Option<ReadAnswer<Extent>>> {
        match &self.source {
            Source::Stored(stored) if stored.size_max >= limits::FILE_RANGE_BYTES_MIN => {
                self.log.check_open().map_err(io::Error::other)?;
                stored.locate(&self.log, pages)
            }
            _ => Ok(None),
        }
    }
}

impl StoredRead {
    fn locate(&self, log: &LogInner, pages: Pages) -> io::Result<Option<ReadAnswer<Extent>>> {
        if self.isolation == Isolation::Held && self.segment.sealed().is_none() {
            // Above the high watermark a truncation would cut it off in place.
            return Ok(None);
        }
        let first = match find(log, &self.segment, self.from, pages)? {
            Found::Batch(spot) if spot.base <= self.from => spot,
            Found::Batch(_) | Found::Damage(_) => return Ok(None),
        };
        let bytes_max = first.size.max(self.bounds.bytes_max as u64);
        if bytes_max < limits::FILE_RANGE_BYTES_MIN as u64 {
            return Ok(None);
        }
        let file = self.segment.file_for(pages)?;
        let last = self.last_batch(log, &*file, first, pages)?;
        let bytes = first.position..last.end_position();
        if bytes.end - bytes.start < limits::FILE_RANGE_BYTES_MIN as u64 {
            return Ok(None);
        }
        let is_checked = match self.segment.sealed() {
            Some(sealed) if sealed.has_passed(&bytes) => true,
            Some(_) if pages == Pages::Resident => return Err(io::ErrorKind::WouldBlock.into()),
            Some(sealed) => sealed.check(&self.segment, bytes.clone())?.is_none(),
            None => bytes.start >= self.segment.inherited_bytes,
        };
        if !is_checked {
            return Ok(None);
        }
        if !file.is_resident(bytes.clone()) {
            match pages {
                Pages::Resident => return Err(io::ErrorKind::WouldBlock.into()),
                Pages::Any | Pages::Medium => file.populate(bytes.clone())?,
            }
        }
        let range = OffsetRange { start: first.base, end: last.last.next() };
        Ok(Some(ReadAnswer { extents: vec![Extent::File(FileRange { file, bytes })], range }))
    }

    /// The last batch of the answer that begins with `first`: the index names one that is near the end, headers from there
    /// on tell the rest.
    fn last_batch(
        &self,
        log: &LogInner,
        file: &dyn File,
        first: BatchSpot,
        pages: Pages,
    ) -> io::Result<BatchSpot> {
        let segment = &self.segment;
        let limit = (first.position + self.bounds.bytes_max as u64).min(segment.size());
        let known = |entry: &(u64, Offset)| entry.0 > first.position && entry.1 < self.bounds.until;
        let near = segment.with_offset_index_in(pages, &*log.shared.env.fs, |index| {
            let below = index.entries_below(limit);
            // The batch of the last entry may reach past the limit; that of the one before ends where it begins.
            let candidates = [1, 2].map(|back| index.get(below.checked_sub(back)?));
            candidates
                .map(|entry| entry.map(|entry| (entry.position.into(), entry.last_offset(segment.base))))
        })?;
        for (position, last_offset) in near.into_iter().flatten().filter(known) {
            let mut walk = walk_from(log, file, segment, position..segment.size()).pages(pages);
            if let Ok((spot, _)) = walk.step()?
                && spot.last == last_offset
                && spot.end_position() <= limit
            {
                return self.walk_to_last(walk, spot, limit);
            }
        }
        let mut walk = walk_from(log, file, segment, first.position..segment.size()).pages(pages);
        let Ok(_) = walk.step()? else { return Ok(first) };
        self.walk_to_last(walk, first, limit)
    }

    /// The last batch that is wanted, from the one on that `walk` has stepped over.
    fn walk_to_last(&self, mut walk: Walk<'_>, from: BatchSpot, limit: u64) -> io::Result<BatchSpot> {
        let mut last = from;
        while let Ok((spot, _)) = walk.step()? {
            let is_wanted = spot.last < self.bounds.readable_end && spot.base < self.bounds.until;
            if !is_wanted || spot.end_position() > limit {
                break;
            }
            last = spot;
        }
        Ok(last)
    }
}
