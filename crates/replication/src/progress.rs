//! How far a follower is, as its leader has heard from it in this leader epoch.

use std::collections::VecDeque;

use millrace_types::{BrokerEpoch, LeaderEpoch, Offset};

use crate::fetch::Fetch;
use crate::partition::Moment;

/// How many ends of the leader's log are remembered of a follower that is behind.
const SAMPLES_MAX: usize = 9;

/// What the fetches of one follower have said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Under which registration it has fetched.
    pub broker_epoch: BrokerEpoch,
    /// From which leader epoch its newest fetch was.
    pub leader_epoch: LeaderEpoch,
    /// What it has written.
    pub next: Offset,
    /// What it holds.
    pub held: Offset,
    /// The newest time at which the leader had no more than the follower holds by now: so old is what it lacks, at most.
    pub caught_up_at: Option<Moment>,
    /// Where the leader's log ended at some of the fetches since, in order. It is behind all of them.
    ends: VecDeque<(Moment, Offset)>,
}

/// The leader's log when a fetch came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Moment,
    pub(crate) end: Offset,
    /// How long a follower may be behind.
    pub(crate) lag_ms_max: u64,
}

impl Progress {
    /// A follower that is heard for the first time under this registration.
    pub(crate) fn new(fetch: &Fetch, heard: Heard) -> Progress {
        let mut progress = Progress {
            broker_epoch: fetch.broker_epoch,
            leader_epoch: fetch.leader_epoch,
            next: fetch.next,
            held: fetch.held,
            caught_up_at: None,
            ends: VecDeque::new(),
        };
        progress.note(fetch, heard);
        progress
    }

    /// It was heard again. A fetch that was overtaken by a later one says what was true then; what it holds does not become
    /// less.
    ///
    /// What it holds trails what it fetches by a sync, so that under load it never holds all that there is: how far behind it is
    /// follows from what the leader had some time ago.
    pub(crate) fn note(&mut self, fetch: &Fetch, heard: Heard) {
        self.leader_epoch = fetch.leader_epoch;
        self.next = self.next.max(fetch.next);
        self.held = self.held.max(fetch.held);
        let Heard { at, end, lag_ms_max } = heard;
        if self.held >= end {
            self.caught_up_at = Some(at);
            self.ends.clear();
            return;
        }
        while let Some((then, _)) = self.ends.pop_front_if(|(_, then)| *then <= self.held) {
            self.caught_up_at = self.caught_up_at.max(Some(then));
        }
        let spacing = lag_ms_max / (SAMPLES_MAX as u64 - 1);
        let is_due = self.ends.back().is_none_or(|(last, _)| at.since(*last) >= spacing);
        if is_due && self.ends.len() < SAMPLES_MAX {
            self.ends.push_back((at, end));
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_types::{NodeId, PartitionIndex, TopicId, TopicPartition};

    use super::*;
    use crate::fetch::FetchId;

    fn fetch(held: u64) -> Fetch {
        Fetch {
            id: FetchId(1),
            partition: TopicPartition { topic: TopicId([1; 16]), partition: PartitionIndex(0) },
            replica: NodeId(2),
            broker_epoch: BrokerEpoch(1),
            leader_epoch: LeaderEpoch(1),
            next: Offset::from_count(held),
            last_epoch: LeaderEpoch(1),
            held: Offset::from_count(held),
        }
    }

    fn heard(at: u64, end: u64) -> Heard {
        Heard { at: Moment(at), end: Offset::from_count(end), lag_ms_max: 800 }
    }

    #[test]
    fn a_follower_that_trails_by_a_sync_is_as_far_behind_as_that() {
        // One record each millisecond, a fetch every 10, a sync takes 300.
        let mut progress = Progress::new(&fetch(0), heard(0, 1));
        for now in (10_u64..5_000).step_by(10) {
            progress.note(&fetch(now.saturating_sub(300)), heard(now, now));
            let behind = Moment(now).since(progress.caught_up_at.unwrap_or_default());
            assert!(now < 1_000 || (300..=410).contains(&behind), "at {now} it is {behind} ms behind");
        }
    }

    #[test]
    fn a_follower_that_stands_still_is_never_caught_up() {
        let mut progress = Progress::new(&fetch(5), heard(0, 6));
        for now in (10_u64..5_000).step_by(10) {
            progress.note(&fetch(5), heard(now, now + 6));
        }
        assert_eq!(progress.caught_up_at, None);
    }
}
