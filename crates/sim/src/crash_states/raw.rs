//! Stored bytes as the oracle reads them: by the layout alone, without the code that is examined.
//!
//! ```text
//!   0             8        12             16
//!   ┌─────────────┬────────┬──────────────┬──────────────────────┐
//!   │ base offset │ length │ leader epoch │ as the client sent it│  length counts from 12 on
//!   └─────────────┴────────┴──────────────┴──────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_env::Fs;
use millrace_env::sim::SimDisk;
use millrace_types::TopicPartition;

use crate::ledger::{HEAD_BYTES, Sent};
use crate::policy::{Policy, SegmentOnDisk};

const LENGTH_AT: usize = 8;
const EPOCH_AT: usize = 12;
/// Where in a directory listing a segment's base offset stands.
const BASE_DIGITS: usize = 20;

/// One batch as it lies in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    pub(super) base: u64,
    pub(super) epoch: i32,
    pub(super) size: usize,
    pub(super) tail: &'a [u8],
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The batch at the beginning of `bytes`, if all of it is there.
pub(super) fn stored_at(bytes: &[u8]) -> Option<Stored<'_>> {
    let base = u64::from_be_bytes(field(bytes, 0)?);
    let length = usize::try_from(i32::from_be_bytes(field(bytes, LENGTH_AT)?)).ok()?;
    let epoch = i32::from_be_bytes(field(bytes, EPOCH_AT)?);
    let size = EPOCH_AT.checked_add(length).filter(|size| *size > HEAD_BYTES)?;
    Some(Stored { base, epoch, size, tail: bytes.get(HEAD_BYTES..size)? })
}

/// Whole batches, one behind the other, up to the end.
pub(super) fn all_stored(bytes: &[u8]) -> Result<Vec<Stored<'_>>, String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let batch =
            stored_at(rest).ok_or_else(|| format!("no whole batch at byte {at} of {}", bytes.len()))?;
        at += batch.size;
        found.push(batch);
    }
    Ok(found)
}

/// Whether that is what was sent, at the offset that it must have.
pub(super) fn is(stored: &Stored<'_>, sent: &Sent) -> bool {
    stored.base == sent.base && stored.tail == sent.tail()
}

/// Holds batches against what was sent: the same, in that order, nothing more. Leader epochs never fall.
pub(super) fn compare(found: &[Stored<'_>], expected: &[Arc<Sent>]) -> Result<(), String> {
    if let Some(number) = found.iter().zip(expected).position(|(stored, sent)| !is(stored, sent)) {
        let bases = (found.get(number).map(|one| one.base), expected.get(number).map(|one| one.base));
        return Err(format!("batch {number} of {} is not what was sent (bases {bases:?})", found.len()));
    }
    if found.len() != expected.len() {
        return Err(format!("{} batches are there, {} were due", found.len(), expected.len()));
    }
    if !found.is_sorted_by_key(|stored| stored.epoch) {
        return Err("leader epochs fall".to_owned());
    }
    Ok(())
}

/// The directory of a partition.
pub(super) fn partition_path(id: TopicPartition) -> PathBuf {
    Path::new("/data").join(millrace_log::names::partition_dir(id))
}

/// The `.log` files of a directory by base offset, as the process sees them.
pub(super) fn log_files(fs: &dyn Fs, dir: &Path) -> BTreeMap<u64, PathBuf> {
    let entries = fs.read_dir(dir).unwrap_or_default().into_iter();
    let base = |name: &str| name.strip_suffix(".log").filter(|base| base.len() == BASE_DIGITS)?.parse().ok();
    entries.filter_map(|entry| base(&entry.name).map(|base| (base, dir.join(&entry.name)))).collect()
}

/// The same with their sizes, in their order.
pub(super) fn segments(fs: &dyn Fs, dir: &Path) -> Result<Vec<SegmentOnDisk>, String> {
    let files = log_files(fs, dir).into_iter();
    let sized = |(base, path): (u64, PathBuf)| {
        let bytes = content(fs, &path)?.len() as u64;
        Ok(SegmentOnDisk { base, bytes })
    };
    files.map(sized).collect()
}

/// Whether the medium itself holds these batches, whole, in files that have their names (S3).
pub(super) fn is_durable(disk: &SimDisk, dir: &Path, sent: &[Arc<Sent>]) -> Result<(), String> {
    let files = log_files(&*disk.fs(), dir);
    for sent in sent {
        let Some((_, path)) = files.range(..=sent.base).next_back() else {
            return Err(format!("no file is there for offset {}", sent.base));
        };
        let medium = disk
            .medium(path)
            .map_err(|e| format!("acknowledged, and {} is not on the medium: {e}", path.display()))?;
        let mut at = 0;
        let found = loop {
            match medium.get(at..).and_then(stored_at) {
                Some(batch) if batch.base < sent.base => at += batch.size,
                found => break found,
            }
        };
        if !found.is_some_and(|found| is(&found, sent)) {
            return Err(format!("offset {} is acknowledged and the medium does not hold it", sent.base));
        }
    }
    Ok(())
}

/// What each file of a directory holds, as the process sees it: bases are the names', offsets rise (S2). Of a compacted
/// one the first batches may be gone.
pub(super) fn check_files(fs: &dyn Fs, dir: &Path, policy: Policy) -> Result<(), String> {
    let mut last = None;
    for (base, path) in log_files(fs, dir) {
        let bytes = content(fs, &path)?;
        let batches = all_stored(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        let is_right = |first: u64| first == base || (policy.compacts() && first > base);
        if batches.first().is_some_and(|first| !is_right(first.base)) {
            return Err(format!("{} does not begin with its base", path.display()));
        }
        for batch in batches {
            if last.is_some_and(|last| batch.base <= last) {
                return Err(format!("{}: offset {} comes behind {last:?}", path.display(), batch.base));
            }
            last = Some(batch.base);
        }
    }
    Ok(())
}

/// All bytes of a file.
pub(super) fn content(fs: &dyn Fs, path: &Path) -> Result<bytes::Bytes, String> {
    use millrace_env::FsExt;
    fs.read_small(path, 1 << 30).map_err(|e| format!("{}: {e}", path.display()))
}
