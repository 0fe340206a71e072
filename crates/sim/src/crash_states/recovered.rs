//! Recovers a crash state with the real code and holds what comes back against the ledger.
//!
//! ```text
//!   the state ─► open, read, look up ─► the power goes at once ─► open: the same (S5)
//!                     └─► retries, appends, janitor ─► close ─► open, clean: the same, and what was added
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millrace_env::sim::{Sim, SimRng, Survival};
use millrace_env::{Env, Fs};
use millrace_log::{Log, LogDir, ReadAnswer, ReadRequest};
use millrace_types::{Offset, TimestampMs};

use super::life::{config_of, count, meta, offset, options, partition_id, wall};
use super::living_on::live_on;
use super::points::{Cache, Notes};
use super::raw;
use super::records::{Placed, records};
use super::{compacted, harmed};
use crate::ledger::{Fate, Ledger, Partition, Sent, Stop};

/// Bytes that one read asks for.
const READ_BYTES: usize = 100_000;

/// An opened directory and the logs that were found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) dir: Arc<LogDir>,
    pub(super) logs: BTreeMap<u32, Arc<Log>>,
}

pub(super) fn open(env: &Env, ledger: &Ledger) -> Result<Opened, String> {
    let opened = LogDir::open(env, options()).map_err(|e| format!("the directory does not open: {e}"))?;
    let mut staged = Vec::new();
    for found in opened.found {
        let number = found.id.partition.0;
        if found != meta(number)? {
            return Err(format!("a partition that was never made was found: {found:?}"));
        }
        let log = opened.dir.stage_log(found.id, config_of(ledger, number));
        staged.push(log.map_err(|e| format!("partition {number} does not open: {e}"))?);
    }
    let settled = opened.dir.settle(staged).map_err(|e| format!("the logs do not open: {e}"))?;
    let logs = settled.into_iter().map(|log| (log.meta().id.partition.0, log)).collect();
    let damaged = opened.dir.start_report().damaged;
    if damaged.is_empty() {
        Ok(Opened { dir: opened.dir, logs })
    } else {
        Err(format!("damage: {damaged:?}"))
    }
}

/// What a log holds, in one piece: equal texts, equal logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Content {
    pub(super) start: u64,
    pub(super) end: u64,
    bytes: Vec<u8>,
}

fn read_all(log: &Log) -> Result<Content, String> {
    let offsets = log.offsets();
    let (start, end) = (count(offsets.log_start), count(offsets.end));
    if offsets.high_watermark != offsets.end || offsets.synced_end != offsets.end || start > end {
        return Err(format!("the marks of an opened log: {offsets:?}"));
    }
    let mut bytes = Vec::new();
    let mut from = offsets.log_start;
    while from < offsets.end {
        let answer = read(log, from, READ_BYTES)?;
        if answer.range.end <= from {
            return Err(format!("a read from {from} gets nowhere, the log ends at {end}"));
        }
        answer.extents.iter().for_each(|extent| bytes.extend_from_slice(extent));
        from = answer.range.end;
    }
    Ok(Content { start, end, bytes })
}

fn read(log: &Log, from: Offset, bytes_max: usize) -> Result<ReadAnswer, String> {
    let plan = log.read(&ReadRequest { from, until: None, bytes_max });
    let answer = plan.map_err(|e| e.to_string()).and_then(|plan| plan.load().map_err(|e| e.to_string()));
    answer.map_err(|e| format!("reading from {from}: {e}"))
}
impl Notes for Ledger {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn operation(&self) -> &'static str {
        self.operation
    }

    fn check(&self, sim: &Sim, cache: Cache) -> Result<(), String> {
        check(sim, self, cache)
    }

    fn recover(&self, sim: &Sim) -> Result<(), String> {
        open(&sim.env(), self).map(drop)
    }

    fn check_harmed(&self, sim: &Sim, draw: &SimRng) -> Result<(), String> {
        harmed::check(sim, self, draw)
    }
}

/// Recovers and checks. Leaves the machine with a directory that was closed.
fn check(sim: &Sim, ledger: &Ledger, cache: Cache) -> Result<(), String> {
    let env = sim.env();
    let sizes = if cache == Cache::Honest { sizes(&*env.fs, ledger) } else { BTreeMap::new() };
    let opened = open(&env, ledger)?;
    check_stop(&opened, ledger)?;
    let now = wall(sim);
    let mut contents = BTreeMap::new();
    for (number, is) in &ledger.partitions {
        let Some(log) = opened.logs.get(number) else {
            if is.fate == Fate::There {
                return Err(format!("partition {number} is gone"));
            }
            continue;
        };
        let content = check_log(log, is, now).map_err(|e| format!("partition {number}: {e}"))?;
        let dir = raw::partition_path(partition_id(*number));
        raw::check_files(&*env.fs, &dir, is.policy)?;
        compacted::check_names(&*env.fs, &dir)?;
        contents.insert(*number, content);
    }
    if let Some(number) = opened
        .logs
        .keys()
        .find(|number| ledger.partitions.get(number).is_none_or(|is| is.fate == Fate::Absent))
    {
        return Err(format!("partition {number} came back"));
    }
    check_cuts(&*env.fs, &sizes)?;
    check_synced(sim, ledger, &contents).map_err(|e| format!("a second cut right after recovery: {e}"))?;
    live_on(sim, opened, ledger, &contents).map_err(|e| format!("life after recovery: {e}"))
}

/// S18: the clean mark is there after a clean stop, and only then.
fn check_stop(opened: &Opened, ledger: &Ledger) -> Result<(), String> {
    let report = opened.dir.start_report();
    match ledger.stop {
        Stop::Running if report.clean => Err("a run that crashed is called clean".to_owned()),
        Stop::Closed if !report.clean => Err("a clean stop is called unclean".to_owned()),
        Stop::Closed if report.bytes_read > 0 => Err("a clean start read the log".to_owned()),
        _ => Ok(()),
    }
}

pub(super) fn check_log(log: &Log, is: &Partition, now: i64) -> Result<Content, String> {
    let content = read_all(log)?;
    if is.policy.compacts() {
        let found = compacted::check(&content.bytes, is, (content.start, content.end), now)?;
        look_up_placed(log, &found)?;
    } else {
        let expected = is.expected(content.start, content.end)?;
        raw::compare(&raw::all_stored(&content.bytes)?, expected)?;
        look_up(log, &content, expected)?;
    }
    Ok(content)
}

/// The same for what compaction has left.
fn look_up_placed(log: &Log, found: &[Placed]) -> Result<(), String> {
    let step = (found.len() / 3).max(1);
    for placed in found.iter().step_by(step) {
        let extents = read(log, offset(placed.offset), 1)?.extents;
        let first = extents.first().and_then(|extent| raw::stored_at(extent));
        let records = first.and_then(|batch| records(&batch)).unwrap_or_default();
        if !records.contains(placed) {
            return Err(format!("a read of offset {} does not begin with its batch", placed.offset));
        }
        let due = found.iter().find(|other| other.timestamp >= placed.timestamp).map(|due| due.offset);
        let hit = log.offset_for_time(TimestampMs(placed.timestamp)).map_err(|e| e.to_string())?;
        let hit = hit.map(|hit| count(hit.offset));
        if hit != due {
            return Err(format!("time {} leads to {hit:?}, not to {due:?}", placed.timestamp));
        }
    }
    Ok(())
}

/// S10: what the indexes lead to is what the records say.
fn look_up(log: &Log, content: &Content, expected: &[Arc<Sent>]) -> Result<(), String> {
    let step = (expected.len() / 3).max(1);
    for sent in expected.iter().step_by(step) {
        let from = sent.base.max(content.start) + (sent.end() - sent.base.max(content.start)) / 2;
        let extents = read(log, offset(from), 1)?.extents;
        let found = extents.first().and_then(|extent| raw::stored_at(extent));
        if !found.is_some_and(|found| raw::is(&found, sent)) {
            return Err(format!("a read of offset {from} does not begin with its batch"));
        }
        let due = expected.iter().find(|other| other.timestamp >= sent.timestamp);
        let due = due.map(|due| due.base.max(content.start));
        let hit = log.offset_for_time(TimestampMs(sent.timestamp)).map_err(|e| e.to_string())?;
        let hit = hit.map(|hit| count(hit.offset));
        if hit != due {
            return Err(format!("time {} leads to {hit:?}, not to {due:?}", sent.timestamp));
        }
    }
    Ok(())
}

/// What is in every `.log` file before recovery. Of a compacted log only the last one: the others may be replaced.
fn sizes(fs: &dyn Fs, ledger: &Ledger) -> BTreeMap<PathBuf, Bytes> {
    let files = ledger.partitions.iter().flat_map(|(number, is)| {
        let files = raw::log_files(fs, &raw::partition_path(partition_id(*number))).into_values();
        let replaced = if is.policy.compacts() { files.len().saturating_sub(1) } else { 0 };
        files.skip(replaced)
    });
    files.filter_map(|path| raw::content(fs, &path).ok().map(|content| (path, content))).collect()
}

/// S6: what recovery took from the end of a file lies in its `.cut`, unless it was zeros.
fn check_cuts(fs: &dyn Fs, before: &BTreeMap<PathBuf, Bytes>) -> Result<(), String> {
    for (path, before) in before {
        let cut = path.with_extension("cut");
        let Ok(after) = raw::content(fs, path) else {
            let aside = raw::content(fs, &cut).is_ok_and(|cut| cut == before);
            // Below the log start nothing is kept.
            if !aside && before.iter().any(|byte| *byte != 0) && !is_trimmed(fs, path) {
                return Err(format!("{} is gone and was not set aside", path.display()));
            }
            continue;
        };
        let gone = before.get(after.len()..).unwrap_or_default();
        if gone.iter().any(|byte| *byte != 0) && !raw::content(fs, &cut).is_ok_and(|cut| cut == gone) {
            return Err(format!("{} bytes were cut from {} without a copy", gone.len(), path.display()));
        }
    }
    Ok(())
}

/// Whether a later segment has taken over from one that lay below the log start.
fn is_trimmed(fs: &dyn Fs, path: &Path) -> bool {
    let Some(dir) = path.parent() else { return false };
    raw::log_files(fs, dir).first_key_value().is_some_and(|(_, first)| first.as_path() > path)
}

/// S5: what recovery counted is on the medium, whatever the cache said.
fn check_synced(sim: &Sim, ledger: &Ledger, contents: &BTreeMap<u32, Content>) -> Result<(), String> {
    let again = sim.fork(1);
    again.power_cut(Survival::Nothing);
    let opened = open(&again.env(), ledger)?;
    for (number, content) in contents {
        let log = opened.logs.get(number).ok_or_else(|| format!("partition {number} is gone"))?;
        if read_all(log)? != *content {
            return Err(format!("partition {number} is another log"));
        }
    }
    Ok(())
}
