//! A sealed segment on the medium: its files read back past the page cache, piece by piece, and held against the seal.
//!
//! ```text
//!   item   0 ─── blocks - 1    blocks ───────────    the last one
//!          │ block of the .log │ file under the seal │ the .seal itself │
//! ```
//! Files are opened by name each time: a file whose name is gone is damage, though an open handle still answers.

use std::io;
use std::ops::Range;
use std::path::Path;

use millrace_env::{Fs, OpenMode, is_out_of_files};
use millrace_types::{Offset, OffsetRange};

use super::{Pages, SealedPart, Segment, Walk};
use crate::names::SegmentFile;

/// What is wrong with an item.
#[derive(Debug)]
pub(crate) struct Rot {
    pub(crate) file: SegmentFile,
    pub(crate) bytes: Range<u64>,
    pub(crate) what: String,
}

/// The part of a sealed segment that is read and checked at once.
enum Item {
    Block(usize),
    File(SegmentFile, u64),
    Seal(Vec<u8>),
}

impl SealedPart {
    /// How many items there are.
    pub(crate) fn items(&self) -> u32 {
        u32::try_from(self.seal().block_count() + self.seal().files().len() + 1).unwrap_or(u32::MAX)
    }

    /// Bytes of all files under the seal, itself not counted.
    pub(crate) fn bytes_sealed(&self) -> u64 {
        let files: u64 = self.seal().files().iter().map(|sealed| sealed.bytes).sum();
        self.seal().log_bytes() + files
    }

    fn item(&self, item: u32) -> Item {
        let blocks = self.seal().block_count();
        let number = usize::try_from(item).unwrap_or(usize::MAX);
        match number.checked_sub(blocks) {
            None => Item::Block(number),
            Some(file) => match self.seal().files().get(file) {
                Some(sealed) => Item::File(sealed.file, sealed.bytes),
                None => Item::Seal(self.seal().encode()),
            },
        }
    }

    /// Bytes that checking an item reads.
    pub(crate) fn item_bytes(&self, item: u32) -> u64 {
        match self.item(item) {
            Item::Block(block) => {
                let Range { start, end } = self.seal().block_range(block);
                end.saturating_sub(start)
            }
            Item::File(_, bytes) => bytes,
            Item::Seal(seal) => seal.len() as u64,
        }
    }

    /// Reads an item from the medium and checks it. A block that is not what was sealed is served no more.
    pub(crate) fn check_medium(&self, segment: &Segment, fs: &dyn Fs, item: u32) -> Result<(), Rot> {
        let (file, bytes) = match self.item(item) {
            Item::Block(block) => (SegmentFile::Log, self.seal().block_range(block)),
            Item::File(file, bytes) => (file, 0..bytes),
            Item::Seal(seal) => (SegmentFile::Seal, 0..seal.len() as u64),
        };
        let rot = |what: String| Rot { file, bytes: bytes.clone(), what };
        let content = match read_medium(fs, &segment.path(file), &bytes) {
            Ok(content) => content,
            Err(e) if is_out_of_files(&e) => {
                tracing::warn!(path = %segment.path(file).display(), error = %e, "left out until the next pass");
                return Ok(());
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(rot("the file is gone".to_owned())),
            Err(e) => return Err(rot(format!("the medium does not give the bytes: {e}"))),
        };
        match self.item(item) {
            Item::Block(block) => self.seal().check_block(block, &content).map_err(|e| {
                self.quarantine(block);
                rot(e.to_string())
            }),
            Item::File(file, _) => self.seal().check_file(file, &content).map_err(|e| rot(e.to_string())),
            Item::Seal(seal) if seal == content => Ok(()),
            Item::Seal(_) => Err(rot("the seal is not the one that was written".to_owned())),
        }
    }
}

/// The bytes of a range as the medium has them; fewer if the file ends before.
fn read_medium(fs: &dyn Fs, path: &Path, range: &Range<u64>) -> io::Result<Vec<u8>> {
    let file = fs.open(path, OpenMode::Read)?;
    let mut content = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
    let filled = Pages::Medium.read_fully(&*file, &mut content, range.start)?;
    content.truncate(filled);
    Ok(content)
}

impl Segment {
    /// The offsets of the batches that touch `bytes` of the `.log`, and of at most an index interval around them.
    pub(crate) fn offsets_around(&self, fs: &dyn Fs, bytes: &Range<u64>) -> OffsetRange {
        let (end, size) = {
            let body = self.body.read();
            (body.end, body.size)
        };
        let around = self.with_offset_index(fs, |index| {
            let before = index.iter().take_while(|entry| u64::from(entry.position) < bytes.start).last();
            let behind = index.iter().find(|entry| u64::from(entry.position) >= bytes.end);
            (before, behind)
        });
        let (before, behind) = around.unwrap_or((None, None));
        // The batch of the entry before may reach into the range; the one behind begins behind it.
        let base_at = |position: u32| {
            let file = self.file().ok()?;
            let mut walk = Walk::new(&*file, position.into(), self.base, size).offsets(self.offsets);
            walk.step().ok().and_then(Result::ok).map(|(spot, _)| spot.base)
        };
        let named = |base: Offset| if base >= self.base && base <= end { Some(base) } else { None };
        let start = before.and_then(|entry| base_at(entry.position)).and_then(named).unwrap_or(self.base);
        let behind = behind.and_then(|entry| base_at(entry.position)).and_then(named).unwrap_or(end);
        OffsetRange { start, end: behind.max(start) }
    }
}
