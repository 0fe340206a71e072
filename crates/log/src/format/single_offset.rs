//! A file that says one offset, whatever it is that begins or ends there.
//!
//! ```text
//!  envelope(the file's own kind, version 1):
//!  0        8
//!  ┌────────┐
//!  │ offset │
//!  │ i64    │
//!  └────────┘
//! ```

use millrace_types::Offset;

use super::envelope::{self, DecodeError, FileKind};
use super::fields::Fields;

/// The newest version that this build reads, and the one that it writes.
pub const VERSION: u16 = 1;
/// The largest file.
pub const BYTES_MAX: usize = 4096;

/// The content of a file of that kind.
pub(super) fn encode(kind: FileKind, offset: Offset) -> Vec<u8> {
    envelope::seal(kind, VERSION, &offset.get().to_be_bytes())
}

/// Reads the content of a file of that kind: damage, another kind and a newer version are refused.
pub(super) fn decode(kind: FileKind, bytes: &[u8]) -> Result<Offset, DecodeError> {
    let opened = envelope::open(kind, VERSION, bytes)?;
    let mut fields = Fields::new(opened.body);
    let offset = fields.offset()?;
    fields.end()?;
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use super::super::{compacted_to, exam, log_start};
    use super::*;

    #[test]
    fn the_offset_comes_back_and_nothing_else_passes() {
        let offset = Offset::from_count(77);
        let (compacted, start) = (compacted_to::encode(offset), log_start::encode(offset));
        assert_eq!(compacted_to::decode(&compacted), Ok(offset));
        assert_eq!(log_start::decode(&start), Ok(offset));
        assert!(compacted_to::decode(&start).is_err() && log_start::decode(&compacted).is_err());
        exam::every_cut_is_refused(&compacted, compacted_to::decode);
        exam::every_flip_is_refused(&compacted, compacted_to::decode);
        exam::every_cut_is_refused(&start, log_start::decode);
        exam::every_flip_is_refused(&start, log_start::decode);
    }
}
