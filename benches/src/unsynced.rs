//! A file system whose syncs do nothing: what an append costs until its bytes are written.
//!
//! The product has no such mode. It serves to measure the write path apart from the disk.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use millrace_env::{DirEntry, DirLock, Env, File, Fs, Map, MountIdentity, OpenMode, SpaceLeft};

/// The real machine, whose file system answers a sync at once.
#[must_use]
pub fn env() -> Env {
    let env = millrace_env::real::env();
    let fs = Arc::new(UnsyncedFs { inner: Arc::clone(&env.fs) });
    Env { fs, ..env }
}

#[derive(Debug)]
struct UnsyncedFs {
    inner: Arc<dyn Fs>,
}

#[derive(Debug)]
struct UnsyncedFile {
    inner: Arc<dyn File>,
}

impl Fs for UnsyncedFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(UnsyncedFile { inner: self.inner.open(path, mode)? }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.inner.unlink(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.read_dir(path)
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_fs(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.inner.lock_dir(path)
    }

    fn mount_identity(&self, path: &Path) -> io::Result<MountIdentity> {
        self.inner.mount_identity(path)
    }

    fn space_left(&self, path: &Path) -> io::Result<SpaceLeft> {
        self.inner.space_left(path)
    }
}

impl File for UnsyncedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, position)
    }

    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        self.inner.write_vectored_at(buffers, position)
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes)
    }

    fn allocate_keep_size(&self, range: Range<u64>) -> io::Result<()> {
        self.inner.allocate_keep_size(range)
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }

    fn map(&self, bytes: u64) -> io::Result<Arc<dyn Map>> {
        self.inner.map(bytes)
    }
}
