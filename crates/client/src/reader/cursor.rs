//! How far one partition was fetched. Pure: answers come in, checked batches come out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_env::Monotonic;
use millrace_proto::v1;
use millrace_record::{Batch, split_batches};
use millrace_types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicPartition};

use super::{OnOutOfRange, ReadError};
use crate::client::look_up::LOOK_UP_PAUSE;
use crate::metadata::TopicInfo;
use crate::{Client, Refusal};

/// How long a topic may be unknown to the broker before that is believed.
const UNKNOWN_TOPIC_GRACE: Duration = Duration::from_secs(10);

/// A partition that is being read.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) topic: Arc<TopicInfo>,
    pub(crate) partition: PartitionIndex,
    /// The first offset that was not fetched yet.
    pub(crate) next: Offset,
    /// The first offset that is not wanted.
    pub(crate) end: Option<Offset>,
    pub(crate) paused_until: Monotonic,
    /// Whether a fetch is on its way.
    pub(crate) is_busy: bool,
    /// Which broker was asked last.
    pub(crate) server: String,
    is_ended: bool,
    last_epoch: Option<LeaderEpoch>,
    failing_since: Option<Monotonic>,
    rules: CursorRules,
}

/// What a cursor does about errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CursorRules {
    pub(crate) on_out_of_range: OnOutOfRange,
    pub(crate) give_up_after: Option<Duration>,
}

/// What follows from an error.
#[derive(PartialEq, Debug)]
pub(crate) enum Verdict {
    /// Try again after a pause.
    Retry,
    /// Find the offset to go on from, then try again.
    Reset,
    /// Read no more of this partition.
    Fail(ReadError),
}

/// What an answer held.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Whole batches with wanted records, in order, checked.
    pub(crate) batches: Vec<Batch>,
    pub(crate) high_watermark: Option<Offset>,
    /// The bound, if this answer has reached it.
    pub(crate) reached: Option<Offset>,
    pub(crate) failure: Option<ReadError>,
}

impl Cursor {
    pub(crate) fn new(
        topic: Arc<TopicInfo>,
        partition: PartitionIndex,
        (next, end): (Offset, Option<Offset>),
        rules: CursorRules,
    ) -> Cursor {
        Cursor {
            topic,
            partition,
            next,
            end,
            paused_until: Monotonic::default(),
            is_busy: false,
            server: String::new(),
            is_ended: end.is_some_and(|end| end <= next),
            last_epoch: None,
            failing_since: None,
            rules,
        }
    }

    /// Where the record before was read before: a log that does not hold it any more says so.
    pub(crate) fn after(mut self, last_epoch: Option<LeaderEpoch>) -> Cursor {
        self.last_epoch = last_epoch;
        self
    }

    /// Its name.
    pub(crate) fn at(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.id, partition: self.partition }
    }

    /// Whom to ask for it; pauses it while that is being looked up.
    pub(crate) fn server_now(&mut self, client: &Client, now: Monotonic) -> Option<String> {
        let server = client.server_of(self.at());
        if server.is_none() {
            self.paused_until = now.after(LOOK_UP_PAUSE);
        }
        server
    }

    /// It is asked for now.
    pub(crate) fn begin(&mut self, server: &str) {
        self.is_busy = true;
        server.clone_into(&mut self.server);
    }

    /// Whether there is nothing more to fetch: the bound is reached, or it has failed.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether it is to be asked for now: it reads on, nobody is asking, and its pause is over.
    pub(crate) fn is_due(&self, now: Monotonic) -> bool {
        !self.is_ended && !self.is_busy && self.paused_until <= now
    }

    /// Reads no more.
    pub(crate) fn stop(&mut self) {
        self.is_ended = true;
    }

    /// Goes on from another offset, after the one before was out of range.
    pub(crate) fn reset(&mut self, next: Offset) {
        self.next = next;
        self.last_epoch = None;
        self.is_ended = self.end.is_some_and(|end| end <= next);
    }

    /// What to ask for.
    pub(crate) fn request(&self) -> v1::PartitionFetch {
        v1::PartitionFetch {
            topic: Some(v1::TopicRef::by_both(&self.topic.name, self.topic.id)),
            partition: self.partition.get(),
            offset: self.next.get(),
            end_offset: self.end.map(Offset::get),
            max_bytes: 0,
            last_read_epoch: self.last_epoch.map(|epoch| epoch.0),
            ..Default::default()
        }
    }

    /// Takes an answer without an error.
    pub(crate) fn take(&mut self, answer: v1::PartitionFetched) -> Taken {
        self.failing_since = None;
        let (batches, failure) = self.take_batches(answer.batches);
        // Behind the last batch there may be offsets whose records were compacted away.
        if failure.is_none()
            && let Some(next) = Offset::new(answer.next_offset)
        {
            self.next = self.next.max(next);
        }
        let reached = self.end.filter(|end| *end <= self.next && failure.is_none());
        self.is_ended |= failure.is_some() || reached.is_some();
        Taken { batches, high_watermark: Offset::new(answer.high_watermark), reached, failure }
    }

    fn take_batches(&mut self, bytes: Bytes) -> (Vec<Batch>, Option<ReadError>) {
        let mut taken = Vec::new();
        // Splitting checks every batch against its checksum.
        for batch in split_batches(bytes) {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => return (taken, Some(self.corrupt(error.to_string()))),
            };
            if batch.next_offset() <= self.next {
                continue;
            }
            if self.end.is_some_and(|end| end <= batch.base_offset()) {
                break;
            }
            self.next = batch.next_offset();
            self.last_epoch = Some(batch.leader_epoch()).filter(|epoch| epoch.0 >= 0);
            if !batch.is_control() && batch.record_count() > 0 {
                taken.push(batch);
            }
        }
        (taken, None)
    }

    pub(crate) fn corrupt(&self, reason: String) -> ReadError {
        ReadError::Corrupt {
            topic: self.topic.name.clone(),
            partition: self.partition,
            offset: self.next,
            reason,
        }
    }

    /// Judges what the broker said of this partition.
    pub(crate) fn on_refusal(&mut self, refusal: Refusal, now: Monotonic) -> Verdict {
        let (topic, partition, offset) = (self.topic.name.clone(), self.partition, self.next);
        let message = refusal.message.clone();
        let verdict = match refusal.code {
            Some(ErrorCode::OffsetOutOfRange) if self.rules.on_out_of_range != OnOutOfRange::Error => {
                Verdict::Reset
            }
            Some(ErrorCode::OffsetOutOfRange) => {
                Verdict::Fail(ReadError::OutOfRange { topic, partition, offset, message })
            }
            Some(ErrorCode::LogTruncated) => {
                Verdict::Fail(ReadError::Truncated { topic, partition, offset, message })
            }
            Some(ErrorCode::Corrupt) => Verdict::Fail(self.corrupt(message)),
            Some(ErrorCode::UnknownTopicOrPartition) => {
                let since = *self.failing_since.get_or_insert(now);
                match now.since(since) < UNKNOWN_TOPIC_GRACE {
                    true => Verdict::Retry,
                    false => Verdict::Fail(ReadError::Refused { topic, partition, refusal }),
                }
            }
            _ if refusal.is_retriable => self.on_failure(&refusal.to_string(), now),
            _ => Verdict::Fail(ReadError::Refused { topic, partition, refusal }),
        };
        self.is_ended |= matches!(verdict, Verdict::Fail(_));
        verdict
    }

    /// Judges a passing failure, of the connection or of the broker.
    pub(crate) fn on_failure(&mut self, last: &str, now: Monotonic) -> Verdict {
        let since = *self.failing_since.get_or_insert(now);
        match self.rules.give_up_after {
            Some(after) if now.since(since) >= after => {
                self.is_ended = true;
                let (topic, partition) = (self.topic.name.clone(), self.partition);
                Verdict::Fail(ReadError::GaveUp { topic, partition, after, last: last.to_owned() })
            }
            _ => Verdict::Retry,
        }
    }
}

#[cfg(test)]
mod tests;
