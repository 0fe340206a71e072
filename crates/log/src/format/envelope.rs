//! The envelope of every file of ours.
//!
//! ```text
//!  0        4       6         8           12             12+n     16+n
//!  ┌────────┬───────┬─────────┬───────────┬──────────────┬────────┐
//!  │ "MLRC" │ kind  │ version │ length n  │ body         │ crc32  │
//!  │ 4      │ u16   │ u16     │ u32       │ n bytes      │ u32    │
//!  └────────┴───────┴─────────┴───────────┴──────────────┴────────┘
//!  └──────────────── under the checksum ──────────────────┘
//! ```
//! The envelope itself never changes: it is what lets any version say that a file is *intact but newer*. So the
//! checksum (CRC-32, IEEE) is looked at before the version, and a flipped bit is never mistaken for a new version.

use super::fields::Fields;

/// The first four bytes of every file of ours.
pub const MAGIC: [u8; 4] = *b"MLRC";
/// Bytes before the body.
pub const HEADER_BYTES: usize = 12;
/// Bytes that an envelope adds to its body.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + 4;

/// What an envelope holds. Numbers are never reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// `node.meta`.
    NodeMeta = 1,
    /// `partition.meta`.
    PartitionMeta = 2,
    /// `<base>.seal`.
    Seal = 3,
    /// `leader.epochs`.
    Epochs = 4,
    /// `<base>.producers`.
    Producers = 5,
    /// The head of `synced.marks`.
    SyncedMarksHead = 6,
    /// A slot of `synced.marks`.
    SyncedMarksSlot = 7,
    /// `running.mark`.
    RunningMark = 8,
    /// `clean.mark`.
    CleanMark = 9,
    /// `log.start`.
    LogStart = 10,
    /// `scrub.progress`.
    ScrubProgress = 11,
    /// `compacted.to`.
    CompactedTo = 12,
    /// `quorum.vote`.
    QuorumVote = 13,
    /// `quorum.purged`.
    QuorumPurged = 14,
    /// `quorum.snapshot`.
    QuorumSnapshot = 15,
}

/// Why bytes are not what they should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the layout needs.
    #[error("cut short: {needed} bytes are needed, {found} are there")]
    Short {
        /// Bytes that the layout needs.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// More bytes than the layout accounts for.
    #[error("{extra} bytes follow the end of the content")]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// The magic of our files is missing.
    #[error("not a file of Millrace")]
    Foreign,
    /// The checksum does not match: bytes have changed since they were written.
    #[error("damaged: checksum {stored:08x} is stored, {computed:08x} is computed")]
    Damaged {
        /// The stored checksum.
        stored: u32,
        /// The checksum of the bytes found.
        computed: u32,
    },
    /// An intact file of ours, but of another kind.
    #[error("another kind of file: kind {found}, {expected:?} is expected")]
    Kind {
        /// The kind asked for.
        expected: FileKind,
        /// The kind found.
        found: u16,
    },
    /// An intact file of a version that this build does not know.
    #[error("{kind:?} has version {found}, this build reads up to {known}: a newer Millrace wrote it")]
    Newer {
        /// The kind of file.
        kind: FileKind,
        /// The version found.
        found: u32,
        /// The newest version that this build reads.
        known: u32,
    },
    /// Intact, yet contradicting itself: what field and how.
    #[error("invalid content: {0}")]
    Invalid(&'static str),
}

/// A body and the version that it was written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened<'a> {
    /// The version, between 1 and the newest that was asked for.
    pub version: u16,
    /// The body.
    pub body: &'a [u8],
}

/// Wraps `body`. A body is at most 4 GiB - 1; all of ours are bounded far below.
#[must_use]
pub fn seal(kind: FileKind, version: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + OVERHEAD_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(kind as u16).to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_be_bytes());
    out
}

/// Opens an envelope that fills `bytes` exactly.
///
/// # Errors
/// Whatever is wrong with the bytes; [`DecodeError::Newer`] only when they are intact.
pub fn open(kind: FileKind, version_max: u16, bytes: &[u8]) -> Result<Opened<'_>, DecodeError> {
    let (opened, rest) = open_prefix(kind, version_max, bytes)?;
    if rest.is_empty() { Ok(opened) } else { Err(DecodeError::Trailing { extra: rest.len() }) }
}

/// Opens an envelope at the beginning of `bytes` and hands back what follows it.
///
/// # Errors
/// As [`open`], which also refuses bytes that follow.
pub fn open_prefix(
    kind: FileKind,
    version_max: u16,
    bytes: &[u8],
) -> Result<(Opened<'_>, &[u8]), DecodeError> {
    let mut fields = Fields::new(bytes);
    if fields.take(4)? != MAGIC {
        return Err(DecodeError::Foreign);
    }
    let found = fields.u16()?;
    let version = fields.u16()?;
    let length = fields.length()?;
    let body = fields.take(length)?;
    let covered = bytes.get(..HEADER_BYTES + length).unwrap_or_default();
    let stored = fields.u32()?;
    let computed = crc32fast::hash(covered);
    if stored != computed {
        return Err(DecodeError::Damaged { stored, computed });
    }
    if found != kind as u16 {
        return Err(DecodeError::Kind { expected: kind, found });
    }
    if version == 0 {
        return Err(DecodeError::Invalid("version 0"));
    }
    if version > version_max {
        return Err(DecodeError::Newer { kind, found: version.into(), known: version_max.into() });
    }
    Ok((Opened { version, body }, fields.rest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_back() {
        let bytes = seal(FileKind::Seal, 1, b"body");
        let opened = open(FileKind::Seal, 1, &bytes).unwrap();
        assert_eq!((opened.version, opened.body), (1, b"body".as_slice()));
    }

    #[test]
    fn a_newer_version_is_named_and_not_called_damage() {
        let bytes = seal(FileKind::NodeMeta, 7, b"future");
        let error = open(FileKind::NodeMeta, 2, &bytes).unwrap_err();
        assert_eq!(error, DecodeError::Newer { kind: FileKind::NodeMeta, found: 7, known: 2 });
        assert!(error.to_string().contains("version 7"));
    }

    #[test]
    fn another_kind_and_foreign_bytes_are_told_apart() {
        let bytes = seal(FileKind::Seal, 1, b"");
        assert!(matches!(open(FileKind::Epochs, 1, &bytes), Err(DecodeError::Kind { found: 3, .. })));
        assert_eq!(open(FileKind::Epochs, 1, b"not one of our files"), Err(DecodeError::Foreign));
    }

    #[test]
    fn what_follows_is_refused_or_handed_back() {
        let mut bytes = seal(FileKind::Seal, 1, b"x");
        bytes.extend_from_slice(b"yz");
        assert_eq!(open(FileKind::Seal, 1, &bytes), Err(DecodeError::Trailing { extra: 2 }));
        assert_eq!(open_prefix(FileKind::Seal, 1, &bytes).unwrap().1, b"yz");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = seal(FileKind::Seal, 1, b"some body");
        super::super::exam::every_cut_is_refused(&bytes, |b| open(FileKind::Seal, 1, b).map(|_| ()));
        super::super::exam::every_flip_is_refused(&bytes, |b| open(FileKind::Seal, 1, b).map(|_| ()));
    }
}
