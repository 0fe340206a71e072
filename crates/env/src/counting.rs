//! Counting what passes through an [`Fs`], because claims such as "64 queued requests are one write call" are tests.
//!
//! [`Counting`] wraps any file system, the real one too. The [`Calls`] beside it tell how many calls of each kind
//! were made, how many bytes they moved and how many ran at once; they also hold a call open, so that a test
//! proves an overlap without sleeping.
//!
//! Bytes that are read by touching a map are not calls and are not counted; [`Map::populate`] is.

mod calls;
mod hold;

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use calls::{Call, CallKind, Calls, LoggedCall, Tally};
pub use hold::Hold;

use crate::{DirEntry, DirLock, File, Fs, HandlesMax, Map, MountIdentity, OpenMode, SpaceLeft};

/// A file system whose calls are counted.
#[derive(Clone, Debug)]
pub struct Counting {
    inner: Arc<dyn Fs>,
    calls: Arc<Calls>,
}

impl Counting {
    /// Counts the calls to `inner` in `calls`, which several file systems may share.
    #[must_use]
    pub fn new(inner: Arc<dyn Fs>, calls: Arc<Calls>) -> Counting {
        Counting { inner, calls }
    }

    /// The counters.
    #[must_use]
    pub fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    fn run<T>(&self, kind: CallKind, path: &Path, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let call = Call { kind, path: path.to_owned(), position: 0, bytes: 0 };
        self.calls.run(call, |_| 0, work)
    }
}

#[derive(Debug)]
struct CountingFile {
    inner: Arc<dyn File>,
    path: PathBuf,
    calls: Arc<Calls>,
}

#[derive(Debug)]
struct CountingMap {
    inner: Arc<dyn Map>,
    path: PathBuf,
    calls: Arc<Calls>,
}

impl CountingFile {
    fn call(&self, kind: CallKind, position: u64, bytes: usize) -> Call {
        Call { kind, path: self.path.clone(), position, bytes: bytes as u64 }
    }
}

impl Fs for Counting {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let kind = CallKind::of_open(mode);
        let inner = self.run(kind, path, || self.inner.open(path, mode))?;
        Ok(Arc::new(CountingFile { inner, path: path.to_owned(), calls: Arc::clone(&self.calls) }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.run(CallKind::CreateDir, path, || self.inner.create_dir_all(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.run(CallKind::RemoveDir, path, || self.inner.remove_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(CallKind::Rename, from, || self.inner.rename(from, to))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.run(CallKind::Unlink, path, || self.inner.unlink(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.run(CallKind::ReadDir, path, || self.inner.read_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.run(CallKind::SyncDir, path, || self.inner.sync_dir(path))
    }

    fn sync_fs(&self, path: &Path) -> io::Result<()> {
        self.run(CallKind::SyncFs, path, || self.inner.sync_fs(path))
    }

    fn sync_fs_from(&self) -> usize {
        self.inner.sync_fs_from()
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.run(CallKind::LockDir, path, || self.inner.lock_dir(path))
    }

    fn mount_identity(&self, path: &Path) -> io::Result<MountIdentity> {
        self.run(CallKind::MountIdentity, path, || self.inner.mount_identity(path))
    }

    fn space_left(&self, path: &Path) -> io::Result<SpaceLeft> {
        self.run(CallKind::SpaceLeft, path, || self.inner.space_left(path))
    }

    fn handles_max(&self) -> HandlesMax {
        self.inner.handles_max()
    }
}

impl File for CountingFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let call = self.call(CallKind::Read, position, buffer.len());
        self.calls.run(call, |moved| *moved as u64, || self.inner.read_at(buffer, position))
    }

    fn read_resident_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        // What is refused is read again by the call that may block, and counted then.
        let read = self.inner.read_resident_at(buffer, position)?;
        let call = self.call(CallKind::Read, position, buffer.len());
        self.calls.run(call, |moved| *moved as u64, || Ok(read))
    }

    fn read_more_at(&self, buffer: &mut Vec<u8>, bytes: usize, position: u64) -> io::Result<usize> {
        let call = self.call(CallKind::Read, position, bytes);
        self.calls.run(call, |moved| *moved as u64, || self.inner.read_more_at(buffer, bytes, position))
    }

    fn read_more_resident_at(&self, buffer: &mut Vec<u8>, bytes: usize, position: u64) -> io::Result<usize> {
        let read = self.inner.read_more_resident_at(buffer, bytes, position)?;
        self.calls.run(self.call(CallKind::Read, position, bytes), |moved| *moved as u64, || Ok(read))
    }

    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let bytes = buffers.iter().map(|b| b.len()).sum();
        let call = self.call(CallKind::Write, position, bytes);
        self.calls.run(call, |moved| *moved as u64, || self.inner.write_vectored_at(buffers, position))
    }

    fn size(&self) -> io::Result<u64> {
        self.calls.run(self.call(CallKind::Size, 0, 0), |_| 0, || self.inner.size())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.calls.run(self.call(CallKind::SyncData, 0, 0), |()| 0, || self.inner.sync_data())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.calls.run(self.call(CallKind::SetLen, bytes, 0), |()| 0, || self.inner.set_len(bytes))
    }

    fn allocate_keep_size(&self, range: Range<u64>) -> io::Result<()> {
        let call = self.call(CallKind::Allocate, range.start, 0);
        self.calls.run(call, |()| 0, || self.inner.allocate_keep_size(range))
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.calls.run(self.call(CallKind::DropCache, 0, 0), |()| 0, || self.inner.drop_cache())
    }

    fn read_medium_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let call = self.call(CallKind::Read, position, buffer.len());
        self.calls.run(call, |moved| *moved as u64, || self.inner.read_medium_at(buffer, position))
    }

    fn map(&self, bytes: u64) -> io::Result<Arc<dyn Map>> {
        let inner = self.calls.run(self.call(CallKind::Map, 0, 0), |_| 0, || self.inner.map(bytes))?;
        Ok(Arc::new(CountingMap { inner, path: self.path.clone(), calls: Arc::clone(&self.calls) }))
    }
}

impl Map for CountingMap {
    fn bytes(&self) -> &[u8] {
        self.inner.bytes()
    }

    fn is_intact(&self) -> bool {
        self.inner.is_intact()
    }

    fn populate(&self, range: Range<usize>) -> io::Result<()> {
        let bytes = range.len() as u64;
        let position = range.start as u64;
        let call = Call { kind: CallKind::Populate, path: self.path.clone(), position, bytes };
        self.calls.run(call, |()| bytes, || self.inner.populate(range))
    }
}
