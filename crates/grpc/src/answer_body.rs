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
use crate::permits::CallPermits;
use crate::unread::{Entry, Unread};

/// The body of an answer.
pub(crate) struct AnswerBody {
    inner: tonic::body::Body,
    permits: Arc<CallPermits>,
    answer: Option<Arc<Permit>>,
    unread: Arc<Unread>,
    /// Set from handing out a frame until the client makes us ask for the next.
    handed_out: Option<Entry>,
    /// For answers that have no end of their own: ends them when the broker drains.
    draining: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
}

/// Bytes that are paid for until HTTP/2 has written them: it buffers them long after this body is gone.
struct PaidBytes {
    bytes: Bytes,
    _permit: Arc<Permit>,
    _unread: Entry,
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
        draining: Option<WaitForCancellationFutureOwned>,
    ) -> AnswerBody {
        let draining = draining.map(Box::pin);
        AnswerBody { inner, permits, answer: None, unread, handed_out: None, draining, ended: false }
    }

    fn hand_out(&mut self, bytes: Bytes) -> Bytes {
        self.handed_out = Some(self.unread.enter(bytes.len()));
        if let Some(permit) = self.permits.take_answer() {
            self.answer = Some(Arc::new(permit));
        }
        match &self.answer {
            Some(permit) => {
                let (permit, unread) = (Arc::clone(permit), self.unread.enter(bytes.len()));
                Bytes::from_owner(PaidBytes { bytes, _permit: permit, _unread: unread })
            }
            None => bytes,
        }
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
