//! Walks a `.log` file batch by batch, past what fails its checksum, up to what is no batch at all.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millrace_env::{File, Fs, OpenMode};
use millrace_record::{Batch, BatchError, BatchHeader, HEADER_BYTES};

/// What lies at a position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// A batch, intact or not.
    Batch(FoundBatch),
    /// Nothing that could be stepped over: the walk ends here, unless it is told to go on elsewhere.
    Stopped {
        /// Where.
        position: u64,
        /// How many bytes of the file are left from there.
        left: u64,
        /// Why this is no batch.
        error: BatchError,
    },
}

/// A batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundBatch {
    /// Its position in the file.
    pub position: u64,
    /// Its header as it stands there.
    pub header: BatchHeader,
    /// The batch, or why it is damaged.
    pub batch: Result<Batch, BatchError>,
}

/// An iterator over the batches of one file.
#[derive(Debug)]
pub struct SegmentWalk {
    file: Arc<dyn File>,
    bytes: u64,
    position: u64,
}

impl SegmentWalk {
    /// Begins at the first batch.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(fs: &dyn Fs, path: &Path) -> io::Result<SegmentWalk> {
        let file = fs.open(path, OpenMode::Read)?;
        let bytes = file.size()?;
        Ok(SegmentWalk { file, bytes, position: 0 })
    }

    /// The size of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Goes on at `position`, which is believed to begin a batch.
    pub fn seek(&mut self, position: u64) {
        self.position = position;
    }

    pub(super) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    fn read(&self, bytes: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.bytes - self.position).unwrap_or(usize::MAX);
        let mut buffer = vec![0; bytes.min(left)];
        self.file.read_exact_at(&mut buffer, self.position)?;
        Ok(buffer)
    }

    fn step(&mut self) -> io::Result<Found> {
        let position = self.position;
        let left = self.bytes - position;
        let header = match BatchHeader::parse(&self.read(HEADER_BYTES)?) {
            Ok(header) => header,
            Err(error) => return Ok(self.stop(position, left, error)),
        };
        // At most BATCH_BYTES_MAX: the header was refused otherwise.
        let bytes = Bytes::from(self.read(header.size())?);
        if bytes.len() < header.size() {
            let error = BatchError::Truncated { have: bytes.len(), need: header.size() };
            return Ok(self.stop(position, left, error));
        }
        self.position += header.size() as u64;
        Ok(Found::Batch(FoundBatch { position, header, batch: Batch::parse_stored(&bytes) }))
    }

    fn stop(&mut self, position: u64, left: u64, error: BatchError) -> Found {
        self.position = self.bytes;
        Found::Stopped { position, left, error }
    }
}

impl Iterator for SegmentWalk {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.bytes {
            return None;
        }
        let found = self.step();
        if found.is_err() {
            self.position = self.bytes;
        }
        Some(found)
    }
}
