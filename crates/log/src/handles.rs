//! The open files and the maps of a data directory: as many as the process may have, however many segments there are.
//!
//! A segment holds a *slot*. Whoever needs its file asks the slot, which opens it by name if it is closed; what was used
//! least recently is closed to make room. Three things must never happen:
//!
//! - *A file with unsynced bytes is closed.* The kernel tells of a failed write-back only those who have the file open,
//!   so the error would be lost with the handle. Whoever writes *pins* the file, until a sync of it has returned.
//! - *Another file is opened under the old name.* A reset makes the first segment anew under the name that it had. So
//!   whoever unlinks or replaces a file *loses* its slot first; nothing is ever opened through it again, and what was
//!   opened meanwhile is thrown away. Readers hear [`is_gone`] and plan anew.
//! - *A file that is in use is closed under the hands of its user.* Users share the handle; the last one closes it.
//!
//! No lock is held while anything is opened, mapped or closed: two may open the same file side by side, one wins.

mod lru;
mod roomy;

use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use millrace_env::{File, Fs, HandlesMax, Map, OpenMode};
use millrace_types::limits;
use parking_lot::Mutex;

use lru::{Found, Key, Lru};

pub(crate) use roomy::RoomyFs;

/// How many handles the logs of a data directory keep. More are open while more is being written or read at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandleLimits {
    /// Open files of segments.
    pub files: usize,
    /// Maps of sealed segments and their indexes.
    pub maps: usize,
}

impl HandleLimits {
    /// The logs' share of what a process may have ([`limits::LOG_FILES_OPEN_SHARE`], [`limits::LOG_MAPS_SHARE`]), within
    /// [`limits::LOG_FILES_OPEN_MAX`] and [`limits::LOG_MAPS_MAX`].
    #[must_use]
    pub fn within(process: HandlesMax) -> HandleLimits {
        let share = |all: u64, part: u64, max: usize| {
            usize::try_from(all / part).unwrap_or(usize::MAX).clamp(limits::LOG_HANDLES_MIN, max)
        };
        HandleLimits {
            files: share(process.files, limits::LOG_FILES_OPEN_SHARE, limits::LOG_FILES_OPEN_MAX),
            maps: share(process.maps, limits::LOG_MAPS_SHARE, limits::LOG_MAPS_MAX),
        }
    }
}

/// How many handles the logs of a data directory keep now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandlesOpen {
    /// Open files of segments.
    pub files: usize,
    /// Maps of sealed segments and their indexes.
    pub maps: usize,
    /// What they are kept within.
    pub limits: HandleLimits,
}

type Files = Lru<Arc<dyn File>>;

/// The open files and maps of one data directory.
#[derive(Debug)]
pub(crate) struct HandleCache {
    fs: Arc<dyn Fs>,
    limits: HandleLimits,
    files: Mutex<Files>,
    maps: Mutex<Lru<MappedFile>>,
}

impl HandleCache {
    pub(crate) fn new(fs: Arc<dyn Fs>, limits: HandleLimits) -> Arc<HandleCache> {
        let (files, maps) = (Mutex::new(Lru::new(limits.files)), Mutex::new(Lru::new(limits.maps)));
        Arc::new(HandleCache { fs, limits, files, maps })
    }

    pub(crate) fn open_now(&self) -> HandlesOpen {
        HandlesOpen { files: self.files.lock().open(), maps: self.maps.lock().open(), limits: self.limits }
    }

    /// Closes a file that nobody needs at the moment. Tells whether there was one.
    fn make_room(&self) -> bool {
        let evicted = self.files.lock().evict();
        evicted.is_some()
    }

    /// Closes what is open beyond the limit, outside of the lock: the last handle of an unlinked file frees its blocks.
    fn close_surplus<T: Clone>(lru: &Mutex<Lru<T>>) {
        loop {
            let evicted = lru.lock().evict_surplus();
            if evicted.is_none() {
                return;
            }
        }
    }
}

/// The file of a segment, open or not.
pub(crate) struct FileSlot {
    cache: Arc<HandleCache>,
    key: Key,
}

impl FileSlot {
    /// A file that is opened when it is needed.
    pub(crate) fn closed(cache: &Arc<HandleCache>) -> FileSlot {
        let key = cache.files.lock().add();
        FileSlot { cache: Arc::clone(cache), key }
    }

    /// A file that is open.
    pub(crate) fn opened(cache: &Arc<HandleCache>, file: &Arc<dyn File>) -> FileSlot {
        let slot = FileSlot::closed(cache);
        slot.cache.files.lock().offer(slot.key, file);
        HandleCache::close_surplus(&slot.cache.files);
        slot
    }

    /// The file, opened by the name that `path` answers if it is closed.
    ///
    /// # Errors
    /// [`is_gone`], or the file system's.
    pub(crate) fn file(&self, path: impl FnOnce() -> PathBuf) -> io::Result<Arc<dyn File>> {
        self.find(path, Lru::find)
    }

    /// The file, if it is open. Never blocks.
    pub(crate) fn file_if_open(&self) -> Option<Arc<dyn File>> {
        match self.cache.files.lock().find(self.key) {
            Found::Open(file) => Some(file),
            Found::Closed | Found::Gone => None,
        }
    }

    /// As [`FileSlot::file`]; it stays open until the answer is dropped.
    ///
    /// # Errors
    /// As [`FileSlot::file`].
    pub(crate) fn pin(self: &Arc<Self>, path: impl FnOnce() -> PathBuf) -> io::Result<PinnedFile> {
        let file = self.find(path, Lru::pin)?;
        Ok(PinnedFile { file, slot: Arc::clone(self) })
    }

    fn find(
        &self,
        path: impl FnOnce() -> PathBuf,
        find: fn(&mut Files, Key) -> Found<Arc<dyn File>>,
    ) -> io::Result<Arc<dyn File>> {
        let found = find(&mut self.cache.files.lock(), self.key);
        let opened = match found {
            Found::Open(file) => return Ok(file),
            Found::Gone => return Err(gone()),
            Found::Closed => RoomyFs::open_making_room(&self.cache, &path(), OpenMode::ReadWrite),
        };
        let found = {
            let mut files = self.cache.files.lock();
            if let Ok(opened) = &opened {
                files.offer(self.key, opened);
            }
            find(&mut files, self.key)
        };
        HandleCache::close_surplus(&self.cache.files);
        match (found, opened) {
            (Found::Open(file), _) => Ok(file),
            // Lost while it was being opened: who knows what was opened, or why nothing was.
            (Found::Gone, _) => Err(gone()),
            (Found::Closed, Err(error)) => Err(error),
            (Found::Closed, Ok(_)) => Err(io::ErrorKind::Other.into()),
        }
    }

    /// From now on the file is not the segment's any more: it is about to be unlinked or replaced.
    pub(crate) fn lose(&self) {
        let _closed_outside_of_the_lock = self.cache.files.lock().lose(self.key);
    }

    /// Whether it was lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.cache.files.lock().is_gone(self.key)
    }

    pub(crate) fn cache(&self) -> &Arc<HandleCache> {
        &self.cache
    }
}

impl Drop for FileSlot {
    fn drop(&mut self) {
        let _closed_outside_of_the_lock = self.cache.files.lock().remove(self.key);
    }
}

impl fmt::Debug for FileSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSlot").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A file that stays open: it has, or will have, bytes that are not synced.
#[derive(Debug)]
pub(crate) struct PinnedFile {
    file: Arc<dyn File>,
    slot: Arc<FileSlot>,
}

impl PinnedFile {
    /// Whether both are the same handle.
    pub(crate) fn is(&self, other: &PinnedFile) -> bool {
        Arc::ptr_eq(&self.slot, &other.slot) && Arc::ptr_eq(&self.file, &other.file)
    }
}

impl Deref for PinnedFile {
    type Target = dyn File;

    fn deref(&self) -> &Self::Target {
        &*self.file
    }
}

impl Drop for PinnedFile {
    fn drop(&mut self) {
        self.slot.cache.files.lock().unpin(self.slot.key);
        HandleCache::close_surplus(&self.slot.cache.files);
    }
}

/// A mapped file, and its bytes, which keep the map for as long as somebody has a slice of them.
#[derive(Clone, Debug)]
pub(crate) struct MappedFile {
    pub(crate) map: Arc<dyn Map>,
    pub(crate) bytes: Bytes,
}

/// A map as the owner of [`Bytes`].
struct MapOwner(Arc<dyn Map>);

impl AsRef<[u8]> for MapOwner {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl MappedFile {
    fn new(map: Arc<dyn Map>) -> MappedFile {
        let bytes = Bytes::from_owner(MapOwner(Arc::clone(&map)));
        MappedFile { map, bytes }
    }
}

/// A map of one file of a sealed segment, made or not.
pub(crate) struct MapSlot {
    cache: Arc<HandleCache>,
    key: Key,
}

impl MapSlot {
    pub(crate) fn new(cache: &Arc<HandleCache>) -> MapSlot {
        let key = cache.maps.lock().add();
        MapSlot { cache: Arc::clone(cache), key }
    }

    /// The map, made by `make` if there is none.
    ///
    /// # Errors
    /// [`is_gone`], or those of `make`.
    pub(crate) fn map(&self, make: impl FnOnce() -> io::Result<Arc<dyn Map>>) -> io::Result<MappedFile> {
        let found = self.cache.maps.lock().find(self.key);
        match found {
            Found::Open(mapped) if mapped.map.is_intact() => return Ok(mapped),
            // A page of it could not be read, and is zeros now: whoever needs the file maps it as it is.
            Found::Open(_) => {
                let _unmapped_outside_of_the_lock = self.cache.maps.lock().shut(self.key);
            }
            Found::Gone => return Err(gone()),
            Found::Closed => {}
        }
        let made = MappedFile::new(make()?);
        let found = {
            let mut maps = self.cache.maps.lock();
            maps.offer(self.key, &made);
            maps.find(self.key)
        };
        HandleCache::close_surplus(&self.cache.maps);
        match found {
            Found::Open(mapped) => Ok(mapped),
            Found::Gone => Err(gone()),
            Found::Closed => Ok(made),
        }
    }

    /// The map, if there is one and all that was touched of it came from the file. Never blocks.
    pub(crate) fn map_if_made(&self) -> Option<MappedFile> {
        match self.cache.maps.lock().find(self.key) {
            Found::Open(mapped) => Some(mapped).filter(|mapped| mapped.map.is_intact()),
            Found::Closed | Found::Gone => None,
        }
    }

    /// From now on the file is not the segment's any more.
    pub(crate) fn lose(&self) {
        let _unmapped_outside_of_the_lock = self.cache.maps.lock().lose(self.key);
    }
}

impl Drop for MapSlot {
    fn drop(&mut self) {
        let _unmapped_outside_of_the_lock = self.cache.maps.lock().remove(self.key);
    }
}

impl fmt::Debug for MapSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapSlot").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The segment was unlinked or replaced: what lies under its name is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the segment was replaced or deleted")]
struct Gone;

fn gone() -> io::Error {
    io::Error::other(Gone)
}

/// Whether an error says that the segment was unlinked or replaced meanwhile.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Gone>())
}

#[cfg(test)]
mod tests;
