//! An open file.

use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::{Errno, ReadWriteFlags, preadv2, retry_on_intr};

use super::{direct, journal, map, spare};
use crate::{File, Map};

#[derive(Debug)]
pub(super) struct RealFile {
    inner: Arc<std::fs::File>,
    /// Whether its journal must be asked after a sync; known from the first one on.
    journal_is_asked: OnceLock<bool>,
}

impl RealFile {
    pub(super) fn new(inner: std::fs::File) -> RealFile {
        RealFile { inner: Arc::new(inner), journal_is_asked: OnceLock::new() }
    }
}

/// File systems that cannot tell what is in memory, and kernels that never could, say so in their own way.
fn resident(read: io::Result<usize>) -> io::Result<usize> {
    let cannot_tell = [Errno::OPNOTSUPP, Errno::NOSYS].map(Errno::raw_os_error);
    match read {
        Err(error) if error.raw_os_error().is_some_and(|code| cannot_tell.contains(&code)) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        answer => answer,
    }
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        loop {
            match self.inner.read_at(buffer, position) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                answer => return answer,
            }
        }
    }

    fn read_resident_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut buffers = [IoSliceMut::new(buffer)];
        let read = retry_on_intr(|| preadv2(&*self.inner, &mut buffers, position, ReadWriteFlags::NOWAIT));
        resident(read.map_err(io::Error::from))
    }

    fn read_more_at(&self, buffer: &mut Vec<u8>, bytes: usize, position: u64) -> io::Result<usize> {
        spare::read(&self.inner, (buffer, bytes), position, ReadWriteFlags::empty())
    }

    fn read_more_resident_at(&self, buffer: &mut Vec<u8>, bytes: usize, position: u64) -> io::Result<usize> {
        resident(spare::read(&self.inner, (buffer, bytes), position, ReadWriteFlags::NOWAIT))
    }

    fn is_resident(&self, range: Range<u64>) -> bool {
        map::is_resident(&self.inner, range).unwrap_or(false)
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        map::populate(&self.inner, range)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.inner.as_fd())
    }

    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        // rustix hands at most 1024 buffers (IOV_MAX) to the kernel: more than that is a short write.
        Ok(retry_on_intr(|| rustix::io::pwritev(&*self.inner, buffers, position))?)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.inner.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not std's sync_data, which tries again after EINTR: the kernel reports a write-back error once, and an
        // interrupted call may be the one that swallowed it. So an interrupted sync is a failed sync.
        rustix::fs::fdatasync(&*self.inner)?;
        let file = self.inner.as_fd();
        if *self.journal_is_asked.get_or_init(|| journal::must_be_asked(file)) {
            journal::ask(file)
        } else {
            Ok(())
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes)
    }

    fn allocate_keep_size(&self, range: Range<u64>) -> io::Result<()> {
        let Some(len) = range.end.checked_sub(range.start).filter(|len| *len > 0) else {
            return Ok(());
        };
        let flags = FallocateFlags::KEEP_SIZE;
        Ok(retry_on_intr(|| rustix::fs::fallocate(&*self.inner, flags, range.start, len))?)
    }

    fn drop_cache(&self) -> io::Result<()> {
        const TO_THE_END: Option<NonZeroU64> = None;
        Ok(rustix::fs::fadvise(&*self.inner, 0, TO_THE_END, Advice::DontNeed)?)
    }

    fn read_medium_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        match direct::read_at(&self.inner, buffer, position) {
            Err(e) if direct::is_refusal(&e) => {
                self.drop_cache()?;
                self.read_at(buffer, position)
            }
            answer => answer,
        }
    }

    fn map(&self, bytes: u64) -> io::Result<Arc<dyn Map>> {
        map::map(&self.inner, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_cache_takes_synced_pages_out_of_memory() {
        let real = RealFile::new(tempfile::tempfile().unwrap());
        let file: &dyn File = &real;
        file.write_all_at(&[1; 1 << 20], 0).unwrap();
        file.sync_data().unwrap();
        let resident = |page: u64| file.read_resident_at(&mut [0], page * 4096).map_err(|e| e.kind());
        match resident(0) {
            // tmpfs and others: nothing to ask, and no medium either.
            Err(io::ErrorKind::WouldBlock) => return,
            answer => assert_eq!(answer, Ok(1)),
        }
        assert!(file.is_resident(5..1 << 20));
        file.drop_cache().unwrap();
        assert_eq!(resident(100), Err(io::ErrorKind::WouldBlock));
        assert!(!file.is_resident(5..6));
        // A byte of the last page, and no more than the kernel reads ahead: the first page stays out.
        file.read_exact_at(&mut [0], (1 << 20) - 1).unwrap();
        assert!(file.is_resident((1 << 20) - 4096..1 << 20) && !file.is_resident(0..1 << 20));
        file.populate(0..1 << 20).unwrap();
        assert!(file.is_resident(0..1 << 20));
    }
}
