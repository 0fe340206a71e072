//! C17: how long a record was known to somebody when a reader that holds its partition asked, and was not answered with it.
//! Whoever reads a partition whole comes late on purpose and is left out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{History, Lag, ReaderEvent, Why};
use super::known::Known;

/// The worst of all readers. What a reader was handed counts for the request that it answers.
pub(super) fn worst(history: &History, known: &Known) -> Lag {
    let mut worst = (0, String::new());
    for reader in &history.readers {
        if reader.events.iter().any(|event| matches!(event, ReaderEvent::Whole(_))) {
            continue;
        }
        // The next offset of each partition that it holds, where that is known.
        let mut held: BTreeMap<u32, Option<i64>> = BTreeMap::new();
        for event in &reader.events {
            match event {
                ReaderEvent::Moved(why, at) => {
                    for (partition, next) in at {
                        match why {
                            Why::Revoked => drop(held.remove(partition)),
                            Why::Assign | Why::Seek | Why::Assigned => drop(held.insert(*partition, *next)),
                        }
                    }
                }
                ReaderEvent::Whole(_) => {}
                ReaderEvent::Poll(poll) => {
                    for read in &poll.records {
                        if let Some(next) = held.get_mut(&read.partition) {
                            *next = Some(read.offset + 1);
                        }
                    }
                    for (partition, next) in &held {
                        let known_since =
                            next.and_then(|next| known.partition(*partition).known_behind(next));
                        let lag = known_since.map_or(0, |at| poll.since.saturating_sub(at));
                        if lag > worst.0 {
                            let who = &history.processes[reader.process as usize];
                            let name = &history.partitions[*partition as usize];
                            worst = (lag, format!("({who} in {name}, asking at {} ns)", poll.since));
                        }
                    }
                }
            }
        }
    }
    Lag { worst: Duration::from_nanos(worst.0), whose: worst.1 }
}
