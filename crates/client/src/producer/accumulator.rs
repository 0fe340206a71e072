//! Collects records into batches, one open batch for each partition. Pure: the time is passed in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_env::Monotonic;
use millrace_record::{AppendError, BatchBuilder, BatchKind, BatchOptions, Compression};
use millrace_types::{PartitionIndex, TimestampMs, TopicPartition};
use tokio::sync::OwnedSemaphorePermit;

use super::delivery::{BatchAck, Completion};
use super::{Delivery, ProduceError};
use crate::ProducerRecord;
use crate::metadata::TopicInfo;

/// How batches are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRules {
    pub(crate) linger: Duration,
    pub(crate) batch_bytes: usize,
    pub(crate) compression: Compression,
}

/// A batch that takes or took records and has no sequence yet.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) builder: BatchBuilder,
    pub(crate) ticket: Ticket,
    /// When its first record came.
    pub(crate) since: Monotonic,
}

/// Who waits for a batch, and the buffer memory that it holds until it is settled.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) number: u64,
    completion: Arc<Completion>,
    memory: Option<OwnedSemaphorePermit>,
}

impl Ticket {
    /// Tells everyone, and gives the memory back.
    pub(crate) fn settle(mut self, result: Result<BatchAck, ProduceError>) {
        self.memory = None;
        self.completion.complete(result);
    }

    pub(crate) fn completion(&self) -> &Arc<Completion> {
        &self.completion
    }
}

impl Drop for Ticket {
    /// Nobody waits for ever: a batch that is dropped with the producer's task says so.
    fn drop(&mut self) {
        self.completion.complete(Err(ProduceError::Stopped));
    }
}

/// The batches of a partition that are not sent yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) topic: Arc<TopicInfo>,
    open: Option<Collected>,
    closed: VecDeque<Collected>,
}

/// What an append did.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) delivery: Delivery,
    /// A batch that did not exist before this record.
    pub(crate) opened: Option<Arc<Completion>>,
    pub(crate) number: u64,
    /// Whether the sender has something new to look at.
    pub(crate) is_news: bool,
}

/// All batches that are not sent yet.
#[derive(Debug)]
pub(crate) struct Accumulator {
    rules: BatchRules,
    /// Only partitions that hold a batch.
    partitions: BTreeMap<TopicPartition, Pending>,
    next_number: u64,
}

impl Accumulator {
    pub(crate) fn new(rules: BatchRules) -> Accumulator {
        Accumulator { rules, partitions: BTreeMap::new(), next_number: 0 }
    }

    /// Takes a record whose `memory` was granted.
    pub(crate) fn append(
        &mut self,
        topic: &Arc<TopicInfo>,
        to: TopicPartition,
        record: &StampedRecord<'_>,
        memory: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Appended, AppendError> {
        let rules = self.rules;
        let pending = self.partitions.entry(to).or_insert_with(|| Pending {
            topic: Arc::clone(topic),
            open: None,
            closed: VecDeque::new(),
        });
        let bytes = record.record.payload_bytes();
        let mut is_news = false;
        if let Some(full) = pending.open.take_if(|open| !open.builder.has_room_for(bytes)) {
            pending.closed.push_back(full);
            is_news = true;
        }
        let (mut batch, is_new) = match pending.open.take() {
            Some(batch) => (batch, false),
            None => (open_batch(topic, to.partition, rules, (self.next_number, record.now)), true),
        };
        let index = match record.append_to(&mut batch.builder) {
            Ok(index) => index,
            Err(error) => {
                if !is_new {
                    pending.open = Some(batch);
                } else if pending.closed.is_empty() {
                    self.partitions.remove(&to);
                }
                return Err(error);
            }
        };
        self.next_number += u64::from(is_new);
        match (&mut batch.ticket.memory, memory.take()) {
            (Some(held), Some(more)) => held.merge(more),
            (held, more) => *held = more,
        }
        let completion = Arc::clone(&batch.ticket.completion);
        let number = batch.ticket.number;
        let is_full = batch.builder.is_full();
        if is_full {
            pending.closed.push_back(batch);
        } else {
            pending.open = Some(batch);
        }
        Ok(Appended {
            delivery: Delivery::new(Arc::clone(&completion), index, record.timestamp),
            opened: is_new.then_some(completion),
            number,
            is_news: is_news || is_new || is_full,
        })
    }

    /// Whether a batch of the partition takes records.
    pub(crate) fn has_open_batch(&self, partition: TopicPartition) -> bool {
        self.partitions.get(&partition).is_some_and(|pending| pending.open.is_some())
    }

    /// Closes every batch, so that they are sent without lingering.
    pub(crate) fn close_all(&mut self) {
        for pending in self.partitions.values_mut() {
            pending.closed.extend(pending.open.take());
        }
    }

    /// Whether every batch was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// The topic of a partition that holds a batch.
    pub(crate) fn topic_of(&self, partition: TopicPartition) -> Option<Arc<TopicInfo>> {
        self.partitions.get(&partition).map(|pending| Arc::clone(&pending.topic))
    }

    /// The partitions that hold a batch to be sent now.
    pub(crate) fn ready(&self, now: Monotonic) -> Vec<TopicPartition> {
        let linger = self.rules.linger;
        let ready = self.partitions.iter().filter(|(_, pending)| pending.ready_at(linger) <= now);
        ready.map(|(partition, _)| *partition).collect()
    }

    /// When the next batch will have lingered for long enough; those that have already do not count.
    pub(crate) fn next_ready(&self, now: Monotonic) -> Option<Monotonic> {
        let linger = self.rules.linger;
        self.partitions.values().map(|pending| pending.ready_at(linger)).filter(|at| *at > now).min()
    }

    /// When the oldest batch was begun.
    pub(crate) fn oldest(&self) -> Option<Monotonic> {
        self.partitions.values().filter_map(|pending| Some(pending.first()?.since)).min()
    }

    /// Takes the oldest batch of the partition, if it is to be sent now.
    pub(crate) fn take(
        &mut self,
        from: TopicPartition,
        now: Monotonic,
    ) -> Option<(Arc<TopicInfo>, Collected)> {
        let linger = self.rules.linger;
        self.take_if(from, |pending| pending.ready_at(linger) <= now)
    }

    /// Takes every batch that was begun before `before`: its time is over.
    pub(crate) fn take_begun_before(&mut self, before: Monotonic) -> Vec<Collected> {
        let mut late = Vec::new();
        let partitions: Vec<_> = self.partitions.keys().copied().collect();
        for partition in partitions {
            let is_late = |pending: &Pending| pending.first().is_some_and(|batch| batch.since <= before);
            while let Some((_, batch)) = self.take_if(partition, is_late) {
                late.push(batch);
            }
        }
        late
    }

    fn take_if(
        &mut self,
        from: TopicPartition,
        rule: impl Fn(&Pending) -> bool,
    ) -> Option<(Arc<TopicInfo>, Collected)> {
        let pending = self.partitions.get_mut(&from)?;
        if !rule(pending) {
            return None;
        }
        let batch = pending.closed.pop_front().or_else(|| pending.open.take())?;
        let topic = Arc::clone(&pending.topic);
        if pending.open.is_none() && pending.closed.is_empty() {
            self.partitions.remove(&from);
        }
        Some((topic, batch))
    }
}

impl Pending {
    fn first(&self) -> Option<&Collected> {
        self.closed.front().or(self.open.as_ref())
    }

    fn ready_at(&self, linger: Duration) -> Monotonic {
        match (self.closed.is_empty(), &self.open) {
            (false, _) | (true, None) => Monotonic::default(),
            (true, Some(open)) => open.since.after(linger),
        }
    }
}

/// A record with the times that `send` gave it.
#[derive(Debug)]
pub(crate) struct StampedRecord<'a> {
    pub(crate) record: &'a ProducerRecord,
    pub(crate) timestamp: TimestampMs,
    pub(crate) now: Monotonic,
}

impl StampedRecord<'_> {
    fn append_to(&self, builder: &mut BatchBuilder) -> Result<u32, AppendError> {
        let headers = self.record.headers.iter();
        builder.append(
            self.timestamp,
            self.record.key.as_deref(),
            self.record.value.as_deref(),
            headers.map(|header| (header.key.as_ref(), header.value.as_ref().map(Bytes::as_ref))),
        )
    }
}

fn open_batch(
    topic: &TopicInfo,
    partition: PartitionIndex,
    rules: BatchRules,
    (number, now): (u64, Monotonic),
) -> Collected {
    // Records that do not compress grow a little: a full batch has to fit all the same.
    let margin = match rules.compression {
        Compression::None => 0,
        _ => topic.batch_bytes_max / 64 + 1024,
    };
    let target = rules.batch_bytes.min(topic.batch_bytes_max.saturating_sub(margin));
    let options = BatchOptions {
        compression: rules.compression,
        kind: BatchKind::Plain,
        bytes_target: target,
        bytes_max: topic.batch_bytes_max,
    };
    let completion = Completion::new(topic.name.clone(), partition);
    let ticket = Ticket { number, completion, memory: None };
    Collected { builder: BatchBuilder::new(options), ticket, since: now }
}

#[cfg(test)]
mod tests;
