//! `<base>.seal`: what a segment that is never written again must look like.
//!
//! ```text
//!  envelope(kind Seal, version 1):
//!  0      8           16        24            32                  40            48
//!  ┌──────┬───────────┬─────────┬─────────────┬───────────────────┬─────────────┬─ block sums ──────┬─ files ─
//!  │ base │ log bytes │ records │ last offset │ largest timestamp │ last append │ count │ crc32 ... │ ...
//!  │ i64  │ u64       │ u64     │ i64         │ i64               │ i64         │ u32   │ u32 each  │
//!  └──────┴───────────┴─────────┴─────────────┴───────────────────┴─────────────┴───────────────────┴─────────
//!  files: count u8, then for each: which u8 (1 .index, 2 .timeindex, 3 .txnindex, 4 .producers), bytes u64, crc32 u32
//!
//!  version 2, of a segment that compaction has been through, has two fields more behind the files:
//!  ┌────────────┬────────────────┐
//!  │ cleaned to │ tombstones due │
//!  │ i64        │ i64            │
//!  └────────────┴────────────────┘
//! ```
//! Offsets of a version 1 have no holes: a record that is not there is damage. Under version 2 they may have, and what lies
//! between base and last offset is complete as it stands, because every byte of it is under the seal.
//!
//! One sum for each whole or last block of 1 MiB of the `.log`: Kafka's own checksum leaves 17 bytes of every batch
//! head and all of the indexes unprotected, and cannot be checked without reading a whole batch. The seal is written
//! only after everything that it names was synced, so what contradicts it is damage and never a torn tail.

use std::ops::Range;

use millrace_types::limits::SEGMENT_BYTES_MAX;
use millrace_types::{Offset, TimestampMs};

use super::envelope::{self, DecodeError, FileKind};
use super::fields::Fields;
use crate::names::SegmentFile;

/// The newest version that this build reads; it writes this one where [`Seal::compacted`] says something.
pub const VERSION: u16 = 2;
/// The version that is written for a segment as it was appended.
const VERSION_DENSE: u16 = 1;
/// Bytes of the `.log` under one sum.
pub const BLOCK_BYTES: u64 = 1024 * 1024;
/// The most blocks that a segment has.
pub const BLOCKS_MAX: usize = (SEGMENT_BYTES_MAX / BLOCK_BYTES) as usize + 1;
/// The largest file.
pub const BYTES_MAX: usize =
    envelope::OVERHEAD_BYTES + 48 + 4 + BLOCKS_MAX * 4 + 1 + FILES.len() * FILE_BYTES + 16;

const FILE_BYTES: usize = 13;
/// The files under a seal besides the `.log`, with their numbers on disk.
const FILES: [(u8, SegmentFile); 4] = [
    (1, SegmentFile::OffsetIndex),
    (2, SegmentFile::TimeIndex),
    (3, SegmentFile::TxnIndex),
    (4, SegmentFile::Producers),
];

/// A small file under the seal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedFile {
    /// Which file of the segment.
    pub file: SegmentFile,
    /// Its size.
    pub bytes: u64,
    /// CRC-32 of all of it.
    pub crc: u32,
}

impl SealedFile {
    /// The sum of a file with this content.
    #[must_use]
    pub fn of(file: SegmentFile, content: &[u8]) -> SealedFile {
        SealedFile { file, bytes: content.len() as u64, crc: crc32fast::hash(content) }
    }
}

/// Sums the `.log` block by block while it is read or written from its beginning.
#[derive(Clone, Debug, Default)]
pub struct BlockSums {
    whole: Vec<u32>,
    current: crc32fast::Hasher,
    bytes: u64,
}

impl BlockSums {
    /// Nothing summed yet.
    #[must_use]
    pub fn new() -> BlockSums {
        BlockSums::default()
    }

    /// The bytes that follow those summed so far; pieces may have any length.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.bytes % BLOCK_BYTES;
            let room = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let (piece, rest) = bytes.split_at(room);
            self.current.update(piece);
            self.bytes += piece.len() as u64;
            if self.bytes.is_multiple_of(BLOCK_BYTES) {
                self.whole.push(std::mem::take(&mut self.current).finalize());
            }
            bytes = rest;
        }
    }

    /// How many bytes were summed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn finish(self) -> Vec<u32> {
        let mut sums = self.whole;
        if !self.bytes.is_multiple_of(BLOCK_BYTES) {
            sums.push(self.current.finalize());
        }
        sums
    }
}

/// What is known about the records of a segment when it is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedRecords {
    /// The base offset of the segment.
    pub base: Offset,
    /// How many records it holds.
    pub records: u64,
    /// The offset of the last one.
    pub last_offset: Offset,
    /// The largest timestamp; [`TimestampMs::NONE`] if no record has one.
    pub largest_timestamp: TimestampMs,
    /// When the last batch was appended: what retention and roll by age count from.
    pub last_append: TimestampMs,
}

/// What compaction has done to a segment. Its offsets may have holes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompactedPart {
    /// Below this offset the segment holds no record with a key that a later record below it has.
    pub cleaned_to: Offset,
    /// From this time on a tombstone of the segment may go; [`TimestampMs::NONE`] if none waits.
    pub tombstones_due: TimestampMs,
}

/// The content of a seal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seal {
    /// The records.
    pub records: SealedRecords,
    /// What compaction has done, if it was there.
    pub compacted: Option<CompactedPart>,
    log_bytes: u64,
    blocks: Vec<u32>,
    files: Vec<SealedFile>,
}

/// Bytes that are not the ones that were sealed: damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealMismatch {
    /// The segment has no such block or file.
    #[error("nothing of that number is under the seal")]
    NotSealed,
    /// Another length than was sealed.
    #[error("{found} bytes were found, {sealed} were sealed")]
    Length {
        /// The length sealed.
        sealed: u64,
        /// The length found.
        found: u64,
    },
    /// Another checksum than was sealed.
    #[error("checksum {sealed:08x} was sealed, {computed:08x} is computed")]
    Checksum {
        /// The checksum sealed.
        sealed: u32,
        /// The checksum of the bytes found.
        computed: u32,
    },
}

impl Seal {
    /// A seal over a `.log` whose every byte went through `log`, and over `files` (each kind once).
    #[must_use]
    pub fn build(records: SealedRecords, log: BlockSums, files: Vec<SealedFile>) -> Seal {
        Seal { records, compacted: None, log_bytes: log.bytes(), blocks: log.finish(), files }
    }

    /// The size of the `.log`.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// How many blocks the `.log` has.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The block that holds `position` of the `.log`.
    #[must_use]
    pub fn block_of(position: u64) -> usize {
        usize::try_from(position / BLOCK_BYTES).unwrap_or(usize::MAX)
    }

    /// The bytes of the `.log` that `block` covers; empty if there is no such block.
    #[must_use]
    pub fn block_range(&self, block: usize) -> Range<u64> {
        let start = (block as u64).saturating_mul(BLOCK_BYTES).min(self.log_bytes);
        start..start.saturating_add(BLOCK_BYTES).min(self.log_bytes)
    }

    /// Checks the bytes of [`Seal::block_range`].
    ///
    /// # Errors
    /// They are not the ones that were sealed.
    pub fn check_block(&self, block: usize, bytes: &[u8]) -> Result<(), SealMismatch> {
        let sealed = *self.blocks.get(block).ok_or(SealMismatch::NotSealed)?;
        let range = self.block_range(block);
        check(range.end - range.start, sealed, bytes)
    }

    /// Whether the same bytes are under both.
    #[must_use]
    pub fn is_of_the_same_log(&self, other: &Seal) -> bool {
        (self.records.base, self.log_bytes, &self.blocks)
            == (other.records.base, other.log_bytes, &other.blocks)
    }

    /// The sizes and sums of the other files.
    #[must_use]
    pub fn files(&self) -> &[SealedFile] {
        &self.files
    }

    /// Checks a whole file besides the `.log`.
    ///
    /// # Errors
    /// It is not the one that was sealed, or none was.
    pub fn check_file(&self, file: SegmentFile, content: &[u8]) -> Result<(), SealMismatch> {
        let sealed = self.files.iter().find(|sealed| sealed.file == file).ok_or(SealMismatch::NotSealed)?;
        check(sealed.bytes, sealed.crc, content)
    }

    /// The content of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64 + self.blocks.len() * 4 + self.files.len() * FILE_BYTES);
        let records = &self.records;
        body.extend_from_slice(&records.base.get().to_be_bytes());
        body.extend_from_slice(&self.log_bytes.to_be_bytes());
        body.extend_from_slice(&records.records.to_be_bytes());
        body.extend_from_slice(&records.last_offset.get().to_be_bytes());
        body.extend_from_slice(&records.largest_timestamp.0.to_be_bytes());
        body.extend_from_slice(&records.last_append.0.to_be_bytes());
        body.extend_from_slice(&u32::try_from(self.blocks.len()).unwrap_or(u32::MAX).to_be_bytes());
        for sum in &self.blocks {
            body.extend_from_slice(&sum.to_be_bytes());
        }
        let known = || FILES.iter().filter_map(|(number, kind)| Some((number, self.sealed(*kind)?)));
        body.push(u8::try_from(known().count()).unwrap_or(u8::MAX));
        for (number, file) in known() {
            body.push(*number);
            body.extend_from_slice(&file.bytes.to_be_bytes());
            body.extend_from_slice(&file.crc.to_be_bytes());
        }
        let Some(compacted) = self.compacted else {
            return envelope::seal(FileKind::Seal, VERSION_DENSE, &body);
        };
        body.extend_from_slice(&compacted.cleaned_to.get().to_be_bytes());
        body.extend_from_slice(&compacted.tombstones_due.0.to_be_bytes());
        envelope::seal(FileKind::Seal, VERSION, &body)
    }

    fn sealed(&self, file: SegmentFile) -> Option<&SealedFile> {
        self.files.iter().find(|sealed| sealed.file == file)
    }

    /// Reads the content of the file.
    ///
    /// # Errors
    /// Damage, a newer version, or numbers that contradict each other.
    pub fn decode(bytes: &[u8]) -> Result<Seal, DecodeError> {
        let opened = envelope::open(FileKind::Seal, VERSION, bytes)?;
        let mut fields = Fields::new(opened.body);
        let base = fields.offset()?;
        let log_bytes = fields.u64()?;
        let records = SealedRecords {
            base,
            records: fields.u64()?,
            last_offset: fields.offset()?,
            largest_timestamp: fields.timestamp()?,
            last_append: fields.timestamp()?,
        };
        let count = fields.length()?;
        if count as u64 != log_bytes.div_ceil(BLOCK_BYTES) || count > BLOCKS_MAX {
            return Err(DecodeError::Invalid("another number of blocks than the size asks for"));
        }
        if records.last_offset < base || records.records > records.last_offset.since(base) + 1 {
            return Err(DecodeError::Invalid("more records than offsets"));
        }
        let count = fields.count_of(count, 4)?;
        let mut blocks = Vec::with_capacity(count);
        for _ in 0..count {
            blocks.push(fields.u32()?);
        }
        let files = take_files(&mut fields)?;
        let compacted = if opened.version > VERSION_DENSE {
            let (cleaned_to, tombstones_due) = (fields.offset()?, fields.timestamp()?);
            if cleaned_to < base || cleaned_to > records.last_offset.next() {
                return Err(DecodeError::Invalid("cleaned to an offset that is not of the segment"));
            }
            Some(CompactedPart { cleaned_to, tombstones_due })
        } else {
            None
        };
        fields.end()?;
        Ok(Seal { records, compacted, log_bytes, blocks, files })
    }
}

fn take_files(fields: &mut Fields<'_>) -> Result<Vec<SealedFile>, DecodeError> {
    let count = usize::from(fields.byte()?);
    if count > FILES.len() {
        return Err(DecodeError::Invalid("more files than a segment has"));
    }
    let mut files: Vec<SealedFile> = Vec::with_capacity(count);
    for _ in 0..count {
        let number = fields.byte()?;
        let known = FILES.iter().find(|(known, _)| *known == number);
        let (_, file) = known.ok_or(DecodeError::Invalid("an unknown file of a segment"))?;
        if files.iter().any(|sealed| sealed.file == *file) {
            return Err(DecodeError::Invalid("a file of a segment twice"));
        }
        files.push(SealedFile { file: *file, bytes: fields.u64()?, crc: fields.u32()? });
    }
    Ok(files)
}

fn check(sealed_bytes: u64, sealed: u32, bytes: &[u8]) -> Result<(), SealMismatch> {
    let found = bytes.len() as u64;
    if found != sealed_bytes {
        return Err(SealMismatch::Length { sealed: sealed_bytes, found });
    }
    let computed = crc32fast::hash(bytes);
    if computed == sealed { Ok(()) } else { Err(SealMismatch::Checksum { sealed, computed }) }
}

#[cfg(test)]
mod tests {
    use super::super::exam;
    use super::*;

    fn records() -> SealedRecords {
        SealedRecords {
            base: Offset::from_count(100),
            records: 40,
            last_offset: Offset::from_count(139),
            largest_timestamp: TimestampMs(5000),
            last_append: TimestampMs(6000),
        }
    }

    fn log(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    fn seal_of(log: &[u8]) -> Seal {
        let mut sums = BlockSums::new();
        for piece in log.chunks(300_001) {
            sums.push(piece);
        }
        let files = vec![
            SealedFile::of(SegmentFile::TimeIndex, b"time"),
            SealedFile::of(SegmentFile::OffsetIndex, b""),
        ];
        Seal::build(records(), sums, files)
    }

    #[test]
    fn a_seal_comes_back() {
        let block = usize::try_from(BLOCK_BYTES).unwrap();
        for bytes in [0, 1, block - 1, block, block + 1, 3 * block] {
            let seal = seal_of(&log(bytes));
            let mut read = Seal::decode(&seal.encode()).unwrap();
            read.files.reverse();
            assert_eq!(read, seal, "files are stored in the order of their numbers");
            assert_eq!(seal.block_count(), bytes.div_ceil(block));
        }
    }

    #[test]
    fn every_block_and_file_is_checked() {
        let mut log = log(2_500_000);
        let seal = seal_of(&log);
        let range = |block| {
            let range = seal.block_range(block);
            usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
        };
        for block in 0..3 {
            assert_eq!(seal.check_block(block, &log[range(block)]), Ok(()));
        }
        assert_eq!(seal.check_block(3, &[]), Err(SealMismatch::NotSealed));
        log[2_000_000] ^= 1;
        assert_eq!(Seal::block_of(2_000_000), 1);
        assert!(matches!(seal.check_block(1, &log[range(1)]), Err(SealMismatch::Checksum { .. })));
        assert!(matches!(seal.check_block(2, &log[range(1)]), Err(SealMismatch::Length { .. })));
        assert_eq!(seal.check_file(SegmentFile::TimeIndex, b"time"), Ok(()));
        assert!(matches!(
            seal.check_file(SegmentFile::TimeIndex, b"tima"),
            Err(SealMismatch::Checksum { .. })
        ));
        assert_eq!(seal.check_file(SegmentFile::Producers, b""), Err(SealMismatch::NotSealed));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = seal_of(&log(10)).encode();
        exam::every_cut_is_refused(&bytes, Seal::decode);
        exam::every_flip_is_refused(&bytes, Seal::decode);
        let body = envelope::open(FileKind::Seal, VERSION, &bytes).unwrap().body;
        exam::every_cut_is_refused(body, |body| Seal::decode(&envelope::seal(FileKind::Seal, VERSION, body)));
    }

    #[test]
    fn a_seal_that_contradicts_itself_is_refused() {
        let mut seal = seal_of(&log(10));
        seal.blocks.push(0);
        assert!(matches!(Seal::decode(&seal.encode()), Err(DecodeError::Invalid(_))));
        let mut seal = seal_of(&log(10));
        seal.records.records = 41;
        assert!(matches!(Seal::decode(&seal.encode()), Err(DecodeError::Invalid(_))));
        let huge = Seal { log_bytes: u64::MAX, ..seal_of(&log(10)) };
        assert!(Seal::decode(&huge.encode()).is_err());
    }
}
