//! What must hold, one file each.

mod images;
mod ledger;
mod majority;
mod promises;

use millrace_schema::{QuorumBallot, QuorumVoter};

pub(super) use images::Images;
pub(super) use ledger::{Ledger, Op};
pub(super) use majority::Majority;
pub(super) use promises::Promises;

/// Whose ballot it is, and which of two is newer.
fn who(ballot: &QuorumBallot) -> (u64, QuorumVoter) {
    (ballot.term, ballot.candidate)
}
