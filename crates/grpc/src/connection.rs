//! One connection: HTTP/2 with our limits, until either side closes it or the broker drains.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use millrace_broker::ConnectionId;
use millrace_env::{Clock, NetStream, Tasks, linger};
use millrace_types::limits::{HTTP_FRAME_BYTES_MAX, HTTP_HEADER_LIST_BYTES_MAX, HTTP_STREAMS_MAX};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::call::Calls;
use crate::caller::Peer;
use crate::unread::Unread;
use crate::windows::{Window, Windows};

/// Bytes of the preface with which every HTTP/2 client begins (RFC 9113, section 3.4).
pub(crate) const PREFACE_BYTES: usize = 24;
/// How often a silent client is asked whether it is still there, and how long it may take to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of answers that HTTP/2 buffers per stream while the client reads.
const SEND_BUFFER_BYTES: usize = 1024 * 1024;
/// Calls that a client may reset before we have looked at them (CVE-2023-44487).
const RESETS_MAX: usize = 50;

/// What the connections of a door share.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    pub(crate) calls: Arc<Calls>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Arc<dyn Tasks>,
    pub(crate) windows: Windows,
    /// How long a client may take to say that it speaks HTTP/2.
    pub(crate) preface_patience: Duration,
    /// How long an answer may wait for its client.
    pub(crate) answer_patience: Duration,
    /// Set: answer what is there, take nothing new.
    pub(crate) draining: CancellationToken,
    /// Set: end now.
    pub(crate) ending: CancellationToken,
}

impl Connections {
    /// Serves one connection to its end.
    pub(crate) async fn serve(self, id: ConnectionId, stream: Box<dyn NetStream>) {
        let leftover = Leftover::default();
        let host = stream.peer_addr().map(|addr| addr.ip().to_canonical().to_string()).unwrap_or_default();
        let peer = Peer { connection: id, host: host.into() };
        let end = self.drive(peer, CountedIo::new(stream, &leftover)).await;
        let left = leftover.lock().take();
        if let (End::Answered, Some(mut stream)) = (end, left) {
            linger(&mut stream, &*self.clock, &self.ending).await;
        }
    }

    async fn drive(&self, peer: Peer, io: CountedIo) -> End {
        let id = peer.connection;
        let (received, window) = (Arc::clone(&io.received), self.windows.take());
        let unread = Unread::new(Arc::clone(&self.clock), self.answer_patience);
        let (calls, for_calls) = (Arc::clone(&self.calls), Arc::clone(&unread));
        let service = service_fn(move |request| {
            let answer = Arc::clone(&calls).answer(peer.clone(), Arc::clone(&for_calls), request);
            async move { Ok::<_, Infallible>(Box::pin(answer).await.unwrap_or_else(|never| match never {})) }
        });
        let mut connection = pin!(self.builder(&window).serve_connection(TokioIo::new(io), service));
        let mut preface = pin!(self.clock.sleep(self.preface_patience));
        let mut overdue = pin!(unread.overdue());
        let (mut greeted, mut drained) = (false, false);
        loop {
            tokio::select! {
                biased;
                () = self.ending.cancelled() => return End::Cut,
                ended = connection.as_mut() => return match ended {
                    Ok(()) => End::Answered,
                    Err(error) => {
                        tracing::debug!(connection = id.0, %error, "a connection broke");
                        End::Cut
                    }
                },
                () = self.draining.cancelled(), if !drained => {
                    drained = true;
                    // GOAWAY; calls in flight are still answered.
                    connection.as_mut().graceful_shutdown();
                }
                () = overdue.as_mut() => {
                    tracing::warn!(connection = id.0, "a client does not read its answers; its connection is closed");
                    return End::Cut;
                }
                () = preface.as_mut(), if !greeted => {
                    greeted = true;
                    if received.load(Ordering::Relaxed) < PREFACE_BYTES {
                        tracing::debug!(connection = id.0, "a connection that does not speak HTTP/2");
                        return End::Cut;
                    }
                }
            }
        }
    }

    fn builder(&self, window: &Window) -> http2::Builder<CallExecutor> {
        let mut builder = http2::Builder::new(CallExecutor(Arc::clone(&self.tasks)));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP_STREAMS_MAX)
            .max_frame_size(HTTP_FRAME_BYTES_MAX)
            .initial_stream_window_size(window.stream_bytes())
            .initial_connection_window_size(window.connection_bytes())
            .max_header_list_size(HTTP_HEADER_LIST_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_PATIENCE);
        builder
    }
}

/// Spawns a task for each call.
#[derive(Clone, Debug)]
pub(crate) struct CallExecutor(pub(crate) Arc<dyn Tasks>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for CallExecutor {
    fn execute(&self, call: F) {
        let _runs_on = self.0.spawn("grpc call", Box::pin(call));
    }
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Every call was answered.
    Answered,
    /// It broke, or was cut off.
    Cut,
}

/// Where the stream of a connection is left when HTTP/2 is done with it.
pub(crate) type Leftover = Arc<Mutex<Option<Box<dyn NetStream>>>>;

/// A stream that tells how much came in, and survives the connection that runs over it.
pub(crate) struct CountedIo {
    inner: Option<Box<dyn NetStream>>,
    pub(crate) received: Arc<AtomicUsize>,
    leftover: Leftover,
}

impl CountedIo {
    pub(crate) fn new(stream: Box<dyn NetStream>, leftover: &Leftover) -> CountedIo {
        CountedIo { inner: Some(stream), received: Arc::default(), leftover: Arc::clone(leftover) }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Box<dyn NetStream>>> {
        self.inner.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for CountedIo {
    fn drop(&mut self) {
        *self.leftover.lock() = self.inner.take();
    }
}

impl AsyncRead for CountedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.stream()?.poll_read(cx, buf);
        self.received.fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for CountedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.as_ref().is_some_and(|stream| stream.is_write_vectored())
    }
}
