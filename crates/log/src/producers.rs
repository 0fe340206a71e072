//! What a partition remembers of its idempotent producers (KIP-98), so that an exact retry gets its first answer.
//!
//! ```text
//!  producer 7, epoch 2:      known from        the last 5 batches            next
//!  sequences                 0 ········ 30 ├──31─┼─40─┼─41─┼─55─┼─60─┤ 61
//!                            older duplicate   duplicate, with offsets     accepted; 62.. is out of order
//! ```
//! A pure value. It is a function of the batches of the log, in order: the state at an offset is the same whether it
//! grew batch by batch, or was restored from a snapshot and fed the rest of the log (so truncation is a restore). For
//! that reason forgetting under pressure goes by *offset* (who wrote longest ago in the log), never by a clock; only
//! [`ProducerState::expire`] looks at time, and that time is when a batch was appended, not what its records say.
//!
//! Sequences are 31-bit: after `i32::MAX` comes 0. Nothing is allocated for a batch of a producer already known.

use std::collections::BTreeMap;

use millrace_record::BatchHeader;
use millrace_types::limits::{PRODUCER_WINDOW, PRODUCERS_PER_PARTITION_MAX};
use millrace_types::{Offset, ProducerEpoch, ProducerId, TimestampMs};

mod sequence;

pub(crate) use sequence::Sequence;

/// When the table is full, the one in so many that wrote longest ago are forgotten together: one pass over the
/// table then pays for thousands of new producers.
const EVICTED_ONE_IN: usize = 16;

/// Half of all sequences: farther back, *before* and *after* could not be told apart.
const KNOWN_MAX: u32 = Sequence::COUNT / 2;

/// What the header of a batch says about its producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchFacts {
    /// The producer; [`ProducerId::NONE`] if it is not idempotent.
    pub producer: ProducerId,
    /// The incarnation of the producer.
    pub epoch: ProducerEpoch,
    /// The sequence number of the first record.
    pub first_sequence: i32,
    /// The last record's offset minus the first's: the number of records less one. Never negative.
    pub last_offset_delta: i32,
    /// The largest timestamp, which a duplicate is answered with.
    pub timestamp: TimestampMs,
}

impl BatchFacts {
    /// What `header` says.
    #[must_use]
    pub fn of(header: &BatchHeader) -> BatchFacts {
        // A control batch names a producer and has no sequence: it ends a transaction, it is none of the producer's.
        let is_control = header.attributes.is_control();
        BatchFacts {
            producer: if is_control { ProducerId::NONE } else { ProducerId(header.producer_id) },
            epoch: ProducerEpoch(header.producer_epoch),
            first_sequence: header.base_sequence,
            last_offset_delta: header.last_offset_delta,
            timestamp: TimestampMs(header.max_timestamp),
        }
    }

    /// Whether the batch comes from an idempotent producer.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.producer.0 >= 0
    }

    fn sequences(&self) -> Option<(Sequence, Sequence)> {
        let first = Sequence::new(self.first_sequence)?;
        Some((first, first.after(u32::try_from(self.last_offset_delta).ok()?)))
    }
}

/// What to do with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Append it.
    Accept,
    /// It is stored already: answer with these, append nothing. The answer must still wait until that offset is safe.
    DuplicateOf {
        /// The offset of its first record.
        base_offset: Offset,
        /// The offset of its last record.
        last_offset: Offset,
        /// The timestamp it was stored with.
        timestamp: TimestampMs,
    },
    /// It is stored already, so long ago that its offset is no longer known (DUPLICATE_SEQUENCE_NUMBER).
    Duplicate,
    /// Batches before it are missing, or it overlaps one that is stored (OUT_OF_ORDER_SEQUENCE_NUMBER).
    OutOfOrder {
        /// The sequence that would be accepted.
        expected: i32,
        /// The first sequence of the batch.
        found: i32,
    },
    /// Nothing is known of this producer, and it may have been forgotten (UNKNOWN_PRODUCER_ID).
    Unknown,
    /// A later incarnation of the producer has written (INVALID_PRODUCER_EPOCH).
    Fenced {
        /// The epoch in force.
        current: ProducerEpoch,
    },
}

/// A batch that is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RememberedBatch {
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    pub(crate) last_offset: Offset,
    pub(crate) timestamp: TimestampMs,
}

impl RememberedBatch {
    const NOTHING: RememberedBatch = RememberedBatch {
        first: Sequence::ZERO,
        last: Sequence::ZERO,
        last_offset: Offset::ZERO,
        timestamp: TimestampMs::NONE,
    };

    pub(crate) fn base_offset(&self) -> Offset {
        self.last_offset.saturating_sub(self.last.since(self.first).into())
    }
}

/// One producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Producer {
    pub(crate) epoch: ProducerEpoch,
    /// How many sequences right before the next one are known to be stored in this epoch.
    pub(crate) known: u32,
    pub(crate) last_append: TimestampMs,
    /// Oldest first; the first `remembered` are in use.
    window: [RememberedBatch; PRODUCER_WINDOW],
    remembered: usize,
}

impl PartialEq for Producer {
    fn eq(&self, other: &Producer) -> bool {
        (self.epoch, self.known, self.last_append, self.batches())
            == (other.epoch, other.known, other.last_append, other.batches())
    }
}

impl Eq for Producer {}

impl Producer {
    fn new(epoch: ProducerEpoch) -> Producer {
        Producer {
            epoch,
            known: 0,
            last_append: TimestampMs::NONE,
            window: [RememberedBatch::NOTHING; PRODUCER_WINDOW],
            remembered: 0,
        }
    }

    /// A producer as a snapshot holds it; `None` if it holds no batch or too many, or its batches do not follow on.
    pub(crate) fn restore(
        epoch: ProducerEpoch,
        known: u32,
        last_append: TimestampMs,
        batches: &[RememberedBatch],
    ) -> Option<Producer> {
        let follow_on = batches.windows(2).all(|pair| match pair {
            [a, b] => b.first == a.last.next() && a.last_offset < b.base_offset(),
            _ => true,
        });
        let stored: u64 = batches.iter().map(|batch| u64::from(batch.last.since(batch.first)) + 1).sum();
        let known_min = stored.min(KNOWN_MAX.into());
        if batches.is_empty() || !follow_on || u64::from(known) < known_min || known > KNOWN_MAX {
            return None;
        }
        let mut producer = Producer { known, last_append, ..Producer::new(epoch) };
        producer.window.get_mut(..batches.len())?.copy_from_slice(batches);
        producer.remembered = batches.len();
        Some(producer)
    }

    pub(crate) fn batches(&self) -> &[RememberedBatch] {
        self.window.get(..self.remembered).unwrap_or_default()
    }

    fn last(&self) -> Option<&RememberedBatch> {
        self.batches().last()
    }

    fn last_offset(&self) -> Offset {
        self.last().map_or(Offset::ZERO, |batch| batch.last_offset)
    }

    fn check(&self, first: Sequence, last: Sequence) -> Verdict {
        let Some(newest) = self.last() else {
            return Verdict::Accept;
        };
        let next = newest.last.next();
        if first == next {
            return Verdict::Accept;
        }
        if let Some(stored) = self.batches().iter().find(|batch| batch.first == first && batch.last == last) {
            return Verdict::DuplicateOf {
                base_offset: stored.base_offset(),
                last_offset: stored.last_offset,
                timestamp: stored.timestamp,
            };
        }
        // Only what is certainly stored may be called a duplicate: clients take that word for success.
        let (first_before, last_before) = (next.since(first), next.since(last));
        if first_before <= self.known && 1 <= last_before && last_before <= first_before {
            Verdict::Duplicate
        } else {
            Verdict::OutOfOrder { expected: next.get(), found: first.get() }
        }
    }

    fn remember(&mut self, batch: RememberedBatch) {
        let records = batch.last.since(batch.first) + 1;
        let follows = self.last().is_some_and(|newest| newest.last.next() == batch.first);
        if !follows {
            self.known = 0;
            self.remembered = 0;
        }
        #[cfg(feature = "teeth")]
        millrace_types::planted!(DedupWindowOfOne => self.remembered = 0);
        self.known = self.known.saturating_add(records).min(KNOWN_MAX);
        if self.remembered == PRODUCER_WINDOW {
            self.window.rotate_left(1);
        } else {
            self.remembered += 1;
        }
        if let Some(slot) = self.remembered.checked_sub(1).and_then(|at| self.window.get_mut(at)) {
            *slot = batch;
        }
    }
}

/// What a partition tells of an idempotent producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActiveProducer {
    /// Its id.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence of the last record that it wrote.
    pub last_sequence: i32,
    /// The largest time in its last batch.
    pub last_timestamp: TimestampMs,
}

/// What is known about producers that are not in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum History {
    /// They never wrote here.
    #[default]
    Complete,
    /// They may have written here and been forgotten: idle for too long, or too many others.
    SomeForgotten,
    /// The state was lost together with trimmed records, or never received, at this time. Until every producer of
    /// that time would have expired, any sequence is accepted from an unknown one, as Kafka does: refusing would stop
    /// a producer that did nothing wrong.
    Lost {
        /// When.
        since: TimestampMs,
    },
}

/// The producers of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProducerState {
    producers: BTreeMap<ProducerId, Producer>,
    history: History,
}

impl ProducerState {
    /// The state of an empty log.
    #[must_use]
    pub fn new() -> ProducerState {
        ProducerState::default()
    }

    /// The state of a log whose beginning was trimmed and of whose producers no snapshot is left.
    #[must_use]
    pub fn lost(since: TimestampMs) -> ProducerState {
        ProducerState { producers: BTreeMap::new(), history: History::Lost { since } }
    }

    /// The state from the parts that a snapshot holds; `None` beyond the limit.
    pub(crate) fn from_parts(
        producers: BTreeMap<ProducerId, Producer>,
        history: History,
    ) -> Option<ProducerState> {
        (producers.len() <= PRODUCERS_PER_PARTITION_MAX).then_some(ProducerState { producers, history })
    }

    pub(crate) fn producers(&self) -> &BTreeMap<ProducerId, Producer> {
        &self.producers
    }

    /// Those that are remembered, sorted by id.
    pub fn active(&self) -> impl Iterator<Item = ActiveProducer> + '_ {
        self.producers.iter().filter_map(|(id, producer)| {
            let last = producer.batches().last()?;
            let (last_sequence, last_timestamp) = (last.last.get(), last.timestamp);
            Some(ActiveProducer { id: *id, epoch: producer.epoch, last_sequence, last_timestamp })
        })
    }

    /// The largest producer id in the table.
    #[must_use]
    pub fn largest_id(&self) -> Option<ProducerId> {
        self.producers.last_key_value().map(|(id, _)| *id)
    }

    /// What is known about producers that are not in the table.
    #[must_use]
    pub fn history(&self) -> History {
        self.history
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether no producer is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// What to do with a batch that a client sent. Changes nothing.
    ///
    /// A batch without an idempotent producer is accepted.
    #[must_use]
    pub fn check(&self, batch: &BatchFacts) -> Verdict {
        if !batch.is_idempotent() {
            return Verdict::Accept;
        }
        let Some((first, last)) = batch.sequences() else {
            return Verdict::OutOfOrder { expected: 0, found: batch.first_sequence };
        };
        let Some(producer) = self.producers.get(&batch.producer) else {
            return self.check_unknown(first);
        };
        if batch.epoch < producer.epoch {
            return Verdict::Fenced { current: producer.epoch };
        }
        if batch.epoch == producer.epoch {
            return producer.check(first, last);
        }
        if first == Sequence::ZERO {
            Verdict::Accept
        } else {
            Verdict::OutOfOrder { expected: 0, found: first.get() }
        }
    }

    fn check_unknown(&self, first: Sequence) -> Verdict {
        match self.history {
            _ if first == Sequence::ZERO => Verdict::Accept,
            History::Lost { .. } => Verdict::Accept,
            History::SomeForgotten => Verdict::Unknown,
            History::Complete => Verdict::OutOfOrder { expected: 0, found: first.get() },
        }
    }

    /// Takes note of a batch that was appended, or that the log was found to hold, at `base_offset`.
    ///
    /// Batches must come in the order of the log. What the log holds is believed, whatever [`Self::check`] would say.
    pub fn apply(&mut self, batch: &BatchFacts, base_offset: Offset, appended: TimestampMs) {
        if !batch.is_idempotent() {
            return;
        }
        let Some((first, last)) = batch.sequences() else {
            return;
        };
        let last_offset = base_offset.saturating_add(last.since(first).into());
        let remembered = RememberedBatch { first, last, last_offset, timestamp: batch.timestamp };
        if !self.producers.contains_key(&batch.producer) {
            self.make_room(PRODUCERS_PER_PARTITION_MAX);
        }
        let producer = self.producers.entry(batch.producer).or_insert_with(|| Producer::new(batch.epoch));
        if producer.epoch != batch.epoch {
            *producer = Producer::new(batch.epoch);
        }
        producer.remember(remembered);
        producer.last_append = producer.last_append.max(appended);
    }

    /// What is known of one producer, to be put back if the batch that is applied next cannot be written.
    pub(crate) fn get(&self, id: ProducerId) -> Option<Producer> {
        self.producers.get(&id).copied()
    }

    /// Makes what is known of a producer what it was.
    pub(crate) fn put_back(&mut self, id: ProducerId, before: Option<Producer>) {
        match before {
            Some(producer) => self.producers.insert(id, producer),
            None => self.producers.remove(&id),
        };
    }

    /// Forgets producers that wrote longest ago in the log, if there is no room for one more.
    fn make_room(&mut self, limit: usize) {
        if self.producers.len() < limit {
            return;
        }
        let mut by_age: Vec<(Offset, ProducerId)> =
            self.producers.iter().map(|(id, producer)| (producer.last_offset(), *id)).collect();
        let count = (limit / EVICTED_ONE_IN).max(1).min(by_age.len());
        by_age.select_nth_unstable(count - 1);
        for (_, id) in by_age.iter().take(count) {
            self.producers.remove(id);
        }
        self.note_forgotten();
    }

    fn note_forgotten(&mut self) {
        if self.history == History::Complete {
            self.history = History::SomeForgotten;
        }
    }

    /// Forgets producers that appended nothing for longer than `idle_ms`, and tells how many.
    ///
    /// A clock that jumps forward makes this forget too early; the owner pauses it after a jump.
    pub fn expire(&mut self, now: TimestampMs, idle_ms: i64) -> usize {
        let idle = |since: TimestampMs| now.0.saturating_sub(since.0) > idle_ms;
        let before = self.producers.len();
        self.producers.retain(|_, producer| !idle(producer.last_append));
        let expired = before - self.producers.len();
        match self.history {
            History::Lost { since } if idle(since) => self.history = History::SomeForgotten,
            _ if expired > 0 => self.note_forgotten(),
            _ => {}
        }
        expired
    }
}

#[cfg(test)]
mod tests;
