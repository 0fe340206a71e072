//! What was read, against what became of its send.

use super::super::{Analysis, History, Outcome, ReaderEvent, Verdict};
use super::known::shown;

/// C1, C13, C14. Answers for each send whether anybody has read it.
pub(super) fn check(history: &History, verdict: &mut Verdict) -> Vec<bool> {
    let mut seen = vec![false; history.sends.len()];
    for reader in &history.readers {
        let who = &history.processes[reader.process as usize];
        for event in &reader.events {
            let ReaderEvent::Poll(poll) = event else { continue };
            for read in &poll.records {
                let what = || {
                    let partition = &history.partitions[read.partition as usize];
                    format!("{who} read {} in {partition} at {}", shown(read.value), read.offset)
                };
                let Some((index, send)) = read.value.and_then(|value| history.sent(value)) else {
                    verdict.find(Analysis::AbortedRead, || format!("{}: nobody sent it", what()));
                    continue;
                };
                seen[index] = true;
                if send.partition != read.partition {
                    let sent_to = &history.partitions[send.partition as usize];
                    verdict.find(Analysis::AbortedRead, || format!("{}: it was sent to {sent_to}", what()));
                }
                if poll.ended < send.invoked {
                    let early = send.invoked - poll.ended;
                    verdict.find(Analysis::Cycle, || format!("{}, {early} ns before it was sent", what()));
                }
                if send.outcome == Outcome::Failed {
                    verdict.find(Analysis::AbortedRead, || format!("{}: its send had failed", what()));
                    if poll.ended > send.ended {
                        let later = poll.ended - send.ended;
                        verdict.find(Analysis::DefiniteErrorSeen, || {
                            format!("{}, {later} ns after that was refused for good", what())
                        });
                    }
                }
            }
        }
    }
    seen
}
