//! The reader's task: keeps one fetch on its way to every broker that leads a partition, within a bound on memory.

mod subscribed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use millrace_env::Monotonic;
use millrace_proto::v1;
use millrace_record::Batch;
use millrace_types::Offset;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::cursor::{Cursor, Verdict};
use super::range::ask;
use super::{FetchRules, OnOutOfRange, ReadError};
use crate::backoff::Backoff;
use crate::client::deserves_another_server;
use crate::connection::Rpc;
use crate::{Client, ClientError, OffsetAt, OffsetQuery, Refusal};

/// What the task hands to the reader.
#[derive(Debug)]
pub(crate) enum Item {
    /// Batches of the partition with that index, and the memory that they hold.
    Batches { index: usize, batches: Vec<Batch>, memory: Option<OwnedSemaphorePermit> },
    /// The partition with that index goes on from `offset`: it was reset, or it has reached its bound and what lay
    /// before it holds no records.
    At { index: usize, offset: Offset },
    /// The partition with that index is read no more.
    Failed { index: usize, error: ReadError },
}

/// The high watermarks seen last, by index of the partition.
pub(crate) type HighWatermarks = Arc<Mutex<Vec<Option<Offset>>>>;

/// An answer, or why there is none.
struct Fetched {
    server: String,
    indexes: Vec<usize>,
    memory: Option<OwnedSemaphorePermit>,
    begun: Monotonic,
    result: Result<v1::FetchResponse, ClientError>,
}

/// The task's state.
pub(crate) struct Fetcher {
    client: Client,
    rules: FetchRules,
    cursors: Vec<Cursor>,
    high_watermarks: HighWatermarks,
    memory: Arc<Semaphore>,
    backoff: Backoff,
    /// Which partition is asked for first: an answer is filled in the order of the request.
    rotation: usize,
    items: mpsc::Sender<Item>,
    /// Where it subscribes: how many streams were begun, and which of them was the last to feed each partition.
    feeds_begun: u64,
    fed_by: BTreeMap<usize, u64>,
}

impl Fetcher {
    pub(crate) fn new(
        client: Client,
        rules: FetchRules,
        cursors: Vec<Cursor>,
        high_watermarks: HighWatermarks,
        items: mpsc::Sender<Item>,
    ) -> Fetcher {
        let memory = Arc::new(Semaphore::new(rules.prefetch_bytes));
        let backoff = Backoff::following(client.options());
        let (rotation, feeds_begun, fed_by) = (0, 0, BTreeMap::new());
        Fetcher {
            client,
            rules,
            cursors,
            high_watermarks,
            memory,
            backoff,
            rotation,
            items,
            feeds_begun,
            fed_by,
        }
    }

    /// Runs until every partition has ended, or the reader is gone.
    pub(crate) async fn run(mut self) {
        let mut fetches = FuturesUnordered::new();
        while self.cursors.iter().any(|cursor| !cursor.is_ended()) {
            let now = self.now();
            self.begin(now, &mut fetches);
            let (nap, items) = (self.nap(now), self.items.clone());
            tokio::select! {
                biased;
                () = items.closed() => return,
                Some(fetched) = fetches.next(), if !fetches.is_empty() => self.on_fetched(fetched).await,
                () = nap => {}
            }
        }
    }

    fn now(&self) -> Monotonic {
        self.client.env().clock.monotonic()
    }

    /// Completes when the next pause of a partition ends.
    fn nap(&self, now: Monotonic) -> impl Future<Output = ()> + use<> {
        let waiting = self.cursors.iter().filter(|cursor| !cursor.is_ended() && !cursor.is_busy);
        let end = waiting.map(|cursor| cursor.paused_until).filter(|until| *until > now).min();
        let clock = Arc::clone(&self.client.env().clock);
        async move {
            match end {
                Some(end) => clock.sleep(end.since(now)).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Begins a fetch at every broker that has partitions to be fetched and no fetch on its way.
    fn begin(&mut self, now: Monotonic, fetches: &mut FuturesUnordered<BoxFuture<'static, Fetched>>) {
        let busy = self.cursors.iter().filter(|cursor| cursor.is_busy);
        let busy: BTreeSet<String> = busy.map(|cursor| cursor.server.clone()).collect();
        let mut due: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let count = self.cursors.len();
        self.rotation = (self.rotation + 1) % count.max(1);
        for index in (0..count).map(|index| (index + self.rotation) % count) {
            let Some(cursor) = self.cursors.get_mut(index).filter(|cursor| cursor.is_due(now)) else {
                continue;
            };
            let Some(server) = cursor.server_now(&self.client, now) else { continue };
            if !busy.contains(&server) {
                due.entry(server).or_default().push(index);
            }
        }
        for (server, indexes) in due {
            fetches.push(self.fetch(server, indexes, now));
        }
    }

    fn fetch(&mut self, server: String, indexes: Vec<usize>, now: Monotonic) -> BoxFuture<'static, Fetched> {
        let mut partitions = Vec::with_capacity(indexes.len());
        for index in &indexes {
            if let Some(cursor) = self.cursors.get_mut(*index) {
                cursor.begin(&server);
                partitions.push(cursor.request());
            }
        }
        let request = v1::FetchRequest {
            partitions,
            max_bytes: u32::try_from(self.rules.fetch_bytes).unwrap_or(u32::MAX),
            min_bytes: 1,
            max_wait_ms: u32::try_from(self.rules.wait_max.as_millis()).unwrap_or(u32::MAX),
            isolation: v1::Isolation::Committed.into(),
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
            Fetched { server, indexes, memory, begun: now, result }
        })
    }

    async fn on_fetched(&mut self, fetched: Fetched) {
        let Fetched { server, indexes, mut memory, begun, result } = fetched;
        for index in &indexes {
            if let Some(cursor) = self.cursors.get_mut(*index) {
                cursor.is_busy = false;
            }
        }
        let answer = match result {
            Ok(answer) if answer.partitions.len() == indexes.len() => answer,
            Ok(answer) => {
                let (answers, questions) = (answer.partitions.len(), indexes.len());
                let error =
                    ClientError::Answer(format!("{answers} partitions answered, {questions} asked for"));
                return self.on_call_failed(&server, &indexes, &error).await;
            }
            Err(error) => return self.on_call_failed(&server, &indexes, &error).await,
        };
        let is_empty = answer.partitions.iter().all(|p| p.batches.is_empty() && p.error.is_none());
        let is_early = self.now().since(begun) < self.rules.wait_max / 2;
        // A broker that answers nothing at once would otherwise be asked in a busy loop.
        let pause_until = (is_empty && is_early).then(|| self.now().after(self.client.options().backoff_min));
        let mut is_well = true;
        for (index, partition) in indexes.into_iter().zip(answer.partitions) {
            if let (Some(until), Some(cursor)) = (pause_until, self.cursors.get_mut(index)) {
                cursor.paused_until = until;
            }
            is_well &= partition.error.is_none();
            self.on_partition(index, partition, &mut memory).await;
        }
        if is_well {
            self.backoff.reset();
        }
    }

    async fn on_partition(
        &mut self,
        index: usize,
        mut answer: v1::PartitionFetched,
        memory: &mut Option<OwnedSemaphorePermit>,
    ) {
        if let Some(error) = answer.error.take() {
            return self.on_partition_refused(index, Refusal::of(error)).await;
        }
        let Some(cursor) = self.cursors.get_mut(index) else { return };
        let taken = cursor.take(answer);
        if let (Some(seen), Some(place)) = (taken.high_watermark, self.high_watermarks.lock().get_mut(index))
        {
            *place = Some(seen);
        }
        if !taken.batches.is_empty() {
            let bytes: usize = taken.batches.iter().map(Batch::size).sum();
            let memory = memory.as_mut().and_then(|memory| memory.split(bytes.min(memory.num_permits())));
            self.hand_over(Item::Batches { index, batches: taken.batches, memory }).await;
        }
        match (taken.failure, taken.reached) {
            (Some(error), _) => self.hand_over(Item::Failed { index, error }).await,
            (None, Some(offset)) => self.hand_over(Item::At { index, offset }).await,
            (None, None) => {}
        }
    }

    async fn on_partition_refused(&mut self, index: usize, refusal: Refusal) {
        let now = self.now();
        let pause = self.backoff.next(&*self.client.env().rng);
        let Some(cursor) = self.cursors.get_mut(index) else { return };
        tracing::debug!(topic = %cursor.topic.name, partition = %cursor.partition, %refusal, "a fetch was refused");
        cursor.paused_until = now.after(pause);
        self.client.heed(Some(cursor.at()), &refusal);
        match cursor.on_refusal(refusal, now) {
            Verdict::Retry => {}
            Verdict::Reset => self.reset(index).await,
            Verdict::Fail(error) => self.hand_over(Item::Failed { index, error }).await,
        }
    }

    /// Finds the offset to go on from after the last one was out of range; if that fails, the next fetch asks again.
    async fn reset(&mut self, index: usize) {
        let Some(cursor) = self.cursors.get_mut(index) else { return };
        let at = match self.rules.on_out_of_range {
            OnOutOfRange::Latest => OffsetAt::Latest,
            OnOutOfRange::Earliest | OnOutOfRange::Error => OffsetAt::Earliest,
        };
        let query = OffsetQuery { topic: cursor.topic.name.to_string(), partition: cursor.partition, at };
        match ask(&self.client, &[query]).await {
            Ok(found) => {
                let next = found.into_iter().flatten().next().unwrap_or(Offset::ZERO);
                tracing::warn!(topic = %cursor.topic.name, partition = %cursor.partition, from = %cursor.next, to = %next,
                    "the offset is out of range: going on from another one");
                cursor.reset(next);
                self.hand_over(Item::At { index, offset: next }).await;
            }
            Err(error) => tracing::debug!(%error, "no offset to go on from yet"),
        }
    }

    async fn on_call_failed(&mut self, server: &str, indexes: &[usize], error: &ClientError) {
        let pause = self.backoff.next(&*self.client.env().rng);
        tracing::debug!(%server, %error, ?pause, "a fetch failed");
        if deserves_another_server(error) {
            self.client.leave(server);
        }
        let now = self.now();
        for index in indexes.iter().copied() {
            let Some(cursor) = self.cursors.get_mut(index) else { continue };
            cursor.paused_until = now.after(pause);
            let verdict = match error {
                ClientError::Refused(refusal) => cursor.on_refusal(refusal.clone(), now),
                ClientError::Answer(reason) => {
                    cursor.stop();
                    Verdict::Fail(cursor.corrupt(reason.clone()))
                }
                _ => cursor.on_failure(&error.to_string(), now),
            };
            if let Verdict::Fail(error) = verdict {
                self.hand_over(Item::Failed { index, error }).await;
            }
        }
    }

    async fn hand_over(&self, item: Item) {
        // The reader is gone if nobody takes it; the loop ends at its next turn.
        let _ = self.items.send(item).await;
    }
}

/// The default of [`FetchRules::wait_max`]: long, because a waiting fetch costs nothing and is woken at once.
pub(crate) const WAIT_MAX_DEFAULT: Duration = Duration::from_secs(5);
