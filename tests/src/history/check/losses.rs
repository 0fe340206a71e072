//! What was acknowledged or read once, and is not there any more.

use std::collections::HashMap;

use super::super::{Analysis, History, Outcome, ReaderEvent, Send, Verdict, Whole};
use super::known::{Known, shown};

/// A whole reading and what it has found.
struct WholeReading<'a> {
    whole: &'a Whole,
    who: &'a str,
    found: HashMap<i64, Option<u64>>,
}

/// C4, C5, C12, C16.
pub(super) fn check(history: &History, known: &Known, seen: &[bool], verdict: &mut Verdict) {
    let wholes = whole_readings(history);
    missing_writes(history, &wholes, seen, verdict);
    for reading in &wholes {
        vanished(history, reading, verdict);
        let Whole { partition, from, to, hash, .. } = *reading.whole;
        let model = known.partition(partition).chain(from, to);
        if model.hash() != hash {
            let name = &history.partitions[partition as usize];
            verdict.find(Analysis::ChainDiffers, || {
                let found = reading.found.len();
                format!("{} read {name} from {from} to {to} ({found} records): another chain", reading.who)
            });
        }
    }
}

/// What each whole reading has found: what its client was handed in that partition since it was moved there last.
fn whole_readings(history: &History) -> Vec<WholeReading<'_>> {
    let mut wholes = Vec::new();
    for reader in &history.readers {
        let who = history.processes[reader.process as usize].as_str();
        let is_whole = |event: &ReaderEvent| matches!(event, ReaderEvent::Whole(_));
        if !reader.events.iter().any(is_whole) {
            continue;
        }
        let mut found: HashMap<u32, HashMap<i64, Option<u64>>> = HashMap::new();
        for event in &reader.events {
            match event {
                ReaderEvent::Moved(_, at) => {
                    at.iter().for_each(|(partition, _)| drop(found.remove(partition)))
                }
                ReaderEvent::Poll(poll) => {
                    for read in &poll.records {
                        found.entry(read.partition).or_default().insert(read.offset, read.value);
                    }
                }
                ReaderEvent::Whole(whole) => {
                    let found = found.get(&whole.partition).cloned().unwrap_or_default();
                    wholes.push(WholeReading { whole, who, found });
                }
            }
        }
    }
    wholes
}

/// C4, C5.
fn missing_writes(history: &History, wholes: &[WholeReading<'_>], seen: &[bool], verdict: &mut Verdict) {
    let mut read_to = vec![i64::MIN; history.partitions.len()];
    for event in history.readers.iter().flat_map(|reader| &reader.events) {
        let ReaderEvent::Poll(poll) = event else { continue };
        for read in &poll.records {
            let end = &mut read_to[read.partition as usize];
            *end = (*end).max(read.offset);
        }
    }
    let mut last_whole = vec![0_u64; history.partitions.len()];
    for reading in wholes {
        let last = &mut last_whole[reading.whole.partition as usize];
        *last = (*last).max(reading.whole.since);
    }
    for (send, seen) in history.sends.iter().zip(seen) {
        let Outcome::Acked(offset) = send.outcome else { continue };
        let partition = send.partition as usize;
        let is_judged = last_whole[partition] > send.ended;
        verdict.tally.unjudged += u64::from(!is_judged);
        if *seen {
            continue;
        }
        if offset.is_some_and(|offset| offset < read_to[partition]) {
            verdict.find(Analysis::LostWrite, || lost(history, send, offset));
        } else if is_judged {
            verdict.find(Analysis::Unseen, || lost(history, send, offset));
        }
    }
}

fn lost(history: &History, send: &Send, offset: Option<i64>) -> String {
    let who = &history.processes[send.process as usize];
    let name = &history.partitions[send.partition as usize];
    let took = (send.ended - send.invoked) / 1_000_000;
    let (value, told) = (shown(Some(send.value)), send.ended);
    let place = offset.map_or_else(|| "somewhere".to_owned(), |offset| format!("at {offset}"));
    format!(
        "{value} of {who} was acknowledged in {name} {place} (at {told} ns, after {took} ms): nobody reads it"
    )
}

/// C12: what anybody was handed before a whole reading began is in it, wherever that has ended.
fn vanished(history: &History, reading: &WholeReading<'_>, verdict: &mut Verdict) {
    let Whole { partition, since, from, .. } = *reading.whole;
    for reader in &history.readers {
        for event in &reader.events {
            let ReaderEvent::Poll(poll) = event else { continue };
            if poll.ended > since {
                continue;
            }
            for read in poll.records.iter().filter(|read| read.partition == partition) {
                let is_there = reading.found.get(&read.offset) == Some(&read.value);
                if read.offset >= from && !is_there {
                    verdict.find(Analysis::PrecommittedRead, || {
                        let (other, what) = (&history.processes[reader.process as usize], shown(read.value));
                        let name = &history.partitions[partition as usize];
                        let later = (since - poll.ended) / 1_000_000;
                        let whom = reading.who;
                        format!(
                            "{other} read {what} in {name} at {}, {whom} does not find it there {later} ms later",
                            read.offset
                        )
                    });
                }
            }
        }
    }
}
