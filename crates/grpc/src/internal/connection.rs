//! One connection of another broker, until either side closes it or the door does.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use millrace_env::{Clock, NetStream, Tasks, linger};
use millrace_types::limits::{
    HTTP_FRAME_BYTES_MAX, HTTP_HEADER_LIST_BYTES_MAX, HTTP_STREAM_WINDOW_BYTES, PEER_STREAMS_MAX,
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::link::{KEEPALIVE_INTERVAL, KEEPALIVE_PATIENCE};
use crate::connection::{CallExecutor, CountedIo, Leftover, PREFACE_BYTES};

/// How long a connection may take to say that it speaks HTTP/2.
const PREFACE_PATIENCE: Duration = Duration::from_secs(2);
/// What a stream may have on its way to us: one that is not read must not hold up all others.
const STREAM_WINDOW_BYTES: u32 = HTTP_STREAM_WINDOW_BYTES / 4;
/// Bytes of answers that HTTP/2 buffers per stream.
const SEND_BUFFER_BYTES: usize = 1024 * 1024;

/// What the connections of the door share.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    pub(super) routes: Routes,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: Arc<dyn Tasks>,
    /// Set: answer what is there, take nothing new.
    pub(super) draining: CancellationToken,
    /// Set: end now.
    pub(super) ending: CancellationToken,
}

impl Connections {
    /// Serves one connection to its end.
    pub(super) async fn serve(self, number: u64, stream: Box<dyn NetStream>) {
        let leftover = Leftover::default();
        let all_answered = self.drive(number, CountedIo::new(stream, &leftover)).await;
        let left = leftover.lock().take();
        if let (true, Some(mut stream)) = (all_answered, left) {
            linger(&mut stream, &*self.clock, &self.ending).await;
        }
    }

    /// Whether every call was answered.
    async fn drive(&self, number: u64, io: CountedIo) -> bool {
        let received = Arc::clone(&io.received);
        let routes = self.routes.clone();
        let service =
            service_fn(move |request: Request<Incoming>| routes.clone().call(request.map(Body::new)));
        let mut connection = pin!(self.builder().serve_connection(TokioIo::new(io), service));
        let mut preface = pin!(self.clock.sleep(PREFACE_PATIENCE));
        let (mut greeted, mut drained) = (false, false);
        loop {
            tokio::select! {
                biased;
                () = self.ending.cancelled() => return false,
                ended = connection.as_mut() => {
                    if let Err(error) = &ended {
                        tracing::debug!(connection = number, %error, "a connection of a broker broke");
                    }
                    return ended.is_ok();
                }
                () = self.draining.cancelled(), if !drained => {
                    drained = true;
                    // GOAWAY; calls in flight are still answered.
                    connection.as_mut().graceful_shutdown();
                }
                () = preface.as_mut(), if !greeted => {
                    greeted = true;
                    if received.load(Ordering::Relaxed) < PREFACE_BYTES {
                        tracing::debug!(connection = number, "a connection that does not speak HTTP/2");
                        return false;
                    }
                }
            }
        }
    }

    fn builder(&self) -> http2::Builder<CallExecutor> {
        let mut builder = http2::Builder::new(CallExecutor(Arc::clone(&self.tasks)));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(PEER_STREAMS_MAX)
            .max_frame_size(HTTP_FRAME_BYTES_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(HTTP_STREAM_WINDOW_BYTES)
            .max_header_list_size(HTTP_HEADER_LIST_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_PATIENCE);
        builder
    }
}
