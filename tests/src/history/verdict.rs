//! What the checker says.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Findings of one analysis beyond this many are only counted.
const SHOWN_MAX: u64 = 10;

/// What is looked for. The numbers are those of the list of invariants.
///
/// There are no transactions yet, so two of Jepsen's analyses mean less here than there: a *precommitted read* is a record that was
/// handed out and is not in the log later, and a *cycle* of sends and reads is a record that was read before it was sent (any
/// longer cycle through records, clients and time holds such an edge).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Analysis {
    /// C1: a record was read whose send had failed for good, or that nobody has sent.
    AbortedRead,
    /// C2: two values at one offset.
    InconsistentOffsets,
    /// C3: one value at two places.
    Duplicate,
    /// C4: acknowledged before what was read, and never read.
    LostWrite,
    /// C5: acknowledged, and not there when the partition was read whole afterwards.
    Unseen,
    /// C6: a poll went on behind a record that the one before had not reached.
    PollSkip,
    /// C7: a poll went on before the end of the one before.
    NonmonotonicPoll,
    /// C8: the same within a poll.
    InternalPollSkip,
    /// C9: the same within a poll.
    InternalNonmonotonicPoll,
    /// C10: of two sends under way together, the later one lies first.
    InternalNonmonotonicSend,
    /// C11: a send of a client lies before another that it had been told of.
    NonmonotonicSend,
    /// C12: what was handed out is not there later.
    PrecommittedRead,
    /// C13: what was read before it was sent.
    Cycle,
    /// C14: what had failed for good appears afterwards.
    DefiniteErrorSeen,
    /// C15: a send lies at or below an offset that anybody knew of before it.
    OffsetNotAbove,
    /// C16: the chain of a whole reading is not that of what is known of the partition.
    ChainDiffers,
    /// R13: a reader of committed records was told that its offset is gone.
    ThrownOut,
}

impl Analysis {
    /// Every analysis with a verdict. (C17 is a figure.)
    pub const ALL: [Analysis; 17] = [
        Analysis::AbortedRead,
        Analysis::InconsistentOffsets,
        Analysis::Duplicate,
        Analysis::LostWrite,
        Analysis::Unseen,
        Analysis::PollSkip,
        Analysis::NonmonotonicPoll,
        Analysis::InternalPollSkip,
        Analysis::InternalNonmonotonicPoll,
        Analysis::InternalNonmonotonicSend,
        Analysis::NonmonotonicSend,
        Analysis::PrecommittedRead,
        Analysis::Cycle,
        Analysis::DefiniteErrorSeen,
        Analysis::OffsetNotAbove,
        Analysis::ChainDiffers,
        Analysis::ThrownOut,
    ];

    /// Its number and name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Analysis::AbortedRead => "C1 aborted read",
            Analysis::InconsistentOffsets => "C2 inconsistent offsets",
            Analysis::Duplicate => "C3 duplicate",
            Analysis::LostWrite => "C4 lost write",
            Analysis::Unseen => "C5 unseen",
            Analysis::PollSkip => "C6 poll skip",
            Analysis::NonmonotonicPoll => "C7 nonmonotonic poll",
            Analysis::InternalPollSkip => "C8 internal poll skip",
            Analysis::InternalNonmonotonicPoll => "C9 internal nonmonotonic poll",
            Analysis::InternalNonmonotonicSend => "C10 internal nonmonotonic send",
            Analysis::NonmonotonicSend => "C11 nonmonotonic send",
            Analysis::PrecommittedRead => "C12 precommitted read",
            Analysis::Cycle => "C13 cycle",
            Analysis::DefiniteErrorSeen => "C14 definite error seen",
            Analysis::OffsetNotAbove => "C15 offset not above what was known",
            Analysis::ChainDiffers => "C16 chain differs",
            Analysis::ThrownOut => "R13 thrown out",
        }
    }
}

/// One thing that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub analysis: Analysis,
    /// In words.
    pub text: String,
}

/// How far behind what was known a reader was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lag {
    /// The longest time for which a record had been known when a reader asked, and was not in the answer.
    pub worst: Duration,
    /// Who, and where.
    pub whose: String,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records sent.
    pub sent: u64,
    /// Of these, acknowledged.
    pub acked: u64,
    /// Failed for good.
    pub failed: u64,
    /// Without a certain outcome.
    pub unknown: u64,
    /// Of these, found in the log.
    pub unknown_found: u64,
    /// Answers to readers.
    pub polls: u64,
    /// Records in them.
    pub read: u64,
    /// Whole readings of a partition.
    pub wholes: u64,
    /// Acknowledged records that no whole reading began after: C5 says nothing of them.
    pub unjudged: u64,
    /// Commits that were acknowledged.
    pub commits: u64,
    /// Commits that were not.
    pub commits_failed: u64,
}

/// The judgement on a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The first of each kind.
    pub findings: Vec<Finding>,
    /// How many there are of each kind.
    pub counts: BTreeMap<Analysis, u64>,
    /// C17.
    pub lag: Lag,
    /// What was looked at.
    pub tally: Tally,
}

impl Verdict {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// The kinds that were found.
    #[must_use]
    pub fn kinds(&self) -> Vec<Analysis> {
        self.counts.keys().copied().collect()
    }

    pub(super) fn find(&mut self, analysis: Analysis, text: impl FnOnce() -> String) {
        let count = self.counts.entry(analysis).or_default();
        *count += 1;
        if *count <= SHOWN_MAX {
            self.findings.push(Finding { analysis, text: text() });
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { sent, acked, failed, unknown, unknown_found, polls, read, wholes, unjudged, .. } =
            self.tally;
        writeln!(
            f,
            "{sent} records sent: {acked} acknowledged, {failed} failed for good, {unknown} without a certain outcome \
             ({unknown_found} of them are there)"
        )?;
        writeln!(
            f,
            "{read} records read in {polls} polls, {wholes} partitions read whole; {unjudged} unjudged"
        )?;
        writeln!(f, "{} commits, {} failed", self.tally.commits, self.tally.commits_failed)?;
        writeln!(f, "C17 worst lag: {:.3} s {}", self.lag.worst.as_secs_f64(), self.lag.whose)?;
        for (analysis, count) in &self.counts {
            writeln!(f, "FOUND {}: {count}", analysis.name())?;
            for finding in self.findings.iter().filter(|finding| finding.analysis == *analysis) {
                writeln!(f, "  {}", finding.text)?;
            }
        }
        if self.is_clean() {
            writeln!(f, "0 anomalies")?;
        }
        Ok(())
    }
}
