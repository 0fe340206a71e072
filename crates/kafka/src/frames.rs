//! Reads frames: four bytes of length, then a request. Memory is granted for a frame before its body is read.

#![deny(clippy::indexing_slicing)]

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millrace_broker::{ApiError, MemoryBudget};
use millrace_env::Clock;
use millrace_types::limits::KAFKA_READ_AHEAD_BYTES;
use tokio::io::AsyncReadExt;

use crate::request_memory::RequestMemory;
use crate::socket::Socket;

/// Bytes of the length in front of a request.
const LENGTH_BYTES: usize = 4;
/// A request has at least an operation, a version and a correlation id.
const REQUEST_BYTES_MIN: usize = 8;
/// The slowest that a frame may come in, in bytes per second, once its first patience is over.
pub(crate) const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// Why no more frames are read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a frame of {length} bytes, {max} are read at most")]
    Length { length: i32, max: usize },
    #[error("the client closed within a frame")]
    CutShort,
    #[error("a frame did not come in within its time")]
    Stalled,
    #[error("{0}")]
    Memory(#[from] ApiError),
}

/// A request as it came, and the memory it was granted.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) memory: RequestMemory,
}

/// The frames of a connection.
#[derive(Debug)]
pub(crate) struct Frames {
    socket: Socket,
    budget: Arc<MemoryBudget>,
    clock: Arc<dyn Clock>,
    /// How long a frame that has begun may stand still.
    patience: Duration,
    /// Read and not yet part of a frame. Empty while nothing comes, so that silent connections hold no memory.
    ahead: BytesMut,
}

impl Frames {
    pub(crate) fn new(
        socket: Socket,
        budget: Arc<MemoryBudget>,
        clock: Arc<dyn Clock>,
        patience: Duration,
    ) -> Frames {
        Frames { socket, budget, clock, patience, ahead: BytesMut::new() }
    }

    /// The next frame of at most `bytes_max`; `None` when the client has closed between two frames.
    pub(crate) async fn next(&mut self, bytes_max: usize) -> Result<Option<Frame>, FrameError> {
        if self.ahead.is_empty() && self.read_ahead().await? == 0 {
            return Ok(None);
        }
        // From the first byte of a frame on the client is waited for with patience, not for ever.
        let (clock, patience) = (Arc::clone(&self.clock), self.patience);
        let length = tokio::select! {
            biased;
            length = self.length(bytes_max) => length?,
            () = async { clock.sleep(patience).await } => return Err(FrameError::Stalled),
        };
        let memory = RequestMemory::of_frame(&self.budget, length).await?;
        let patience = patience + Duration::from_secs(length as u64 / BYTES_PER_SECOND_MIN);
        let bytes = tokio::select! {
            biased;
            bytes = self.body(length) => bytes?,
            () = async { clock.sleep(patience).await } => return Err(FrameError::Stalled),
        };
        Ok(Some(Frame { bytes, memory }))
    }

    /// Completes with the client's end of the connection, reading ahead meanwhile as far as is allowed.
    pub(crate) async fn closed(&mut self) {
        while self.ahead.len() < KAFKA_READ_AHEAD_BYTES {
            if !matches!(self.read_ahead().await, Ok(bytes) if bytes > 0) {
                return;
            }
        }
        std::future::pending().await
    }

    async fn length(&mut self, bytes_max: usize) -> Result<usize, FrameError> {
        loop {
            if let Some(prefix) = self.ahead.first_chunk::<LENGTH_BYTES>() {
                let length = i32::from_be_bytes(*prefix);
                let wrong = FrameError::Length { length, max: bytes_max };
                let length = usize::try_from(length).ok();
                let length = length.filter(|length| (REQUEST_BYTES_MIN..=bytes_max).contains(length));
                self.ahead.advance(LENGTH_BYTES);
                return length.ok_or(wrong);
            }
            if self.read_ahead().await? == 0 {
                return Err(FrameError::CutShort);
            }
        }
    }

    /// The body in memory of its own: batches outlive their request, and must not keep more alive than themselves.
    async fn body(&mut self, length: usize) -> Result<Bytes, FrameError> {
        let mut body = BytesMut::with_capacity(length);
        let there = length.min(self.ahead.len());
        body.put(self.ahead.split_to(there));
        while body.len() < length {
            let missing = length - body.len();
            let mut room = (&mut body).limit(missing);
            if self.socket.read_buf(&mut room).await? == 0 {
                return Err(FrameError::CutShort);
            }
        }
        Ok(body.freeze())
    }

    async fn read_ahead(&mut self) -> io::Result<usize> {
        let Frames { socket, ahead, .. } = self;
        poll_fn(|cx| {
            ahead.reserve(KAFKA_READ_AHEAD_BYTES.saturating_sub(ahead.len()));
            let room = KAFKA_READ_AHEAD_BYTES.saturating_sub(ahead.len());
            let polled = {
                let mut room = (&mut *ahead).limit(room);
                pin!(socket.read_buf(&mut room)).poll(cx)
            };
            if matches!(polled, Poll::Pending) && ahead.is_empty() {
                *ahead = BytesMut::new();
            }
            polled
        })
        .await
    }
}
