//! The client: the servers it knows, its channels, and how a call is made and retried.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millrace_env::Env;
use millrace_proto::v1;
use millrace_types::{ErrorCode, Outcome};
use parking_lot::Mutex;

use crate::backoff::Backoff;
use crate::connection::{self, Rpc};
use crate::consumer::ConsumerBuilder;
use crate::metadata::TopicCache;
use crate::producer::ProducerBuilder;
use crate::reader::ReaderBuilder;
use crate::whereabouts::Whereabouts;
use crate::{Admin, ClientError, ClientOptions};

pub(crate) mod look_up;

/// How long a server that is reached may take for its first answer, before the next one is tried.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How often a call goes at once to where it was sent: brokers that send it to each other are given a moment.
pub(crate) const REDIRECTS_MAX: u32 = 2;
/// The most addresses that channels are kept for; a cluster has fewer brokers.
const CHANNELS_MAX: usize = 1024;

/// A connection to a cluster. Cloning is cheap and shares everything.
///
/// A server that stops answering is left for the next one of the list, and every call that can be repeated without
/// harm is, until [`ClientOptions::request_timeout`]: a broker that restarts is waited for.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: ClientOptions,
    /// Those that the client was told, and behind them the others of their cluster.
    servers: Mutex<Vec<String>>,
    /// How many it was told.
    bootstrap: usize,
    /// Which of `servers` is asked first.
    home: AtomicUsize,
    /// Which of them is asked next who leads.
    turn: AtomicUsize,
    channels: Mutex<BTreeMap<String, Rpc>>,
    topics: TopicCache,
    whereabouts: Whereabouts,
}

/// Who can answer a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whom<'a> {
    /// Every broker.
    Any,
    /// The coordinator of that group.
    Coordinator(&'a str),
}

/// Which failed calls are made again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Retry {
    /// Repeating does no harm.
    Always,
    /// Only a call that certainly did nothing.
    Definite,
}

impl Client {
    /// Connects: asks each of `servers` (`host:port`) in turn until one answers.
    ///
    /// # Errors
    /// [`ClientError::Config`] for an address or option that is not allowed; otherwise why the last server did not
    /// answer.
    pub async fn connect<S>(
        servers: impl IntoIterator<Item = S>,
        options: ClientOptions,
    ) -> Result<Client, ClientError>
    where
        S: Into<String>,
    {
        let client = Client::lazy(servers, options)?;
        // A broker that is reached may be busy.
        let limit = client.inner.options.connect_timeout.max(ANSWER_PATIENCE);
        let mut last = None;
        for _ in 0..client.inner.bootstrap {
            let server = client.home();
            let asked = client.attempt(
                &server,
                limit,
                v1::DescribeClusterRequest {},
                &|mut rpc: Rpc, request| async move { rpc.describe_cluster(request).await },
            );
            match asked.await {
                Ok(cluster) => {
                    client.learn_brokers(cluster);
                    return Ok(client);
                }
                Err(error) => {
                    client.leave(&server);
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(no_servers))
    }

    /// A client that dials nothing before its first call. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Config`] for an address or option that is not allowed.
    pub fn lazy<S>(
        servers: impl IntoIterator<Item = S>,
        options: ClientOptions,
    ) -> Result<Client, ClientError>
    where
        S: Into<String>,
    {
        let servers: Vec<String> = servers.into_iter().map(Into::into).collect();
        servers.iter().try_for_each(|server| connection::check_address(server))?;
        options.client_id_header()?;
        if servers.is_empty() {
            return Err(no_servers());
        }
        let bootstrap = servers.len();
        Ok(Client {
            inner: Arc::new(Inner {
                options,
                servers: Mutex::new(servers),
                bootstrap,
                home: AtomicUsize::new(0),
                turn: AtomicUsize::new(0),
                channels: Mutex::new(BTreeMap::new()),
                topics: TopicCache::default(),
                whereabouts: Whereabouts::default(),
            }),
        })
    }

    /// Topics, offsets, groups and the cluster.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// Sets up a producer.
    #[must_use]
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    /// Sets up a reader.
    #[must_use]
    pub fn reader(&self) -> ReaderBuilder {
        ReaderBuilder::new(self.clone())
    }

    /// Sets up a consumer: a member of that group, which shares the partitions of its topics with the others.
    #[must_use]
    pub fn consumer(&self, group: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), group.into())
    }

    /// How this client behaves.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    pub(crate) fn env(&self) -> &Env {
        &self.inner.options.env
    }

    pub(crate) fn topics(&self) -> &TopicCache {
        &self.inner.topics
    }

    pub(crate) fn whereabouts(&self) -> &Whereabouts {
        &self.inner.whereabouts
    }

    /// The server that is asked first.
    pub(crate) fn home(&self) -> String {
        self.server(self.inner.home.load(Ordering::Relaxed))
    }

    fn server(&self, index: usize) -> String {
        let servers = self.inner.servers.lock();
        servers.get(index % servers.len().max(1)).cloned().unwrap_or_default()
    }

    /// The servers in turn.
    fn next_server(&self) -> String {
        self.server(self.inner.turn.fetch_add(1, Ordering::Relaxed))
    }

    /// Asks the next server of the list from now on, unless someone else has left `server` already. What it leads and
    /// coordinates may be another's.
    pub(crate) fn leave(&self, server: &str) {
        self.inner.whereabouts.lost(server);
        let index = self.inner.home.load(Ordering::Relaxed);
        if self.home() == server {
            let next = index.wrapping_add(1);
            // Whoever loses this race has left the same server.
            let _ = self.inner.home.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whom to ask about a group.
    pub(crate) fn coordinator(&self, group: &str) -> String {
        self.inner.whereabouts.coordinator(group).unwrap_or_else(|| self.home())
    }

    /// Notes what the failure of a call about a group says of where to ask for it; answers whether another broker was named.
    pub(crate) fn heed_coordinator(&self, group: &str, server: &str, error: &ClientError) -> bool {
        if error.code() == Some(ErrorCode::NotCoordinator) {
            self.inner.whereabouts.not_coordinator(group, error.leader());
        } else if deserves_another_server(error) {
            self.leave(server);
        }
        error.leader().is_some_and(|named| named != server)
    }

    /// The channel to `server`, kept for the next call.
    pub(crate) fn rpc(&self, server: &str) -> Result<Rpc, ClientError> {
        let mut channels = self.inner.channels.lock();
        if let Some(rpc) = channels.get(server) {
            return Ok(rpc.clone());
        }
        if channels.len() >= CHANNELS_MAX {
            channels.pop_first();
        }
        let rpc = connection::open(server, &self.inner.options)?;
        channels.insert(server.to_owned(), rpc.clone());
        Ok(rpc)
    }

    /// One attempt at `server`, at most `limit` long.
    pub(crate) async fn attempt<Q, A, F, Fut>(
        &self,
        server: &str,
        limit: Duration,
        request: Q,
        send: &F,
    ) -> Result<A, ClientError>
    where
        F: Fn(Rpc, tonic::Request<Q>) -> Fut,
        Fut: Future<Output = Result<tonic::Response<A>, tonic::Status>>,
    {
        let mut request = tonic::Request::new(request);
        request.set_timeout(limit);
        let answer = send(self.rpc(server)?, request);
        tokio::select! {
            biased;
            answer = answer => match answer {
                Ok(answer) => Ok(answer.into_inner()),
                Err(status) => Err(ClientError::of_status(server, &status)),
            },
            () = self.env().clock.sleep(limit) => {
                Err(ClientError::TimedOut { server: server.to_owned(), after: limit })
            }
        }
    }

    /// A call to whichever server answers, repeated with pauses until it succeeds, fails for good, or
    /// `request_timeout` is over.
    pub(crate) async fn call<Q, A, F, Fut>(&self, retry: Retry, request: Q, send: F) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Fn(Rpc, tonic::Request<Q>) -> Fut,
        Fut: Future<Output = Result<tonic::Response<A>, tonic::Status>>,
    {
        self.call_whom(Whom::Any, retry, request, send).await
    }

    /// The same to whoever coordinates a group.
    pub(crate) async fn call_coordinator<Q, A, F, Fut>(
        &self,
        group: &str,
        retry: Retry,
        request: Q,
        send: F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Fn(Rpc, tonic::Request<Q>) -> Fut,
        Fut: Future<Output = Result<tonic::Response<A>, tonic::Status>>,
    {
        self.call_whom(Whom::Coordinator(group), retry, request, send).await
    }

    async fn call_whom<Q, A, F, Fut>(
        &self,
        whom: Whom<'_>,
        retry: Retry,
        request: Q,
        send: F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Fn(Rpc, tonic::Request<Q>) -> Fut,
        Fut: Future<Output = Result<tonic::Response<A>, tonic::Status>>,
    {
        let clock = &self.env().clock;
        let deadline = clock.monotonic().after(self.inner.options.request_timeout);
        let mut backoff = Backoff::new(&self.inner.options);
        let (mut named, mut redirects) = (None, 0);
        loop {
            let server = named.take().unwrap_or_else(|| match whom {
                Whom::Any => self.home(),
                Whom::Coordinator(group) => self.coordinator(group),
            });
            let left = deadline.since(clock.monotonic());
            let error = match self.attempt(&server, left, request.clone(), &send).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_redirect = match whom {
                Whom::Any => {
                    if deserves_another_server(&error) {
                        self.leave(&server);
                    }
                    named = error.leader().map(str::to_owned);
                    named.is_some()
                }
                Whom::Coordinator(group) => self.heed_coordinator(group, &server, &error),
            };
            redirects += u32::from(is_redirect);
            let is_at_once = is_redirect && redirects <= REDIRECTS_MAX;
            let pause = if is_at_once { Duration::ZERO } else { backoff.next(&*self.env().rng) };
            let late = clock.monotonic().after(pause) >= deadline;
            if late || !is_worth_repeating(&error, retry) {
                return Err(error);
            }
            tracing::debug!(%server, %error, ?pause, "asking again");
            clock.sleep(pause).await;
        }
    }
}

fn no_servers() -> ClientError {
    ClientError::Config { what: "servers".to_owned(), reason: "the list is empty".to_owned() }
}

/// Whether `error` says more about the server than about the request.
pub(crate) fn deserves_another_server(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::Lost { .. } | ClientError::TimedOut { .. } => true,
        _ => error.code() == Some(ErrorCode::ShuttingDown),
    }
}

fn is_worth_repeating(error: &ClientError, retry: Retry) -> bool {
    // A topic that does not exist is an answer; whoever has reason to expect the topic asks again.
    let is_answer = error.code() == Some(ErrorCode::UnknownTopicOrPartition);
    let is_harmless = retry == Retry::Always || error.outcome() == Outcome::Definite;
    error.is_retriable() && is_harmless && !is_answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_fails_is_left_for_the_next_one_and_only_once() {
        let client = Client::lazy(["a:1", "b:1"], ClientOptions::default()).unwrap();
        assert_eq!(client.home(), "a:1");
        client.leave("a:1");
        client.leave("a:1");
        assert_eq!(client.home(), "b:1");
        client.leave("b:1");
        assert_eq!(client.home(), "a:1");
    }

    #[tokio::test]
    async fn no_server_and_no_address_are_refused_at_once() {
        assert!(Client::lazy(Vec::<String>::new(), ClientOptions::default()).is_err());
        assert!(Client::lazy(["nonsense"], ClientOptions::default()).is_err());
    }

    #[tokio::test]
    async fn nobody_there_is_a_definite_error() {
        let env = millrace_env::real::env();
        let listener = env.net.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let server = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = Client::connect([server], ClientOptions::default()).await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
        assert_eq!(error.outcome(), Outcome::Definite);
    }

    #[test]
    fn only_harmless_calls_are_repeated_after_a_lost_answer() {
        let lost = ClientError::Lost { server: "a:1".to_owned(), reason: "reset".to_owned() };
        assert!(is_worth_repeating(&lost, Retry::Always));
        assert!(!is_worth_repeating(&lost, Retry::Definite));
    }
}
