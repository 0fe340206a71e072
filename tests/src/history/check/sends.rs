//! The order in which records lie, against the order in which they were sent.

use std::collections::HashMap;

use super::super::{Analysis, History, Outcome, Send, Verdict};
use super::known::{Known, shown};

/// C10, C11, C15.
pub(super) fn check(history: &History, known: &Known, verdict: &mut Verdict) {
    by_client(history, verdict);
    by_time(history, known, verdict);
}

/// The records of a client lie in each partition in the order in which it has sent them.
fn by_client(history: &History, verdict: &mut Verdict) {
    // The record that lies farthest, of those that each client has sent to each partition so far.
    let mut farthest: HashMap<(u32, u32), (i64, &Send)> = HashMap::new();
    for send in &history.sends {
        let Outcome::Acked(Some(offset)) = send.outcome else { continue };
        let key = (send.process, send.partition);
        let Some((before, earlier)) = farthest.get(&key).copied() else {
            farthest.insert(key, (offset, send));
            continue;
        };
        if offset > before {
            farthest.insert(key, (offset, send));
            continue;
        }
        let is_told = earlier.ended <= send.invoked;
        let analysis = if is_told { Analysis::NonmonotonicSend } else { Analysis::InternalNonmonotonicSend };
        verdict.find(analysis, || {
            let who = &history.processes[send.process as usize];
            let name = &history.partitions[send.partition as usize];
            let (one, other) = (shown(Some(earlier.value)), shown(Some(send.value)));
            format!("{who} sent {one} and then {other} to {name}: they lie at {before} and {offset}")
        });
    }
}

/// Whoever sends after somebody was told of an offset gets a higher one.
fn by_time(history: &History, known: &Known, verdict: &mut Verdict) {
    let mut told: Vec<Vec<(u64, i64)>> = vec![Vec::new(); history.partitions.len()];
    known.told().for_each(|(partition, at, offset)| told[partition as usize].push((at, offset)));
    let mut sends: Vec<Vec<(u64, i64, &Send)>> = vec![Vec::new(); history.partitions.len()];
    for send in &history.sends {
        if let Outcome::Acked(Some(offset)) = send.outcome {
            sends[send.partition as usize].push((send.invoked, offset, send));
        }
    }
    for (partition, (told, sends)) in told.iter_mut().zip(&mut sends).enumerate() {
        told.sort_unstable();
        sends.sort_unstable_by_key(|(invoked, offset, _)| (*invoked, *offset));
        let mut told = told.iter().peekable();
        let mut highest = i64::MIN;
        for (invoked, offset, send) in sends {
            while let Some((_, known)) = told.next_if(|(at, _)| at < invoked) {
                highest = highest.max(*known);
            }
            if *offset <= highest {
                verdict.find(Analysis::OffsetNotAbove, || {
                    let (what, name) = (shown(Some(send.value)), &history.partitions[partition]);
                    format!("{what} lies in {name} at {offset}; {highest} was known before it was sent")
                });
            }
        }
    }
}
