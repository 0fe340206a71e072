//! The book of acknowledgements, and the comparison of a log with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Mutex, MutexGuard, PoisonError};

use millrace_client::{Outcome, ProduceError, RecordMetadata};
use tokio::sync::watch;

use super::RecordId;
use super::topics::TopicBook;
use crate::read::ReadRecord;

/// Violations beyond this many say nothing new.
const VIOLATIONS_MAX: usize = 20;

/// Records sent, and answered.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    sent: u64,
    acked: u64,
    failed: u64,
}

/// What one partition is known to hold.
#[derive(Debug, Default)]
struct PartitionBook {
    /// Acknowledged and not yet read.
    acked: BTreeMap<i64, RecordId>,
    /// Failed without anybody knowing whether they are there.
    unsure: BTreeSet<RecordId>,
    /// The next offset to read.
    read_to: i64,
    /// The next sequence to be read, for each producer.
    next: BTreeMap<u32, u64>,
    /// Depends on everything read so far, in order.
    chain: u64,
}

/// The offsets committed for the group: one number for all partitions.
#[derive(Debug, Default)]
pub(super) struct CommitBook {
    pub(super) tried: AtomicI64,
    pub(super) acked: AtomicI64,
    pub(super) calling: AtomicBool,
}

/// Everything that the load knows.
#[derive(Debug)]
pub struct Book {
    counts: watch::Sender<Counts>,
    partitions: Vec<Mutex<PartitionBook>>,
    violations: Mutex<Vec<String>>,
    /// The first deliveries that failed.
    failures: Mutex<Vec<String>>,
    pub(super) commits: CommitBook,
    pub(super) topics: TopicBook,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    pub(super) fn new(partitions: u32) -> Book {
        Book {
            counts: watch::Sender::new(Counts::default()),
            partitions: (0..partitions).map(|_| Mutex::default()).collect(),
            violations: Mutex::default(),
            failures: Mutex::default(),
            commits: CommitBook::default(),
            topics: TopicBook::default(),
        }
    }

    pub(super) fn sent(&self) {
        self.counts.send_modify(|counts| counts.sent += 1);
    }

    pub(super) fn answered(&self, id: RecordId, outcome: Result<RecordMetadata, ProduceError>) {
        match outcome {
            Ok(RecordMetadata { offset: Some(offset), .. }) => {
                let earlier = self.partition(id.partition).acked.insert(offset.get(), id);
                if let Some(earlier) = earlier {
                    self.blame(format!("{id:?} and {earlier:?} were both acknowledged at {offset}"));
                }
                self.counts.send_modify(|counts| counts.acked += 1);
            }
            Ok(RecordMetadata { offset: None, .. }) => {
                self.blame(format!("{id:?} was acknowledged without an offset"));
                self.counts.send_modify(|counts| counts.failed += 1);
            }
            Err(error) => {
                // After a definite error it must not be there: it is kept nowhere, so finding it is a violation.
                if error.outcome() == Outcome::Indefinite {
                    self.partition(id.partition).unsure.insert(id);
                }
                let mut failures = lock(&self.failures);
                if failures.len() < VIOLATIONS_MAX {
                    failures.push(format!("{id:?} was not delivered ({:?}): {error}", error.outcome()));
                }
                drop(failures);
                self.counts.send_modify(|counts| counts.failed += 1);
            }
        }
    }

    /// Records acknowledged so far.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.counts.borrow().acked
    }

    /// Deliveries that failed, and what the first of them said.
    #[must_use]
    pub fn failed(&self) -> (u64, Vec<String>) {
        (self.counts.borrow().failed, lock(&self.failures).clone())
    }

    pub(super) fn unanswered(&self) -> u64 {
        let counts = self.counts.borrow();
        counts.sent - counts.acked - counts.failed
    }

    /// Waits until so many records were acknowledged.
    pub async fn wait_for_acked(&self, records: u64) {
        let mut counts = self.counts.subscribe();
        // The sender is this book: it outlives the wait.
        let _counts = counts.wait_for(|counts| counts.acked >= records).await;
    }

    pub(super) async fn wait_for_answers(&self) {
        let mut counts = self.counts.subscribe();
        let _counts = counts.wait_for(|counts| counts.sent == counts.acked + counts.failed).await;
    }

    /// Notes what must not be.
    pub fn blame(&self, violation: String) {
        let mut violations = lock(&self.violations);
        if violations.len() < VIOLATIONS_MAX {
            violations.push(violation);
        }
    }

    /// What must not be and was.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }

    fn partition(&self, partition: u32) -> MutexGuard<'_, PartitionBook> {
        lock(&self.partitions[partition as usize])
    }

    pub(super) fn read_to(&self, partition: u32) -> i64 {
        self.partition(partition).read_to
    }

    /// The offset behind the last acknowledged record of a partition, as far as known.
    #[must_use]
    pub fn acked_end(&self, partition: u32) -> i64 {
        let book = self.partition(partition);
        book.acked.last_key_value().map_or(book.read_to, |(offset, _)| offset + 1)
    }

    /// Holds what was read behind `read_to` against what was acknowledged there, when everything sent was answered:
    /// every record is there once, at its offset, in the order of its producer, and nothing else is.
    pub(super) fn compare(&self, partition: u32, records: &[ReadRecord]) {
        let mut book = self.partition(partition);
        for record in records {
            if record.offset != book.read_to {
                self.blame(format!(
                    "{partition}: offset {} where {} comes next",
                    record.offset, book.read_to
                ));
            }
            book.read_to = record.offset + 1;
            let Some(id) = record.value.as_deref().and_then(RecordId::of_value) else {
                self.blame(format!("{partition}: the record at {} is not what anybody sent", record.offset));
                continue;
            };
            match book.acked.remove(&record.offset) {
                Some(acked) if acked == id => {}
                Some(acked) => self.blame(format!(
                    "{partition}: {id:?} at {} where {acked:?} was acknowledged",
                    record.offset
                )),
                None => {
                    self.blame(format!("{partition}: {id:?} at {} was acknowledged elsewhere", record.offset))
                }
            }
            let next = book.next.entry(id.producer).or_insert(0);
            let expected = std::mem::replace(next, id.sequence + 1);
            // What is missing in between was not acknowledged, or is found to be lost below.
            if id.sequence < expected || id.partition != partition {
                self.blame(format!(
                    "{partition}: {id:?} at {} where {expected} or later comes next",
                    record.offset
                ));
            }
            book.chain = chain(book.chain, record.offset, id);
        }
        for (offset, lost) in std::mem::take(&mut book.acked) {
            self.blame(format!("{partition}: {lost:?} was acknowledged at {offset} and is LOST"));
        }
    }

    /// Holds a reading of the whole partition against the readings before.
    pub(super) fn compare_again(&self, partition: u32, records: &[ReadRecord]) {
        let ids = records.iter().map(|record| {
            let id = record.value.as_deref().and_then(RecordId::of_value);
            (record.offset, id.unwrap_or(RecordId { producer: u32::MAX, partition, sequence: 0 }))
        });
        let chained = ids.fold(0, |sum, (offset, id)| chain(sum, offset, id));
        let book = self.partition(partition);
        if chained != book.chain || records.len() as i64 != book.read_to {
            self.blame(format!("{partition}: read whole, it is not what was read piece by piece"));
        }
    }
}

fn chain(sum: u64, offset: i64, id: RecordId) -> u64 {
    let place = (u64::from(id.producer) << 32) | u64::from(id.partition);
    let step =
        crate::Seed::new(sum ^ place.rotate_left(7) ^ id.sequence.rotate_left(29) ^ offset.cast_unsigned())
            .draw();
    sum.rotate_left(1) ^ step
}
