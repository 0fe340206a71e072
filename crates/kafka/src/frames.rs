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
use millrace_types::limits::{
    KAFKA_READ_AHEAD_BYTES, MEMBER_MESSAGES_BYTES_MAX, MEMBER_SMALL_MESSAGE_BYTES_MAX, MEMORY_RESERVE_BYTES,
};
use tokio::io::AsyncReadExt;

use crate::handlers::Operation;
use crate::request_memory::RequestMemory;
use crate::socket::Socket;

/// Bytes of the length in front of a request.
const LENGTH_BYTES: usize = 4;
/// Bytes of the operation's number, with which a request begins.
const KEY_BYTES: usize = 2;
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

/// What requests are granted their memory from.
#[derive(Clone, Debug)]
pub(crate) struct Budgets {
    pub(crate) all: Arc<MemoryBudget>,
    /// For the small requests by which members are heard of: they must not wait in line behind produces for longer than a session
    /// lasts.
    pub(crate) members: Arc<MemoryBudget>,
}

impl Budgets {
    /// With a pot of their own for members.
    pub(crate) fn new(all: Arc<MemoryBudget>) -> Budgets {
        let free = MEMBER_MESSAGES_BYTES_MAX.saturating_sub(MEMORY_RESERVE_BYTES as u64);
        Budgets { all, members: MemoryBudget::with_reserve(free, MEMORY_RESERVE_BYTES) }
    }

    fn of(&self, key: [u8; KEY_BYTES], length: usize) -> &Arc<MemoryBudget> {
        let api = Operation::of(i16::from_be_bytes(key));
        let is_small = length <= MEMBER_SMALL_MESSAGE_BYTES_MAX;
        if is_small && api.is_some_and(Operation::is_sign_of_life) { &self.members } else { &self.all }
    }
}

/// The frames of a connection.
#[derive(Debug)]
pub(crate) struct Frames {
    socket: Socket,
    budgets: Budgets,
    clock: Arc<dyn Clock>,
    /// How long a frame that has begun may stand still.
    patience: Duration,
    /// Read and not yet part of a frame. Empty while nothing comes, so that silent connections hold no memory.
    ahead: BytesMut,
}

impl Frames {
    pub(crate) fn new(socket: Socket, budgets: Budgets, clock: Arc<dyn Clock>, patience: Duration) -> Frames {
        Frames { socket, budgets, clock, patience, ahead: BytesMut::new() }
    }

    /// The next frame of at most `bytes_max`; `None` when the client has closed between two frames.
    pub(crate) async fn next(&mut self, bytes_max: usize) -> Result<Option<Frame>, FrameError> {
        if self.ahead.is_empty() && self.read_ahead().await? == 0 {
            return Ok(None);
        }
        // From the first byte of a frame on the client is waited for with patience, not for ever.
        let (clock, patience) = (Arc::clone(&self.clock), self.patience);
        let (length, key) = tokio::select! {
            biased;
            begun = self.begin(bytes_max) => begun?,
            () = async { clock.sleep(patience).await } => return Err(FrameError::Stalled),
        };
        let memory = RequestMemory::of_frame(self.budgets.of(key, length), length).await?;
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

    /// The length of the next frame, and what it asks for.
    async fn begin(&mut self, bytes_max: usize) -> Result<(usize, [u8; KEY_BYTES]), FrameError> {
        let length = i32::from_be_bytes(self.first::<LENGTH_BYTES>().await?);
        self.ahead.advance(LENGTH_BYTES);
        let fits = usize::try_from(length).ok().filter(|fits| (REQUEST_BYTES_MIN..=bytes_max).contains(fits));
        let fits = fits.ok_or(FrameError::Length { length, max: bytes_max })?;
        Ok((fits, self.first::<KEY_BYTES>().await?))
    }

    /// The first bytes of what is there, once they are.
    async fn first<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        loop {
            if let Some(first) = self.ahead.first_chunk::<N>() {
                return Ok(*first);
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
