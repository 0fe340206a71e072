//! The way to other brokers: a call becomes a message, goes by the right connection, and has an answer or a reason.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use millrace_broker::{
    CallError, Peer, PeerAnswer, PeerCall, PeerError, Peers, QuorumAnswer, QuorumNetwork, QuorumRequest,
};
use millrace_env::{BoxFuture, Env, Tasks};
use millrace_proto::error_of;
use millrace_proto::internal;
use millrace_proto::internal::internal_client::InternalClient;
use millrace_types::limits::{
    PEER_ADDRESSES_MAX, PEER_FETCH_BYTES_MAX, PEER_PART_BYTES, PEER_PARTS_BYTES_MAX,
};
use parking_lot::Mutex;
use tonic::Status;

use super::calls::{Message, decide_answer};
use super::fetches::fetch_answer;
use super::link::{Link, LinkError, Way};
use super::quorum_calls::{answer_of, parts_of};
use super::wire::api_error;

/// The way to other brokers, over gRPC.
#[derive(Clone, Debug)]
pub struct InternalPeers {
    env: Env,
    /// Where the connections for what decides are driven.
    control: Option<Arc<dyn Tasks>>,
    links: Arc<Mutex<BTreeMap<String, Links>>>,
}

/// The connections to one broker.
#[derive(Clone, Debug)]
struct Links {
    /// For what decides.
    control: Arc<Link>,
    /// For what is large.
    data: Arc<Link>,
}

impl Links {
    fn new(env: &Env, control: Option<&Arc<dyn Tasks>>, address: &str) -> Links {
        let mut deciding = env.clone();
        if let Some(tasks) = control {
            deciding.tasks = Arc::clone(tasks);
        }
        let link = |env| Arc::new(Link::new(env, address));
        Links { control: link(deciding), data: link(env.clone()) }
    }

    fn is_up(&self) -> bool {
        self.control.is_up() || self.data.is_up()
    }
}

/// Why a call has no answer: a status in which the broker or the connection says so, or an answer that makes no sense.
#[derive(Debug)]
enum Failure {
    Status(Box<Status>),
    Senseless(String),
    TimeOver { sent: bool },
}

impl InternalPeers {
    /// No connection is made before the first call.
    #[must_use]
    pub fn new(env: Env) -> InternalPeers {
        InternalPeers { env, control: None, links: Arc::default() }
    }

    /// Drives the connections for what decides by `tasks`, apart from those for records.
    #[must_use]
    pub fn deciding_on(self, tasks: Arc<dyn Tasks>) -> InternalPeers {
        InternalPeers { control: Some(tasks), ..self }
    }

    fn links(&self, address: &str) -> Links {
        let mut links = self.links.lock();
        if let Some(found) = links.get(address) {
            return found.clone();
        }
        if links.len() >= PEER_ADDRESSES_MAX {
            // Brokers move, and nobody says of an address that it will not be asked any more.
            links.retain(|_, links| links.is_up());
        }
        if links.len() >= PEER_ADDRESSES_MAX {
            links.pop_first();
        }
        links
            .entry(address.to_owned())
            .or_insert_with(|| Links::new(&self.env, self.control.as_ref(), address))
            .clone()
    }

    /// Carries out `call` with a client over `link`.
    async fn through<T, F>(
        &self,
        link: Arc<Link>,
        address: &str,
        within: Duration,
        call: impl FnOnce(InternalClient<Way>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let origin = Uri::try_from(format!("http://{address}"));
        let origin = origin.map_err(|error| {
            let why = LinkError::NotSent(format!("not of the form host:port: {error}"));
            Failure::Status(Box::new(Status::from_error(Box::new(why))))
        })?;
        let way = Way::by(link);
        let sent = Arc::clone(&way.sent);
        let client = InternalClient::with_origin(way, origin).max_decoding_message_size(PEER_FETCH_BYTES_MAX);
        tokio::select! {
            biased;
            done = call(client) => done,
            () = self.env.clock.sleep(within) => {
                Err(Failure::TimeOver { sent: sent.load(Ordering::Relaxed) })
            }
        }
    }

    async fn carry(self, address: String, call: PeerCall, within: Duration) -> Result<PeerAnswer, PeerError> {
        let links = self.links(&address);
        let answer = match Message::from(call) {
            Message::Decide(message) => {
                let ask = async move |mut client: InternalClient<Way>| {
                    let answer = client.decide(message).await.map_err(status)?.into_inner();
                    decide_answer(answer).map_err(|error| Failure::Senseless(error.to_string()))
                };
                self.through(links.control, &address, within, |client| Box::pin(ask(client))).await
            }
            Message::Fetch(message) => {
                let ask = async move |mut client: InternalClient<Way>| {
                    let answer = client.fetch(message).await.map_err(status)?.into_inner();
                    let fetched = fetch_answer(answer);
                    fetched.map(PeerAnswer::Fetched).map_err(|error| Failure::Senseless(error.to_string()))
                };
                self.through(links.data, &address, within, |client| Box::pin(ask(client))).await
            }
            Message::Records(message) => {
                let ask = async move |mut client: InternalClient<Way>| {
                    let answer = client.records(message).await.map_err(status)?.into_inner();
                    Ok(PeerAnswer::Records(answer.batches))
                };
                self.through(links.data, &address, within, |client| Box::pin(ask(client))).await
            }
        };
        answer.map_err(|failure| peer_error(failure, address, within))
    }

    async fn carry_quorum(
        self,
        address: String,
        request: QuorumRequest,
        within: Duration,
    ) -> Result<QuorumAnswer, CallError> {
        let links = self.links(&address);
        let request = Bytes::from(request.encode());
        let reply = if request.len() <= PEER_PART_BYTES {
            let ask = async move |mut client: InternalClient<Way>| {
                let call = internal::QuorumCall { request };
                client.quorum(call).await.map(tonic::Response::into_inner).map_err(status)
            };
            self.through(links.control, &address, within, |client| Box::pin(ask(client))).await
        } else if request.len() <= PEER_PARTS_BYTES_MAX {
            let ask = async move |mut client: InternalClient<Way>| {
                let parts = tokio_stream::iter(parts_of(request));
                client.quorum_parts(parts).await.map(tonic::Response::into_inner).map_err(status)
            };
            self.through(links.data, &address, within, |client| Box::pin(ask(client))).await
        } else {
            let bytes = request.len();
            return Err(CallError::Protocol(format!("{bytes} bytes, {PEER_PARTS_BYTES_MAX} at most")));
        };
        match reply {
            Ok(reply) => answer_of(reply),
            Err(failure) => Err(call_error(failure, address, within)),
        }
    }
}

fn status(status: Status) -> Failure {
    Failure::Status(Box::new(status))
}

fn peer_error(failure: Failure, address: String, within: Duration) -> PeerError {
    let status = match failure {
        Failure::Senseless(why) => return PeerError::NoAnswer { address, why },
        Failure::TimeOver { sent } => {
            let why = format!("not within {} ms", within.as_millis());
            return match sent {
                true => PeerError::NoAnswer { address, why },
                false => PeerError::Unreachable { address, why },
            };
        }
        Failure::Status(status) => status,
    };
    match unsent(&status) {
        Some(why) => PeerError::Unreachable { address, why: why.to_owned() },
        None => match error_of(&status) {
            Some(error) => PeerError::Refused(api_error(error)),
            None => PeerError::NoAnswer { address, why: status.message().to_owned() },
        },
    }
}

fn call_error(failure: Failure, address: String, within: Duration) -> CallError {
    match peer_error(failure, address, within) {
        // The request itself was not understood.
        PeerError::Refused(error) => CallError::Protocol(error.to_string()),
        error @ PeerError::Unreachable { .. } => CallError::Unreachable(error.to_string()),
        error @ PeerError::NoAnswer { .. } => CallError::NoAnswer(error.to_string()),
    }
}

/// Why a call certainly was not heard, if that is so.
fn unsent(status: &Status) -> Option<&str> {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        match error.downcast_ref::<LinkError>() {
            Some(LinkError::NotSent(why)) => return Some(why),
            Some(LinkError::Broken(_)) => return None,
            None => source = error.source(),
        }
    }
    None
}

impl QuorumNetwork for InternalPeers {
    fn call(
        &self,
        to: &Peer,
        request: QuorumRequest,
        within: Duration,
    ) -> BoxFuture<Result<QuorumAnswer, CallError>> {
        Box::pin(self.clone().carry_quorum(to.address.clone(), request, within))
    }
}

impl Peers for InternalPeers {
    fn ask(
        &self,
        address: &str,
        call: PeerCall,
        within: Duration,
    ) -> BoxFuture<Result<PeerAnswer, PeerError>> {
        Box::pin(self.clone().carry(address.to_owned(), call, within))
    }

    fn tasks(&self) -> Option<Arc<dyn Tasks>> {
        self.control.clone()
    }
}
