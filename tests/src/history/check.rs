//! The judgement on a history.
//!
//! Everything is held against one value: what is known of each partition ([`Known`]), that is at which offset which value was
//! acknowledged or read, and when somebody first knew.

mod appearances;
mod known;
mod lag;
mod losses;
mod polls;
mod sends;
#[cfg(test)]
mod tests;

use known::Known;

use super::{Analysis, History, Outcome, ReaderEvent, Verdict};

/// Looks for everything that must not be.
#[must_use]
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let known = Known::of(history);
    known::conflicts(history, &known, &mut verdict);
    let seen = appearances::check(history, &mut verdict);
    losses::check(history, &known, &seen, &mut verdict);
    polls::check(history, &known, &mut verdict);
    sends::check(history, &known, &mut verdict);
    for told in &history.thrown_out {
        verdict.find(Analysis::ThrownOut, || told.clone());
    }
    verdict.lag = lag::worst(history, &known);
    count(history, &seen, &mut verdict);
    verdict
}

fn count(history: &History, seen: &[bool], verdict: &mut Verdict) {
    let tally = &mut verdict.tally;
    for (send, seen) in history.sends.iter().zip(seen) {
        tally.sent += 1;
        match send.outcome {
            Outcome::Acked(_) => tally.acked += 1,
            Outcome::Failed => tally.failed += 1,
            Outcome::Unknown => {
                tally.unknown += 1;
                tally.unknown_found += u64::from(*seen);
            }
        }
    }
    for event in history.readers.iter().flat_map(|reader| &reader.events) {
        match event {
            ReaderEvent::Poll(poll) => {
                tally.polls += 1;
                tally.read += poll.records.len() as u64;
            }
            ReaderEvent::Whole(_) => tally.wholes += 1,
            ReaderEvent::Moved(..) => {}
        }
    }
    (tally.commits, tally.commits_failed) = history.commits;
}
