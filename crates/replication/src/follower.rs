//! A follower of a partition: asks its leader for what comes next, and cuts what the leader does not have.
//!
//! ```text
//!   fetching ──records──► append ──► fetching
//!      └──diverging──► look up ──► truncate ──► fetching, until the leader finds that the logs agree
//! ```

use millrace_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset};

use crate::divergence::{EpochEnd, cut};
use crate::effect::{Effect, Halt};
use crate::fetch::{Fetch, FetchAnswer, FetchId, Fetched};
use crate::partition::{LogFacts, Moment, PartitionView, Timing};

/// What a follower hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FollowerEvent {
    /// Its log has grown, or was cut, or more of it is held.
    Log(LogFacts),
    /// The leader has answered. The driver keeps the batches until the step has said what to do with them.
    Fetched(Fetched),
    /// What [`Effect::LookUp`] asked for.
    Diverged {
        /// The fetch that was answered.
        fetch: FetchId,
        /// What the leader's log has.
        theirs: EpochEnd,
        /// Where this log has that epoch end, or the largest below it.
        ours: Option<EpochEnd>,
    },
    /// The metadata have changed, the leader has not.
    Metadata(PartitionView),
    /// Time has passed.
    Tick,
}

/// What it does at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing is asked for before this time.
    Resting { until: Moment },
    /// An answer is awaited.
    Fetching { fetch: FetchId, next: Offset, sent_at: Moment },
    /// The answer is being worked on: appended, or held against the log.
    Working { fetch: FetchId },
    /// For good.
    Halted,
}

/// A broker that follows a partition's leader, or waits for there to be one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Follower {
    me: NodeId,
    my_epoch: BrokerEpoch,
    timing: Timing,
    view: PartitionView,
    log: LogFacts,
    high_watermark: Offset,
    /// In which leader epoch that was learned.
    learned_in: LeaderEpoch,
    /// What the leader says is committed; this log may not hold it yet.
    leaders: Offset,
    phase: Phase,
    fetches: u64,
}

/// Who follows, and by what it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) me: NodeId,
    pub(crate) my_epoch: BrokerEpoch,
    pub(crate) timing: Timing,
    /// What is known to be committed, and from which leader epoch.
    pub(crate) high_watermark: (Offset, LeaderEpoch),
    /// How many fetches this broker has sent for the partition.
    pub(crate) fetches: u64,
}

impl Follower {
    /// Begins to follow.
    pub(crate) fn begin(
        place: Place,
        view: PartitionView,
        log: LogFacts,
        now: Moment,
    ) -> (Follower, Vec<Effect>) {
        let Place { me, my_epoch, timing, high_watermark: (high_watermark, learned_in), fetches } = place;
        let mut follower = Follower {
            me,
            my_epoch,
            timing,
            view,
            log,
            high_watermark,
            learned_in,
            leaders: high_watermark,
            phase: Phase::Resting { until: now },
            fetches,
        };
        let mut effects = Vec::new();
        #[cfg(feature = "teeth")]
        millrace_types::planted!(TruncateToHighWatermark => {
            follower.phase = Phase::Working { fetch: FetchId::of(my_epoch, fetches) };
            return (follower, vec![Effect::Truncate { to: high_watermark, below_high_watermark: false }]);
        });
        follower.look(now, &mut effects);
        (follower, effects)
    }

    /// Hears something.
    pub fn step(&mut self, event: FollowerEvent, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            FollowerEvent::Log(log) => {
                let before = std::mem::replace(&mut self.log, log);
                self.follow(&mut effects);
                if matches!(self.phase, Phase::Working { .. }) {
                    // There was nothing new: the next is not asked for at once.
                    let idle = if before.end == log.end { self.timing.idle_ms } else { 0 };
                    self.phase = Phase::Resting { until: Moment(now.0 + idle) };
                }
            }
            FollowerEvent::Fetched(fetched) => self.fetched(fetched, now, &mut effects),
            FollowerEvent::Diverged { fetch, theirs, ours } => {
                if self.phase == (Phase::Working { fetch }) {
                    self.truncate(theirs, ours, &mut effects);
                }
            }
            FollowerEvent::Metadata(view) => {
                if view.partition_epoch >= self.view.partition_epoch {
                    self.view = view;
                }
            }
            FollowerEvent::Tick => {}
        }
        self.look(now, &mut effects);
        effects
    }

    /// What is known to be committed, of what this log holds.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// What the leader says is committed.
    #[must_use]
    pub fn leaders_high_watermark(&self) -> Offset {
        self.leaders
    }

    /// The partition as it is known here.
    #[must_use]
    pub fn view(&self) -> &PartitionView {
        &self.view
    }

    /// The log's ends as they were told last.
    #[must_use]
    pub fn log(&self) -> LogFacts {
        self.log
    }

    /// Whether it does nothing any more.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.phase == Phase::Halted
    }

    /// What remains of it for the next role.
    pub(crate) fn leave(&self) -> ((Offset, LeaderEpoch), u64) {
        ((self.high_watermark, self.learned_in), self.fetches)
    }

    fn fetched(&mut self, fetched: Fetched, now: Moment, effects: &mut Vec<Effect>) {
        let Phase::Fetching { fetch, next, .. } = self.phase else { return };
        // Answers that come late or twice, or to an earlier run of this broker, and those of a leader that is none any more, say
        // nothing.
        let foreign = fetched.partition != self.view.id;
        #[cfg(feature = "teeth")]
        let foreign = millrace_types::planted!(TopicIdNotChecked, false, else foreign);
        if foreign || fetched.id != fetch || fetched.leader_epoch != self.view.leader_epoch {
            return;
        }
        match fetched.answer {
            FetchAnswer::Records { from, high_watermark, log_start } => {
                self.leaders = high_watermark;
                self.learned_in = self.view.leader_epoch;
                self.follow(effects);
                if from == next && next == self.log.end {
                    self.phase = Phase::Working { fetch };
                    effects.push(Effect::Append { from });
                } else {
                    self.phase = Phase::Resting { until: now };
                }
                let trim = log_start.min(self.high_watermark);
                if trim > self.log.start {
                    effects.push(Effect::Trim(trim));
                }
            }
            FetchAnswer::Diverging(theirs) => {
                self.phase = Phase::Working { fetch };
                effects.push(Effect::LookUp { fetch, theirs });
            }
            FetchAnswer::BelowStart { log_start } => {
                self.phase = Phase::Working { fetch };
                // A leader deletes only what is committed: so is all that lies below where its log starts.
                self.high_watermark = self.high_watermark.max(log_start);
                self.learned_in = self.view.leader_epoch;
                effects.push(Effect::Reset(log_start));
            }
            FetchAnswer::Refused(_) => {
                self.phase = Phase::Resting { until: Moment(now.0 + self.timing.retry_ms) };
            }
        }
    }

    fn truncate(&mut self, theirs: EpochEnd, ours: Option<EpochEnd>, effects: &mut Vec<Effect>) {
        let to = cut(theirs, ours, (self.log.start, self.log.end));
        // A leader that was elected at the risk of loss after this replica has learned what is committed may not have it.
        let below_high_watermark = self.view.unclean_epoch.is_some_and(|unclean| unclean > self.learned_in);
        if to < self.high_watermark && !below_high_watermark {
            self.phase = Phase::Halted;
            let high_watermark = self.high_watermark;
            effects.push(Effect::Halted(Halt::CutBelowHighWatermark { to, high_watermark }));
            return;
        }
        self.high_watermark = self.high_watermark.min(to);
        self.leaders = self.leaders.min(to);
        effects.push(Effect::Truncate { to, below_high_watermark });
    }

    /// Follows the leader's high watermark as far as this log holds what lies below it. Called only with what an answer of this
    /// leader says of a log that agrees with its own.
    fn follow(&mut self, effects: &mut Vec<Effect>) {
        let to = self.leaders.min(self.log.held);
        if to > self.high_watermark {
            self.high_watermark = to;
            effects.push(Effect::HighWatermark(to));
        }
    }

    /// Asks, if nothing is awaited.
    fn look(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let is_due = match self.phase {
            Phase::Resting { until } => until <= now,
            Phase::Fetching { sent_at, .. } => now.since(sent_at) >= self.timing.retry_ms,
            Phase::Working { .. } | Phase::Halted => false,
        };
        let Some(leader) = self.view.leader.filter(|leader| is_due && *leader != self.me) else { return };
        self.fetches += 1;
        let id = FetchId::of(self.my_epoch, self.fetches);
        let held = self.log.held;
        #[cfg(feature = "teeth")]
        let held = millrace_types::planted!(FollowerCountsUnsynced, self.log.end, else held);
        self.phase = Phase::Fetching { fetch: id, next: self.log.end, sent_at: now };
        let fetch = Fetch {
            id,
            partition: self.view.id,
            replica: self.me,
            broker_epoch: self.my_epoch,
            leader_epoch: self.view.leader_epoch,
            next: self.log.end,
            last_epoch: self.log.last_epoch,
            held,
        };
        effects.push(Effect::Fetch { to: leader, fetch });
    }
}

#[cfg(test)]
mod tests;
