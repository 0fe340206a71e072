//! The body of an answer: keeps the call's memory until its bytes are written, and turns a panic into a status.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use millrace_broker::Permit;
use millrace_types::ErrorCode;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use crate::error_map::refuse;
use crate::metered::Metered;
use crate::pace::{Pace, Unsent};
use crate::permits::CallPermits;
use crate::unread::{Entry, Unread};

/// The body of an answer.
pub(crate) struct AnswerBody {
    inner: tonic::body::Body,
    permits: Arc<CallPermits>,
    /// What pays for the answer's frames, or for the newest of them where each pays for itself.
    answer: Arc<[Permit]>,
    unread: Arc<Unread>,
    /// Of a stream that goes on and on: how far its client is behind.
    pace: Option<Arc<Pace>>,
    /// Set from handing out a frame until the client makes us ask for the next.
    handed_out: Option<Entry>,
    /// For answers that have no end of their own: ends them when the broker drains.
    draining: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
    metered: Option<Metered>,
}

/// Bytes that are paid for until HTTP/2 has written them: it buffers them long after this body is gone.
struct PaidBytes {
    bytes: Bytes,
    _permits: Arc<[Permit]>,
    _unread: Waiting,
}

/// What sees to it that the bytes do not wait for ever.
enum Waiting {
    Answer { _entry: Entry },
    Stream { _frame: Unsent },
}

impl AsRef<[u8]> for PaidBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AnswerBody {
    pub(crate) fn new(
        inner: tonic::body::Body,
        permits: Arc<CallPermits>,
        unread: Arc<Unread>,
        pace: Option<Arc<Pace>>,
    ) -> AnswerBody {
        let answer = Arc::from([]);
        AnswerBody {
            inner,
            permits,
            answer,
            unread,
            pace,
            handed_out: None,
            draining: None,
            ended: false,
            metered: None,
        }
    }

    /// Counts what is handed out, and the call when it is over.
    pub(crate) fn metered(mut self, metered: Metered) -> AnswerBody {
        self.metered = Some(metered);
        self
    }

    /// Ends the answer when the broker drains.
    pub(crate) fn until(mut self, draining: Option<WaitForCancellationFutureOwned>) -> AnswerBody {
        self.draining = draining.map(Box::pin);
        self
    }

    fn hand_out(&mut self, bytes: Bytes) -> Bytes {
        if let Some(metered) = &self.metered {
            metered.api().sent(bytes.len());
        }
        let paid = self.permits.take_answers();
        if let Some(pace) = &self.pace {
            let unread = Waiting::Stream { _frame: pace.enter(bytes.len()) };
            return Bytes::from_owner(PaidBytes { bytes, _permits: paid.into(), _unread: unread });
        }
        self.handed_out = Some(self.unread.enter(bytes.len()));
        if !paid.is_empty() {
            self.answer = paid.into();
        }
        if self.answer.is_empty() {
            return bytes;
        }
        let unread = Waiting::Answer { _entry: self.unread.enter(bytes.len()) };
        Bytes::from_owner(PaidBytes { bytes, _permits: Arc::clone(&self.answer), _unread: unread })
    }

    fn end_with(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        self.inner = tonic::body::Body::empty();
        let mut trailers = HeaderMap::new();
        if let Err(e) = status.add_header(&mut trailers) {
            return Poll::Ready(Some(Err(e)));
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        this.handed_out = None;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(draining) = &mut this.draining
            && draining.as_mut().poll(cx).is_ready()
        {
            return this.end_with(&refuse(ErrorCode::ShuttingDown, "the broker is shutting down"));
        }
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.inner).poll_frame(cx)));
        match polled {
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                Poll::Ready(Some(Ok(frame.map_data(|bytes| this.hand_out(bytes)))))
            }
            Ok(other) => other,
            Err(_panic) => this.end_with(&panicked()),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What a caller is told about a panic; the panic hook has logged the rest.
pub(crate) fn panicked() -> Status {
    tracing::error!("a call panicked");
    refuse(ErrorCode::Internal, "the broker failed on this call; its log says where")
}
