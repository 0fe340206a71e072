//! The kernel's file systems.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FlockOperation, StatxFlags};
use rustix::io::{Errno, retry_on_intr};

use super::file::RealFile;
use super::{journal, limits};
use crate::fs::LOCK_FILE;
use crate::{DirEntry, DirLock, EntryKind, File, Fs, HandlesMax, MountIdentity, OpenMode, SpaceLeft};

/// `STATX_MNT_ID_UNIQUE`, Linux 6.8: a mount id that is not used again (the older `STATX_MNT_ID` is).
const STATX_MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The file systems that this process sees.
#[derive(Clone, Copy, Debug)]
pub struct RealFs;

#[derive(Debug)]
struct RealDirLock {
    /// The lock lives as long as this open file: dropping it, or the end of the process, releases it.
    _file: fs::File,
}

impl DirLock for RealDirLock {}

impl Fs for RealFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::ReadWrite => options.read(true).write(true),
            OpenMode::CreateNew => options.read(true).write(true).create_new(true),
            OpenMode::CreateOrTruncate => options.read(true).write(true).create(true).truncate(true),
        };
        Ok(Arc::new(RealFile::new(options.open(path)?)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let file_type = match entry.file_type() {
                Ok(file_type) => file_type,
                // Unlinked between the two calls: it is not there any more.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let kind = if file_type.is_file() {
                EntryKind::File
            } else if file_type.is_dir() {
                EntryKind::Dir
            } else {
                EntryKind::Other
            };
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, kind });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Not retried after EINTR, for the reason in `RealFile::sync_data`.
        let directory = fs::File::open(directory(path))?;
        rustix::fs::fsync(&directory)?;
        asked(&directory)
    }

    fn sync_fs(&self, path: &Path) -> io::Result<()> {
        let directory = fs::File::open(directory(path))?;
        rustix::fs::syncfs(&directory)?;
        // ext4 without a journal writes the inodes of that call behind its flush of the device's cache. A sync of anything
        // flushes it once more.
        rustix::fs::fsync(&directory)?;
        asked(&directory)
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK_FILE))?;
        // EWOULDBLOCK becomes io::ErrorKind::WouldBlock. The file is never unlinked: whoever opened it before the
        // unlink would hold a lock that nobody else sees.
        retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive))?;
        Ok(Box::new(RealDirLock { _file: file }))
    }

    fn mount_identity(&self, path: &Path) -> io::Result<MountIdentity> {
        let boot_id = fs::read_to_string(BOOT_ID).map(|text| text.trim().to_owned()).unwrap_or_default();
        let mount_id_unique =
            match rustix::fs::statx(CWD, directory(path), AtFlags::empty(), STATX_MNT_ID_UNIQUE) {
                Ok(answer) => {
                    (answer.stx_mask & STATX_MNT_ID_UNIQUE.bits() != 0).then_some(answer.stx_mnt_id)
                }
                Err(Errno::NOSYS) => None,
                Err(e) => return Err(e.into()),
            };
        Ok(MountIdentity { boot_id, mount_id_unique })
    }

    fn space_left(&self, path: &Path) -> io::Result<SpaceLeft> {
        let answer = retry_on_intr(|| rustix::fs::statvfs(directory(path)))?;
        Ok(SpaceLeft {
            total: answer.f_blocks.saturating_mul(answer.f_frsize),
            available: answer.f_bavail.saturating_mul(answer.f_frsize),
        })
    }

    fn handles_max(&self) -> HandlesMax {
        limits::handles_max()
    }
}

/// Whether the journal lives, where that must be asked.
fn asked(directory: &fs::File) -> io::Result<()> {
    if journal::must_be_asked(directory.as_fd()) { journal::ask(directory.as_fd()) } else { Ok(()) }
}

/// The parent of a bare file name is the empty path, which the kernel does not know.
fn directory(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_boot_has_an_identity_and_keeps_it() {
        let identity = RealFs.mount_identity(Path::new("/")).unwrap();
        assert_eq!(identity.boot_id.len(), 36);
        assert_eq!(identity, RealFs.mount_identity(Path::new("/")).unwrap());
    }

    #[test]
    fn the_empty_path_is_the_working_directory() {
        RealFs.space_left(Path::new("")).unwrap();
        RealFs.mount_identity(Path::new("")).unwrap();
    }
}
