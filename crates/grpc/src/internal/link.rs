//! One HTTP/2 connection to another broker: made when it is needed, kept, and made again after it broke.
//!
//! ```text
//!   Down ── a call ──► Dialing ── connected ──► Up ── it broke, and a call ──► Dialing
//!    ▲                    └─── refused, or nobody answers ──► Resting ─┐
//!    └──────────────── the next call after a moment ◄──────────────────┘
//! ```
//! A connection that breaks fails the calls on it at once. What is certain not to have left this process is tried once more on
//! a new connection, so that a peer that has started again is found by the first call.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use millrace_env::{BoxFuture, Env, Monotonic, NetStream};
use millrace_types::limits::{
    HTTP_CONNECTION_WINDOW_BYTES, HTTP_FRAME_BYTES_MAX, HTTP_STREAM_WINDOW_BYTES, PEER_HEADER_LIST_BYTES_MAX,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::body::Body;
use tower::Service;

use crate::connection::CallExecutor;

/// How long dialling may take.
const DIAL_PATIENCE: Duration = Duration::from_millis(500);
/// How long a peer that cannot be reached is left alone: long enough not to spin, short enough not to be noticed.
const REST: Duration = Duration::from_millis(50);
/// A peer that has been silent for so long is asked whether it is still there, and so long it has to answer.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(1000);
pub(super) const KEEPALIVE_PATIENCE: Duration = Duration::from_millis(1000);
/// Bytes of a request that HTTP/2 buffers per stream.
const SEND_BUFFER_BYTES: usize = 1024 * 1024;

type Sender = http2::SendRequest<Body>;
/// `None` while it is under way.
type Dialed = Option<Result<Sender, String>>;

/// The way to one broker.
#[derive(Debug)]
pub(super) struct Link {
    env: Env,
    /// `host:port`.
    address: String,
    state: Mutex<State>,
}

enum State {
    Down,
    Dialing(watch::Receiver<Dialed>),
    Up(Sender),
    Resting { until: Monotonic, why: String },
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Down => "Down",
            State::Dialing(_) => "Dialing",
            State::Up(_) => "Up",
            State::Resting { .. } => "Resting",
        })
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// It was certainly not heard.
    #[error("{0}")]
    NotSent(String),
    /// It may have been heard.
    #[error("{0}")]
    Broken(String),
}

impl Link {
    pub(super) fn new(env: Env, address: &str) -> Link {
        Link { env, address: address.to_owned(), state: Mutex::new(State::Down) }
    }

    /// Whether a connection is there.
    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.state.lock(), State::Up(sender) if !sender.is_closed())
    }

    /// The connection, made now if there is none.
    async fn sender(self: &Arc<Self>) -> Result<Sender, String> {
        let mut dialed = {
            let mut state = self.state.lock();
            match &*state {
                State::Up(sender) if !sender.is_closed() => return Ok(sender.clone()),
                State::Resting { until, why } if self.env.clock.monotonic() < *until => {
                    return Err(why.clone());
                }
                // A dialling task that was dropped tells nobody.
                State::Dialing(dialed) if dialed.has_changed().is_ok() || dialed.borrow().is_some() => {
                    dialed.clone()
                }
                _ => {
                    let (tell, dialed) = watch::channel(None);
                    *state = State::Dialing(dialed.clone());
                    let dialing = Arc::clone(self).dial(tell);
                    let _runs_on = self.env.tasks.spawn("dial broker", Box::pin(dialing));
                    dialed
                }
            }
        };
        match dialed.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok(sender))) => Ok(sender.clone()),
            Ok(Some(Err(why))) => Err(why.clone()),
            Ok(None) | Err(_) => Err("nobody dials any more".to_owned()),
        }
    }

    /// Not by the call that needs it: that may be given up, and others wait for the same connection.
    async fn dial(self: Arc<Self>, tell: watch::Sender<Dialed>) {
        let dialed = tokio::select! {
            biased;
            dialed = self.connect() => dialed.map_err(|error| chain(&*error)),
            () = self.env.clock.sleep(DIAL_PATIENCE) => {
                Err(format!("no connection within {} ms", DIAL_PATIENCE.as_millis()))
            }
        };
        let until = self.env.clock.monotonic().after(REST);
        *self.state.lock() = match &dialed {
            Ok(sender) => State::Up(sender.clone()),
            Err(why) => State::Resting { until, why: why.clone() },
        };
        tell.send_replace(Some(dialed));
    }

    async fn connect(&self) -> Result<Sender, Box<dyn StdError + Send + Sync>> {
        let stream = self.reach().await?;
        let mut builder = http2::Builder::new(CallExecutor(Arc::clone(&self.env.tasks)));
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(HTTP_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(HTTP_CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP_FRAME_BYTES_MAX)
            .max_header_list_size(PEER_HEADER_LIST_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_PATIENCE)
            .keep_alive_while_idle(true);
        let (sender, connection) = builder.handshake::<_, Body>(TokioIo::new(stream)).await?;
        let address = self.address.clone();
        let driven = async move {
            if let Err(error) = connection.await {
                tracing::debug!(peer = address, error = chain(&error), "the connection to a broker broke");
            }
        };
        let _runs_on = self.env.tasks.spawn("connection to a broker", Box::pin(driven));
        Ok(sender)
    }

    /// Tries each address in turn; a name may stand for several.
    async fn reach(&self) -> io::Result<Box<dyn NetStream>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for addr in self.env.net.resolve(self.address.clone()).await? {
            match self.env.net.dial(addr).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn send(
        self: Arc<Self>,
        mut request: Request<Body>,
        sent: Arc<AtomicBool>,
    ) -> Result<Response<Incoming>, LinkError> {
        let mut why = String::new();
        for _attempt in 0..2 {
            let mut sender = self.sender().await.map_err(LinkError::NotSent)?;
            sent.store(true, Ordering::Relaxed);
            let mut failed = match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            let returned = failed.take_message();
            why = chain(failed.error());
            match returned {
                None => return Err(LinkError::Broken(why)),
                Some(unsent) => request = unsent,
            }
            sent.store(false, Ordering::Relaxed);
        }
        Err(LinkError::NotSent(why))
    }
}

/// What the generated client calls: a link, and whether this call has been handed to its connection.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) link: Arc<Link>,
    pub(super) sent: Arc<AtomicBool>,
}

impl Way {
    pub(super) fn by(link: Arc<Link>) -> Way {
        Way { link, sent: Arc::default() }
    }
}

impl Service<Request<Body>> for Way {
    type Response = Response<Incoming>;
    type Error = LinkError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, LinkError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let send: BoxFuture<_> = Box::pin(Arc::clone(&self.link).send(request, Arc::clone(&self.sent)));
        send
    }
}

/// An error with its causes: hyper's own words alone say little.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
