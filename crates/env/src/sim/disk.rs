//! A simulated disk: what outlives a process, and the handle by which a test steers it.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use rustix::io::Errno;

use super::directory::{Node, Tree, View};
use super::faults::{Fault, Faults, Transfers};
use super::file::Inode;
use super::fs::SimFs;
use super::handles::{Gauge, HandleKind, Handles};
use super::power::{Draw, FileChange, Pending, Survival};
use super::rng::SimRng;
use super::space::Space;
use crate::{Fs, HandlesMax, MountIdentity, RngExt};

/// The life of a process on a mount. Every handle remembers the number of its own.
#[derive(Debug)]
pub(super) struct Life {
    number: u64,
    boot_id: String,
    mount_id: u64,
}

#[derive(Debug)]
pub(super) struct Disk {
    /// Held for reading by every call while it works: a power cut falls between calls, never into one.
    life: RwLock<Life>,
    pub(super) tree: Mutex<Tree>,
    pub(super) space: Arc<Space>,
    pub(super) faults: Mutex<Faults>,
    pub(super) handles: Arc<Handles>,
    /// Locks that are held: the life that took them, and the lock file. Those of past lives block nobody.
    pub(super) locks: Mutex<BTreeSet<(u64, u64)>>,
    rng: SimRng,
}

impl Disk {
    /// EIO once this life is over.
    pub(super) fn alive(&self, life: u64) -> io::Result<RwLockReadGuard<'_, Life>> {
        // Recursive, because dropping the last handle inside a call must not wait behind a power cut.
        let current = self.life.read_recursive();
        if current.number == life { Ok(current) } else { Err(Errno::IO.into()) }
    }

    pub(super) fn identity(&self) -> MountIdentity {
        let life = self.life.read_recursive();
        MountIdentity { boot_id: life.boot_id.clone(), mount_id_unique: Some(life.mount_id) }
    }

    /// How many of `len` bytes a read or write moves.
    pub(super) fn transfer(&self, len: usize) -> usize {
        match self.faults.lock().transfers {
            Transfers::Full => len,
            Transfers::Short if len == 0 => 0,
            Transfers::Short => 1 + usize::try_from(self.rng.below(len as u64)).unwrap_or_default(),
        }
    }

    fn boot_id(&self) -> String {
        self.rng.uuid_v4().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A disk that remembers what was synced and what was not. Clones are the same disk.
///
/// Calls that overlap take effect in the order the threads come: a test that wants to replay from its seed makes
/// them from one thread.
#[derive(Clone, Debug)]
pub struct SimDisk {
    disk: Arc<Disk>,
}

impl SimDisk {
    /// An empty disk: a root directory, 1 TiB of room, no faults.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        let disk = Disk {
            life: RwLock::new(Life { number: 0, boot_id: String::new(), mount_id: 1 }),
            tree: Mutex::new(Tree::new()),
            space: Arc::new(Space::new()),
            faults: Mutex::default(),
            handles: Handles::new(),
            locks: Mutex::default(),
            rng: SimRng::new(seed),
        };
        disk.life.write().boot_id = disk.boot_id();
        SimDisk { disk: Arc::new(disk) }
    }

    /// The disk as the process of this life sees it.
    #[must_use]
    pub fn fs(&self) -> Arc<dyn Fs> {
        Arc::new(SimFs::new(Arc::clone(&self.disk), self.disk.life.read_recursive().number))
    }

    /// A copy of the disk as it is at this moment, both views of it, in a life of its own: what happens to one does not
    /// happen to the other. Planted faults and locks stay behind. What the copy draws comes from `seed`.
    ///
    /// Cheap: the bytes of a file are shared until either side writes to them.
    #[must_use]
    pub fn fork(&self, seed: u64) -> SimDisk {
        // No call is under way while the copy is made.
        let life = self.disk.life.write();
        let space = Arc::new(self.disk.space.fork());
        let tree = self.disk.tree.lock().fork(&mut |inode| inode.fork(Arc::clone(&space)));
        let life = Life { number: life.number, boot_id: life.boot_id.clone(), mount_id: life.mount_id };
        let handles = Handles::new();
        handles.begin(life.number);
        let disk = Disk {
            life: RwLock::new(life),
            tree: Mutex::new(tree),
            space,
            faults: Mutex::default(),
            handles,
            locks: Mutex::default(),
            rng: SimRng::new(seed),
        };
        SimDisk { disk: Arc::new(disk) }
    }

    /// A number that stands for all that the medium holds: names, lengths and bytes, whatever the cache says. Two
    /// media with different numbers are different.
    #[must_use]
    pub fn medium_digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.disk.tree.lock().walk_medium(&mut |path, inode| {
            path.hash(&mut hasher);
            inode.map(|inode| inode.state().content.medium().hash(&mut hasher)).hash(&mut hasher);
        });
        hasher.finish()
    }

    /// The process dies: its handles answer EIO and its locks are free, the cache is what it was.
    pub fn kill(&self) -> Arc<dyn Fs> {
        self.next_life(|_, _| ());
        self.fs()
    }

    /// Everything is synced, and mounted again: the same boot id, another mount id. Handles answer EIO.
    pub fn remount(&self) -> Arc<dyn Fs> {
        self.next_life(|disk, life| {
            let mut tree = disk.tree.lock();
            for inode in tree.files().into_values() {
                let content = &mut inode.state().content;
                content.sync();
                content.drop_cache();
            }
            tree.sync_all();
            life.mount_id += 1;
        });
        self.fs()
    }

    /// The power goes. Handles answer EIO, locks are free, boot id and mount id are new, and of what was not synced
    /// there is what `survival` says. Planted faults stay.
    pub fn power_cut(&self, survival: Survival) -> Arc<dyn Fs> {
        match survival {
            Survival::Nothing => self.power_cut_with(&mut |_| false),
            Survival::Everything => self.power_cut_with(&mut |_| true),
            Survival::Random => {
                let mut draw = Draw::new(&self.disk.rng);
                self.power_cut_with(&mut |pending| draw.survives(pending))
            }
        }
    }

    /// As [`Self::power_cut`], with `survives` asked about every change that was not synced: file by file in the
    /// order of their creation, then the directory entries in the order of the calls.
    pub fn power_cut_with(&self, survives: &mut dyn FnMut(&Pending) -> bool) -> Arc<dyn Fs> {
        self.next_life(|disk, life| {
            let mut tree = disk.tree.lock();
            let files = tree.files();
            for (file, inode) in &files {
                lose_power(*file, inode, survives);
            }
            tree.lose_power(&mut |paths| survives(&Pending::Entry { paths: paths.to_vec() }));
            life.boot_id = disk.boot_id();
            life.mount_id += 1;
        });
        self.fs()
    }

    fn next_life(&self, between: impl FnOnce(&Disk, &mut Life)) {
        let mut life = self.disk.life.write();
        life.number += 1;
        self.disk.handles.begin(life.number);
        between(&self.disk, &mut life);
    }

    /// What a power cut could take away now. Empty if everything is synced.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        let tree = self.disk.tree.lock();
        let mut pending = Vec::new();
        for (file, inode) in tree.files() {
            let note = |change: FileChange| pending.push(Pending::File { file, change });
            inode.state().content.pending(note);
        }
        pending.extend(tree.pending().map(|paths: &[PathBuf]| Pending::Entry { paths: paths.to_vec() }));
        pending
    }

    /// What the medium has under that path, whatever the cache says.
    ///
    /// # Errors
    /// `NotFound` if the entry of the file, or of a directory above it, has not been synced.
    pub fn medium(&self, path: &Path) -> io::Result<Bytes> {
        let inode = self.medium_file(path)?;
        let state = inode.state();
        Ok(Bytes::copy_from_slice(state.content.medium()))
    }

    /// Flips bit 0 to 7 of the byte at `position` on the medium. The cache keeps the good byte until it is dropped.
    ///
    /// # Errors
    /// `NotFound` as for [`Self::medium`]; `InvalidInput` beyond the end of the file on the medium.
    pub fn flip_bit(&self, path: &Path, position: u64, bit: u8) -> io::Result<()> {
        let position = usize::try_from(position).map_err(|_| Errno::INVAL)?;
        let flipped = self.medium_file(path)?.state().content.flip_bit(position, bit);
        if flipped { Ok(()) } else { Err(Errno::INVAL.into()) }
    }

    fn medium_file(&self, path: &Path) -> io::Result<Arc<Inode>> {
        match self.disk.tree.lock().find(path, View::Medium)? {
            Node::File(inode) => Ok(inode),
            Node::Dir(_) => Err(Errno::ISDIR.into()),
        }
    }

    /// Plants a fault.
    pub fn inject(&self, fault: Fault) {
        self.disk.faults.lock().plant(fault);
    }

    /// Removes all planted faults; transfers are full again.
    pub fn heal(&self) {
        self.disk.faults.lock().heal();
    }

    /// Makes reads and writes fall short, or whole again.
    pub fn set_transfers(&self, transfers: Transfers) {
        self.disk.faults.lock().transfers = transfers;
    }

    /// How many files the process may have open at once, and how many maps; beyond that are EMFILE and ENOMEM.
    pub fn set_handles_max(&self, max: HandlesMax) {
        self.disk.handles.set_max(max);
    }

    /// The files that the process has open.
    #[must_use]
    pub fn open_files(&self) -> Gauge {
        self.disk.handles.gauge_of(HandleKind::File)
    }

    /// The maps that the process has, those included that outlived their file's handle.
    #[must_use]
    pub fn live_maps(&self) -> Gauge {
        self.disk.handles.gauge_of(HandleKind::Map)
    }

    /// Lets the peaks of [`Self::open_files`] and [`Self::live_maps`] begin anew.
    pub fn forget_peaks(&self) {
        self.disk.handles.forget_peaks();
    }

    /// The paths of handles that were closed while bytes written through them were not synced, since the last time that
    /// this was asked. The kernel tells of a failed write-back only those who have the file open: such a handle may
    /// have taken an error with it that nobody will ever hear of.
    #[must_use]
    pub fn take_closed_unsynced(&self) -> Vec<PathBuf> {
        self.disk.handles.take_closed_unsynced()
    }

    /// Leaves `bytes` free; files pay for whole pages of 4 KiB. A write that does not fit is short, then ENOSPC.
    pub fn set_space_left(&self, bytes: u64) {
        self.disk.space.set_available(bytes);
    }
}

fn lose_power(file: u64, inode: &Inode, survives: &mut dyn FnMut(&Pending) -> bool) {
    let mut state = inode.state();
    state.content.lose_power(&mut |change| survives(&Pending::File { file, change }));
    let len = state.content.len() as u64;
    inode.release_beyond(&mut state, len);
}
