//! Whether a sync that succeeded may be believed: not if the journal of the file system has ended meanwhile.
//!
//! A journal that ends with an error takes the changes with it that it was about to write. A sync that waits for them is told; one that
//! comes to ask a moment later finds nothing to wait for and *succeeds* (`jbd2_complete_transaction`, seen with Linux 6.18: of
//! sixteen threads that append and sync while the journal is aborted, some lose what was acknowledged in every second run).
//! So whoever was told that a sync succeeded asks for something that only a living journal gives: to write the file's flags as they are.
//! That takes a handle of the running transaction, which an aborted journal refuses, and forces nothing to the medium.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{fstatfs, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

/// `EXT4_SUPER_MAGIC`, which is that of ext2 and ext3 too.
const EXT_MAGIC: u32 = 0xEF53;

/// Whether a file lies where a sync must be asked after. Other file systems tell each sync of a journal that has ended.
pub(super) fn must_be_asked(file: BorrowedFd<'_>) -> bool {
    fstatfs(file).is_ok_and(|answer| u32::try_from(answer.f_type) == Ok(EXT_MAGIC))
}

/// Answers whether the journal lives.
///
/// # Errors
/// It has ended: what was synced a moment ago may be lost. Whoever may not write the flags (of a file that is somebody else's) is told that
/// all is well, as before there was this question.
pub(super) fn ask(file: BorrowedFd<'_>) -> io::Result<()> {
    let asked = ioctl_getflags(file).and_then(|flags| ioctl_setflags(file, flags));
    match asked {
        Err(error @ (Errno::ROFS | Errno::IO)) => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
