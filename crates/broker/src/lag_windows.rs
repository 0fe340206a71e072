//! How the commits of groups and the producers they follow went lately: from it the broker estimates when a group will have
//! caught up.
//!
//! ```text
//!   a commit ─► (time, committed, end) at most every LAG_SAMPLE_INTERVAL_MS, the last LAG_SAMPLES_MAX of LAG_WINDOW_MS
//!
//!   closing = (committed now - committed then) - (end now - end then)     over the oldest sample that there is
//!   caught up in = lag now / (closing / time between)                     if the gap closes at all
//! ```
//! It is an estimate and no promise. It says nothing before a window of `LAG_WINDOW_MS_MIN` has passed, nothing of a group that
//! falls behind or keeps its distance, and nothing across a restart. What it takes is bounded: `LAG_WINDOWS_MAX` positions are
//! remembered, those without a commit for the longest forgotten first.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use millrace_env::Monotonic;
use millrace_types::limits::{
    LAG_SAMPLE_INTERVAL_MS, LAG_SAMPLES_MAX, LAG_WINDOW_MS, LAG_WINDOW_MS_MIN, LAG_WINDOWS_MAX,
};
use millrace_types::{GroupId, Offset, TopicPartition};
use parking_lot::Mutex;

/// Where a group stood in a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LagSample {
    pub(crate) at: Monotonic,
    pub(crate) committed: Offset,
    pub(crate) end: Offset,
}

type Position = (GroupId, TopicPartition);

/// The windows of all groups.
#[derive(Debug, Default)]
pub(crate) struct LagWindows {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    windows: HashMap<Position, VecDeque<LagSample>>,
    /// Each position once, roughly by when it was sampled first.
    order: VecDeque<Position>,
}

impl LagWindows {
    /// A group has committed; `end` is asked for if it is time for a sample.
    pub(crate) fn note(
        &self,
        group: &GroupId,
        partition: TopicPartition,
        (at, committed): (Monotonic, Offset),
        end: impl FnOnce() -> Option<Offset>,
    ) {
        let mut inner = self.inner.lock();
        let position = (group.clone(), partition);
        if let Some(window) = inner.windows.get_mut(&position) {
            if is_due(window, at, committed)
                && let Some(end) = end()
            {
                extend(window, LagSample { at, committed, end });
            }
        } else if let Some(end) = end() {
            inner.make_room(at);
            inner.windows.insert(position.clone(), VecDeque::from([LagSample { at, committed, end }]));
            inner.order.push_back(position);
        }
    }

    /// In how many seconds a group that stands so will have caught up; `None` if it will not, or there is not enough to say.
    pub(crate) fn caught_up_seconds(
        &self,
        group: &GroupId,
        partition: TopicPartition,
        now: LagSample,
    ) -> Option<f64> {
        if now.committed >= now.end {
            return Some(0.0);
        }
        let inner = self.inner.lock();
        let window = inner.windows.get(&(group.clone(), partition))?;
        let then = window.iter().find(|sample| is_recent(sample, now.at))?;
        let between = now.at.since(then.at);
        if between < Duration::from_millis(LAG_WINDOW_MS_MIN) || now.committed < then.committed {
            return None;
        }
        let moved = |from: Offset, to: Offset| to.get().saturating_sub(from.get());
        let closing = moved(then.committed, now.committed) - moved(then.end, now.end);
        let lag = moved(now.committed, now.end);
        (closing > 0).then(|| lag as f64 * between.as_secs_f64() / closing as f64)
    }

    /// The group was set to another place: how it went before says nothing.
    pub(crate) fn forget(&self, group: &GroupId, partition: TopicPartition) {
        if let Some(window) = self.inner.lock().windows.get_mut(&(group.clone(), partition)) {
            window.clear();
        }
    }
}

fn is_recent(sample: &LagSample, now: Monotonic) -> bool {
    now.since(sample.at) <= Duration::from_millis(LAG_WINDOW_MS)
}

fn is_due(window: &VecDeque<LagSample>, at: Monotonic, committed: Offset) -> bool {
    window.back().is_none_or(|last| {
        committed < last.committed || at.since(last.at) >= Duration::from_millis(LAG_SAMPLE_INTERVAL_MS)
    })
}

fn extend(window: &mut VecDeque<LagSample>, sample: LagSample) {
    if window.back().is_some_and(|last| sample.committed < last.committed) {
        window.clear();
    }
    while window.len() >= LAG_SAMPLES_MAX || window.front().is_some_and(|first| !is_recent(first, sample.at))
    {
        window.pop_front();
    }
    window.push_back(sample);
}

impl Inner {
    /// Forgets a position if there are as many as may be: one without a recent commit, if a few looks find one.
    fn make_room(&mut self, now: Monotonic) {
        const LOOKS: usize = 16;
        let mut looks = 0;
        while self.windows.len() >= LAG_WINDOWS_MAX
            && let Some(position) = self.order.pop_front()
        {
            let last = self.windows.get(&position).and_then(|window| window.back());
            looks += 1;
            if looks < LOOKS && last.is_some_and(|last| is_recent(last, now)) {
                self.order.push_back(position);
            } else {
                self.windows.remove(&position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_types::{PartitionIndex, TopicId};

    use super::*;

    fn group() -> GroupId {
        GroupId::new("workers").unwrap()
    }

    fn partition(number: u32) -> TopicPartition {
        TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(number) }
    }

    fn sample(second: u64, committed: u64, end: u64) -> LagSample {
        LagSample {
            at: Monotonic::default().after(Duration::from_secs(second)),
            committed: Offset::from_count(committed),
            end: Offset::from_count(end),
        }
    }

    fn note(windows: &LagWindows, number: u32, sample: LagSample) {
        windows.note(&group(), partition(number), (sample.at, sample.committed), || Some(sample.end));
    }

    fn estimate(windows: &LagWindows, now: LagSample) -> Option<f64> {
        windows.caught_up_seconds(&group(), partition(0), now)
    }

    #[test]
    fn a_gap_that_closes_is_told_and_one_that_does_not_is_not() {
        let windows = LagWindows::default();
        assert_eq!(estimate(&windows, sample(0, 10, 10)), Some(0.0), "nothing is left to read");
        assert_eq!(estimate(&windows, sample(0, 0, 1000)), None, "nothing is known");
        note(&windows, 0, sample(0, 0, 1000));
        assert_eq!(estimate(&windows, sample(1, 100, 1000)), None, "a second says too little");
        // 10 seconds: 500 read, 100 came.
        assert_eq!(estimate(&windows, sample(10, 500, 1100)), Some(15.0));
        assert_eq!(estimate(&windows, sample(10, 100, 1100)), None, "it keeps its distance");
        assert_eq!(estimate(&windows, sample(10, 100, 2100)), None, "it falls behind");
        assert_eq!(estimate(&windows, sample(4000, 500, 1100)), None, "too long ago");
    }

    #[test]
    fn a_group_that_was_set_back_begins_anew() {
        let windows = LagWindows::default();
        note(&windows, 0, sample(0, 500, 1000));
        note(&windows, 0, sample(10, 100, 1000));
        assert_eq!(estimate(&windows, sample(20, 200, 1000)), Some(80.0), "of the ten seconds since");
        windows.forget(&group(), partition(0));
        assert_eq!(estimate(&windows, sample(20, 200, 1000)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let windows = LagWindows::default();
        for second in 0..10_000 {
            note(&windows, 0, sample(second, second, 100_000));
        }
        {
            let inner = windows.inner.lock();
            let window = inner.windows.values().next().unwrap();
            assert!(window.len() <= LAG_SAMPLES_MAX && window.len() > 2, "{}", window.len());
        }
        for number in 0..u32::try_from(2 * LAG_WINDOWS_MAX).unwrap() {
            note(&windows, number, sample(10_000, 1, 2));
        }
        let inner = windows.inner.lock();
        assert_eq!((inner.windows.len(), inner.order.len()), (LAG_WINDOWS_MAX, LAG_WINDOWS_MAX));
    }
}
