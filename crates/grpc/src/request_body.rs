//! Takes memory for a message before it is read.
//!
//! tonic collects a whole message before it decodes it, so the bytes must be granted before tonic gets to see them. This
//! body stands between HTTP/2 and tonic. It reads the 5 bytes that gRPC puts in front of each message (a flag, a length),
//! waits for a permit of that size, and only then hands on: while it waits it reads nothing, so the client's window stays
//! closed.

#![deny(clippy::indexing_slicing)]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use millrace_broker::{ApiError, ApiMetrics, MemoryBudget, Permit};
use millrace_env::{BoxFuture, Clock};
use millrace_types::ErrorCode;
use millrace_types::limits::{MEMBER_SMALL_MESSAGE_BYTES_MAX, REQUEST_OVERHEAD_BYTES};
use tonic::Status;

use crate::error_map::{refuse, status_of};
use crate::permits::CallPermits;
use crate::route::{Messages, Route};

/// gRPC's prefix of a message: a byte that says whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// The slowest that a message may come in, in bytes per second, once its first patience is over.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// What the reader of a body needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) budget: Arc<MemoryBudget>,
    /// For the small messages of members of groups, which wait for nobody else.
    pub(crate) members: Arc<MemoryBudget>,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long a message that has begun may stand still.
    pub(crate) message_patience: Duration,
}

/// The body of a request, admitted message by message.
pub(crate) struct AdmittedBody<B> {
    inner: B,
    route: Route,
    admission: Admission,
    permits: Arc<CallPermits>,
    /// Received and not handed on.
    received: Bytes,
    messages: u64,
    state: State,
    /// Set while a message has begun and the client lets us wait.
    stalled: Option<BoxFuture<()>>,
    metrics: Option<ApiMetrics>,
}

enum State {
    /// In front of a message.
    Prefix,
    /// The prefix was read; the bytes of message and prefix are asked for.
    Asking { bytes: usize, permit: BoxFuture<Result<Permit, ApiError>> },
    /// Granted; so many bytes are still to be handed on.
    Granted { left: usize },
    /// Over: nothing follows.
    Ended,
}

impl<B> AdmittedBody<B> {
    pub(crate) fn new(inner: B, route: Route, admission: Admission, permits: Arc<CallPermits>) -> Self {
        let (received, state) = (Bytes::new(), State::Prefix);
        let (messages, stalled, metrics) = (0, None, None);
        AdmittedBody { inner, route, admission, permits, received, messages, state, stalled, metrics }
    }

    /// Counts what is handed on.
    pub(crate) fn metered(mut self, metrics: ApiMetrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Reads the prefix if it is there whole, and asks for the bytes of its message.
    fn step_prefix(&mut self) -> Result<bool, Status> {
        let Some(prefix) = self.received.first_chunk::<PREFIX_BYTES>() else { return Ok(false) };
        let [compressed, a, b, c, d] = *prefix;
        if compressed != 0 {
            let message = "compressed messages are not read; compress the batches in them";
            return Err(refuse(ErrorCode::Unsupported, message));
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.route.message_bytes_max {
            let max = self.route.message_bytes_max;
            let message = format!("a message of {length} bytes; this call reads {max} at most");
            return Err(refuse(ErrorCode::RequestTooLarge, message));
        }
        match self.route.messages {
            Messages::One if self.messages > 0 => {
                return Err(refuse(ErrorCode::InvalidRequest, "this call takes one message"));
            }
            Messages::One | Messages::Claimed => {}
            Messages::OneAtATime => self.permits.release(),
        }
        self.messages += 1;
        let is_small = length <= MEMBER_SMALL_MESSAGE_BYTES_MAX;
        let Admission { budget, members, .. } = &self.admission;
        let budget = Arc::clone(if self.route.is_member && is_small { members } else { budget });
        let permit = Box::pin(async move { budget.acquire(length + REQUEST_OVERHEAD_BYTES).await });
        self.state = State::Asking { bytes: PREFIX_BYTES + length, permit };
        Ok(true)
    }

    /// Hands on what was received of the message that is granted.
    fn step_granted(&mut self, left: usize) -> Option<Bytes> {
        if self.received.is_empty() {
            return None;
        }
        let part = self.received.split_to(left.min(self.received.len()));
        let left = left - part.len();
        if let Some(metrics) = &self.metrics {
            metrics.received(part.len());
        }
        self.state = if left == 0 { State::Prefix } else { State::Granted { left } };
        if left == 0 {
            self.stalled = None;
        }
        Some(part)
    }

    fn is_inside_message(&self) -> bool {
        !self.received.is_empty() || matches!(self.state, State::Granted { .. })
    }

    /// A client that stops in the middle of a message holds its memory; it gets so long and no longer.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if !self.is_inside_message() {
            return Poll::Pending;
        }
        let bytes = if let State::Granted { left } = self.state { left as u64 } else { 0 };
        let Admission { clock, message_patience, .. } = &self.admission;
        let patience = *message_patience + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
        let stalled = self.stalled.get_or_insert_with(|| clock.sleep(patience));
        ready!(stalled.as_mut().poll(cx));
        let message = format!("the message did not come in within {} ms", patience.as_millis());
        Poll::Ready(refuse(ErrorCode::InvalidRequest, message))
    }

    fn fail(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.state = State::Ended;
        self.received = Bytes::new();
        self.stalled = None;
        Poll::Ready(Some(Err(status)))
    }
}

impl<B> Body for AdmittedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Prefix => match this.step_prefix() {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(status) => return this.fail(status),
                },
                State::Asking { bytes, permit } => match ready!(permit.as_mut().poll(cx)) {
                    Ok(permit) => {
                        this.permits.admit(permit);
                        this.state = State::Granted { left: *bytes };
                        continue;
                    }
                    Err(error) => return this.fail(status_of(error)),
                },
                State::Granted { left } => {
                    let left = *left;
                    if let Some(part) = this.step_granted(left) {
                        return Poll::Ready(Some(Ok(Frame::data(part))));
                    }
                }
            }
            match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if this.received.is_empty() => this.received = data,
                    // Only a prefix that was cut apart by frames is ever put together again.
                    Ok(data) => this.received = [this.received.as_ref(), data.as_ref()].concat().into(),
                    Err(trailers) if this.is_inside_message() => {
                        drop(trailers);
                        return this.fail(cut_short());
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Ready(Some(Err(error))) => {
                    return this.fail(Status::cancelled(format!("the client went away: {error}")));
                }
                Poll::Ready(None) if this.is_inside_message() => return this.fail(cut_short()),
                Poll::Ready(None) => {
                    this.state = State::Ended;
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let status = ready!(this.poll_stall(cx));
                    return this.fail(status);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_empty() && self.inner.is_end_stream()
    }
}

fn cut_short() -> Status {
    refuse(ErrorCode::InvalidRequest, "the call ends in the middle of a message")
}

#[cfg(test)]
mod tests;
