//! When records are due: a schedule, and a thread that tells producers how far it has come.
//!
//! A thread of its own, because the timers of the runtime are a millisecond coarse, and because it must not wait its turn
//! behind the work that it paces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::RunClock;

const SECOND: u128 = 1_000_000_000;
/// Shorter than a timer of the kernel is exact.
const NAP_MIN: Duration = Duration::from_micros(50);
/// So that a run that is stopped does not wait for the next record of a slow schedule.
const NAP_MAX: Duration = Duration::from_millis(20);

/// Records at equal distances, dealt out to producers in turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// Records per second.
    pub(super) rate: u64,
    /// How many there are in all.
    pub(super) total: u64,
    /// How many take part.
    pub(super) producers: u64,
}

impl Schedule {
    /// When a record is due, in nanoseconds since the start.
    pub(super) fn due_at(&self, index: u64) -> u64 {
        let nanos = u128::from(index) * SECOND / u128::from(self.rate.max(1));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// How many records are due by then.
    pub(super) fn due_by(&self, nanos: u64) -> u64 {
        // Record i is due from the first nanosecond at or after i seconds by the rate, rounded down.
        let due = (u128::from(nanos) * u128::from(self.rate) + u128::from(self.rate) - 1) / SECOND + 1;
        u64::try_from(due).unwrap_or(u64::MAX).min(self.total)
    }

    /// How many of the first `due` records are of that producer.
    pub(super) fn share(&self, due: u64, producer: u64) -> u64 {
        let rest = due % self.producers;
        due / self.producers + u64::from(producer < rest)
    }

    /// The number of a producer's record among all.
    pub(super) fn index(&self, producer: u64, number: u64) -> u64 {
        number * self.producers + producer
    }
}

/// What the pacing thread and the producers share.
#[derive(Debug)]
pub(super) struct Pace {
    pub(super) schedule: Schedule,
    lanes: Vec<Lane>,
    is_over: AtomicBool,
    /// Held by nobody: the thread sleeps on it because a wait with an end is all that it needs.
    sleeping: Mutex<()>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct Lane {
    due: AtomicU64,
    news: Notify,
}

impl Pace {
    pub(super) fn new(schedule: Schedule) -> Arc<Pace> {
        let lanes = (0..schedule.producers).map(|_| Lane::default()).collect();
        Arc::new(Pace {
            schedule,
            lanes,
            is_over: AtomicBool::new(false),
            sleeping: Mutex::new(()),
            woken: Condvar::new(),
        })
    }

    /// The thread's work.
    pub(super) fn run(&self, clock: &RunClock) {
        let mut told = 0;
        while told < self.schedule.total && !self.is_over.load(Ordering::Acquire) {
            let due = self.schedule.due_by(clock.now());
            self.tell(told, due);
            told = due;
            let next = self.schedule.due_at(told);
            let nap = Duration::from_nanos(next.saturating_sub(clock.now())).clamp(NAP_MIN, NAP_MAX);
            self.woken.wait_for(&mut self.sleeping.lock(), nap);
        }
        self.stop();
    }

    /// Ends the schedule where it is.
    pub(super) fn stop(&self) {
        self.is_over.store(true, Ordering::Release);
        self.lanes.iter().for_each(|lane| lane.news.notify_one());
    }

    fn tell(&self, before: u64, due: u64) {
        let count = self.schedule.producers;
        // Fewer new records than producers: only their own are told.
        for index in before..due.min(before.saturating_add(count)) {
            let producer = index % count;
            let lane = usize::try_from(producer).ok().and_then(|at| self.lanes.get(at));
            if let Some(lane) = lane {
                lane.due.store(self.schedule.share(due, producer), Ordering::Release);
                lane.news.notify_one();
            }
        }
    }

    /// Waits until the record `number` of a producer is due: the time, or `None` when there is none any more.
    pub(super) async fn next(&self, producer: u64, number: u64) -> Option<u64> {
        let lane = usize::try_from(producer).ok().and_then(|at| self.lanes.get(at))?;
        loop {
            // Asked first: what is due is told before the end is.
            let is_over = self.is_over.load(Ordering::Acquire);
            if lane.due.load(Ordering::Acquire) > number {
                return Some(self.schedule.due_at(self.schedule.index(producer, number)));
            }
            if is_over {
                return None;
            }
            lane.news.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_by_the_time_it_is_due_is_itself() {
        for rate in [1, 3, 7, 1000, 333_333, 2_000_000_000] {
            let schedule = Schedule { rate, total: u64::MAX, producers: 1 };
            for index in [0, 1, 2, 10, 999, 1_000_003] {
                let due = schedule.due_at(index);
                assert!(schedule.due_by(due) > index, "{rate} {index}");
                let early = due.checked_sub(1).filter(|early| schedule.due_at(index - 1) <= *early);
                assert!(early.is_none_or(|early| schedule.due_by(early) <= index), "{rate} {index}");
            }
        }
    }

    #[test]
    fn every_record_belongs_to_one_producer() {
        let schedule = Schedule { rate: 10, total: 23, producers: 5 };
        for due in 0..=23 {
            let shares: u64 = (0..5).map(|producer| schedule.share(due, producer)).sum();
            assert_eq!(shares, due);
        }
        let mut all: Vec<u64> = (0..5)
            .flat_map(|producer| {
                (0..schedule.share(23, producer)).map(move |number| schedule.index(producer, number))
            })
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..23).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_schedule_hands_out_every_record_and_ends() {
        let schedule = Schedule { rate: 1_000_000_000, total: 100, producers: 3 };
        let pace = Pace::new(schedule);
        pace.run(&RunClock::start());
        for producer in 0..3 {
            let mut number = 0;
            while let Some(due) = pace.next(producer, number).await {
                assert_eq!(due, schedule.index(producer, number));
                number += 1;
            }
            assert_eq!(number, schedule.share(100, producer));
        }
    }
}
