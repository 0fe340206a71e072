//! `log.start`: the first offset of a partition that was trimmed or reset. Without the file it is that of the first segment.
//!
//! ```text
//!  envelope(kind LogStart, version 1):
//!  0              8
//!  ┌──────────────┐
//!  │ log start    │
//!  │ i64          │
//!  └──────────────┘
//! ```
//! Written and synced before the segments below it go, so that a power cut between the two brings nothing back.

use millrace_types::Offset;

use super::envelope::{self, DecodeError, FileKind};
use super::fields::Fields;

/// The newest version that this build reads, and the one that it writes.
pub const VERSION: u16 = 1;
/// The largest file.
pub const BYTES_MAX: usize = 4096;

/// The content of the file.
#[must_use]
pub fn encode(log_start: Offset) -> Vec<u8> {
    envelope::seal(FileKind::LogStart, VERSION, &log_start.get().to_be_bytes())
}

/// Reads the content of the file.
///
/// # Errors
/// Damage or a newer version.
pub fn decode(bytes: &[u8]) -> Result<Offset, DecodeError> {
    let opened = envelope::open(FileKind::LogStart, VERSION, bytes)?;
    let mut fields = Fields::new(opened.body);
    let log_start = fields.offset()?;
    fields.end()?;
    Ok(log_start)
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
