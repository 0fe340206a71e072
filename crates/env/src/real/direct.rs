//! Reading past the page cache.
//!
//! Dropping cached pages leaves those that somebody has mapped, so a read after it may still be answered from memory.
//! A direct read (`O_DIRECT`) is answered by the device, and costs the cache nothing.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// What position, length and address of a direct read must be a multiple of: enough for every block device.
const ALIGNMENT: usize = 4096;

/// Whether a direct read failed because there is none here: the file system has no such thing, or `/proc` is not there.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOENT, Errno::ACCESS, Errno::NOSYS];
    refusals.iter().any(|refusal| error.raw_os_error() == Some(refusal.raw_os_error()))
}

/// Fills `buffer` from `position` as far as the file goes.
pub(super) fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let direct = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let lead = usize::try_from(position % ALIGNMENT as u64).unwrap_or(0);
    let length = (lead + buffer.len()).next_multiple_of(ALIGNMENT);
    let mut memory = vec![0; length + ALIGNMENT];
    let skip = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let Some(aligned) = memory.get_mut(skip..skip + length) else { return Err(Errno::INVAL.into()) };
    let start = position - lead as u64;
    let mut filled = 0;
    while let Some(rest) = aligned.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match direct.read_at(rest, start + filled as u64) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
            Ok(read) => {
                filled += read;
                // A read that ends between two multiples has met the end of the file.
                if read == 0 || !filled.is_multiple_of(ALIGNMENT) {
                    break;
                }
            }
        }
    }
    let read = filled.saturating_sub(lead).min(buffer.len());
    if let (Some(target), Some(source)) = (buffer.get_mut(..read), aligned.get(lead..lead + read)) {
        target.copy_from_slice(source);
    }
    Ok(read)
}
