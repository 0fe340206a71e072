//! `ProduceStream`: requests appended in the order of their arrival, answered in that order, many in flight.
//!
//! ```text
//!  requests -> append, one at a time -> waiting for durability, at most PRODUCE_STREAM_IN_FLIGHT_MAX -> answers
//! ```
//!
//! The next request is appended while earlier ones wait for their sync. When as many wait as may, no more is read, and
//! the client's window closes. Everything lives in the stream of answers: dropping it, which is what happens when the
//! client goes away, gives everything back. A request that is refused is answered with errors, and the stream goes on; a
//! message that cannot be read ends it, after the answers that are due.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, Stream, StreamExt};
use millrace_broker::{PendingProduce, Permit};
use millrace_proto::v1;
use millrace_types::limits::PRODUCE_STREAM_IN_FLIGHT_MAX;
use millrace_types::{ErrorCode, TopicPartition};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};

use super::produce::{Asked, take};
use crate::caller::Caller;
use crate::error_map::refuse;
use crate::service::Api;

/// The answers of one stream.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<v1::ProduceResponse, Status>> + Send>>;

pub(crate) fn handle(api: Api, caller: Caller, requests: Streaming<v1::ProduceRequest>) -> Answers {
    let draining = Box::pin(api.draining.clone().cancelled_owned());
    let input = Input::Open { requests: Box::new(requests), draining };
    let waiting = FuturesOrdered::new();
    Box::pin(Pipeline { api, caller, input, appending: None, waiting, led: None })
}

/// A request that is appended, or refused; its answer is due when it is durable.
enum Appended {
    Answered(v1::ProduceResponse),
    Waiting { pending: PendingProduce, permit: Option<Permit>, asked: Asked },
}

impl Appended {
    fn answer(self) -> BoxFuture<'static, v1::ProduceResponse> {
        match self {
            Appended::Answered(answer) => std::future::ready(answer).boxed(),
            Appended::Waiting { pending, permit, asked } => async move {
                let response = pending.acknowledged().await;
                drop(permit);
                asked.answer(response)
            }
            .boxed(),
        }
    }
}

struct Pipeline {
    api: Api,
    caller: Caller,
    input: Input,
    appending: Option<BoxFuture<'static, Appended>>,
    waiting: FuturesOrdered<BoxFuture<'static, v1::ProduceResponse>>,
    /// The partition whose sync is run by the first that waits.
    led: Option<TopicPartition>,
}

enum Input {
    Open {
        requests: Box<Streaming<v1::ProduceRequest>>,
        draining: Pin<Box<WaitForCancellationFutureOwned>>,
    },
    /// Nothing more comes; with a status if that is an error.
    Closed(Option<Status>),
}

impl Input {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<v1::ProduceRequest>> {
        let Input::Open { requests, draining } = self else { return Poll::Ready(None) };
        let closed = if draining.poll_unpin(cx).is_ready() {
            Some(refuse(ErrorCode::ShuttingDown, "the broker is shutting down"))
        } else {
            match requests.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(request))) => return Poll::Ready(Some(request)),
                Poll::Ready(Some(Err(status))) => Some(status),
                Poll::Ready(None) => None,
            }
        };
        *self = Input::Closed(closed);
        Poll::Ready(None)
    }
}

impl Pipeline {
    /// Begins to append a request. Its memory goes back when it is answered.
    fn append(&self, request: v1::ProduceRequest) -> BoxFuture<'static, Appended> {
        let permit = self.caller.permits.claim();
        let message_bytes = permit.as_ref().map_or(0, Permit::bytes);
        let (broker, context) = (self.api.broker.clone(), self.caller.context.clone());
        async move {
            let (asked, request) = match take(request, message_bytes) {
                Ok(taken) => taken,
                Err(refused) => return Appended::Answered(refused.asked.refused(&refused.error)),
            };
            let Some(request) = request else { return Appended::Answered(asked.refused_in_part()) };
            match broker.produce(&context, request).await {
                Ok(pending) => Appended::Waiting { pending, permit, asked },
                Err(error) => Appended::Answered(asked.refused(&error)),
            }
        }
        .boxed()
    }

    /// Moves requests from the client to the broker until one of them has to wait.
    fn poll_requests(&mut self, cx: &mut Context<'_>) {
        while self.waiting.len() < PRODUCE_STREAM_IN_FLIGHT_MAX {
            if let Some(appending) = &mut self.appending {
                let Poll::Ready(appended) = appending.as_mut().poll(cx) else { return };
                self.appending = None;
                self.await_sync(&appended);
                self.waiting.push_back(appended.answer());
            } else {
                let Poll::Ready(Some(request)) = self.input.poll_next(cx) else { return };
                self.appending = Some(self.append(request));
            }
        }
    }

    /// The first that waits runs its sync; those behind it that wait for another file have theirs run beside it.
    fn await_sync(&mut self, appended: &Appended) {
        let Appended::Waiting { pending, .. } = appended else { return };
        if self.waiting.is_empty() {
            self.led = pending.led();
        } else {
            pending.sync_beside(self.led);
        }
    }
}

impl Stream for Pipeline {
    type Item = Result<v1::ProduceResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_requests(cx);
        match self.waiting.poll_next_unpin(cx) {
            Poll::Ready(Some(answer)) => return Poll::Ready(Some(Ok(answer))),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {}
        }
        let idle = self.appending.is_none();
        match &mut self.input {
            Input::Closed(status) if idle => Poll::Ready(status.take().map(Err)),
            // Whatever wakes us next is registered: the append under way, the client, the drain.
            _ => Poll::Pending,
        }
    }
}
