//! The book of acknowledgements, and the comparison of a log with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use millrace_client::{Outcome, ProduceError, RecordMetadata};
use millrace_types::SyncMode;
use tokio::sync::watch;

use super::RecordId;
use super::losses::{Ack, Loss, Losses, PartitionCut};
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
    /// Acknowledged and not yet read. More than one at an offset only where a cut took the earlier one.
    acked: BTreeMap<i64, Vec<(RecordId, Ack)>>,
    /// Failed without anybody knowing whether they are there.
    unsure: BTreeSet<RecordId>,
    /// The next offset to read.
    read_to: i64,
    /// The next sequence to be read, for each producer.
    next: BTreeMap<u32, u64>,
    /// Everything read so far, in order.
    read: Vec<(RecordId, Option<Ack>)>,
    /// The last power cut, until what it took is known.
    cut: Option<PartitionCut>,
    lost: Loss,
}

impl PartitionBook {
    /// Whether the last power cut may have taken the record that was acknowledged at this offset.
    fn may_be_lost(&self, offset: i64, ack: &Ack) -> bool {
        self.cut.is_some_and(|cut| offset >= cut.end && ack.sent <= cut.at)
    }
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
    /// The mode of the topic.
    mode: SyncMode,
    losses: Mutex<Losses>,
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
    pub(super) fn new(partitions: u32, mode: SyncMode) -> Book {
        Book {
            counts: watch::Sender::new(Counts::default()),
            partitions: (0..partitions).map(|_| Mutex::default()).collect(),
            mode,
            losses: Mutex::default(),
            violations: Mutex::default(),
            failures: Mutex::default(),
            commits: CommitBook::default(),
            topics: TopicBook::default(),
        }
    }

    pub(super) fn sent(&self) {
        self.counts.send_modify(|counts| counts.sent += 1);
    }

    pub(super) fn answered(
        &self,
        id: RecordId,
        sent: Instant,
        outcome: Result<RecordMetadata, ProduceError>,
    ) {
        match outcome {
            Ok(RecordMetadata { offset: Some(offset), .. }) => {
                let ack = Ack { sent, heard: Instant::now(), bytes: id.value().len() as u64 };
                self.partition(id.partition).acked.entry(offset.get()).or_default().push((id, ack));
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
            let mut acked = book.acked.remove(&record.offset).unwrap_or_default();
            let place = acked.iter().position(|(acked, _)| *acked == id);
            let ack = place.map(|place| acked.swap_remove(place).1);
            if ack.is_none() {
                self.blame(format!("{partition}: {id:?} at {} was acknowledged elsewhere", record.offset));
            }
            self.miss(&mut book, partition, (record.offset, acked));
            book.read.push((id, ack));
            let next = book.next.entry(id.producer).or_insert(0);
            let expected = std::mem::replace(next, id.sequence + 1);
            // What is missing in between was not acknowledged, or is found to be lost below.
            if id.sequence < expected || id.partition != partition {
                self.blame(format!(
                    "{partition}: {id:?} at {} where {expected} or later comes next",
                    record.offset
                ));
            }
        }
        for missing in std::mem::take(&mut book.acked) {
            self.miss(&mut book, partition, missing);
        }
        let loss = std::mem::take(&mut book.lost);
        if let Some(cut) = book.cut.take() {
            lock(&self.losses).add(&loss, cut.at);
        }
        if let Some(violation) = loss.judge(self.mode) {
            self.blame(format!("{partition}: {violation}"));
        }
    }

    /// Records that were acknowledged at an offset and are not there: taken by the last power cut, or lost.
    fn miss(&self, book: &mut PartitionBook, partition: u32, missing: (i64, Vec<(RecordId, Ack)>)) {
        let (offset, acked) = missing;
        for (id, ack) in acked {
            if book.may_be_lost(offset, &ack) {
                book.lost.add(ack);
            } else {
                self.blame(format!("{partition}: {id:?} was acknowledged at {offset} and is LOST"));
            }
        }
    }

    /// The power was cut, and `end` is where recovery has found the end of a partition. What was acknowledged from there on
    /// is lost, what was read of it as well; how much that may be is judged when the partition is read again.
    pub(super) fn cut(&self, partition: u32, end: i64, at: Instant) {
        let mut book = self.partition(partition);
        book.cut = Some(PartitionCut { end, at });
        let kept = usize::try_from(end).unwrap_or(0).min(book.read.len());
        for (_, ack) in book.read.split_off(kept) {
            ack.into_iter().for_each(|ack| book.lost.add(ack));
        }
        if end < book.read_to {
            book.read_to = end;
            let sequences = book.read.iter().map(|(id, _)| (id.producer, id.sequence + 1));
            book.next = sequences.collect();
        }
    }

    /// What power cuts took so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        *lock(&self.losses)
    }

    /// Holds a reading of the whole partition against the readings before.
    pub(super) fn compare_again(&self, partition: u32, records: &[ReadRecord]) {
        let ids = records.iter().map(|record| record.value.as_deref().and_then(RecordId::of_value));
        let book = self.partition(partition);
        let in_order = records.iter().zip(0..).all(|(record, offset)| record.offset == offset);
        if !in_order || !ids.eq(book.read.iter().map(|(id, _)| Some(*id))) {
            self.blame(format!("{partition}: read whole, it is not what was read piece by piece"));
        }
    }
}
