//! Health and metrics over HTTP/1: `/healthz`, `/readyz`, `/metrics`. Bodies of requests are not read.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use millrace_env::{Clock, Entrance, Env, Listener, NetStream};

use crate::metrics::Measured;

/// Connections that are served at once; more are closed as soon as they are accepted.
const HTTP_CONNECTIONS_MAX: usize = 256;
/// How long a client may take to send the head of a request, the first or the next.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long one connection lives at most: a scrape takes milliseconds.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(300);

/// Whether requests are taken.
#[derive(Debug)]
pub(crate) struct Readiness(AtomicU8);

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    pub(crate) fn starting() -> Readiness {
        Readiness(AtomicU8::new(STARTING))
    }

    pub(crate) fn set_ready(&self) {
        self.0.store(READY, Ordering::Release);
    }

    pub(crate) fn set_draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == READY
    }

    fn word(&self) -> &'static str {
        match self.0.load(Ordering::Acquire) {
            STARTING => "starting\n",
            READY => "ready\n",
            _ => "draining\n",
        }
    }
}

/// The pages.
#[derive(Clone, Debug)]
pub(crate) struct HttpDoor {
    clock: Arc<dyn Clock>,
    measured: Arc<Measured>,
    entrance: Entrance,
}

impl HttpDoor {
    /// Serves `listeners` until the door is closed.
    pub(crate) fn open(env: &Env, measured: Arc<Measured>, listeners: Vec<Box<dyn Listener>>) -> HttpDoor {
        let entrance = Entrance::new(env, "http", HTTP_CONNECTIONS_MAX);
        let door = HttpDoor { clock: Arc::clone(&env.clock), measured, entrance };
        let serving = door.clone();
        door.entrance.accept(listeners, move |_, stream| serving.clone().serve(stream));
        door
    }

    /// Stops accepting, closes every connection, waits for that.
    pub(crate) async fn close(&self) {
        self.entrance.close().await;
    }

    async fn serve(self, stream: Box<dyn NetStream>) {
        let measured = Arc::clone(&self.measured);
        let service = service_fn(move |request: Request<Incoming>| {
            let page = page(&measured, request.method(), request.uri().path());
            std::future::ready(Ok::<_, Infallible>(page))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let (mut connection, ending) = (pin!(connection), self.entrance.ending());
        tokio::select! {
            biased;
            () = ending.cancelled() => {}
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an HTTP connection broke");
                }
            }
            () = self.clock.sleep(CONNECTION_PATIENCE) => {}
        }
    }
}

fn page(measured: &Arc<Measured>, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let known = matches!(path, "/healthz" | "/readyz" | "/metrics");
    if known && method != Method::GET && method != Method::HEAD {
        let mut refused = answer(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n".to_owned());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/healthz" => answer(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => {
            let ready = measured.readiness.is_ready();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            answer(status, measured.readiness.word().to_owned())
        }
        "/metrics" => match measured.text() {
            Ok(text) => {
                let mut page = answer(StatusCode::OK, text);
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                page
            }
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => answer(StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n".to_owned()),
    }
}

fn answer(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
