//! A voter never goes back behind a promise.
//!
//! Who has voted for a candidate, or has taken entries of a leader, takes nothing any more from candidates and leaders
//! below: not after a kill, not after a power cut. Seen from outside, in the answers alone.

use std::collections::BTreeMap;

use millrace_quorum::{QuorumAnswer, QuorumAsk, QuorumRequest};
use millrace_schema::QuorumVoter;

use super::who;

/// What each voter has promised.
#[derive(Debug, Default)]
pub(in crate::quorum) struct Promises {
    newest: BTreeMap<QuorumVoter, (u64, QuorumVoter)>,
    /// The first promise that was broken.
    pub(in crate::quorum) broken: Option<String>,
}

impl Promises {
    pub(in crate::quorum) fn hear(&mut self, request: &QuorumRequest, answer: &QuorumAnswer) {
        let ballot = &request.ballot;
        let is_taken = match (&request.ask, answer) {
            (QuorumAsk::Vote { .. }, QuorumAnswer::Voted { granted, .. }) => *granted,
            (QuorumAsk::Append { .. }, QuorumAnswer::Appended | QuorumAnswer::AppendedUpTo(_)) => true,
            (QuorumAsk::Snapshot(_), QuorumAnswer::Installed(now)) => who(now) == who(ballot),
            _ => false,
        };
        if !is_taken {
            return;
        }
        let promised = self.newest.entry(request.to).or_insert_with(|| who(ballot));
        if who(ballot) < *promised && self.broken.is_none() {
            self.broken = Some(format!("{} took {ballot:?}, after it had promised {promised:?}", request.to));
        }
        *promised = (*promised).max(who(ballot));
    }
}
