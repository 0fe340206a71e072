//! Stepping through a `.log` from header to header, without its payloads.

use std::io;

use millrace_env::File;
use millrace_record::{BatchHeader, HEADER_BYTES};
use millrace_types::Offset;

use super::BatchSpot;

/// Bytes that one step reads ahead: many small batches cost one call, a large one costs little more than its header.
const WINDOW_BYTES: usize = 4096;

/// Which pages of a file a read may touch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pages {
    /// All; reading may block.
    Any,
    /// Those in memory; anything else answers `WouldBlock`.
    Resident,
    /// None: the bytes come from the medium itself, past the page cache. May block.
    Medium,
}

impl Pages {
    /// Fills `buffer` as far as the file goes and tells how far.
    pub(crate) fn read_fully(self, file: &dyn File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = position + filled as u64;
            let read = match self {
                Pages::Any => file.read_at(rest, at)?,
                Pages::Resident => file.read_resident_at(rest, at)?,
                Pages::Medium => file.read_medium_at(rest, at)?,
            };
            if read == 0 {
                break;
            }
            filled += read;
        }
        Ok(filled)
    }

    /// At most `bytes` from `position` on; fewer where the file ends.
    pub(crate) fn read_some(self, file: &dyn File, bytes: usize, position: u64) -> io::Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(bytes);
        while buffer.len() < bytes {
            let (missing, at) = (bytes - buffer.len(), position + buffer.len() as u64);
            let read = match self {
                Pages::Any => file.read_more_at(&mut buffer, missing, at)?,
                Pages::Resident => file.read_more_resident_at(&mut buffer, missing, at)?,
                // Whoever asks the medium wants all of it in one go: it reads past the cache.
                Pages::Medium => {
                    buffer.resize(bytes, 0);
                    let read = self.read_fully(file, &mut buffer, position)?;
                    buffer.truncate(read);
                    break;
                }
            };
            if read == 0 {
                break;
            }
        }
        Ok(buffer)
    }
}

/// Why a walk ended.
#[derive(Debug)]
pub(crate) enum WalkEnd {
    /// At the end that it was given, on a batch boundary.
    End,
    /// At bytes that are not the next batch.
    Bad,
}

/// Whether a batch begins at the offset behind the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offsets {
    /// Always: one that does not is damage.
    Dense,
    /// There or behind it: the segment was compacted.
    WithHoles,
}

impl Offsets {
    /// Whether a batch may begin at `base` when the one before ends right before `expected`.
    pub(crate) fn allow(self, expected: Offset, base: Offset) -> bool {
        match self {
            Offsets::Dense => base == expected,
            Offsets::WithHoles => base >= expected,
        }
    }
}

/// Walks the batches of a file.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    file: &'a dyn File,
    pages: Pages,
    /// Where the next batch is expected.
    position: u64,
    /// The offset that the next batch begins at; in the middle of a file, the lowest that it may begin at.
    expected: Offset,
    /// Whether it is known that the next batch begins there.
    is_exact: bool,
    offsets: Offsets,
    /// No batch reaches past this position.
    limit: u64,
    window: Vec<u8>,
    window_start: u64,
    window_bytes: usize,
    bytes_read: u64,
}

impl<'a> Walk<'a> {
    /// From `position`, where a batch begins whose base offset is at least `expected` (at position 0: is that), up to
    /// `limit`.
    pub(crate) fn new(file: &'a dyn File, position: u64, expected: Offset, limit: u64) -> Walk<'a> {
        Walk {
            file,
            pages: Pages::Any,
            position,
            expected,
            is_exact: position == 0,
            offsets: Offsets::Dense,
            limit,
            window: Vec::new(),
            window_start: 0,
            window_bytes: WINDOW_BYTES,
            bytes_read: 0,
        }
    }

    /// Reads at most this much ahead: an index interval, so that a look-up stays within one.
    pub(crate) fn window(mut self, bytes: u64) -> Walk<'a> {
        self.window_bytes =
            usize::try_from(bytes).unwrap_or(WINDOW_BYTES).clamp(HEADER_BYTES, 64 * WINDOW_BYTES);
        self
    }

    /// What is known of the offsets of the segment.
    pub(crate) fn offsets(self, offsets: Offsets) -> Walk<'a> {
        Walk { is_exact: self.is_exact && offsets == Offsets::Dense, offsets, ..self }
    }

    /// Touches only these pages.
    pub(crate) fn pages(self, pages: Pages) -> Walk<'a> {
        Walk { pages, ..self }
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn expected(&self) -> Offset {
        self.expected
    }

    /// The next batch, or why there is none. Headers are checked for their place, payloads not at all.
    pub(crate) fn step(&mut self) -> io::Result<Result<(BatchSpot, BatchHeader), WalkEnd>> {
        if self.position == self.limit {
            return Ok(Err(WalkEnd::End));
        }
        let (position, expected, limit) = (self.position, self.expected, self.limit);
        let is_exact = self.is_exact;
        let Ok(header) = BatchHeader::parse(self.header_bytes()?) else {
            return Ok(Err(WalkEnd::Bad));
        };
        let spot = BatchSpot::of(&header, position);
        let follows = |base: Offset| if is_exact { base == expected } else { base >= expected };
        let Some(spot) = spot.filter(|spot| follows(spot.base) && spot.end_position() <= limit) else {
            return Ok(Err(WalkEnd::Bad));
        };
        self.position = spot.end_position();
        self.expected = spot.last.next();
        self.is_exact = self.offsets == Offsets::Dense;
        Ok(Ok((spot, header)))
    }

    /// The bytes at the current position, a header's worth unless the file ends first.
    fn header_bytes(&mut self) -> io::Result<&[u8]> {
        let held = self.position.checked_sub(self.window_start).and_then(|skip| usize::try_from(skip).ok());
        let skip = match held.filter(|skip| skip + HEADER_BYTES <= self.window.len()) {
            Some(skip) => skip,
            None => {
                let left = usize::try_from(self.limit.saturating_sub(self.position)).unwrap_or(usize::MAX);
                self.window.resize(self.window_bytes.min(left), 0);
                let read = self.pages.read_fully(self.file, &mut self.window, self.position)?;
                self.window.truncate(read);
                self.window_start = self.position;
                self.bytes_read += read as u64;
                0
            }
        };
        Ok(self.window.get(skip..).unwrap_or_default())
    }
}

/// Fills `buffer` as far as the file goes and tells how far. May block.
pub(crate) fn read_fully(file: &dyn File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    Pages::Any.read_fully(file, buffer, position)
}
