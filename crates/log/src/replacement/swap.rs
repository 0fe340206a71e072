//! Putting a segment that was written beside in the place of those that it was made of.
//!
//! ```text
//!   <base>.log.cleaned .index.cleaned .timeindex.cleaned   written and synced, their names synced
//!   <base>.seal.swap                                        renamed to this, synced: from here on it is the new segment
//!   .log .index .timeindex                                  the cleaned ones renamed over the old ones, synced
//!   <base>.seal                                             the swap renamed over the old one, synced
//!   (the other segments that it was made of)                unlinked
//! ```
//! A crash before the second line leaves the old segments and some files that nothing refers to; behind it, the next start
//! goes on from the third line, whatever of it was done. An old seal never stands beside new batches without the swap beside
//! it, and no old segment goes before the new one is whole and named: a seal tells which offsets it covers, so that what is
//! left of the old ones is known for what it is.

use std::io;
use std::path::Path;

use millrace_env::{Fs, FsExt};
use millrace_types::Offset;

use crate::format::seal::{self, Seal};
use crate::names::{SegmentFile, cleaned_file, segment_file, swap_file};
use crate::recovery::unlink_if_there;

/// What is written beside, the batches first.
pub(crate) const CLEANED: [SegmentFile; 3] =
    [SegmentFile::Log, SegmentFile::OffsetIndex, SegmentFile::TimeIndex];

/// Makes a cleaned segment the one that counts. Its files are written and synced.
pub(super) fn commit(fs: &dyn Fs, dir: &Path, seal: &Seal) -> io::Result<()> {
    fs.sync_dir(dir)?;
    fs.replace(&dir.join(swap_file(seal.records.base)), &seal.encode())
}

/// Renames the cleaned files over the old ones. Nothing is synced.
pub(super) fn rename_files(fs: &dyn Fs, dir: &Path, base: Offset) -> io::Result<()> {
    for file in CLEANED {
        match fs.rename(&dir.join(cleaned_file(base, file)), &dir.join(segment_file(base, file))) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
    }
    Ok(())
}

/// Puts the seal in its place, behind a sync of the names before it.
pub(super) fn rename_seal(fs: &dyn Fs, dir: &Path, base: Offset) -> io::Result<()> {
    let (swap, seal) = (dir.join(swap_file(base)), dir.join(segment_file(base, SegmentFile::Seal)));
    #[cfg(feature = "teeth")]
    millrace_types::planted!(SealBeforeNames => return fs.rename(&swap, &seal));
    fs.sync_dir(dir)?;
    fs.rename(&swap, &seal)?;
    fs.sync_dir(dir)
}

/// Unlinks what was written beside for a segment.
pub(crate) fn discard(fs: &dyn Fs, dir: &Path, base: Offset) -> io::Result<()> {
    CLEANED.into_iter().try_for_each(|file| unlink_if_there(fs, &dir.join(cleaned_file(base, file))))
}

/// Goes on with a swap that a crash has interrupted. Tells of a seal that does not open: then what is in place stays, and
/// is checked like any segment.
pub(crate) fn finish_swap(fs: &dyn Fs, dir: &Path, base: Offset) -> io::Result<Option<String>> {
    let path = dir.join(swap_file(base));
    let decoded = match fs.read_small(&path, seal::BYTES_MAX) {
        Ok(bytes) => Seal::decode(&bytes).map_err(|e| e.to_string()),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(e.to_string()),
        Err(e) => return Err(e),
    };
    let what = match decoded {
        Ok(seal) if seal.records.base == base => {
            rename_files(fs, dir, base)?;
            rename_seal(fs, dir, base)?;
            return Ok(None);
        }
        Ok(_) => "it is another segment's".to_owned(),
        Err(what) => what,
    };
    fs.unlink(&path)?;
    Ok(Some(format!("{}: {what}; the segment stays as it is", path.display())))
}
