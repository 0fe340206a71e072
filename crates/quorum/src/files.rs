//! The small files beside the quorum's log: `quorum.vote`, `quorum.purged`, `quorum.snapshot`.
//!
//! Each is one envelope around one frame, replaced as a whole: a power cut leaves the old content or the new. What
//! [`QuorumFiles::write`] has answered is on the medium.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use millrace_env::{Fs, FsExt};
use millrace_log::format::envelope::{self, FileKind};
use millrace_schema::{
    QuorumPosition, QuorumSnapshot, QuorumVote, decode_quorum_purged, encode_quorum_purged,
};
use millrace_types::limits::QUORUM_SNAPSHOT_BYTES_MAX;

/// The newest version of each of the files.
const VERSION: u16 = 1;
/// The largest vote, and the largest file that says what was purged.
const SMALL_BYTES_MAX: usize = 4096;

/// Why a file gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The medium's.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What was answered.
        source: io::Error,
    },
    /// It was written, and is not what was written any more; or a newer version wrote it.
    #[error("{path} cannot be believed: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
}

/// The files of one node.
#[derive(Clone, Debug)]
pub(crate) struct QuorumFiles {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
}

/// One of the files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Name {
    Vote,
    Purged,
    Snapshot,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::Vote => "quorum.vote",
            Name::Purged => "quorum.purged",
            Name::Snapshot => "quorum.snapshot",
        }
    }

    fn kind(self) -> FileKind {
        match self {
            Name::Vote => FileKind::QuorumVote,
            Name::Purged => FileKind::QuorumPurged,
            Name::Snapshot => FileKind::QuorumSnapshot,
        }
    }

    fn bytes_max(self) -> usize {
        match self {
            Name::Vote | Name::Purged => SMALL_BYTES_MAX,
            Name::Snapshot => QUORUM_SNAPSHOT_BYTES_MAX + envelope::OVERHEAD_BYTES,
        }
    }
}

impl QuorumFiles {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: PathBuf) -> QuorumFiles {
        QuorumFiles { fs, dir }
    }

    pub(crate) fn vote(&self) -> Result<Option<QuorumVote>, FileError> {
        self.read(Name::Vote, |body| QuorumVote::decode(body).map_err(|error| error.to_string()))
    }

    pub(crate) fn write_vote(&self, vote: &QuorumVote) -> Result<(), FileError> {
        self.write(Name::Vote, &vote.encode())
    }

    pub(crate) fn purged(&self) -> Result<Option<QuorumPosition>, FileError> {
        self.read(Name::Purged, |body| decode_quorum_purged(body).map_err(|error| error.to_string()))
    }

    pub(crate) fn write_purged(&self, last: QuorumPosition) -> Result<(), FileError> {
        self.write(Name::Purged, &encode_quorum_purged(last))
    }

    pub(crate) fn snapshot(&self) -> Result<Option<QuorumSnapshot>, FileError> {
        self.read(Name::Snapshot, |body| QuorumSnapshot::decode(body).map_err(|error| error.to_string()))
    }

    pub(crate) fn write_snapshot(&self, frame: &[u8]) -> Result<(), FileError> {
        self.write(Name::Snapshot, frame)
    }

    fn read<T>(
        &self,
        name: Name,
        decode: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, FileError> {
        let path = self.dir.join(name.text());
        let bytes = match self.fs.read_small(&path, name.bytes_max()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FileError::Io { path: path.display().to_string(), source }),
        };
        let opened = envelope::open(name.kind(), VERSION, &bytes).map_err(|error| error.to_string());
        let decoded = opened.and_then(|opened| decode(opened.body));
        decoded.map(Some).map_err(|what| FileError::Damaged { path: path.display().to_string(), what })
    }

    fn write(&self, name: Name, body: &[u8]) -> Result<(), FileError> {
        let path = self.dir.join(name.text());
        let content = envelope::seal(name.kind(), VERSION, body);
        let written = self.fs.replace(&path, &content);
        written.map_err(|source| FileError::Io { path: path.display().to_string(), source })
    }
}
