//! A file system that makes room: where the process has no open files left, one that is idle is closed, and the call
//! made again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use millrace_env::{
    DirEntry, DirLock, File, Fs, HandlesMax, MountIdentity, OpenMode, SpaceLeft, is_out_of_files,
};

use super::HandleCache;

/// The file system of a data directory.
#[derive(Clone, Debug)]
pub(crate) struct RoomyFs {
    cache: Arc<HandleCache>,
}

impl RoomyFs {
    pub(crate) fn new(cache: &Arc<HandleCache>) -> RoomyFs {
        RoomyFs { cache: Arc::clone(cache) }
    }

    /// Opens a file. Bounded by the number of idle files that can be closed for it.
    pub(super) fn open_making_room(
        cache: &HandleCache,
        path: &Path,
        mode: OpenMode,
    ) -> io::Result<Arc<dyn File>> {
        retry(cache, || cache.fs.open(path, mode))
    }

    fn call<T>(&self, call: impl FnMut(&dyn Fs) -> io::Result<T>) -> io::Result<T> {
        let mut call = call;
        retry(&self.cache, || call(&*self.cache.fs))
    }
}

/// Makes a call that fails before it has done anything when there are no open files left.
fn retry<T>(cache: &HandleCache, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if is_out_of_files(&error) && cache.make_room() => {}
            answer => return answer,
        }
    }
}

impl Fs for RoomyFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.call(|fs| fs.open(path, mode))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.call(|fs| fs.create_dir_all(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call(|fs| fs.remove_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|fs| fs.rename(from, to))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.call(|fs| fs.unlink(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.call(|fs| fs.read_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Out of files means that the directory could not be opened: no sync was begun, so none has failed.
        self.call(|fs| fs.sync_dir(path))
    }

    fn sync_fs(&self, path: &Path) -> io::Result<()> {
        self.call(|fs| fs.sync_fs(path))
    }

    fn sync_fs_from(&self) -> usize {
        self.cache.fs.sync_fs_from()
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.call(|fs| fs.lock_dir(path))
    }

    fn mount_identity(&self, path: &Path) -> io::Result<MountIdentity> {
        self.call(|fs| fs.mount_identity(path))
    }

    fn space_left(&self, path: &Path) -> io::Result<SpaceLeft> {
        self.call(|fs| fs.space_left(path))
    }

    fn handles_max(&self) -> HandlesMax {
        self.cache.fs.handles_max()
    }
}
