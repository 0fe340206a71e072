//! The nodes of a quorum, through deaths and power cuts.

use crate::Outcome;

pub(crate) fn nodes(seed: u64) -> Outcome {
    millrace_sim::quorum::run(seed).broken.map_or(Ok(()), Err)
}
