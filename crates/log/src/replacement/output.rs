//! The segment that is to take the place of others, while it is written beside them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millrace_env::{File, Fs, OpenMode};
use millrace_record::{Batch, BatchHeader};
use millrace_types::limits::SEGMENT_BYTES_MAX;
use millrace_types::{Offset, TimestampMs};

use crate::format::seal::{BlockSums, CompactedPart, Seal, SealedFile, SealedRecords};
use crate::names::{SegmentFile, cleaned_file};
use crate::segment::{BatchSpot, Body};

/// Bytes that are gathered for one write.
const CHUNK_BYTES: usize = 1024 * 1024;

/// A segment that is being written beside.
#[derive(Debug)]
pub(crate) struct Output {
    base: Offset,
    file: Arc<dyn File>,
    gathered: Vec<u8>,
    written: u64,
    interval: u64,
    sums: BlockSums,
    records: u64,
    body: Body,
    /// The header of the last batch, if nothing of it is left and nobody else needs it.
    last: Option<Batch>,
    tombstones_due: TimestampMs,
}

impl Output {
    pub(crate) fn create(fs: &dyn Fs, dir: &Path, base: Offset, interval: u64) -> io::Result<Output> {
        let path = dir.join(cleaned_file(base, SegmentFile::Log));
        Ok(Output {
            base,
            file: fs.open(&path, OpenMode::CreateOrTruncate)?,
            gathered: Vec::new(),
            written: 0,
            interval,
            sums: BlockSums::new(),
            records: 0,
            body: Body::empty(base),
            last: None,
            tombstones_due: TimestampMs::NONE,
        })
    }

    pub(crate) fn base(&self) -> Offset {
        self.base
    }

    /// Takes a batch behind those before it.
    pub(crate) fn push(&mut self, batch: &Batch) -> io::Result<()> {
        self.last = None;
        let header: &BatchHeader = batch.header();
        let spot = BatchSpot::of(header, self.body.size);
        let spot = spot.filter(|spot| spot.end_position() <= SEGMENT_BYTES_MAX);
        let spot = spot.ok_or_else(|| io::Error::other("the new segment is larger than a segment may be"))?;
        self.body.append(self.base, &spot, self.interval);
        self.records += u64::from(batch.record_count());
        self.sums.push(batch.bytes());
        self.gathered.extend_from_slice(batch.bytes());
        if self.gathered.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Takes note of a batch of which nothing is left. If it is the last one, its header is written all the same: the next
    /// segment begins behind it.
    pub(crate) fn skip(&mut self, emptied: Batch) {
        self.last = Some(emptied);
    }

    /// Takes note of when tombstones in it may go.
    pub(crate) fn wait_until(&mut self, due: TimestampMs) {
        if self.tombstones_due == TimestampMs::NONE || due < self.tombstones_due {
            self.tombstones_due = due;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.gathered, self.written)?;
        self.written += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(feature = "teeth")]
        millrace_types::planted!(CompactedWithoutSync => return Ok(()));
        self.file.sync_data()
    }

    /// Its size by now.
    pub(crate) fn size(&self) -> u64 {
        self.body.size
    }

    /// Behind its last batch by now.
    pub(crate) fn end(&self) -> Offset {
        self.body.end
    }

    /// Writes and syncs what is left and the indexes. Answers the seal, and what a segment in memory needs. `cleaned_to` is how far
    /// compaction has been there, if it was.
    pub(crate) fn finish(
        mut self,
        fs: &dyn Fs,
        dir: &Path,
        (cleaned_to, last_append): (Option<Offset>, TimestampMs),
    ) -> io::Result<(Seal, Body)> {
        if let Some(last) = self.last.take() {
            self.push(&last)?;
        }
        self.flush()?;
        self.sync()?;
        let largest = self.body.largest;
        let (offsets, times) = match self.body.live() {
            Some(indexes) => {
                indexes.note_largest(self.base, largest);
                (Bytes::from(indexes.offsets.clone()), Bytes::from(indexes.times.clone()))
            }
            None => (Bytes::new(), Bytes::new()),
        };
        for (file, bytes) in [(SegmentFile::OffsetIndex, &offsets), (SegmentFile::TimeIndex, &times)] {
            let opened = fs.open(&dir.join(cleaned_file(self.base, file)), OpenMode::CreateOrTruncate)?;
            opened.write_all_at(bytes, 0)?;
            opened.sync_data()?;
        }
        self.body.appended_last = last_append;
        let records = SealedRecords {
            base: self.base,
            records: self.records,
            last_offset: self.body.end.saturating_sub(1),
            largest_timestamp: largest.map_or(TimestampMs::NONE, |largest| largest.timestamp),
            last_append,
        };
        let files = vec![
            SealedFile::of(SegmentFile::OffsetIndex, &offsets),
            SealedFile::of(SegmentFile::TimeIndex, &times),
        ];
        let mut seal = Seal::build(records, self.sums, files);
        seal.compacted = cleaned_to.map(|cleaned_to| CompactedPart {
            cleaned_to: cleaned_to.min(self.body.end).max(self.base),
            tombstones_due: self.tombstones_due,
        });
        Ok((seal, self.body))
    }
}
