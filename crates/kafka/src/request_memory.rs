//! The memory of a request: granted with its frame, and more of it when it turns out what the request becomes.
//!
//! An element of two bytes on the wire is hundreds in memory: itself, the question that the broker is asked, and the answer.
//! So elements cost memory ([`KAFKA_ELEMENT_BYTES`]). A few are paid for with the frame. Who has more waits for more, and is
//! decoded again: how many there are is known only when they were counted.

use std::sync::Arc;

use bytes::Bytes;
use millrace_broker::{ApiError, MemoryBudget, Permit};
use millrace_kafka_wire::{ApiRequest, Problem, Reader, WireError};
use millrace_types::limits::{
    KAFKA_ELEMENT_BYTES, KAFKA_ELEMENTS_WITH_FRAME, KAFKA_REQUEST_ELEMENTS_MAX, REQUEST_OVERHEAD_BYTES,
};

/// Bytes of a frame for each element that is paid for with it.
const FRAME_BYTES_PER_ELEMENT: usize = 8;
/// What is paid for next, when the elements paid for with the frame are too few: most requests need no more.
const ELEMENTS_NEXT: usize = 1024;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Memory(#[from] ApiError),
}

/// Memory that is granted to a request.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    budget: Arc<MemoryBudget>,
    permit: Permit,
    /// Elements that are paid for.
    elements: usize,
}

/// Elements that are paid for with a frame of `length` bytes.
fn elements_with_frame(length: usize) -> usize {
    (length / FRAME_BYTES_PER_ELEMENT).clamp(1, KAFKA_ELEMENTS_WITH_FRAME)
}

impl RequestMemory {
    /// Waits for the memory of a frame.
    ///
    /// # Errors
    /// The whole budget is smaller.
    pub(crate) async fn of_frame(
        budget: &Arc<MemoryBudget>,
        length: usize,
    ) -> Result<RequestMemory, ApiError> {
        let elements = elements_with_frame(length);
        let bytes = length + REQUEST_OVERHEAD_BYTES + elements * KAFKA_ELEMENT_BYTES;
        Ok(RequestMemory { permit: budget.acquire(bytes).await?, budget: Arc::clone(budget), elements })
    }

    /// Decodes the body of the request and keeps memory for what it has become.
    ///
    /// # Errors
    /// It is not what its header says, or there is no memory for it.
    pub(crate) async fn decode<R: ApiRequest>(&mut self, body: Bytes, version: i16) -> Result<R, Unanswered> {
        let with_frame = self.elements;
        loop {
            let mut reader = Reader::bounded(body.clone(), self.elements);
            // What follows is left, as Kafka leaves it: librdkafka says "no list of topics", one byte since version 9 of Metadata,
            // with four.
            match R::read(&mut reader, version) {
                Ok(request) => {
                    self.keep(reader.elements());
                    return Ok(request);
                }
                Err(WireError { problem: Problem::OverBound { .. }, .. })
                    if self.elements < KAFKA_REQUEST_ELEMENTS_MAX =>
                {
                    let wanted = if self.elements < ELEMENTS_NEXT {
                        ELEMENTS_NEXT
                    } else {
                        KAFKA_REQUEST_ELEMENTS_MAX
                    };
                    // Who holds some of the reserve may not wait for more of it.
                    self.keep(with_frame);
                    self.more((wanted - with_frame) * KAFKA_ELEMENT_BYTES).await?;
                    self.elements = wanted;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn keep(&mut self, elements: usize) {
        self.give_back(self.elements.saturating_sub(elements) * KAFKA_ELEMENT_BYTES);
        self.elements = elements;
    }

    /// Takes so many bytes more.
    ///
    /// # Errors
    /// They are not to be had.
    pub(crate) async fn more(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.budget.more(&mut self.permit, bytes).await
    }

    /// What was granted, for an operation of the broker that adds to it itself.
    pub(crate) fn permit(&mut self) -> &mut Permit {
        &mut self.permit
    }

    /// Gives so many bytes back.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.permit.give_back(bytes);
    }

    /// Gives everything back: the request is no more, and its answer may be long in coming.
    pub(crate) fn give_back_all(&mut self) {
        self.give_back(self.permit.bytes());
    }

    /// What is held until the request is answered.
    pub(crate) fn into_permit(self) -> Permit {
        self.permit
    }
}

#[cfg(test)]
mod tests {
    use millrace_kafka_wire::metadata_request::MetadataRequestTopic;
    use millrace_kafka_wire::{Message, MetadataRequest};

    use super::*;

    const VERSION: i16 = 9;

    fn metadata(topics: usize) -> Bytes {
        let topic = MetadataRequestTopic { name: Some("t".to_owned()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest { topics: Some(vec![topic; topics]), ..MetadataRequest::default() };
        request.encode(VERSION).unwrap().concat().into()
    }

    #[tokio::test]
    async fn a_request_holds_what_it_has_become() {
        let budget = MemoryBudget::with_reserve(1 << 20, 32 << 20);
        for topics in [0, 1, 31, 33, 500, 5_000, KAFKA_REQUEST_ELEMENTS_MAX] {
            let body = metadata(topics);
            let mut memory = RequestMemory::of_frame(&budget, body.len()).await.unwrap();
            let request: MetadataRequest = memory.decode(body.clone(), VERSION).await.unwrap();
            assert_eq!(request.topics.map(|topics| topics.len()), Some(topics));
            let held = body.len() + REQUEST_OVERHEAD_BYTES + topics * KAFKA_ELEMENT_BYTES;
            assert_eq!(budget.in_use(), held as u64, "{topics} topics");
        }
        assert_eq!(budget.in_use(), 0);
    }

    #[tokio::test]
    async fn more_elements_than_any_request_may_have_are_refused() {
        let budget = MemoryBudget::with_reserve(1 << 20, 32 << 20);
        let body = metadata(KAFKA_REQUEST_ELEMENTS_MAX + 1);
        let mut memory = RequestMemory::of_frame(&budget, body.len()).await.unwrap();
        let refused = memory.decode::<MetadataRequest>(body, VERSION).await.unwrap_err();
        assert!(matches!(refused, Unanswered::Wire(_)), "{refused}");
    }
}
