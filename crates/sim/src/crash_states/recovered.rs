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
use millrace_types::limits::PRODUCER_WINDOW;
use millrace_types::{Offset, TimestampMs};

use super::harmed;
use super::life::{checked, client_batch, config, count, meta, next_sequence, offset, options, partition_id};
use super::points::{Cache, Notes};
use super::raw;
use crate::ledger::{Fate, Ledger, Partition, Sent, Stop};

/// Bytes that one read asks for.
const READ_BYTES: usize = 100_000;

/// An opened directory and the logs that were found.
#[derive(Debug)]
struct Opened {
    dir: Arc<LogDir>,
    logs: BTreeMap<u32, Arc<Log>>,
}

fn open(env: &Env) -> Result<Opened, String> {
    let opened = LogDir::open(env, options()).map_err(|e| format!("the directory does not open: {e}"))?;
    let mut logs = BTreeMap::new();
    for found in opened.found {
        let number = found.id.partition.0;
        if found != meta(number)? {
            return Err(format!("a partition that was never made was found: {found:?}"));
        }
        let log = opened.dir.open_log(found.id, config());
        logs.insert(number, log.map_err(|e| format!("partition {number} does not open: {e}"))?);
    }
    let damaged = opened.dir.start_report().damaged;
    if damaged.is_empty() {
        Ok(Opened { dir: opened.dir, logs })
    } else {
        Err(format!("damage: {damaged:?}"))
    }
}

/// What a log holds, in one piece: equal texts, equal logs.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Content {
    start: u64,
    end: u64,
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
        open(&sim.env()).map(drop)
    }

    fn check_harmed(&self, sim: &Sim, draw: &SimRng) -> Result<(), String> {
        harmed::check(sim, self, draw)
    }
}

/// Recovers and checks. Leaves the machine with a directory that was closed.
fn check(sim: &Sim, ledger: &Ledger, cache: Cache) -> Result<(), String> {
    let env = sim.env();
    let sizes = if cache == Cache::Honest { sizes(&*env.fs, ledger) } else { BTreeMap::new() };
    let opened = open(&env)?;
    check_stop(&opened, ledger)?;
    let mut contents = BTreeMap::new();
    for (number, is) in &ledger.partitions {
        let Some(log) = opened.logs.get(number) else {
            if is.fate == Fate::There {
                return Err(format!("partition {number} is gone"));
            }
            continue;
        };
        let content = check_log(log, is).map_err(|e| format!("partition {number}: {e}"))?;
        raw::check_files(&*env.fs, &raw::partition_path(partition_id(*number)))?;
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
    check_synced(sim, &contents).map_err(|e| format!("a second cut right after recovery: {e}"))?;
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

fn check_log(log: &Log, is: &Partition) -> Result<Content, String> {
    let content = read_all(log)?;
    let expected = is.expected(content.start, content.end)?;
    raw::compare(&raw::all_stored(&content.bytes)?, expected)?;
    look_up(log, &content, expected)?;
    Ok(content)
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

/// The size of every `.log` file before recovery.
fn sizes(fs: &dyn Fs, ledger: &Ledger) -> BTreeMap<PathBuf, Bytes> {
    let dirs = ledger.partitions.keys().map(|number| raw::partition_path(partition_id(*number)));
    let files = dirs.flat_map(|dir| raw::log_files(fs, &dir).into_values());
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
fn check_synced(sim: &Sim, contents: &BTreeMap<u32, Content>) -> Result<(), String> {
    let again = sim.fork(1);
    again.power_cut(Survival::Nothing);
    let opened = open(&again.env())?;
    for (number, content) in contents {
        let log = opened.logs.get(number).ok_or_else(|| format!("partition {number} is gone"))?;
        if read_all(log)? != *content {
            return Err(format!("partition {number} is another log"));
        }
    }
    Ok(())
}

/// Goes on where the crash was: retries, new batches, a clean stop, a clean start.
fn live_on(
    sim: &Sim,
    opened: Opened,
    ledger: &Ledger,
    contents: &BTreeMap<u32, Content>,
) -> Result<(), String> {
    let mut held: BTreeMap<u32, Vec<Arc<Sent>>> = BTreeMap::new();
    for (number, content) in contents {
        let (Some(log), Some(is)) = (opened.logs.get(number), ledger.partitions.get(number)) else {
            continue;
        };
        let expected = is.expected(content.start, content.end)?;
        retry_all(log, expected)?;
        let mut now: Vec<Arc<Sent>> = expected.to_vec();
        append_next(log, is, &mut now, content.end)?;
        held.insert(*number, now);
    }
    opened.dir.janitor_step();
    opened.dir.close().map_err(|e| e.to_string())?;
    drop(opened);
    let opened = open(&sim.env())?;
    if !opened.dir.start_report().clean {
        return Err("a clean stop is called unclean".to_owned());
    }
    for (number, held) in &held {
        let log = opened.logs.get(number).ok_or_else(|| format!("partition {number} is gone"))?;
        let content = read_all(log)?;
        raw::compare(&raw::all_stored(&content.bytes)?, held)
            .map_err(|e| format!("partition {number}: {e}"))?;
        look_up(log, &content, held)?;
    }
    Ok(())
}

/// P2, P3: an exact retry of any of a producer's last batches gets the offset that it got the first time.
fn retry_all(log: &Log, held: &[Arc<Sent>]) -> Result<(), String> {
    for (id, sent) in by_producer(held) {
        for sent in sent.iter().rev().take(PRODUCER_WINDOW) {
            let answer = log.append(checked(sent.bytes.clone())?).map_err(|e| e.to_string())?.wait();
            let right = answer.as_ref().is_ok_and(|a| a.duplicate && a.base_offset == offset(sent.base));
            if !right {
                return Err(format!("a retry by producer {id} of offset {}: {answer:?}", sent.base));
            }
        }
    }
    Ok(())
}

fn by_producer(held: &[Arc<Sent>]) -> BTreeMap<i64, Vec<&Arc<Sent>>> {
    let mut by_producer: BTreeMap<i64, Vec<&Arc<Sent>>> = BTreeMap::new();
    for sent in held {
        if let Some((id, _)) = sent.producer {
            by_producer.entry(id).or_default().push(sent);
        }
    }
    by_producer
}

/// Every producer sends what follows on what is left: a batch that was lost is new, not a duplicate.
fn append_next(log: &Log, is: &Partition, held: &mut Vec<Arc<Sent>>, end: u64) -> Result<(), String> {
    let mut ids: Vec<Option<i64>> = by_producer(&is.sent).keys().map(|id| Some(*id)).collect();
    ids.push(None);
    let trimmed = held.first().map_or(is.log_start, |first| first.base) > 0;
    let mut next = end;
    for id in ids {
        // What a trim took is known from a snapshot, which is another check's business.
        if id.is_some() && trimmed && !held.iter().any(|sent| sent.producer.map(|(id, _)| id) == id) {
            continue;
        }
        let timestamp = held.last().map_or(1, |last| last.timestamp + 1);
        let producer = id.map(|id| (id, next_sequence(held, Some(id))));
        let batch = client_batch(timestamp, &[vec![b'n'; 40 + held.len() % 7]], producer)?;
        let sent = Sent { base: next, records: 1, timestamp, producer, bytes: batch.bytes().clone() };
        let answer = log.append(batch).map_err(|e| e.to_string())?.wait();
        if !answer.as_ref().is_ok_and(|a| !a.duplicate && a.base_offset == offset(next)) {
            return Err(format!("the batch behind the last of producer {id:?} at {next}: {answer:?}"));
        }
        next = sent.end();
        held.push(Arc::new(sent));
    }
    Ok(())
}
