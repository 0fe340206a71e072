//! What is left of a log that is compacted, held against what was sent.
//!
//! ```text
//!   log start                     dirty from                          end
//!      │  any may be gone but the   │  as it was sent, to the byte      │
//!      │  last record of each key   │                                   │
//! ```
//! A tombstone may be gone with all that it deletes, once its time is over, and never before what it deletes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use millrace_env::Fs;

use super::raw::{self, Stored};
use super::records::{Placed, kept, records};
use crate::ledger::{Partition, Sent};
use crate::policy::TOMBSTONES_MS;

/// What a crash must not leave beside a log that was opened.
const UNFINISHED: [&str; 2] = [".cleaned", ".swap"];

/// Everything that a reader of a compacted log relies on, of a log that starts and ends there.
pub(super) fn check(
    bytes: &[u8],
    is: &Partition,
    (start, end): (u64, u64),
    now: i64,
) -> Result<Vec<Placed>, String> {
    let due = is.expected(start, end)?;
    let stored = raw::all_stored(bytes)?;
    if !stored.is_sorted_by_key(|batch| batch.base) || !stored.is_sorted_by_key(|batch| batch.epoch) {
        return Err("offsets or leader epochs fall".to_owned());
    }
    let mut found = Vec::new();
    for batch in &stored {
        let at = due.partition_point(|sent| sent.base < batch.base);
        let sent = due.get(at).filter(|sent| sent.base == batch.base);
        let sent = sent.ok_or_else(|| format!("nobody sent a batch at {}", batch.base))?;
        found.extend(check_batch(batch, sent)?);
    }
    check_dirty(&stored, due, is.dirty_from)?;
    found.retain(|record| record.offset >= start);
    check_keys(&found, due, start, now)?;
    Ok(found)
}

/// A batch holds what was sent in it, or less.
fn check_batch(batch: &Stored<'_>, sent: &Sent) -> Result<Vec<Placed>, String> {
    let at = batch.base;
    if kept(batch.tail) != kept(sent.tail()) {
        return Err(format!("the batch at {at} is another one: {:?}", kept(batch.tail)));
    }
    let found = records(batch).ok_or_else(|| format!("no records are in the batch at {at}"))?;
    if !found.is_sorted_by(|one, next| one.offset < next.offset) {
        return Err(format!("offsets fall in the batch at {at}"));
    }
    for record in &found {
        let place = record.offset.checked_sub(at).and_then(|place| usize::try_from(place).ok());
        let is_sent = place.and_then(|place| sent.keyed.get(place)) == Some(&record.record);
        if !is_sent || record.timestamp != sent.timestamp {
            return Err(format!("the record at {} is not what was sent", record.offset));
        }
    }
    Ok(found)
}

/// Where no compaction can have been, all is as it was sent.
fn check_dirty(stored: &[Stored<'_>], due: &[Arc<Sent>], dirty_from: u64) -> Result<(), String> {
    let dirty = due.iter().filter(|sent| sent.base >= dirty_from);
    let mut found = stored.iter().filter(|batch| batch.base >= dirty_from);
    for sent in dirty {
        if !found.next().is_some_and(|batch| raw::is(batch, sent)) {
            return Err(format!("offset {} was not compacted, and is not what was sent", sent.base));
        }
    }
    Ok(())
}

/// The last record of every key is there, or was a tombstone whose time is over.
fn check_keys(found: &[Placed], due: &[Arc<Sent>], start: u64, now: i64) -> Result<(), String> {
    let mut last: BTreeMap<&[u8], (u64, bool, i64)> = BTreeMap::new();
    for sent in due {
        for (offset, record) in (sent.base..).zip(&sent.keyed) {
            if offset >= start {
                last.insert(&record.key, (offset, record.value.is_none(), sent.appended));
            }
        }
    }
    let mut newest: BTreeMap<&[u8], u64> = BTreeMap::new();
    for placed in found {
        newest.insert(&placed.record.key, placed.offset);
    }
    for (key, (offset, is_tombstone, appended)) in last {
        let newest = newest.get(key).copied();
        let may_be_gone = is_tombstone && now.saturating_sub(appended).unsigned_abs() >= TOMBSTONES_MS;
        if newest != Some(offset) && (newest.is_some() || !may_be_gone) {
            let (key, kind) = (key.escape_ascii(), if is_tombstone { "tombstone" } else { "record" });
            return Err(format!("key {key}: {newest:?} is there, its last {kind} is {offset}"));
        }
    }
    Ok(())
}

/// No part of a swap is left where a log was opened.
pub(super) fn check_names(fs: &dyn Fs, dir: &Path) -> Result<(), String> {
    let entries = fs.read_dir(dir).map_err(|e| e.to_string())?;
    let left = entries.iter().find(|entry| UNFINISHED.iter().any(|part| entry.name.contains(part)));
    left.map_or(Ok(()), |entry| Err(format!("{} is left", entry.name)))
}
