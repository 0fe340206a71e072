//! Writes answers in the order of their requests, as many at once as are there.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use millrace_broker::Permit;
use millrace_env::{BoxFuture, Clock};
use millrace_kafka_wire::WireError;
use millrace_types::TopicPartition;
use tokio::io::AsyncWrite;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::answer::{Front, Rope};
use crate::frames::BYTES_PER_SECOND_MIN;
use crate::handlers::produce::Produced;
use crate::metrics::{Call, Traffic};
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
#[derive(Default)]
pub(crate) struct Reply {
    pub(crate) rope: Rope,
    /// Pays for the records in the answer until they are sent.
    pub(crate) permit: Option<Permit>,
}

/// An answer, now or later. An error closes the connection, once the answers before it are written.
pub(crate) enum Pending {
    Now(Reply),
    Produced(Box<Produced>),
    Later {
        reply: BoxFuture<Result<Reply, WriteError>>,
        /// The partition whose sync is run by whoever waits for the reply.
        led: Option<TopicPartition>,
    },
}

impl Pending {
    fn led(&self) -> Option<TopicPartition> {
        match self {
            Pending::Now(_) => None,
            Pending::Produced(produced) => produced.pending().led(),
            Pending::Later { led, .. } => *led,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, WriteError>> {
        loop {
            let led = self.led();
            match self {
                Pending::Now(reply) => return Poll::Ready(Ok(std::mem::take(reply))),
                Pending::Later { reply, .. } => return reply.as_mut().poll(cx),
                Pending::Produced(_) => {
                    if let Pending::Produced(produced) =
                        std::mem::replace(self, Pending::Now(Reply::default()))
                    {
                        *self = Pending::Later { reply: Box::pin(produced.reply()), led };
                    }
                }
            }
        }
    }
}

/// An answer in line.
pub(crate) struct Answer {
    pub(crate) pending: Pending,
    /// The memory of the request.
    pub(crate) request: Permit,
    /// Its place among the requests under way.
    pub(crate) place: OwnedSemaphorePermit,
    pub(crate) call: Call,
}

/// Writes the answers of one connection.
pub(crate) struct Answers {
    pub(crate) socket: Socket,
    pub(crate) line: Line,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long a client may take to read.
    pub(crate) patience: Duration,
    pub(crate) traffic: Traffic,
}

/// The answers that are to be written, in the order of their requests.
pub(crate) struct Line {
    coming: mpsc::Receiver<Answer>,
    /// Taken from it. As many as there are requests under way, at most.
    waiting: VecDeque<Answer>,
    ended: bool,
}

/// What is held until the bytes are sent.
struct Held {
    _memory: (Option<Permit>, Permit),
    _place: OwnedSemaphorePermit,
    call: Call,
    bytes: usize,
}

impl Answer {
    /// The bytes to send, and what is held meanwhile.
    fn with(self, reply: Reply) -> (Rope, Held) {
        let bytes = reply.rope.len();
        let memory = (reply.permit, self.request);
        (reply.rope, Held { _memory: memory, _place: self.place, call: self.call, bytes })
    }
}

impl Line {
    pub(crate) fn new(coming: mpsc::Receiver<Answer>) -> Line {
        Line { coming, waiting: VecDeque::new(), ended: false }
    }

    /// The next answer; `None` if there will be no more.
    ///
    /// The first produce in line runs the sync that it waits for. Those behind it that wait for another file have theirs
    /// run beside it, on the flusher's threads: one after the other they would take their time once for each.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(Rope, Held), WriteError>>> {
        while !self.ended {
            match self.coming.poll_recv(cx) {
                Poll::Ready(Some(answer)) => self.take_up(answer),
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break,
            }
        }
        let Some(first) = self.waiting.front_mut() else {
            return if self.ended { Poll::Ready(None) } else { Poll::Pending };
        };
        let reply = ready!(first.pending.poll(cx));
        let answered = self.waiting.pop_front().map(|answer| reply.map(|reply| answer.with(reply)));
        Poll::Ready(answered)
    }

    fn take_up(&mut self, answer: Answer) {
        if let (Some(first), Pending::Produced(produced)) = (self.waiting.front(), &answer.pending) {
            produced.pending().sync_beside(first.pending.led());
        }
        self.waiting.push_back(answer);
    }
}

impl Answers {
    /// Writes until the reader of the connection is done and all is answered.
    pub(crate) async fn write_all(mut self) -> Result<(), WriteError> {
        while let Some(first) = poll_fn(|cx| self.line.poll_next(cx)).await {
            let (mut rope, held) = first?;
            let (mut held, mut ended) = (vec![held], Ok(()));
            while ended.is_ok() && rope.len() < GATHER_BYTES_MAX {
                // As much as is there by now.
                let next = poll_fn(|cx| Poll::Ready(self.line.poll_next(cx))).await;
                let Poll::Ready(Some(next)) = next else { break };
                match next {
                    Ok((more, paid)) => {
                        rope.append(more);
                        held.push(paid);
                    }
                    Err(error) => ended = Err(error),
                }
            }
            self.write(rope).await?;
            for sent in held {
                self.traffic.end(sent.call, sent.bytes);
            }
            ended?;
        }
        Ok(())
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
