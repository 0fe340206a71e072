//! One call: admitted, handed to its handler, and answered whatever happens.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;
use millrace_broker::DoorMetrics;
use millrace_env::{Clock, Monotonic};
use millrace_types::ErrorCode;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;

use crate::answer_body::{AnswerBody, panicked};
use crate::caller::{Caller, Peer};
use crate::error_map::refuse;
use crate::metered::Metered;
use crate::pace::Pace;
use crate::request_body::{Admission, AdmittedBody};
use crate::route::Route;
use crate::unread::Unread;

/// Where the details of a failed call travel.
const DETAILS: &str = "grpc-status-details-bin";

/// What the calls of a door share.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    pub(crate) routes: Routes,
    pub(crate) admission: Admission,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) draining: CancellationToken,
    pub(crate) metrics: DoorMetrics,
}

impl Calls {
    /// Answers one call.
    pub(crate) async fn answer(
        self: Arc<Self>,
        peer: Peer,
        unread: Arc<Unread>,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Infallible> {
        let route = Route::of(request.uri().path());
        let metered = Metered::begin(&self.metrics, route, &self.clock);
        let (mut parts, body) = request.into_parts();
        let pace = route.is_paced.then(|| Pace::new(Arc::clone(&unread)));
        let caller = Caller::of(&parts.headers, &peer, self.clock.monotonic()).paced(pace.clone());
        let permits = Arc::clone(&caller.permits);
        let deadline = caller.context.deadline;
        parts.extensions.insert(caller);
        let body = AdmittedBody::new(body, route, self.admission.clone(), Arc::clone(&permits))
            .metered(metered.api().clone());
        let request = Request::from_parts(parts, tonic::body::Body::new(body));

        let answer = self.handle(request);
        let mut response = match self.until(deadline, AssertUnwindSafe(answer).catch_unwind()).await {
            Some(Ok(response)) => response,
            Some(Err(_panic)) => panicked().into_http(),
            None => refuse(ErrorCode::TimedOut, "the client's deadline has passed").into_http(),
        };
        explain(response.headers_mut());
        let draining = route.is_side_call().then(|| self.draining.clone().cancelled_owned());
        Ok(response.map(|body| AnswerBody::new(body, permits, unread, pace).until(draining).metered(metered)))
    }

    async fn handle(&self, request: Request<tonic::body::Body>) -> Response<tonic::body::Body> {
        let Ok(response) = self.routes.clone().call(request).await;
        response
    }

    /// Waits for `work`, but not past the deadline.
    async fn until<T>(&self, deadline: Option<Monotonic>, work: impl Future<Output = T>) -> Option<T> {
        let Some(deadline) = deadline else { return Some(work.await) };
        let left = deadline.since(self.clock.monotonic());
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.clock.sleep(left) => None,
        }
    }
}

/// Gives every failed call the details that clients rely on. What fails without them failed in tonic: the method does
/// not exist, or the message is no protobuf.
fn explain(headers: &mut HeaderMap) {
    if headers.contains_key(DETAILS) {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else { return };
    let explained = match status.code() {
        Code::Ok => return,
        Code::Unimplemented => refuse(ErrorCode::Unsupported, "there is no such method"),
        Code::Internal | Code::InvalidArgument => refuse(ErrorCode::InvalidRequest, status.message()),
        _ => return,
    };
    for header in ["grpc-status", "grpc-message"] {
        headers.remove(header);
    }
    if explained.add_header(headers).is_err() {
        headers.insert("grpc-status", HeaderValue::from_static("2"));
    }
}
