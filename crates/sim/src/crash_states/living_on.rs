//! Goes on where the crash was: retries, new batches, cleaning, a clean stop, a clean start.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_env::sim::Sim;
use millrace_log::Log;
use millrace_types::limits::PRODUCER_WINDOW;

use super::life::{
    checked, client_batch, count, keyed_batch, meta, next_sequence, offset, partition_id, wall,
};
use super::raw;
use super::recovered::{Content, Opened, check_log, open};
use crate::ledger::{Fate, Keyed, Ledger, Partition, Sent};
use crate::policy::{Policy, retained_from};

pub(super) fn live_on(
    sim: &Sim,
    opened: Opened,
    ledger: &Ledger,
    contents: &BTreeMap<u32, Content>,
) -> Result<(), String> {
    let now = wall(sim);
    let mut after = Ledger::default();
    let mut starts_max = BTreeMap::new();
    for (number, content) in contents {
        let (Some(log), Some(is)) = (opened.logs.get(number), ledger.partitions.get(number)) else {
            continue;
        };
        let held = is.expected(content.start, content.end)?;
        retry_all(log, is, held)?;
        let mut going = Partition {
            fate: Fate::There,
            policy: is.policy,
            sent: held.to_vec(),
            first: content.start,
            log_start: content.start,
            ..Partition::default()
        };
        append_next(log, is, &mut going, (content.end, now))?;
        let files = raw::segments(&*sim.disk().fs(), &raw::partition_path(partition_id(*number)))?;
        let active = files.last().map_or(0, |file| file.base);
        (going.acked, going.dirty_from) = (going.end(), is.dirty_from.max(active));
        starts_max.insert(*number, retained_from(&going, &files, now));
        after.partitions.insert(*number, going);
    }
    for number in ledger.partitions.keys().filter(|number| !contents.contains_key(number)) {
        after.partitions.insert(*number, made_anew(&opened, *number)?);
    }
    opened.dir.janitor_step();
    for (number, going) in after.partitions.iter_mut().filter(|(number, _)| contents.contains_key(number)) {
        let log = opened.logs.get(number).ok_or_else(|| format!("partition {number} is gone"))?;
        going.log_start = cleaned_start(sim, *number, going, count(log.offsets().log_start))?;
        if starts_max.get(number).is_some_and(|max| going.log_start > *max) {
            return Err(format!("retention let partition {number} begin at {}", going.log_start));
        }
    }
    opened.dir.close().map_err(|e| e.to_string())?;
    drop(opened);
    let opened = open(&sim.env(), &after)?;
    if !opened.dir.start_report().clean {
        return Err("a clean stop is called unclean".to_owned());
    }
    for (number, going) in &after.partitions {
        let log = opened.logs.get(number).ok_or_else(|| format!("partition {number} is gone"))?;
        check_log(log, going, now).map_err(|e| format!("partition {number}: {e}"))?;
    }
    Ok(())
}

/// What was deleted, or never made, can be made: nothing takes it for a log that is lost.
fn made_anew(opened: &Opened, number: u32) -> Result<Partition, String> {
    let log = opened.dir.create(meta(number)?, Policy::Kept.config());
    let log = log.map_err(|e| format!("partition {number} is not made anew: {e}"))?;
    let mut going = Partition { fate: Fate::There, ..Partition::default() };
    append_next(&log, &Partition::default(), &mut going, (0, 0))?;
    going.acked = going.end();
    Ok(going)
}

/// The log start behind a cleaning: where it was, or where a segment begins.
fn cleaned_start(sim: &Sim, number: u32, going: &Partition, start: u64) -> Result<u64, String> {
    let files = raw::segments(&*sim.disk().fs(), &raw::partition_path(partition_id(number)))?;
    let first = files.first().map(|file| file.base);
    if start == going.log_start || (start > going.log_start && first == Some(start)) {
        return Ok(start);
    }
    Err(format!("partition {number} begins at {start}, its first file at {first:?}"))
}

/// P2, P3: an exact retry of any of a producer's last batches gets the offset that it got the first time. Of what was
/// compacted the last one is known.
fn retry_all(log: &Log, is: &Partition, held: &[Arc<Sent>]) -> Result<(), String> {
    let known = if is.policy.compacts() { 1 } else { PRODUCER_WINDOW };
    for (id, sent) in by_producer(held) {
        for sent in sent.iter().rev().take(known) {
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
fn append_next(
    log: &Log,
    is: &Partition,
    going: &mut Partition,
    (end, now): (u64, i64),
) -> Result<(), String> {
    let held = &mut going.sent;
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
        let value = vec![b'n'; 40 + held.len() % 7];
        let keyed = match is.policy.compacts() {
            true => vec![Keyed { key: b"key 0".to_vec(), value: Some(value.clone()) }],
            false => Vec::new(),
        };
        let batch = match keyed.is_empty() {
            true => client_batch(timestamp, &[value], producer)?,
            false => keyed_batch(timestamp, &keyed, producer)?,
        };
        let bytes = batch.bytes().clone();
        let sent = Sent { base: next, records: 1, timestamp, producer, bytes, appended: now, keyed };
        let answer = log.append(batch).map_err(|e| e.to_string())?.wait();
        if !answer.as_ref().is_ok_and(|a| !a.duplicate && a.base_offset == offset(next)) {
            return Err(format!("the batch behind the last of producer {id:?} at {next}: {answer:?}"));
        }
        next = sent.end();
        held.push(Arc::new(sent));
    }
    Ok(())
}
