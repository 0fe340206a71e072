//! `compacted.to`: below which offset the segments of a partition may have holes. Without the file none has been compacted.
//!
//! ```text
//!  envelope(kind CompactedTo, version 1):
//!  0              8
//!  ┌──────────────┐
//!  │ compacted to │
//!  │ i64          │
//!  └──────────────┘
//! ```
//! The seal of a segment says whether it was compacted. This file says it once more, for the case that the seal is damaged, and
//! that there are seals to ask. Written and synced before the first segment below the offset is replaced.

use millrace_types::Offset;

use super::envelope::{self, DecodeError, FileKind};
use super::fields::Fields;

/// The newest version that this build reads, and the one that it writes.
pub const VERSION: u16 = 1;
/// The largest file.
pub const BYTES_MAX: usize = 4096;

/// The content of the file.
#[must_use]
pub fn encode(compacted_to: Offset) -> Vec<u8> {
    envelope::seal(FileKind::CompactedTo, VERSION, &compacted_to.get().to_be_bytes())
}

/// Reads the content of the file.
///
/// # Errors
/// Damage or a newer version.
pub fn decode(bytes: &[u8]) -> Result<Offset, DecodeError> {
    let opened = envelope::open(FileKind::CompactedTo, VERSION, bytes)?;
    let mut fields = Fields::new(opened.body);
    let compacted_to = fields.offset()?;
    fields.end()?;
    Ok(compacted_to)
}

#[cfg(test)]
mod tests {
    use super::super::exam;
    use super::*;

    #[test]
    fn the_offset_comes_back_and_nothing_else_passes() {
        let offset = Offset::from_count(77);
        let bytes = encode(offset);
        assert_eq!(decode(&bytes), Ok(offset));
        exam::every_cut_is_refused(&bytes, decode);
        exam::every_flip_is_refused(&bytes, decode);
    }
}
