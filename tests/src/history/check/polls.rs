//! The order in which each reader was handed records.

use std::collections::HashMap;

use super::super::{Analysis, History, Poll, ReaderEvent, ReaderLog, Verdict};
use super::known::Known;

/// C6 to C9.
pub(super) fn check(history: &History, known: &Known, verdict: &mut Verdict) {
    for log in &history.readers {
        let mut reader = Reader { history, known, log, next: HashMap::new() };
        for event in &log.events {
            match event {
                ReaderEvent::Poll(poll) => reader.poll(poll, verdict),
                ReaderEvent::Moved(_, at) => {
                    for (partition, next) in at {
                        match next {
                            Some(next) => drop(reader.next.insert(*partition, *next)),
                            // Wherever it goes on, it may.
                            None => drop(reader.next.remove(partition)),
                        }
                    }
                }
                ReaderEvent::Whole(_) => {}
            }
        }
    }
}

/// A reader and where it must go on, as far as that is known.
struct Reader<'a> {
    history: &'a History,
    known: &'a Known,
    log: &'a ReaderLog,
    next: HashMap<u32, i64>,
}

impl Reader<'_> {
    fn poll(&mut self, poll: &Poll, verdict: &mut Verdict) {
        let mut begun = Vec::new();
        for read in &poll.records {
            let is_first = !begun.contains(&read.partition);
            if is_first {
                begun.push(read.partition);
            }
            if let Some(next) = self.next.insert(read.partition, read.offset + 1) {
                let (back, skip) = if is_first {
                    (Analysis::NonmonotonicPoll, Analysis::PollSkip)
                } else {
                    (Analysis::InternalNonmonotonicPoll, Analysis::InternalPollSkip)
                };
                if read.offset < next {
                    verdict.find(back, || self.say(read.partition, next, read.offset, poll));
                } else if let Some(skipped) =
                    self.known.partition(read.partition).first_between(next, read.offset)
                {
                    verdict.find(skip, || {
                        let what = self.say(read.partition, next, read.offset, poll);
                        format!("{what}; there is a record at {skipped}")
                    });
                }
            }
        }
    }

    fn say(&self, partition: u32, next: i64, offset: i64, poll: &Poll) -> String {
        let who = &self.history.processes[self.log.process as usize];
        let name = &self.history.partitions[partition as usize];
        format!("{who} was handed {offset} of {name} where {next} comes next (at {} ns)", poll.ended)
    }
}
