//! Writes answers in the order of their requests, as many at once as are there.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use millrace_broker::Permit;
use millrace_env::{BoxFuture, Clock};
use millrace_kafka_wire::WireError;
use tokio::io::AsyncWrite;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::answer::{Front, Rope};
use crate::frames::BYTES_PER_SECOND_MIN;
use crate::socket::Socket;

/// Answers are gathered up to so many bytes before they are written.
const GATHER_BYTES_MAX: usize = 256 * 1024;
/// Pieces that one call of the kernel takes.
const SLICES_MAX: usize = 64;

/// Why no more answers are written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the client does not read its answers")]
    Unread,
    #[error("{0}")]
    Unsayable(#[from] WireError),
    #[error("{0}")]
    Refused(&'static str),
}

/// What a handler has made of a request.
pub(crate) struct Reply {
    pub(crate) rope: Rope,
    /// Pays for the records in the answer until they are sent.
    pub(crate) permit: Option<Permit>,
}

/// An answer, now or later. An error closes the connection, once the answers before it are written.
pub(crate) enum Pending {
    Now(Reply),
    Later(BoxFuture<Result<Reply, WriteError>>),
}

/// An answer in line.
pub(crate) struct Answer {
    pub(crate) pending: Pending,
    /// The memory of the request.
    pub(crate) request: Permit,
    /// Its place among the requests under way.
    pub(crate) place: OwnedSemaphorePermit,
}

/// Writes the answers of one connection.
pub(crate) struct Answers {
    pub(crate) socket: Socket,
    pub(crate) line: mpsc::Receiver<Answer>,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long a client may take to read.
    pub(crate) patience: Duration,
}

/// What is held until the bytes are sent.
type Held = (Option<Permit>, Permit, OwnedSemaphorePermit);

impl Answers {
    /// Writes until the reader of the connection is done and all is answered.
    pub(crate) async fn write_all(mut self) -> Result<(), WriteError> {
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(answer) => answer,
                None => match self.line.recv().await {
                    Some(answer) => answer,
                    None => return Ok(()),
                },
            };
            let (mut rope, mut held) = (Rope::default(), Vec::new());
            let mut ended = take(first, &mut rope, &mut held).await;
            while ended.is_ok() && rope.len() < GATHER_BYTES_MAX {
                let Ok(mut answer) = self.line.try_recv() else { break };
                match ready(&mut answer.pending) {
                    Some(Ok(reply)) => {
                        rope.append(reply.rope);
                        held.push((reply.permit, answer.request, answer.place));
                    }
                    Some(Err(error)) => ended = Err(error),
                    None => {
                        next = Some(answer);
                        break;
                    }
                }
            }
            self.write(rope).await?;
            ended?;
        }
    }

    async fn write(&mut self, mut rope: Rope) -> Result<(), WriteError> {
        let patience = self.patience + Duration::from_secs(rope.len() as u64 / BYTES_PER_SECOND_MIN);
        let clock = Arc::clone(&self.clock);
        let socket = &mut self.socket;
        let write = async {
            while !rope.is_empty() {
                let sent = poll_fn(|cx| {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    match rope.front(&mut slices) {
                        Front::File(range) => socket.poll_send_file(cx, range),
                        Front::Slices(count) => {
                            let slices = slices.get(..count).unwrap_or_default();
                            Pin::new(&mut *socket).poll_write_vectored(cx, slices)
                        }
                    }
                })
                .await?;
                if sent == 0 {
                    return Err(io::Error::from(io::ErrorKind::WriteZero));
                }
                rope.advance(sent);
            }
            Ok(())
        };
        tokio::select! {
            biased;
            written = write => Ok(written?),
            () = async { clock.sleep(patience).await } => Err(WriteError::Unread),
        }
    }
}

async fn take(answer: Answer, rope: &mut Rope, held: &mut Vec<Held>) -> Result<(), WriteError> {
    let reply = match answer.pending {
        Pending::Now(reply) => reply,
        Pending::Later(reply) => reply.await?,
    };
    rope.append(reply.rope);
    held.push((reply.permit, answer.request, answer.place));
    Ok(())
}

/// The reply, if it is there.
fn ready(pending: &mut Pending) -> Option<Result<Reply, WriteError>> {
    match pending {
        Pending::Now(reply) => {
            let reply = Reply { rope: std::mem::take(&mut reply.rope), permit: reply.permit.take() };
            Some(Ok(reply))
        }
        Pending::Later(reply) => reply.as_mut().now_or_never(),
    }
}
