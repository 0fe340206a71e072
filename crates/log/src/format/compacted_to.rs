//! `compacted.to`: below which offset the segments of a partition may have holes (`format::single_offset`). Without the file
//! none has been compacted.
//!
//! The seal of a segment says whether it was compacted. This file says it once more, for the case that the seal is damaged, and
//! that there are seals to ask. Written and synced before the first segment below the offset is replaced.

use millrace_types::Offset;

use super::envelope::{DecodeError, FileKind};
use super::single_offset;

pub use super::single_offset::{BYTES_MAX, VERSION};

/// The content of the file.
#[must_use]
pub fn encode(compacted_to: Offset) -> Vec<u8> {
    single_offset::encode(FileKind::CompactedTo, compacted_to)
}

/// Reads the content of the file.
///
/// # Errors
/// Damage or a newer version.
pub fn decode(bytes: &[u8]) -> Result<Offset, DecodeError> {
    single_offset::decode(FileKind::CompactedTo, bytes)
}
