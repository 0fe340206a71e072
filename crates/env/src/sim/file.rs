//! Files of the simulated disk: the inode that names stand for, and the handles that a process has open.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;

use super::content::Content;
use super::disk::Disk;
use super::handles::{Handle, HandleKind};
use super::space::{Space, whole_pages};
use crate::counting::CallKind;
use crate::{File, Map, OpenMode};

/// Simulated files live in memory.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// A file, whatever its names.
#[derive(Debug)]
pub(super) struct Inode {
    id: u64,
    space: Arc<Space>,
    state: Mutex<State>,
}

#[derive(Default, Debug)]
pub(super) struct State {
    pub(super) content: Content,
    /// Bytes that are paid for, in whole pages: written or allocated.
    reserved: u64,
    /// Live maps, and the life of the process that made them.
    maps: (u64, usize),
}

impl Inode {
    pub(super) fn new(id: u64, space: Arc<Space>) -> Arc<Inode> {
        Arc::new(Inode { id, space, state: Mutex::default() })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The same file on a disk of its own. Nobody has it mapped there.
    pub(super) fn fork(&self, space: Arc<Space>) -> Arc<Inode> {
        let state = self.state();
        let forked = State { content: state.content.clone(), reserved: state.reserved, maps: (0, 0) };
        Arc::new(Inode { id: self.id, space, state: Mutex::new(forked) })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Pays for the file up to `end`, or as much of it as there is room for, and tells how far that is.
    fn reserve_some(&self, state: &mut State, end: u64) -> u64 {
        let more = whole_pages(end).saturating_sub(state.reserved);
        state.reserved += self.space.take_some(more);
        end.min(state.reserved)
    }

    fn reserve(&self, state: &mut State, end: u64) -> io::Result<()> {
        let more = whole_pages(end).saturating_sub(state.reserved);
        self.space.take(more)?;
        state.reserved += more;
        Ok(())
    }

    /// Gives back what is paid for beyond `end`.
    pub(super) fn release_beyond(&self, state: &mut State, end: u64) {
        let less = state.reserved.saturating_sub(whole_pages(end));
        self.space.give(less);
        state.reserved -= less;
    }

    pub(super) fn set_len(&self, bytes: u64) -> io::Result<()> {
        let len = in_memory(bytes)?;
        let mut state = self.state();
        if len < state.content.len() {
            self.release_beyond(&mut state, bytes);
        }
        state.content.set_len(len);
        Ok(())
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.space.give(self.state.get_mut().reserved);
    }
}

fn in_memory(bytes: u64) -> io::Result<usize> {
    if bytes > FILE_BYTES_MAX {
        return Err(Errno::FBIG.into());
    }
    usize::try_from(bytes).map_err(|_| Errno::FBIG.into())
}

/// An open file of one life of a process.
#[derive(Debug)]
pub(super) struct SimFile {
    disk: Arc<Disk>,
    life: u64,
    inode: Arc<Inode>,
    path: PathBuf,
    mode: OpenMode,
    /// Whether something was written through this handle since its last sync.
    wrote: AtomicBool,
    handle: Handle,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if *self.wrote.get_mut() && self.inode.state().content.has_dirty_pages() {
            self.disk.handles.note_closed_unsynced(self.life, &self.path);
        }
    }
}

impl SimFile {
    /// The file behind `handle`, whose life is the one that runs now.
    pub(super) fn new(
        disk: &Arc<Disk>,
        inode: Arc<Inode>,
        path: &Path,
        mode: OpenMode,
        handle: Handle,
    ) -> SimFile {
        let (disk, path, life) = (Arc::clone(disk), path.to_owned(), handle.life());
        SimFile { disk, life, inode, path, mode, wrote: AtomicBool::new(false), handle }
    }

    /// Runs `work` unless the process is dead or a fault is due.
    fn call<T>(&self, kind: CallKind, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let _alive = self.disk.alive(self.life)?;
        self.disk.faults.lock().check(kind, &self.path)?;
        work()
    }

    fn writable(&self) -> io::Result<()> {
        if self.mode == OpenMode::Read { Err(Errno::BADF.into()) } else { Ok(()) }
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.call(CallKind::Read, || {
            let state = self.inode.state();
            let from = usize::try_from(position).unwrap_or(usize::MAX);
            let rest = state.content.bytes().get(from..).unwrap_or_default();
            let len = self.disk.transfer(rest.len().min(buffer.len()));
            if let (Some(target), Some(source)) = (buffer.get_mut(..len), rest.get(..len)) {
                target.copy_from_slice(source);
            }
            Ok(len)
        })
    }

    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        self.call(CallKind::Write, || {
            self.writable()?;
            let buffers: Vec<&[u8]> = buffers.iter().map(|buffer| &**buffer).collect();
            let mut bytes = buffers.concat();
            if bytes.is_empty() {
                return Ok(0);
            }
            bytes.truncate(self.disk.transfer(bytes.len()));
            let from = in_memory(position)?;
            in_memory(position + bytes.len() as u64)?;
            let mut state = self.inode.state();
            let end = self.inode.reserve_some(&mut state, position + bytes.len() as u64);
            let room = end.checked_sub(position).filter(|room| *room > 0).ok_or(Errno::NOSPC)?;
            bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            state.content.write(&bytes, from);
            self.wrote.store(true, Ordering::SeqCst);
            Ok(bytes.len())
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.call(CallKind::Size, || Ok(self.inode.state().content.len() as u64))
    }

    fn sync_data(&self) -> io::Result<()> {
        let _alive = self.disk.alive(self.life)?;
        let fault = self.disk.faults.lock().check(CallKind::SyncData, &self.path);
        let content = &mut self.inode.state().content;
        self.wrote.store(false, Ordering::SeqCst);
        match fault {
            Ok(()) => content.sync(),
            Err(_) => content.fail_sync(),
        }
        fault
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.call(CallKind::SetLen, || {
            // As the kernel has it: EINVAL, not EBADF, for a file that is open for reading.
            self.writable().map_err(|_| Errno::INVAL)?;
            self.inode.set_len(bytes)
        })
    }

    fn allocate_keep_size(&self, range: Range<u64>) -> io::Result<()> {
        self.call(CallKind::Allocate, || {
            self.writable()?;
            if range.is_empty() {
                return Ok(());
            }
            self.inode.reserve(&mut self.inode.state(), range.end)
        })
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.call(CallKind::DropCache, || {
            let mut state = self.inode.state();
            // Pages that are mapped stay where they are: whoever wants the medium drops before mapping.
            if state.maps.0 == self.life && state.maps.1 > 0 {
                return Ok(());
            }
            state.content.drop_cache();
            Ok(())
        })
    }

    fn read_medium_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.call(CallKind::Read, || {
            let state = self.inode.state();
            let from = usize::try_from(position).unwrap_or(usize::MAX);
            let rest = state.content.medium().get(from..).unwrap_or_default();
            let len = self.disk.transfer(rest.len().min(buffer.len()));
            if let (Some(target), Some(source)) = (buffer.get_mut(..len), rest.get(..len)) {
                target.copy_from_slice(source);
            }
            Ok(len)
        })
    }

    fn map(&self, bytes: u64) -> io::Result<Arc<dyn Map>> {
        self.call(CallKind::Map, || {
            let len = in_memory(bytes)?;
            let handle = self.handle.another(HandleKind::Map)?;
            let mut state = self.inode.state();
            let content = state.content.bytes().get(..len).filter(|content| !content.is_empty());
            let snapshot = content.ok_or(io::ErrorKind::InvalidInput)?.into();
            let count = if state.maps.0 == self.life { state.maps.1 } else { 0 };
            state.maps = (self.life, count + 1);
            drop(state);
            let inode = Arc::clone(&self.inode);
            let file = SimFile::new(&self.disk, inode, &self.path, OpenMode::Read, handle);
            Ok(Arc::new(SimMap { file, snapshot }) as Arc<dyn Map>)
        })
    }
}

/// The bytes as they were when the map was made. By the contract of [`File::map`] nobody writes to them afterwards,
/// so a copy shows what a map would; only rot of the medium does not show through.
#[derive(Debug)]
struct SimMap {
    file: SimFile,
    snapshot: Box<[u8]>,
}

impl Map for SimMap {
    fn bytes(&self) -> &[u8] {
        &self.snapshot
    }

    fn is_intact(&self) -> bool {
        // Nobody sees which bytes of a slice are read. A file that became shorter counts as if all were.
        self.file.inode.state().content.len() >= self.snapshot.len()
    }

    fn populate(&self, range: Range<usize>) -> io::Result<()> {
        self.file.call(CallKind::Populate, || {
            if self.snapshot.get(range.clone()).is_none() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            // A touch beyond the end of the file would be a SIGBUS.
            if !range.is_empty() && range.end > self.file.inode.state().content.len() {
                return Err(Errno::FAULT.into());
            }
            Ok(())
        })
    }
}

impl Drop for SimMap {
    fn drop(&mut self) {
        let mut state = self.file.inode.state();
        if state.maps.0 == self.file.life {
            state.maps.1 = state.maps.1.saturating_sub(1);
        }
    }
}
