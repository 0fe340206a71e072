//! What became of a record: one completion for each batch, shared by the deliveries of its records.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millrace_types::{Offset, PartitionIndex, TimestampMs, TopicName};
use parking_lot::Mutex;

use super::ProduceError;
use crate::RecordMetadata;

/// Where a batch came to lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BatchAck {
    pub(crate) base_offset: Option<Offset>,
    pub(crate) append_time: Option<TimestampMs>,
}

/// The outcome of a batch, and who waits for it.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) topic: TopicName,
    pub(crate) partition: PartitionIndex,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Open { wakers: Vec<Waker> },
    Done(Result<BatchAck, ProduceError>),
}

impl Completion {
    pub(crate) fn new(topic: TopicName, partition: PartitionIndex) -> Arc<Completion> {
        let state = Mutex::new(State::Open { wakers: Vec::new() });
        Arc::new(Completion { topic, partition, state })
    }

    /// Settles the batch. Only the first result counts.
    pub(crate) fn complete(&self, result: Result<BatchAck, ProduceError>) {
        let mut state = self.state.lock();
        if let State::Open { wakers } = &mut *state {
            let wakers = std::mem::take(wakers);
            *state = State::Done(result);
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// The result, or `Pending` with the waker kept in the caller's `slot`.
    fn poll(&self, slot: &mut Option<usize>, cx: &Context<'_>) -> Poll<Result<BatchAck, ProduceError>> {
        match &mut *self.state.lock() {
            State::Done(result) => Poll::Ready(result.clone()),
            State::Open { wakers } => {
                match slot.and_then(|slot| wakers.get_mut(slot)) {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => {
                        *slot = Some(wakers.len());
                        wakers.push(cx.waker().clone());
                    }
                }
                Poll::Pending
            }
        }
    }

    /// Waits for the result.
    pub(crate) async fn wait(self: Arc<Completion>) -> Result<BatchAck, ProduceError> {
        let mut slot = None;
        std::future::poll_fn(move |cx| self.poll(&mut slot, cx)).await
    }
}

/// Resolves to where the record came to lie, or to why it did not. Dropping it changes nothing for the record.
#[derive(Debug)]
#[must_use = "a record is safe only when its delivery says so; drop it explicitly if flush() is enough"]
pub struct Delivery {
    batch: Arc<Completion>,
    /// Which record of the batch.
    index: u32,
    timestamp: TimestampMs,
    slot: Option<usize>,
}

impl Delivery {
    pub(crate) fn new(batch: Arc<Completion>, index: u32, timestamp: TimestampMs) -> Delivery {
        Delivery { batch, index, timestamp, slot: None }
    }

    /// Whether both records travel in one batch, so that they have the same outcome at the same moment.
    #[must_use]
    pub fn shares_batch_with(&self, other: &Delivery) -> bool {
        Arc::ptr_eq(&self.batch, &other.batch)
    }
}

/// Another waiter for the same outcome.
impl Clone for Delivery {
    fn clone(&self) -> Delivery {
        Delivery::new(Arc::clone(&self.batch), self.index, self.timestamp)
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.batch.poll(&mut this.slot, cx).map_ok(|ack| RecordMetadata {
            topic: this.batch.topic.clone(),
            partition: this.batch.partition,
            offset: ack.base_offset.map(|base| base.saturating_add(u64::from(this.index))),
            timestamp: ack.append_time.unwrap_or(this.timestamp),
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn every_record_of_a_batch_learns_its_own_offset_and_later_results_do_not_count() {
        let batch = Completion::new(TopicName::new("t").unwrap(), PartitionIndex(3));
        let mut deliveries: Vec<_> =
            (0..3).map(|index| Delivery::new(Arc::clone(&batch), index, TimestampMs(7))).collect();
        assert!((&mut deliveries[0]).now_or_never().is_none());
        assert!((&mut deliveries[0]).now_or_never().is_none(), "polling twice takes one slot");
        let again = deliveries[2].clone();
        assert!(again.shares_batch_with(&deliveries[0]));
        batch.complete(Ok(BatchAck { base_offset: Some(Offset::from_count(10)), append_time: None }));
        assert_eq!(again.await.unwrap().offset, Some(Offset::from_count(12)));
        batch.complete(Err(ProduceError::Stopped));
        for (delivery, offset) in deliveries.into_iter().zip(10..) {
            let metadata = delivery.await.unwrap();
            assert_eq!(
                (metadata.offset, metadata.timestamp),
                (Some(Offset::from_count(offset)), TimestampMs(7))
            );
        }
    }
}
