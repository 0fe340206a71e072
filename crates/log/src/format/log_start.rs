//! `log.start`: the first offset of a partition that was trimmed or reset (`format::single_offset`). Without the file it is
//! that of the first segment.
//!
//! Written and synced before the segments below it go, so that a power cut between the two brings nothing back.

use millrace_types::Offset;

use super::envelope::{DecodeError, FileKind};
use super::single_offset;

pub use super::single_offset::{BYTES_MAX, VERSION};

/// The content of the file.
#[must_use]
pub fn encode(log_start: Offset) -> Vec<u8> {
    single_offset::encode(FileKind::LogStart, log_start)
}

/// Reads the content of the file.
///
/// # Errors
/// Damage or a newer version.
pub fn decode(bytes: &[u8]) -> Result<Offset, DecodeError> {
    single_offset::decode(FileKind::LogStart, bytes)
}
