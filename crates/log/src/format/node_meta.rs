//! `node.meta`: whose data directory this is.
//!
//! ```text
//!  envelope(kind NodeMeta, version 1):
//!  0          4             20        24             40
//!  ┌──────────┬─────────────┬─────────┬──────────────┐
//!  │ format   │ cluster id  │ node id │ directory id │
//!  │ u32      │ 16 bytes    │ i32     │ 16 bytes     │
//!  └──────────┴─────────────┴─────────┴──────────────┘
//! ```
//! The format numbers the whole directory, not this file: it rises when an older build could not serve what a newer
//! one wrote. It comes first, and whoever finds a newer one reads no further.

use millrace_types::{ClusterId, DirectoryId, NodeId};

use super::envelope::{self, DecodeError, FileKind};
use super::fields::Fields;

/// The newest version of this file that this build reads, and the one that it writes.
pub const VERSION: u16 = 1;
/// The newest format of a data directory that this build serves, and the one that it makes.
pub const DIRECTORY_FORMAT: u32 = 1;
/// The largest file.
pub const BYTES_MAX: usize = 4096;

/// Whose data directory this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeMeta {
    /// The cluster that the node belongs to.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The directory.
    pub directory: DirectoryId,
    /// The format of the directory.
    pub format: u32,
}

/// The content of the file.
#[must_use]
pub fn encode(meta: &NodeMeta) -> Vec<u8> {
    let mut body = Vec::with_capacity(40);
    body.extend_from_slice(&meta.format.to_be_bytes());
    body.extend_from_slice(&meta.cluster.0);
    body.extend_from_slice(&meta.node.0.to_be_bytes());
    body.extend_from_slice(&meta.directory.0);
    envelope::seal(FileKind::NodeMeta, VERSION, &body)
}

/// Reads the content of the file.
///
/// # Errors
/// Damage, or [`DecodeError::Newer`] for a newer version of this file or a newer format of the directory.
pub fn decode(bytes: &[u8]) -> Result<NodeMeta, DecodeError> {
    let opened = envelope::open(FileKind::NodeMeta, VERSION, bytes)?;
    let mut fields = Fields::new(opened.body);
    let format = fields.u32()?;
    if format > DIRECTORY_FORMAT {
        return Err(DecodeError::Newer { kind: FileKind::NodeMeta, found: format, known: DIRECTORY_FORMAT });
    }
    if format == 0 {
        return Err(DecodeError::Invalid("directory format 0"));
    }
    let meta = NodeMeta {
        format,
        cluster: ClusterId(fields.array()?),
        node: NodeId(fields.i32()?),
        directory: DirectoryId(fields.array()?),
    };
    fields.end()?;
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use super::super::exam;
    use super::*;

    fn example() -> NodeMeta {
        NodeMeta {
            cluster: ClusterId([1; 16]),
            node: NodeId(7),
            directory: DirectoryId([2; 16]),
            format: DIRECTORY_FORMAT,
        }
    }

    #[test]
    fn it_comes_back() {
        assert_eq!(decode(&encode(&example())), Ok(example()));
    }

    #[test]
    fn a_newer_directory_is_refused_by_name() {
        let newer = NodeMeta { format: DIRECTORY_FORMAT + 1, ..example() };
        let error = decode(&encode(&newer)).unwrap_err();
        assert_eq!(
            error,
            DecodeError::Newer {
                kind: FileKind::NodeMeta,
                found: DIRECTORY_FORMAT + 1,
                known: DIRECTORY_FORMAT
            }
        );
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = encode(&example());
        exam::every_cut_is_refused(&bytes, decode);
        exam::every_flip_is_refused(&bytes, decode);
        let body = envelope::open(FileKind::NodeMeta, VERSION, &bytes).unwrap().body;
        exam::every_cut_is_refused(body, |body| decode(&envelope::seal(FileKind::NodeMeta, VERSION, body)));
    }
}
