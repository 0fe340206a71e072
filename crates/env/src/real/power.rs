//! Cutting the power of a file system, for the suites that show what a cut leaves. The product never calls it.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::ioctl::{Setter, ioctl};

/// `EXT4_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)` of the kernel's `fs/ext4/ext4.h`.
const EXT4_IOC_SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: what the journal has not on the medium yet is lost, as with the power.
const NO_LOG_FLUSH: u32 = 2;

/// Stops the ext4 file system mounted at `mount_point` as a power cut does: nothing reaches its medium from now on,
/// neither data nor journal. What is on the medium shows after unmounting and mounting it again. Wants root.
///
/// # Errors
/// The kernel's: not permitted, or not ext4.
pub fn cut(mount_point: &Path) -> io::Result<()> {
    let root = File::open(mount_point)?;
    #[expect(unsafe_code, reason = "an ioctl is a number whose argument only the kernel's headers know")]
    // SAFETY: the kernel reads a u32 through the pointer that `Setter` passes, and writes nothing; other file systems
    // refuse the number (ENOTTY).
    let answer = unsafe { ioctl(&root, Setter::<EXT4_IOC_SHUTDOWN, u32>::new(NO_LOG_FLUSH)) };
    Ok(answer?)
}
