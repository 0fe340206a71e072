//! Files: what the log needs of a file system, and nothing more.
//!
//! ```text
//!                 write_at ───────► cache ───── sync_data ─────► medium
//!    create, rename, unlink ──────► directory (cache) ─ sync_dir ─► directory (medium)
//!                 read_at, map ◄─── cache ◄── (after drop_cache) ── medium
//! ```
//! Every implementation keeps these two views apart: what a process sees at once, and what a power cut leaves.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;

/// The file that [`Fs::lock_dir`] locks within a directory. It stays there when the lock is gone.
pub(crate) const LOCK_FILE: &str = "lock";

/// Files that are synced each by itself at most: more than that, and one `syncfs` is cheaper, though it writes what others
/// have left unwritten on that file system.
const SYNC_FS_FROM: usize = 64;

/// Bytes that one step of [`File::populate`] reads where the kernel cannot be asked to.
const POPULATE_STEP_BYTES: usize = 64 * 1024;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file that must not exist yet, for reading and writing. Its directory entry needs a `sync_dir` of its own.
    CreateNew,
    /// A file for reading and writing, created or emptied.
    CreateOrTruncate,
}

/// What a directory entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Anything else (links, sockets); the log leaves it alone.
    Other,
}

/// An entry of a directory. Names that are not UTF-8 are left out of listings: none of ours is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The name within its directory.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// Tells one life of a mounted file system from another: equal identities mean that the page cache was never lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountIdentity {
    /// The kernel's boot id; empty if it cannot be read.
    pub boot_id: String,
    /// The unique id of the mount (`statx`, Linux 6.8 and later); `None` where the kernel has none.
    pub mount_id_unique: Option<u64>,
}

/// The room on a file system, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpaceLeft {
    /// Size of the file system.
    pub total: u64,
    /// What this process may still use.
    pub available: u64,
}

/// How many handles this process may have at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandlesMax {
    /// Open files, sockets included (`RLIMIT_NOFILE`).
    pub files: u64,
    /// Mapped ranges of memory, those of the allocator included (`vm.max_map_count`).
    pub maps: u64,
}

impl Default for HandlesMax {
    /// What a process gets where nobody has raised anything.
    fn default() -> HandlesMax {
        HandlesMax { files: 1024, maps: 65_530 }
    }
}

/// Whether a call failed because the process (EMFILE) or the machine (ENFILE) has no open files left: nothing is wrong
/// with the file, and closing another one helps.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    let out_of_files = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| out_of_files.contains(&code))
}

/// Releases its lock when dropped, and when the process ends however it ends.
pub trait DirLock: Send + Sync + Debug {}

/// The bytes of a file, mapped for reading.
pub trait Map: Send + Sync + Debug {
    /// The mapped bytes. Touching a page that is not resident blocks the thread: [`Map::populate`] first.
    fn bytes(&self) -> &[u8];

    /// Reads `range` of the map into memory, blocking (`MADV_POPULATE_READ`).
    ///
    /// # Errors
    /// Where a touch would have been a SIGBUS: the file is shorter than the map, or the medium fails.
    fn populate(&self, range: Range<usize>) -> io::Result<()>;

    /// Whether all of the map is in memory, so that touching it blocks nobody. `false` where nobody can tell. Nothing keeps
    /// the pages there: the answer is of now.
    fn is_resident(&self) -> bool {
        false
    }

    /// Whether every page that was touched so far came from the file. `false` once one could not be read and zeros were put
    /// in its place: whoever used bytes of the map asks *afterwards*, and believes none of them if so.
    fn is_intact(&self) -> bool;
}

/// An open file. All positions are absolute; nothing moves a cursor.
pub trait File: Send + Sync + Debug {
    /// Reads at most `buffer.len()` bytes at `position`; fewer at the end of the file, and now and then elsewhere.
    ///
    /// # Errors
    /// The operating system's; `Interrupted` never reaches the caller.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// As [`File::read_at`], but only bytes that are in memory already (`RWF_NOWAIT`): for threads that must not block.
    ///
    /// # Errors
    /// `WouldBlock` if the first byte is not in memory, or if nobody can tell: [`File::read_at`] it where blocking is
    /// allowed. Else the operating system's.
    fn read_resident_at(&self, _buffer: &mut [u8], _position: u64) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// As [`File::read_at`], into the room behind what `buffer` holds, at most `bytes`: nothing is filled with zeros before.
    ///
    /// # Errors
    /// As [`File::read_at`].
    fn read_more_at(&self, buffer: &mut Vec<u8>, bytes: usize, position: u64) -> io::Result<usize> {
        behind(buffer, bytes, |room| self.read_at(room, position))
    }

    /// As [`File::read_resident_at`], into the room behind what `buffer` holds, at most `bytes`.
    ///
    /// # Errors
    /// As [`File::read_resident_at`].
    fn read_more_resident_at(&self, buffer: &mut Vec<u8>, bytes: usize, position: u64) -> io::Result<usize> {
        behind(buffer, bytes, |room| self.read_resident_at(room, position))
    }

    /// Whether all of `range` is in memory, so that sending it from the file blocks nobody. `false` where nobody can tell.
    /// Nothing keeps the pages there: the answer is of now.
    fn is_resident(&self, _range: Range<u64>) -> bool {
        false
    }

    /// Brings `range` into memory, blocking.
    ///
    /// # Errors
    /// `UnexpectedEof` or EFAULT if the file ends before the range does, else the operating system's.
    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        let mut scratch = vec![0; POPULATE_STEP_BYTES];
        let mut at = range.start;
        while at < range.end {
            let want = usize::try_from(range.end - at).map_or(scratch.len(), |left| left.min(scratch.len()));
            let read = self.read_at(scratch.get_mut(..want).unwrap_or_default(), at)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += read as u64;
        }
        Ok(())
    }

    /// What the kernel knows the open file by; `None` if it is no file of the kernel's, or one whose reads are counted.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Writes some of `buffers` at `position` with one call and tells how many bytes.
    ///
    /// # Errors
    /// The operating system's; `Interrupted` never reaches the caller.
    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize>;

    /// The size in bytes.
    ///
    /// # Errors
    /// The operating system's.
    fn size(&self) -> io::Result<u64>;

    /// Brings data and length to the medium (`fdatasync`).
    ///
    /// # Errors
    /// A failure means that the bytes may be lost *and that the next call may claim success*: never retry.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends the file (with zeros).
    ///
    /// # Errors
    /// The operating system's.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Reserves room for `range` without changing the length (`FALLOC_FL_KEEP_SIZE`).
    ///
    /// # Errors
    /// The operating system's; `StorageFull` when there is no room, `Unsupported` where the file system has no such call.
    fn allocate_keep_size(&self, range: Range<u64>) -> io::Result<()>;

    /// Drops the clean cached pages of the file (`POSIX_FADV_DONTNEED`), so that the next read asks the medium.
    ///
    /// # Errors
    /// The operating system's.
    fn drop_cache(&self) -> io::Result<()>;

    /// Reads from the medium itself, whatever the page cache holds and whoever has the pages mapped, and leaves the
    /// cache as it is. Only for files of which everything was synced. May be short.
    ///
    /// A file system that has no way past its cache (tmpfs) answers from the cache after [`File::drop_cache`], which
    /// does not drop what is mapped.
    ///
    /// # Errors
    /// The operating system's; `EIO` if the medium does not give the bytes.
    fn read_medium_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.drop_cache()?;
        self.read_at(buffer, position)
    }

    /// Maps the first `bytes` of the file for reading. The file must never become shorter than that.
    ///
    /// # Errors
    /// The operating system's; `InvalidInput` if the file is shorter than `bytes` or `bytes` is zero.
    fn map(&self, bytes: u64) -> io::Result<Arc<dyn Map>>;
}

/// Reads into room of a buffer that is made by filling it.
fn behind(
    buffer: &mut Vec<u8>,
    bytes: usize,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let start = buffer.len();
    buffer.resize(start + bytes, 0);
    let read = read(buffer.get_mut(start..).unwrap_or_default());
    buffer.truncate(start + read.as_ref().map_or(0, |read| *read));
    read
}

impl dyn File {
    /// Writes all of `buffers` at `position`, in order, looping over short writes.
    ///
    /// # Errors
    /// The first error; how much was written before it is unknown. A write that makes no progress is `WriteZero`.
    pub fn write_all_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let total: usize = buffers.iter().map(|b| b.len()).sum();
        let mut written = self.write_vectored_at(buffers, position)?;
        if written >= total {
            return Ok(());
        }
        // A short write: a full disk, a signal, or more buffers than the kernel takes at once (1024).
        let mut rest = buffers.to_vec();
        let mut rest = rest.as_mut_slice();
        let mut at = position;
        loop {
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut rest, written);
            at += written as u64;
            if rest.is_empty() {
                return Ok(());
            }
            written = self.write_vectored_at(rest, at)?;
        }
    }

    /// Writes all of `buffer` at `position`, looping over short writes.
    ///
    /// # Errors
    /// As `write_all_vectored_at`.
    pub fn write_all_at(&self, buffer: &[u8], position: u64) -> io::Result<()> {
        let mut rest = buffer;
        let mut at = position;
        while !rest.is_empty() {
            let written = self.write_vectored_at(&[IoSlice::new(rest)], at)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = rest.get(written..).unwrap_or_default();
            at += written as u64;
        }
        Ok(())
    }

    /// Fills `buffer` from `position`, looping over short reads.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends first, else the operating system's.
    pub fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let read = self.read_at(rest, position + filled as u64)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
        }
        Ok(())
    }
}

/// A file system.
pub trait Fs: Send + Sync + Debug {
    /// Opens or creates a file.
    ///
    /// # Errors
    /// The operating system's: `NotFound`, `AlreadyExists`, ...
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Creates a directory and its missing parents. The new entries need a `sync_dir` of their parents.
    ///
    /// # Errors
    /// The operating system's; a directory that exists is none.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The operating system's.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file or directory over whatever has that name.
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Unlinks a file.
    ///
    /// # Errors
    /// The operating system's.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Lists a directory, sorted by name.
    ///
    /// # Errors
    /// The operating system's.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Brings the entries of a directory to the medium (`fsync` of the directory).
    ///
    /// # Errors
    /// As [`File::sync_data`]: never retry.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Brings everything on the file system that holds the directory `path` to the medium (`syncfs`).
    ///
    /// # Errors
    /// As [`File::sync_data`]: never retry. What failed may be another's file.
    fn sync_fs(&self, path: &Path) -> io::Result<()>;

    /// How many files want a sync before one [`Fs::sync_fs`] is the better way.
    fn sync_fs_from(&self) -> usize {
        SYNC_FS_FROM
    }

    /// Locks the directory for this process by an advisory lock on the file `lock` in it.
    ///
    /// # Errors
    /// `WouldBlock` if another process holds it.
    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>>;

    /// Which life of which mount `path` lies on.
    ///
    /// # Errors
    /// The operating system's.
    fn mount_identity(&self, path: &Path) -> io::Result<MountIdentity>;

    /// The room left on the file system of `path`.
    ///
    /// # Errors
    /// The operating system's.
    fn space_left(&self, path: &Path) -> io::Result<SpaceLeft>;

    /// How many handles this process may have.
    fn handles_max(&self) -> HandlesMax {
        HandlesMax::default()
    }
}

/// The directory that holds the entry of `path`; `.` for a bare name.
fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Beside a file, its next content.
fn temporary_of(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    temporary.into()
}

/// What callers want of an [`Fs`].
pub trait FsExt: Fs {
    /// The whole content of a small file.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidData` if the file holds more than `bytes_max`.
    fn read_small(&self, path: &Path, bytes_max: usize) -> io::Result<Bytes> {
        let file = self.open(path, OpenMode::Read)?;
        let len = usize::try_from(file.size()?).unwrap_or(usize::MAX);
        if len > bytes_max {
            let text = format!("{} holds {len} bytes, {bytes_max} are expected at most", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut content = vec![0; len];
        file.read_exact_at(&mut content, 0)?;
        Ok(content.into())
    }

    /// Replaces a file so that a power cut leaves the old content or the new, never a mixture:
    /// temporary file, sync, rename, sync of the directory.
    ///
    /// # Errors
    /// The operating system's. After a failed sync the caller treats the directory as failed.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let (temporary, file) = self.written_beside(path, content)?;
        #[cfg(feature = "teeth")]
        millrace_types::planted!(RenameWithoutFileSync => return self.rename(&temporary, path).and_then(|()| self.sync_dir(parent_of(path))));
        file.sync_data()?;
        drop(file);
        self.rename(&temporary, path)?;
        #[cfg(feature = "teeth")]
        millrace_types::planted!(RenameWithoutDirSync => return Ok(()));
        self.sync_dir(parent_of(path))
    }

    /// The beginning of [`FsExt::replace`], for callers who replace many files at once: writes the temporary file and
    /// answers its name. It is to be synced, renamed, and its directory synced.
    ///
    /// # Errors
    /// The operating system's.
    fn write_temporary(&self, path: &Path, content: &[u8]) -> io::Result<PathBuf> {
        Ok(self.written_beside(path, content)?.0)
    }

    /// The temporary file of `path`, written and not synced.
    ///
    /// # Errors
    /// The operating system's.
    fn written_beside(&self, path: &Path, content: &[u8]) -> io::Result<(PathBuf, Arc<dyn File>)> {
        let temporary = temporary_of(path);
        let file = self.open(&temporary, OpenMode::CreateOrTruncate)?;
        file.write_all_at(content, 0)?;
        Ok((temporary, file))
    }

    /// Whether something has that name.
    ///
    /// # Errors
    /// Whatever opening answers besides `NotFound`.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        let parent = parent_of(path);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match self.read_dir(parent) {
            Ok(entries) => Ok(entries.iter().any(|entry| entry.name == name)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl<F: Fs + ?Sized> FsExt for F {}
