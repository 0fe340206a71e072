//! The simulated disk as one life of a process sees it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::directory::{Node, Tree, View};
use super::disk::Disk;
use super::file::{Inode, SimFile};
use super::handles::HandleKind;
use crate::counting::CallKind;
use crate::fs::LOCK_FILE;
use crate::{DirEntry, DirLock, File, Fs, HandlesMax, MountIdentity, OpenMode, SpaceLeft};

/// A view of the disk that ends, with all its open files, at the next kill or power cut: EIO from then on.
#[derive(Clone, Debug)]
pub(super) struct SimFs {
    disk: Arc<Disk>,
    life: u64,
}

#[derive(Debug)]
struct SimDirLock {
    disk: Arc<Disk>,
    /// The life that took the lock, and the lock file.
    key: (u64, u64),
}

impl DirLock for SimDirLock {}

impl Drop for SimDirLock {
    fn drop(&mut self) {
        self.disk.locks.lock().remove(&self.key);
    }
}

impl SimFs {
    pub(super) fn new(disk: Arc<Disk>, life: u64) -> SimFs {
        SimFs { disk, life }
    }

    /// Runs `work` on the tree unless the process is dead or a fault is due.
    fn call<T>(
        &self,
        kind: CallKind,
        path: &Path,
        work: impl FnOnce(&mut Tree) -> io::Result<T>,
    ) -> io::Result<T> {
        let _alive = self.disk.alive(self.life)?;
        self.disk.faults.lock().check(kind, path)?;
        work(&mut self.disk.tree.lock())
    }

    fn create(&self, tree: &mut Tree, path: &Path) -> io::Result<Arc<Inode>> {
        let (place, _) = tree.place(path)?;
        let inode = Inode::new(tree.take_id(), Arc::clone(&self.disk.space));
        tree.add_file(path, place, Arc::clone(&inode));
        Ok(inode)
    }

    fn inode(&self, tree: &mut Tree, path: &Path, mode: OpenMode) -> io::Result<Arc<Inode>> {
        let found = match tree.place(path) {
            Ok((_, found)) => found,
            // The root, which has no name.
            Err(_) => Some(tree.find(path, View::Cache)?),
        };
        match (found, mode) {
            (Some(Node::Dir(_) | Node::File(_)), OpenMode::CreateNew) => Err(Errno::EXIST.into()),
            (Some(Node::Dir(_)), _) => Err(Errno::ISDIR.into()),
            (Some(Node::File(inode)), OpenMode::CreateOrTruncate) => {
                inode.set_len(0)?;
                Ok(inode)
            }
            (Some(Node::File(inode)), OpenMode::Read | OpenMode::ReadWrite) => Ok(inode),
            (None, OpenMode::CreateNew | OpenMode::CreateOrTruncate) => self.create(tree, path),
            (None, OpenMode::Read | OpenMode::ReadWrite) => Err(Errno::NOENT.into()),
        }
    }
}

impl Fs for SimFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let (inode, handle) = self.call(CallKind::of_open(mode), path, |tree| {
            let handle = self.disk.handles.open(self.life, HandleKind::File)?;
            Ok((self.inode(tree, path, mode)?, handle))
        })?;
        Ok(Arc::new(SimFile::new(&self.disk, inode, path, mode, handle)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.call(CallKind::CreateDir, path, |tree| tree.create_dir_all(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call(CallKind::RemoveDir, path, |tree| tree.remove_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(CallKind::Rename, from, |tree| tree.rename(from, to))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.call(CallKind::Unlink, path, |tree| tree.unlink(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.call(CallKind::ReadDir, path, |tree| tree.list(tree.find_dir(path)?))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let _alive = self.disk.alive(self.life)?;
        let mut tree = self.disk.tree.lock();
        let dir = tree.find_dir(path)?;
        let fault = self.disk.faults.lock().check(CallKind::SyncDir, path);
        match fault {
            Ok(()) => tree.sync(dir),
            Err(_) => tree.fail_sync(dir),
        }
        fault
    }

    fn sync_fs(&self, path: &Path) -> io::Result<()> {
        let _alive = self.disk.alive(self.life)?;
        let mut tree = self.disk.tree.lock();
        tree.find(path, View::Cache)?;
        let fault = self.disk.faults.lock().check(CallKind::SyncFs, path);
        for inode in tree.files().into_values() {
            let content = &mut inode.state().content;
            match fault {
                Ok(()) => content.sync(),
                Err(_) => content.fail_sync(),
            }
        }
        match fault {
            Ok(()) => tree.sync_all(),
            Err(_) => tree.fail_sync_all(),
        }
        fault
    }

    /// So few that the suites go both ways.
    fn sync_fs_from(&self) -> usize {
        2
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.call(CallKind::LockDir, path, |tree| {
            let path = path.join(LOCK_FILE);
            let file = match tree.place(&path)? {
                (_, Some(Node::Dir(_))) => return Err(Errno::ISDIR.into()),
                (_, Some(Node::File(inode))) => inode,
                (_, None) => self.create(tree, &path)?,
            };
            let key = (self.life, file.id());
            if !self.disk.locks.lock().insert(key) {
                return Err(Errno::WOULDBLOCK.into());
            }
            Ok(Box::new(SimDirLock { disk: Arc::clone(&self.disk), key }) as Box<dyn DirLock>)
        })
    }

    fn mount_identity(&self, path: &Path) -> io::Result<MountIdentity> {
        let identity = self.call(CallKind::MountIdentity, path, |tree| tree.find(path, View::Cache));
        identity.map(|_| self.disk.identity())
    }

    fn space_left(&self, path: &Path) -> io::Result<SpaceLeft> {
        self.call(CallKind::SpaceLeft, path, |tree| tree.find(path, View::Cache))?;
        Ok(self.disk.space.left())
    }

    fn handles_max(&self) -> HandlesMax {
        self.disk.handles.max()
    }
}
