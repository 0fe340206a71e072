//! R8, R9, R13: consumers are given what is committed, by leaders and by followers; nobody tells them that what is there is not; and
//! where a partition ends is told by who knows.

use millrace_replication::reads::Served;
use millrace_types::NodeId;

use super::{Invariant, Scene, Verdict};
use crate::replication::truth::place;
use crate::replication::wire::Answer;

pub(crate) struct Reads;

impl Invariant for Reads {
    fn name(&self) -> &'static str {
        "R9 reads"
    }

    fn told(&mut self, scene: Scene<'_>, node: NodeId, answer: &Answer) -> Verdict {
        match answer {
            Answer::Read { asked, served, entries } => {
                let (from, known) = (place(asked.next), &scene.truth.committed);
                if known.get(from..from + entries.len()) != Some(entries.as_slice()) && !entries.is_empty() {
                    return Err(format!(
                        "{node} gives {entries:?} from {from}; {} are committed",
                        known.len()
                    ));
                }
                let exists = (scene.truth.deleted_to..=known.len()).contains(&from);
                if exists && matches!(served, Served::OutOfRange | Served::Truncated(_)) {
                    return Err(format!("{node} says {served:?} of {from}; {} are committed", known.len()));
                }
                Ok(())
            }
            Answer::Latest { epoch, offset } => {
                let due = scene.truth.elected_at.get(epoch).copied().unwrap_or_default();
                if place(*offset) < due {
                    return Err(format!("{node} ends at {offset}; {due} were committed when it was elected"));
                }
                Ok(())
            }
            Answer::Committed(_) | Answer::No | Answer::InDoubt | Answer::LatestUnknown => Ok(()),
        }
    }
}
