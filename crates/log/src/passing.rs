//! Which I/O errors pass: nothing is wrong but room or open files, and the same call may succeed later.

use std::io;

use millrace_env::is_out_of_files;

/// Whether the disk, or what this user may take of it, is full.
pub(crate) fn is_storage_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an operation failed for want of room or of open files: it may be tried again, and nothing else is wrong.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    is_storage_full(error) || is_out_of_files(error)
}
