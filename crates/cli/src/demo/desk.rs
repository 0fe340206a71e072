//! Where the second act is counted: every record that a worker says it has read, against the CSV.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use millrace_env::Monotonic;

/// What a worker says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// It has these partitions now, besides others.
    Assigned(Vec<u32>),
    /// It has let these go.
    Gone(Vec<u32>),
    /// It has read a record.
    Read {
        /// Of this partition.
        partition: u32,
        /// At this offset.
        offset: usize,
        /// Over key, value and time.
        sum: u32,
    },
    /// It has ended.
    Ended,
}

impl Event {
    /// Reads a line; `None` if it is not whole.
    pub(super) fn parse(line: &str) -> Option<Event> {
        let (verb, rest) = line.split_once(' ')?;
        let list = || rest.split(',').map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>();
        match verb {
            "assigned" => list().map(Event::Assigned),
            "revoked" | "lost" => list().map(Event::Gone),
            "read" => {
                let mut words = rest.split(' ');
                let (partition, offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                // Always eight digits: a line that was cut off has fewer.
                let sum = words.next().filter(|sum| sum.len() == 8)?;
                Some(Event::Read { partition, offset, sum: u32::from_str_radix(sum, 16).ok()? })
            }
            _ => None,
        }
    }
}

/// What is known of a record.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    times: u32,
    /// Who read it first.
    first: usize,
}

/// A worker, as far as the desk knows.
#[derive(Clone, Default, Debug)]
struct Hand {
    owned: BTreeSet<u32>,
    /// The next offset that it may read, of what it has had since it has it.
    next: BTreeMap<u32, usize>,
    read: u64,
    last_read: Option<Monotonic>,
    /// Whether there was more to read in its partitions when it read last.
    has_more: bool,
    has_ended: bool,
}

/// The worker that was killed.
#[derive(Clone, Default, Debug)]
struct Victim {
    worker: usize,
    at: Monotonic,
    partitions: Vec<u32>,
    committed: BTreeMap<u32, usize>,
    /// When another worker read first in each of its partitions.
    taken: BTreeMap<u32, Monotonic>,
}

/// What the second act has shown.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Report {
    /// Records that the CSV demands.
    pub(super) expected: u64,
    /// Of those, how many were read at least once.
    pub(super) found: u64,
    /// Records read by all workers together, each as often as it was.
    pub(super) read: u64,
    /// Read again because their first reader was killed before it had committed them.
    pub(super) again_after_kill: u64,
    /// Read again for any other reason.
    pub(super) again_otherwise: u64,
    /// Records that were read with another content, at an offset that does not exist, or not in their order.
    pub(super) wrong: u64,
    /// Records that the killed worker had read and not committed.
    pub(super) uncommitted: u64,
    /// From the kill to the first record that another worker read of the last of its partitions.
    pub(super) taken_over_in: Duration,
    /// The longest that another worker read nothing in between, though it had something to read.
    pub(super) longest_pause: Duration,
    /// What the broker says the group is behind at the end.
    pub(super) lag: u64,
}

impl Report {
    /// Whether nothing was lost or altered, and whatever was read twice is explained.
    pub(super) fn is_good(&self) -> bool {
        self.found == self.expected
            && self.wrong == 0
            && self.again_otherwise == 0
            && self.again_after_kill <= self.uncommitted
            && self.lag == 0
    }
}

/// The desk.
#[derive(Debug)]
pub(super) struct Desk {
    sums: Vec<Vec<u32>>,
    seen: Vec<Vec<Seen>>,
    hands: Vec<Hand>,
    victim: Option<Victim>,
    report: Report,
}

impl Desk {
    /// A desk for records with these checksums, by partition and offset.
    pub(super) fn new(sums: Vec<Vec<u32>>, workers: usize) -> Desk {
        let seen: Vec<Vec<Seen>> = sums.iter().map(|rows| vec![Seen::default(); rows.len()]).collect();
        let expected = sums.iter().map(|rows| rows.len() as u64).sum();
        let report = Report { expected, ..Report::default() };
        Desk { sums, seen, hands: vec![Hand::default(); workers], victim: None, report }
    }

    /// Takes what a worker says.
    pub(super) fn take(&mut self, worker: usize, at: Monotonic, event: Event) {
        match event {
            Event::Assigned(partitions) => {
                if let Some(hand) = self.hands.get_mut(worker) {
                    hand.next.retain(|partition, _| !partitions.contains(partition));
                    hand.owned.extend(partitions);
                }
            }
            Event::Gone(partitions) => {
                if let Some(hand) = self.hands.get_mut(worker) {
                    hand.owned.retain(|partition| !partitions.contains(partition));
                }
            }
            Event::Read { partition, offset, sum } => self.read(worker, at, (partition, offset), sum),
            Event::Ended => {
                if let Some(hand) = self.hands.get_mut(worker) {
                    hand.has_ended = true;
                }
            }
        }
    }

    fn read(&mut self, worker: usize, at: Monotonic, (partition, offset): (u32, usize), sum: u32) {
        self.report.read += 1;
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        let is_same = self.sums.get(index).and_then(|rows| rows.get(offset)) == Some(&sum);
        let is_in_order = self.moves_on(worker, partition, offset);
        self.report.wrong += u64::from(!is_same || !is_in_order);
        self.pause(worker, at);
        if let Some(victim) = &mut self.victim
            && victim.worker != worker
            && victim.partitions.contains(&partition)
        {
            victim.taken.entry(partition).or_insert(at);
        }
        let Some(seen) = self.seen.get_mut(index).and_then(|rows| rows.get_mut(offset)) else { return };
        seen.times += 1;
        if seen.times == 1 {
            seen.first = worker;
            self.report.found += 1;
            return;
        }
        let died_with_it = self.victim.as_ref().is_some_and(|victim| {
            victim.worker == seen.first
                && seen.times == 2
                && victim.committed.get(&partition).is_some_and(|committed| offset >= *committed)
        });
        match died_with_it {
            true => self.report.again_after_kill += 1,
            false => self.report.again_otherwise += 1,
        }
    }

    /// Whether this is where the worker goes on: no offset is left out and none comes again while it has the partition.
    fn moves_on(&mut self, worker: usize, partition: u32, offset: usize) -> bool {
        let Some(hand) = self.hands.get_mut(worker) else { return false };
        hand.read += 1;
        let is_next = hand.next.get(&partition).is_none_or(|next| *next == offset);
        hand.next.insert(partition, offset + 1);
        is_next
    }

    /// The longest pause of those who live, between the kill and the moment at which others have taken over.
    fn pause(&mut self, worker: usize, at: Monotonic) {
        let is_watched = self.victim.as_ref().is_some_and(|victim| victim.worker != worker && at > victim.at);
        let is_watched = is_watched && !self.is_taken_over();
        let Some(hand) = self.hands.get_mut(worker) else { return };
        if let Some(last) = hand.last_read.replace(at)
            && is_watched
            && hand.has_more
        {
            self.report.longest_pause = self.report.longest_pause.max(at.since(last));
        }
        let length = |partition: &u32| {
            usize::try_from(*partition).ok().and_then(|index| self.sums.get(index)).map_or(0, Vec::len)
        };
        let next = |partition: &u32| hand.next.get(partition).copied().unwrap_or(0);
        hand.has_more = hand.owned.iter().any(|partition| next(partition) < length(partition));
    }

    /// What a worker has.
    pub(super) fn owned(&self, worker: usize) -> &BTreeSet<u32> {
        static NOTHING: BTreeSet<u32> = BTreeSet::new();
        self.hands.get(worker).map_or(&NOTHING, |hand| &hand.owned)
    }

    /// How much a worker has read.
    pub(super) fn read_by(&self, worker: usize) -> u64 {
        self.hands.get(worker).map_or(0, |hand| hand.read)
    }

    /// Whether a worker has ended, and all that it said is counted.
    pub(super) fn has_ended(&self, worker: usize) -> bool {
        self.hands.get(worker).is_some_and(|hand| hand.has_ended)
    }

    /// The worker was killed.
    pub(super) fn killed(&mut self, worker: usize, at: Monotonic) {
        self.victim = Some(Victim { worker, at, ..Victim::default() });
    }

    /// Who was killed.
    pub(super) fn victim(&self) -> Option<usize> {
        self.victim.as_ref().map(|victim| victim.worker)
    }

    /// What the killed worker had, once all that it said is counted.
    pub(super) fn left_behind(&mut self) -> &[u32] {
        let Some(victim) = &mut self.victim else { return &[] };
        if let Some(hand) = self.hands.get_mut(victim.worker) {
            victim.partitions.extend(std::mem::take(&mut hand.owned));
        }
        &victim.partitions
    }

    /// What the group had committed then for these partitions; answers how many records the killed worker had read beyond.
    pub(super) fn committed_by_victim(&mut self, committed: Vec<(u32, i64)>) -> u64 {
        let Some(victim) = &mut self.victim else { return 0 };
        let committed = committed.into_iter();
        victim.committed =
            committed.map(|(partition, offset)| (partition, usize::try_from(offset).unwrap_or(0))).collect();
        let hand = self.hands.get(victim.worker);
        let beyond = |partition: &u32| {
            let next = hand.and_then(|hand| hand.next.get(partition)).copied().unwrap_or(0);
            let committed = victim.committed.get(partition).copied().unwrap_or(0);
            next.saturating_sub(committed) as u64
        };
        self.report.uncommitted = victim.partitions.iter().map(beyond).sum();
        self.report.uncommitted
    }

    /// Whether others read in all partitions of the killed worker.
    pub(super) fn is_taken_over(&self) -> bool {
        self.taken_over_in().is_some()
    }

    /// How long that took.
    pub(super) fn taken_over_in(&self) -> Option<Duration> {
        let victim = self.victim.as_ref()?;
        let all = victim.partitions.iter().map(|partition| victim.taken.get(partition));
        all.collect::<Option<Vec<_>>>()?.into_iter().max().map(|last| last.since(victim.at))
    }

    /// Whether every record was read.
    pub(super) fn is_complete(&self) -> bool {
        self.report.found == self.report.expected
    }

    /// What the broker says at the end.
    pub(super) fn lag_after(&mut self, lag: u64) {
        self.report.lag = lag;
    }

    /// What was shown.
    ///
    /// # Errors
    /// Nobody was killed, or nobody took over.
    pub(super) fn report(mut self) -> anyhow::Result<Report> {
        self.report.taken_over_in = self.taken_over_in().context("nobody took over")?;
        Ok(self.report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    /// Two partitions of four records, and two workers with one each.
    fn desk() -> Desk {
        let mut desk = Desk::new(vec![vec![10, 11, 12, 13], vec![20, 21, 22, 23]], 2);
        desk.take(0, at(0), Event::Assigned(vec![0]));
        desk.take(1, at(0), Event::Assigned(vec![1]));
        desk
    }

    fn read(desk: &mut Desk, worker: usize, ms: u64, partition: u32, offsets: std::ops::Range<usize>) {
        for offset in offsets {
            let sum = (partition + 1) * 10 + u32::try_from(offset).unwrap();
            desk.take(worker, at(ms), Event::Read { partition, offset, sum });
        }
    }

    #[test]
    fn lines_are_read_and_what_was_cut_off_is_none() {
        assert_eq!(Event::parse("assigned 0,3"), Some(Event::Assigned(vec![0, 3])));
        assert_eq!(Event::parse("lost 5"), Some(Event::Gone(vec![5])));
        let whole = "read 2 77 0000beef";
        assert_eq!(Event::parse(whole), Some(Event::Read { partition: 2, offset: 77, sum: 0xbeef }));
        for end in 0..whole.len() {
            assert_eq!(Event::parse(&whole[..end]), None, "{}", &whole[..end]);
        }
    }

    #[test]
    fn what_died_with_the_killed_worker_is_read_twice_and_explained() {
        let mut desk = desk();
        read(&mut desk, 0, 5, 0, 0..2);
        read(&mut desk, 1, 5, 1, 0..3);
        desk.killed(1, at(10));
        desk.take(1, at(11), Event::Ended);
        assert_eq!(desk.left_behind(), [1]);
        assert_eq!(desk.committed_by_victim(vec![(1, 1)]), 2);
        read(&mut desk, 0, 30, 0, 2..4);
        desk.take(0, at(40), Event::Assigned(vec![1]));
        assert!(!desk.is_taken_over());
        read(&mut desk, 0, 50, 1, 1..4);
        assert!(desk.is_taken_over() && desk.is_complete());
        let report = desk.report().unwrap();
        assert!(report.is_good(), "{report:?}");
        assert_eq!((report.found, report.read, report.again_after_kill), (8, 10, 2));
        assert_eq!(report.taken_over_in, Duration::from_millis(40));
        assert_eq!(report.longest_pause, Duration::from_millis(25), "from 5 to 30: then nothing was left");
    }

    #[test]
    fn a_lost_an_altered_a_skipped_and_an_unexplained_record_are_each_told() {
        let mut lost = desk();
        read(&mut lost, 0, 1, 0, 0..4);
        read(&mut lost, 1, 1, 1, 0..3);
        assert!(!lost.report.is_good() && !lost.is_complete());
        let mut altered = desk();
        read(&mut altered, 0, 1, 0, 0..4);
        read(&mut altered, 1, 1, 1, 0..3);
        altered.take(1, at(1), Event::Read { partition: 1, offset: 3, sum: 0 });
        assert!(altered.is_complete() && !altered.report.is_good());
        let mut skipped = desk();
        read(&mut skipped, 0, 1, 0, 0..1);
        read(&mut skipped, 0, 1, 0, 2..3);
        assert_eq!(skipped.report.wrong, 1);
        let mut committed = desk();
        read(&mut committed, 0, 1, 0, 0..4);
        read(&mut committed, 1, 1, 1, 0..4);
        committed.killed(1, at(2));
        committed.left_behind();
        committed.committed_by_victim(vec![(1, 4)]);
        committed.take(0, at(3), Event::Assigned(vec![1]));
        read(&mut committed, 0, 3, 1, 3..4);
        assert_eq!(committed.report.again_otherwise, 1, "it was committed and came again");
        assert!(!committed.report.is_good());
    }
}
