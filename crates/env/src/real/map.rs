//! Mapped files.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use memmap2::{Advice, Mmap, MmapOptions, MmapRaw};

use super::sigbus::Guard;
use crate::Map;

/// Kernels before 5.14 cannot populate a map: there the range is read through the file instead.
const FALLBACK_READ_BYTES: usize = 64 * 1024;

#[derive(Debug)]
struct RealMap {
    /// Dropped before the map that it guards: fields go in the order in which they stand.
    guard: Guard,
    map: Mmap,
    /// Kept open only where the kernel cannot populate.
    file: Option<Arc<File>>,
}

/// Maps the first `bytes` of `file`.
pub(super) fn map(file: &Arc<File>, bytes: u64) -> io::Result<Arc<dyn Map>> {
    let size = file.metadata()?.len();
    if bytes == 0 || bytes > size {
        let text = format!("cannot map {bytes} bytes of a file of {size} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let len = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    #[expect(unsafe_code, reason = "a file map is a promise about other writers that no type can express")]
    // SAFETY: the bytes of a `&[u8]` must neither change nor go away. `File::map` passes that contract on: the log
    // maps sealed segments, which are never written nor shortened, and of the active file only bytes below the
    // high watermark, which no write and no truncation reaches; the directory lock keeps other brokers out. What
    // remains is an administrator who shortens a file by hand, and a medium that fails: the pages become zeros then, and
    // `is_intact` says so.
    let map = unsafe { MmapOptions::new().len(len).map(&**file) }?;
    let file = (!Advice::PopulateRead.is_supported()).then(|| Arc::clone(file));
    let guard = Guard::new(map.as_ptr(), map.len())?;
    Ok(Arc::new(RealMap { guard, map, file }))
}

impl Map for RealMap {
    fn bytes(&self) -> &[u8] {
        &self.map
    }

    fn is_resident(&self) -> bool {
        are_resident(self.map.as_ptr(), self.map.len()).unwrap_or(false)
    }

    fn is_intact(&self) -> bool {
        !self.guard.is_poisoned()
    }

    fn populate(&self, range: Range<usize>) -> io::Result<()> {
        if range.start > range.end || range.end > self.map.len() {
            let text = format!("populate {range:?} of a map of {} bytes", self.map.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if range.is_empty() {
            return Ok(());
        }
        if !self.is_intact() {
            // The zeros that stand for lost pages are in memory, and nothing that anybody wants.
            return Err(rustix::io::Errno::FAULT.into());
        }
        match &self.file {
            Some(file) => read_through(file, range),
            None => loop {
                match self.map.advise_range(Advice::PopulateRead, range.start, range.len()) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    answer => return answer,
                }
            },
        }
    }
}

/// Whether all of `range` lies in the page cache. Of a file that this process may not write the kernel says so of all of it.
pub(super) fn is_resident(file: &File, range: Range<u64>) -> io::Result<bool> {
    match untouched(file, &range)? {
        Some(map) => are_resident(map.as_ptr(), map.len()),
        None => Ok(true),
    }
}

/// Whether the pages of a map that is alive and begins on a page boundary are in memory (`mincore`).
fn are_resident(start: *const u8, bytes: usize) -> io::Result<bool> {
    /// What tells of a page that it is; the other bits are reserved.
    const RESIDENT: u8 = 1;
    let mut pages = vec![0_u8; bytes.div_ceil(rustix::param::page_size())];
    #[expect(unsafe_code, reason = "neither std nor rustix has mincore")]
    // SAFETY: the kernel does not touch the mapped bytes; of the addresses it says ENOMEM if they are not mapped. It writes
    // one byte for each page that `bytes` reaches into, which is as many as `pages` has.
    let answer = unsafe { libc::mincore(start.cast_mut().cast(), bytes, pages.as_mut_ptr()) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(pages.iter().all(|page| page & RESIDENT != 0))
}

/// Brings `range` of a file into the page cache.
pub(super) fn populate(file: &File, range: Range<u64>) -> io::Result<()> {
    if !Advice::PopulateRead.is_supported() {
        let index = |position| usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput);
        return read_through(file, index(range.start)?..index(range.end)?);
    }
    let Some(map) = untouched(file, &range)? else { return Ok(()) };
    loop {
        match map.advise(Advice::PopulateRead) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

/// A map of the pages of `range` for the kernel to look at. Nobody reads through it, so nobody meets a page that is gone.
fn untouched(file: &File, range: &Range<u64>) -> io::Result<Option<MmapRaw>> {
    let page = rustix::param::page_size() as u64;
    let start = range.start - range.start % page;
    let bytes = range.end.saturating_sub(start);
    if range.is_empty() {
        return Ok(None);
    }
    let bytes = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(Some(MmapOptions::new().offset(start).len(bytes).map_raw_read_only(file)?))
}

/// Brings `range` into the page cache by reading it; an end of file before its end is an error.
fn read_through(file: &File, range: Range<usize>) -> io::Result<()> {
    let mut scratch = vec![0; FALLBACK_READ_BYTES.min(range.len())];
    let mut at = range.start;
    while at < range.end {
        let want = scratch.len().min(range.end - at);
        let buffer = scratch.get_mut(..want).unwrap_or_default();
        file.read_exact_at(buffer, at as u64)?;
        at += want;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(bytes: usize) -> Arc<File> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes as u64).unwrap();
        Arc::new(file)
    }

    #[test]
    fn populate_answers_an_error_where_a_touch_would_be_a_sigbus() {
        let file = file_of(64 * 1024);
        let map = map(&file, 64 * 1024).unwrap();
        map.populate(0..64 * 1024).unwrap();
        file.set_len(4096).unwrap();
        assert!(map.populate(32 * 1024..64 * 1024).is_err());
    }

    #[test]
    fn the_fallback_reads_the_range_and_reports_a_short_file() {
        let file = file_of(100_000);
        read_through(&file, 1..100_000).unwrap();
        assert_eq!(read_through(&file, 1..100_001).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
