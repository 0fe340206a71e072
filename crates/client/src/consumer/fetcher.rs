//! The task that reads: fetches for the partitions that are open and not paused, within a bound on memory.
//!
//! It follows what the state wants: each partition that is to be read has a *feed*, a number that changes whenever it is sought,
//! paused, let go or taken up. What comes of a feed that is over is thrown away. A fetch that waits at the broker is given up when
//! there is something new to ask for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use millrace_env::Monotonic;
use millrace_proto::v1;
use millrace_record::Batch;
use millrace_types::{ErrorCode, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::starts::{Starts, topic_info};
use super::state::{Chunk, Shared, Then};
use crate::backoff::Backoff;
use crate::client::deserves_another_server;
use crate::connection::Rpc;
use crate::reader::cursor::{Cursor, CursorRules, Verdict};
use crate::reader::{FetchRules, OnOutOfRange};
use crate::{Client, ClientError, Position, Refusal};

/// An answer, or why there is none.
struct Fetched {
    server: String,
    feeds: Vec<u64>,
    memory: Option<OwnedSemaphorePermit>,
    begun: Monotonic,
    result: Result<v1::FetchResponse, ClientError>,
}

type Fetches = FuturesUnordered<BoxFuture<'static, Fetched>>;

/// A feed.
struct Feed {
    key: TopicPartition,
    cursor: Cursor,
}

/// The task's state.
pub(super) struct Fetcher {
    client: Client,
    shared: Arc<Shared>,
    rules: FetchRules,
    isolation: v1::Isolation,
    starts: Starts,
    feeds: BTreeMap<u64, Feed>,
    memory: Arc<Semaphore>,
    backoff: Backoff,
    start_backoff: Backoff,
    /// Which feed is asked for first: an answer is filled in the order of the request.
    rotation: usize,
    look_up_after: Monotonic,
}

impl Fetcher {
    pub(super) fn new(rules: FetchRules, isolation: v1::Isolation, starts: Starts) -> Fetcher {
        let client = starts.client.clone();
        Fetcher {
            shared: Arc::clone(&starts.shared),
            rules,
            isolation,
            starts,
            feeds: BTreeMap::new(),
            memory: Arc::new(Semaphore::new(rules.prefetch_bytes)),
            backoff: Backoff::following(client.options()),
            start_backoff: Backoff::new(client.options()),
            rotation: 0,
            look_up_after: Monotonic::default(),
            client,
        }
    }

    /// Runs until it is stopped.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut fetches = Fetches::new();
        let mut look_up: Option<BoxFuture<'static, bool>> = None;
        loop {
            if self.follow() {
                // The new ones must not wait for what waits at the broker.
                fetches.clear();
                self.feeds.values_mut().for_each(|feed| feed.cursor.is_busy = false);
            }
            let now = self.now();
            let mut wants_start = false;
            if look_up.is_none() {
                let seekers = self.starts.seekers();
                wants_start = !seekers.is_empty();
                if wants_start && self.look_up_after <= now {
                    look_up = Some(Box::pin(self.starts.clone().look_up(seekers)));
                }
            }
            self.begin(now, &mut fetches);
            let nap = self.nap(now, wants_start && look_up.is_none());
            tokio::select! {
                biased;
                () = shared.work.notified() => {}
                is_complete = pending_or(&mut look_up) => self.on_looked_up(is_complete),
                Some(fetched) = fetches.next(), if !fetches.is_empty() => self.on_fetched(fetched),
                () = nap => {}
            }
        }
    }

    fn now(&self) -> Monotonic {
        self.client.env().clock.monotonic()
    }

    /// Begins the feeds that the state wants and ends the others; answers whether there is a new one.
    fn follow(&mut self) -> bool {
        let rules = CursorRules {
            on_out_of_range: self.rules.on_out_of_range,
            give_up_after: self.rules.give_up_after,
        };
        let state = self.shared.lock();
        let mut wanted = BTreeSet::new();
        let mut has_new = false;
        for (key, held) in &state.held {
            let (Some(feed), Some(position)) = (held.feed, held.position) else { continue };
            wanted.insert(feed);
            self.feeds.entry(feed).or_insert_with(|| {
                has_new = true;
                let topic = topic_info(*key, &held.name);
                let cursor = Cursor::new(topic, key.partition, (position, None), rules);
                Feed { key: *key, cursor: cursor.after(held.last_epoch) }
            });
        }
        drop(state);
        self.feeds.retain(|feed, _| wanted.contains(feed));
        has_new
    }

    fn on_looked_up(&mut self, is_complete: bool) {
        if is_complete {
            self.start_backoff.reset();
        } else {
            let pause = self.start_backoff.next(&*self.client.env().rng);
            self.look_up_after = self.now().after(pause);
        }
    }

    /// Completes when the next pause ends.
    fn nap(&self, now: Monotonic, wants_start: bool) -> impl Future<Output = ()> + use<> {
        let waiting = self.feeds.values().map(|feed| &feed.cursor);
        let waiting = waiting.filter(|cursor| !cursor.is_ended() && !cursor.is_busy);
        let ends = waiting.map(|cursor| cursor.paused_until).chain(wants_start.then_some(self.look_up_after));
        let end = ends.filter(|until| *until > now).min();
        let clock = Arc::clone(&self.client.env().clock);
        async move {
            match end {
                Some(end) => clock.sleep(end.since(now)).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Begins a fetch at every broker that has partitions to be fetched and no fetch on its way.
    fn begin(&mut self, now: Monotonic, fetches: &mut Fetches) {
        let busy = self.feeds.values().filter(|feed| feed.cursor.is_busy);
        let busy: BTreeSet<String> = busy.map(|feed| feed.cursor.server.clone()).collect();
        self.rotation = (self.rotation + 1) % self.feeds.len().max(1);
        let numbers: Vec<u64> = self.feeds.keys().copied().collect();
        let (last, first) = numbers.split_at(self.rotation.min(numbers.len()));
        let mut due: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for number in first.iter().chain(last).copied() {
            let feed = self.feeds.get_mut(&number).filter(|feed| feed.cursor.is_due(now));
            let Some(server) = feed.and_then(|feed| feed.cursor.server_now(&self.client, now)) else {
                continue;
            };
            if !busy.contains(&server) {
                due.entry(server).or_default().push(number);
            }
        }
        for (server, feeds) in due {
            let fetch = self.fetch(server, feeds, now);
            fetches.push(fetch);
        }
    }

    fn fetch(&mut self, server: String, feeds: Vec<u64>, now: Monotonic) -> BoxFuture<'static, Fetched> {
        let mut partitions = Vec::with_capacity(feeds.len());
        for number in &feeds {
            if let Some(feed) = self.feeds.get_mut(number) {
                feed.cursor.begin(&server);
                partitions.push(feed.cursor.request());
            }
        }
        let request = v1::FetchRequest {
            partitions,
            max_bytes: u32::try_from(self.rules.fetch_bytes).unwrap_or(u32::MAX),
            min_bytes: 1,
            max_wait_ms: u32::try_from(self.rules.wait_max.as_millis()).unwrap_or(u32::MAX),
            isolation: self.isolation.into(),
            format: v1::FetchFormat::Batches.into(),
        };
        let limit = self.rules.wait_max.saturating_add(self.client.options().request_timeout);
        let (client, memory) = (self.client.clone(), Arc::clone(&self.memory));
        let wanted = u32::try_from(self.rules.fetch_bytes).unwrap_or(u32::MAX);
        Box::pin(async move {
            // Nothing is asked for that there is no room for.
            let memory = memory.acquire_many_owned(wanted).await.ok();
            let send = |mut rpc: Rpc, request| async move { rpc.fetch(request).await };
            let result = client.attempt(&server, limit, request, &send).await;
            Fetched { server, feeds, memory, begun: now, result }
        })
    }

    fn on_fetched(&mut self, fetched: Fetched) {
        let Fetched { server, feeds, mut memory, begun, result } = fetched;
        for number in &feeds {
            if let Some(feed) = self.feeds.get_mut(number) {
                feed.cursor.is_busy = false;
            }
        }
        let answer = match result {
            Ok(answer) if answer.partitions.len() == feeds.len() => answer,
            Ok(answer) => {
                let (answers, questions) = (answer.partitions.len(), feeds.len());
                let error =
                    ClientError::Answer(format!("{answers} partitions answered, {questions} asked for"));
                return self.on_call_failed(&server, &feeds, &error);
            }
            Err(error) => return self.on_call_failed(&server, &feeds, &error),
        };
        let is_empty = answer.partitions.iter().all(|p| p.batches.is_empty() && p.error.is_none());
        let is_early = self.now().since(begun) < self.rules.wait_max / 2;
        // A broker that answers nothing at once would otherwise be asked in a busy loop.
        let pause_until = (is_empty && is_early).then(|| self.now().after(self.client.options().backoff_min));
        let mut is_well = true;
        for (number, partition) in feeds.into_iter().zip(answer.partitions) {
            if let (Some(until), Some(feed)) = (pause_until, self.feeds.get_mut(&number)) {
                feed.cursor.paused_until = until;
            }
            is_well &= partition.error.is_none();
            self.on_partition(number, partition, &mut memory);
        }
        if is_well {
            self.backoff.reset();
        }
    }

    fn on_partition(
        &mut self,
        number: u64,
        mut answer: v1::PartitionFetched,
        memory: &mut Option<OwnedSemaphorePermit>,
    ) {
        let now = self.now();
        let Some(feed) = self.feeds.get_mut(&number) else { return };
        let (key, cursor) = (feed.key, &mut feed.cursor);
        if let Some(error) = answer.error.take() {
            let refusal = Refusal::of(error);
            let pause = self.backoff.next(&*self.client.env().rng);
            tracing::debug!(topic = %cursor.topic.name, partition = %cursor.partition, %refusal, "a fetch was refused");
            cursor.paused_until = now.after(pause);
            self.client.heed(Some(cursor.at()), &refusal);
            let verdict = cursor.on_refusal(refusal, now);
            return self.obey(number, key, verdict);
        }
        let before = cursor.next;
        let taken = cursor.take(answer);
        let next = cursor.next;
        let bytes: usize = taken.batches.iter().map(Batch::size).sum();
        let memory = memory.as_mut().and_then(|memory| memory.split(bytes.min(memory.num_permits())));
        let mut state = self.shared.lock();
        if let (Some(seen), Some(held)) = (taken.high_watermark, state.held.get_mut(&key)) {
            held.high_watermark = Some(seen);
        }
        if next > before || taken.failure.is_some() {
            let then = taken.failure.map_or(Then::More, Then::Failed);
            let batches = taken.batches.into();
            state.push(Chunk { key, feed: number, batches, next, memory, then });
        }
    }

    /// What was fetched before an error is handed out before it.
    fn obey(&mut self, number: u64, key: TopicPartition, verdict: Verdict) {
        let Some(Feed { cursor, .. }) = self.feeds.get_mut(&number) else { return };
        let then = match verdict {
            Verdict::Retry => return,
            Verdict::Reset => {
                tracing::warn!(topic = %cursor.topic.name, partition = %cursor.partition, from = %cursor.next,
                    "the offset is out of range: going on from another one");
                cursor.stop();
                Then::Misplaced(match self.rules.on_out_of_range {
                    OnOutOfRange::Latest => Position::End,
                    OnOutOfRange::Earliest | OnOutOfRange::Error => Position::Beginning,
                })
            }
            // The coordinator takes away what does not exist any more.
            Verdict::Fail(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                tracing::debug!(%error, "a partition is read no more");
                return;
            }
            Verdict::Fail(error) => Then::Failed(error),
        };
        let (batches, next) = (VecDeque::new(), cursor.next);
        self.shared.lock().push(Chunk { key, feed: number, batches, next, memory: None, then });
    }

    fn on_call_failed(&mut self, server: &str, feeds: &[u64], error: &ClientError) {
        let pause = self.backoff.next(&*self.client.env().rng);
        tracing::debug!(%server, %error, ?pause, "a fetch failed");
        if deserves_another_server(error) {
            self.client.leave(server);
        }
        let now = self.now();
        for number in feeds.iter().copied() {
            let Some(feed) = self.feeds.get_mut(&number) else { continue };
            let (key, cursor) = (feed.key, &mut feed.cursor);
            cursor.paused_until = now.after(pause);
            let verdict = match error {
                ClientError::Refused(refusal) => cursor.on_refusal(refusal.clone(), now),
                ClientError::Answer(reason) => {
                    cursor.stop();
                    Verdict::Fail(cursor.corrupt(reason.clone()))
                }
                _ => cursor.on_failure(&error.to_string(), now),
            };
            self.obey(number, key, verdict);
        }
    }
}

/// The future's outcome, and the place empty again; never, if there is none.
pub(super) async fn pending_or<T>(place: &mut Option<BoxFuture<'static, T>>) -> T {
    match place {
        Some(future) => {
            let outcome = future.await;
            *place = None;
            outcome
        }
        None => std::future::pending().await,
    }
}
