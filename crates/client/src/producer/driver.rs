//! The producer's task: takes batches from the accumulator, sends them along their lanes, settles their outcomes.
//!
//! All decisions about a partition are the lane's; this file moves bytes between lanes and connections and keeps
//! the time.

mod servers;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use millrace_env::Monotonic;
use millrace_proto::v1;
use millrace_types::{ErrorCode, Outcome, ProducerEpoch, ProducerId, TopicPartition};
use tokio::sync::mpsc;

use self::servers::Shunned;
use super::accumulator::{Collected, Ticket};
use super::config::ProducerConfig;
use super::delivery::BatchAck;
use super::lane::{Lane, Settled};
use super::stamp::Identity;
use super::stream::{Event, Stream};
use super::wire::{ack_of, describe, is_of, partition_produce};
use super::{ProduceError, Shared};
use crate::backoff::Backoff;
use crate::client::look_up::LOOK_UP_PAUSE;
use crate::client::{REDIRECTS_MAX, Retry};
use crate::connection::Rpc;
use crate::metadata::TopicInfo;
use crate::{Client, ClientError, Refusal};

/// Batches of different partitions share a request up to about this size.
const REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// Events that connections may have ahead of the task.
const EVENTS_MAX: usize = 256;

/// A partition that batches were sent to.
#[derive(Debug)]
struct Route {
    lane: Lane<Ticket>,
    topic: Arc<TopicInfo>,
    /// Where the last attempt went. While one is open the next follows it: two connections keep no order.
    server: String,
    /// The pauses between refusals, and how often it was sent elsewhere since something was stored.
    backoff: Backoff,
    redirects: u32,
}

impl Route {
    /// Where the next attempt goes; `None` while that is being looked up.
    fn next_server(&self, at: TopicPartition, client: &Client) -> Option<String> {
        if self.lane.is_in_flight() { Some(self.server.clone()) } else { client.server_of(at) }
    }
}

/// The task's state.
pub(crate) struct Driver {
    client: Client,
    config: ProducerConfig,
    shared: Arc<Shared>,
    routes: BTreeMap<TopicPartition, Route>,
    /// The partitions with something on its way.
    active: BTreeSet<TopicPartition>,
    streams: BTreeMap<String, Stream>,
    next_stream: u64,
    events_in: mpsc::Sender<Event>,
    /// The newest identity; lanes keep theirs until they need another one.
    identity: Option<Identity>,
    /// Whether a lane with batches to come cannot go on without a producer id.
    wants_identity: bool,
    identity_request: Option<BoxFuture<'static, Result<Identity, ClientError>>>,
    shunned: BTreeMap<String, Shunned>,
    /// When to look again who leads, if that was not known for some partition.
    route_after: Option<Monotonic>,
}

/// Batches of several partitions for one broker.
#[derive(Default)]
struct Outgoing {
    partitions: Vec<v1::PartitionProduce>,
    attempts: Vec<(TopicPartition, u64)>,
    bytes: usize,
}

impl Driver {
    pub(crate) fn new(
        client: Client,
        config: ProducerConfig,
        shared: Arc<Shared>,
    ) -> (Driver, mpsc::Receiver<Event>) {
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let driver = Driver {
            client,
            config,
            shared,
            routes: BTreeMap::new(),
            active: BTreeSet::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            events_in,
            identity: None,
            wants_identity: false,
            identity_request: None,
            shunned: BTreeMap::new(),
            route_after: None,
        };
        (driver, events)
    }

    /// Runs until the producer is closed (or dropped) and every batch has its outcome.
    pub(crate) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        loop {
            // One time for both: what falls due between two readings of the clock would be seen by neither.
            let now = self.now();
            self.pump(now);
            if self.is_finished() {
                return;
            }
            let nap = self.next_event(now).map(|at| at.since(self.now()));
            let clock = Arc::clone(&self.client.env().clock);
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                biased;
                event = events.recv() => {
                    self.on_event(event);
                    while let Ok(event) = events.try_recv() {
                        self.on_event(Some(event));
                    }
                }
                identity = pending_or(&mut self.identity_request) => self.on_identity(identity),
                () = shared.news.notified() => {}
                () = async {
                    match nap {
                        Some(nap) => clock.sleep(nap).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    fn now(&self) -> Monotonic {
        self.client.env().clock.monotonic()
    }

    fn is_finished(&self) -> bool {
        let state = self.shared.state.lock();
        state.is_closed && state.accumulator.is_empty() && self.active.is_empty()
    }

    /// When something is to be done without an event, after everything was done that was due at `now`.
    fn next_event(&self, now: Monotonic) -> Option<Monotonic> {
        let lanes = self.active.iter().filter_map(|at| self.routes.get(at)?.lane.next_event(now));
        let timeout = self.client.options().request_timeout;
        let silent =
            self.streams.values().filter_map(|stream| Some(stream.outstanding.front()?.sent.after(timeout)));
        let streams = self.streams.values().filter_map(Stream::suspect_at).chain(silent);
        let state = self.shared.state.lock();
        let lingering = state.accumulator.next_ready(now);
        let expiring = state.accumulator.oldest().map(|since| since.after(self.config.delivery_timeout));
        let shunned = self.shunned.values().map(|shunned| shunned.connect_after);
        let connect = shunned.chain(self.route_after).filter(|at| *at > now && !self.active.is_empty());
        lanes.chain(streams).chain(lingering).chain(expiring).chain(connect).min()
    }

    /// Does everything that is due at `now`.
    fn pump(&mut self, now: Monotonic) {
        self.drop_silent_streams(now);
        self.expire(now);
        while self.fill_lanes(now) | self.send_all(now) {}
        self.request_identity();
    }

    fn expire(&mut self, now: Monotonic) {
        for at in self.active.clone() {
            if let Some(route) = self.routes.get_mut(&at) {
                route.lane.expire(now);
            }
            self.settle(at);
        }
        let after = self.config.delivery_timeout;
        let Some(before) = now.0.checked_sub(after).map(Monotonic) else { return };
        let late = self.shared.state.lock().accumulator.take_begun_before(before);
        for batch in late {
            let completion = batch.ticket.completion();
            let error = ProduceError::TimedOut {
                topic: completion.topic.clone(),
                partition: completion.partition,
                after,
                last: "it was never sent".to_owned(),
                outcome: Outcome::Definite,
            };
            self.shared.settle(batch.ticket, Err(error));
        }
    }

    /// Moves batches that are due into lanes that have room. Returns whether it moved any.
    fn fill_lanes(&mut self, now: Monotonic) -> bool {
        let ready = self.shared.state.lock().accumulator.ready(now);
        let mut moved = false;
        for at in ready {
            let Some(stamp) = self.lane_room(at, now) else { continue };
            let taken = self.shared.state.lock().accumulator.take(at, now);
            let Some((topic, batch)) = taken else { continue };
            self.push(at, topic, batch, stamp);
            moved = true;
        }
        moved
    }

    /// The stamp for the next batch of a partition, if its lane takes one; makes the lane where there is none.
    fn lane_room(&mut self, at: TopicPartition, now: Monotonic) -> Option<Option<(Identity, i32)>> {
        let route = match self.routes.entry(at) {
            Entry::Occupied(route) => route.into_mut(),
            Entry::Vacant(place) => {
                let topic = self.shared.state.lock().accumulator.topic_of(at)?;
                let lane = Lane::new(self.config.delivering(), self.config.max_in_flight);
                let backoff = Backoff::following(self.client.options());
                place.insert(Route { lane, topic, server: String::new(), backoff, redirects: 0 })
            }
        };
        if route.lane.wants_identity() {
            match self.identity {
                Some(identity) if route.lane.takes(identity) => route.lane.adopt(identity),
                _ => self.wants_identity = true,
            }
        }
        route.lane.room(now)
    }

    fn push(
        &mut self,
        at: TopicPartition,
        topic: Arc<TopicInfo>,
        batch: Collected,
        stamp: Option<(Identity, i32)>,
    ) {
        let Collected { mut builder, ticket, since } = batch;
        if let Some((identity, base_sequence)) = stamp {
            builder.set_producer(identity.at(base_sequence));
        }
        let deadline = since.after(self.config.delivery_timeout);
        let records = builder.record_count();
        match builder.build() {
            Ok(built) => {
                if let Some(route) = self.routes.get_mut(&at) {
                    route.topic = topic;
                    route.lane.push(built.into_bytes(), records, deadline, ticket);
                    self.active.insert(at);
                }
            }
            Err(error) => self.shared.settle(ticket, Err(ProduceError::Build(error.to_string()))),
        }
    }

    /// Sends one batch of every lane that may send. Returns whether it sent any.
    fn send_all(&mut self, now: Monotonic) -> bool {
        let mut outgoing: BTreeMap<String, Outgoing> = BTreeMap::new();
        let mut sent = false;
        self.route_after = None;
        for at in self.active.clone() {
            let Some(route) = self.routes.get(&at).filter(|route| route.lane.would_send(now)) else {
                continue;
            };
            let Some(server) = route.next_server(at, &self.client) else {
                self.route_after = Some(now.after(LOOK_UP_PAUSE));
                continue;
            };
            if !self.has_stream(&server, now) {
                continue;
            }
            let Some(route) = self.routes.get_mut(&at) else { continue };
            let Some(attempt) = route.lane.send(now) else { continue };
            route.server.clone_from(&server);
            let batch = outgoing.entry(server.clone()).or_default();
            batch.bytes += attempt.bytes.len();
            batch.attempts.push((at, attempt.attempt));
            batch.partitions.push(partition_produce(&route.topic, at, attempt.bytes));
            sent = true;
            if batch.bytes >= REQUEST_BYTES
                && let Some(full) = outgoing.remove(&server)
            {
                self.send_request(&server, full, now);
            }
        }
        for (server, batch) in outgoing {
            self.send_request(&server, batch, now);
        }
        sent
    }

    fn send_request(&mut self, server: &str, batch: Outgoing, now: Monotonic) {
        let request = v1::ProduceRequest {
            partitions: batch.partitions,
            durability: self.config.durability.wire().into(),
            timeout_ms: u32::try_from(self.client.options().request_timeout.as_millis()).unwrap_or(u32::MAX),
            correlation_id: 0,
        };
        if let Some(stream) = self.streams.get_mut(server) {
            stream.send(request, batch.attempts, now);
        }
    }

    fn on_event(&mut self, event: Option<Event>) {
        // The task holds a sender itself, so there always is a next event.
        match event {
            Some(Event::Answer { stream, answer }) => self.on_answer(stream, answer),
            Some(Event::Ended { stream, error }) => {
                let server =
                    self.streams.iter().find(|(_, s)| s.number == stream).map(|(server, _)| server.clone());
                if let Some(server) = server {
                    self.end_stream(&server, &error);
                }
            }
            None => {}
        }
    }

    fn on_answer(&mut self, number: u64, answer: v1::ProduceResponse) {
        let found = self.streams.iter_mut().find(|(_, stream)| stream.number == number);
        let Some((server, stream)) = found else { return };
        let server = server.clone();
        let Some(request) = stream.outstanding.pop_front() else {
            return self.end_stream(&server, &ClientError::Answer("to no request".to_owned()));
        };
        let is_silent = self.config.durability == super::Durability::None;
        let matches = is_silent || answer.partitions.len() == request.attempts.len();
        if request.correlation != answer.correlation_id || !matches {
            stream.outstanding.push_front(request);
            return self.end_stream(&server, &ClientError::Answer("to another request".to_owned()));
        }
        self.shunned.remove(&server);
        let mut answers = answer.partitions.into_iter().peekable();
        for (at, attempt) in request.attempts {
            // Without durability only what was refused at once is answered, still in the order of the request.
            let result = match answers.next_if(|produced| !is_silent || is_of(produced, at)) {
                Some(produced) => ack_of(produced),
                None => Ok(BatchAck { base_offset: None, append_time: None }),
            };
            self.on_result(at, attempt, result);
            self.settle(at);
        }
    }

    fn on_result(&mut self, at: TopicPartition, attempt: u64, result: Result<BatchAck, Refusal>) {
        let now = self.now();
        let Some(route) = self.routes.get_mut(&at) else { return };
        match result {
            Ok(ack) => {
                route.backoff.reset();
                route.redirects = 0;
                route.lane.on_ack(attempt, ack);
            }
            Err(refusal) => {
                tracing::debug!(partition = %at, %refusal, "a batch was refused");
                self.client.heed(Some(at), &refusal);
                if let Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::BatchTooLarge) = refusal.code {
                    self.client.topics().forget(route.topic.name.as_str());
                }
                // A leader that was just named is asked at once, unless brokers send us to each other; everything else gets a
                // moment.
                let named = refusal.leader.as_ref().filter(|leader| **leader != route.server);
                let is_redirect = refusal.code == Some(ErrorCode::NotLeader) && named.is_some();
                route.redirects += u32::from(is_redirect);
                let is_at_once = is_redirect && route.redirects <= REDIRECTS_MAX;
                let retry_at =
                    if is_at_once { now } else { now.after(route.backoff.next(&*self.client.env().rng)) };
                route.lane.on_refusal(attempt, refusal, now, retry_at);
            }
        }
    }

    /// Asks for a producer id where a lane waits for one.
    fn request_identity(&mut self) {
        let wants = |at| self.routes.get(at).is_some_and(|route| route.lane.wants_identity());
        let is_wanted = self.wants_identity || self.active.iter().any(wants);
        if self.identity_request.is_some() || !is_wanted {
            return;
        }
        self.wants_identity = false;
        let client = self.client.clone();
        self.identity_request = Some(Box::pin(async move {
            let send = |mut rpc: Rpc, request| async move { rpc.init_producer(request).await };
            let answer = client.call(Retry::Always, v1::InitProducerRequest {}, send).await?;
            match i16::try_from(answer.producer_epoch) {
                Ok(epoch) if answer.producer_id >= 0 && epoch >= 0 => {
                    Ok(Identity { id: ProducerId(answer.producer_id), epoch: ProducerEpoch(epoch) })
                }
                _ => Err(ClientError::Answer(format!("producer id {}", answer.producer_id))),
            }
        }));
    }

    fn on_identity(&mut self, answer: Result<Identity, ClientError>) {
        self.identity_request = None;
        match answer {
            Ok(identity) => {
                self.identity = Some(identity);
                for at in &self.active {
                    if let Some(route) = self.routes.get_mut(at).filter(|route| route.lane.takes(identity)) {
                        route.lane.adopt(identity);
                    }
                }
            }
            // The call has tried for as long as it may; it is made again as long as batches wait.
            Err(error) if error.is_retriable() => tracing::debug!(%error, "no producer id yet"),
            Err(error) => self.refuse_everything(&error),
        }
    }

    /// No producer id will ever come: what waits for one fails.
    fn refuse_everything(&mut self, error: &ClientError) {
        let mut state = self.shared.state.lock();
        let waiting = state.accumulator.take_begun_before(self.now());
        drop(state);
        for batch in waiting {
            self.shared.settle(batch.ticket, Err(ProduceError::Metadata(error.clone())));
        }
    }

    /// Tells the outcomes of a lane, and forgets it for now if nothing is on its way.
    fn settle(&mut self, at: TopicPartition) {
        let Some(route) = self.routes.get_mut(&at) else { return };
        for Settled { ticket, result } in route.lane.take_settled() {
            let after = self.config.delivery_timeout;
            let result = result.map_err(|failure| describe(failure, &ticket, after));
            self.shared.settle(ticket, result);
        }
        if route.lane.is_idle() {
            self.active.remove(&at);
        }
    }
}

async fn pending_or<T>(request: &mut Option<BoxFuture<'static, T>>) -> T {
    match request {
        Some(request) => request.await,
        None => std::future::pending().await,
    }
}
