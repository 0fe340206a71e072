//! The reader's task where it subscribes: one stream from every broker that leads a partition, instead of one fetch after
//! the other.
//!
//! A message counts against the prefetch memory once it is here. If there is no room for it for a while, because the caller
//! is slow, the stream is given up rather than left unread: the broker holds nothing for whoever does not read. It is opened
//! anew, from where the cursors stand, when the message has found its room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use millrace_env::Monotonic;
use millrace_proto::v1;
use millrace_proto::v1::partition_subscribe::{Begin, End};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Streaming;

use super::{Fetcher, Item};
use crate::connection::Rpc;
use crate::reader::cursor::Cursor;
use crate::{Client, ClientError};

/// How long a stream is left unread while there is no room for what it brought; less than what a broker bears.
const LAG_PATIENCE: Duration = Duration::from_secs(10);

/// What a stream brings.
#[derive(Debug)]
enum News {
    Message {
        indexes: Arc<[usize]>,
        message: v1::SubscribeResponse,
        memory: Option<OwnedSemaphorePermit>,
    },
    /// It is over: by itself, by our own doing, or with an error.
    Over {
        server: String,
        number: u64,
        indexes: Arc<[usize]>,
        error: Option<ClientError>,
    },
}

/// A stream from one broker.
struct Feed {
    client: Client,
    server: String,
    number: u64,
    items: mpsc::Sender<Item>,
    /// The cursors that it feeds, in the order of the request.
    indexes: Arc<[usize]>,
    memory: Arc<Semaphore>,
    memory_max: usize,
    state: State,
}

enum State {
    Unopened(v1::SubscribeRequest),
    Open(Streaming<v1::SubscribeResponse>),
    /// To be told as over.
    Closed(Option<ClientError>),
    Told,
}

impl Fetcher {
    /// Runs until every partition has ended, or the reader is gone.
    pub(crate) async fn run_subscribed(mut self) {
        let mut feeds: SelectAll<BoxStream<'static, News>> = SelectAll::new();
        while self.cursors.iter().any(|cursor| !cursor.is_ended()) {
            let now = self.now();
            self.open_feeds(now, &mut feeds);
            let (nap, items) = (self.nap(now), self.items.clone());
            tokio::select! {
                biased;
                () = items.closed() => return,
                Some(news) = feeds.next(), if !feeds.is_empty() => self.on_news(news).await,
                () = nap => {}
            }
        }
    }

    /// Opens a stream from every broker that leads partitions which no stream feeds.
    fn open_feeds(&mut self, now: Monotonic, feeds: &mut SelectAll<BoxStream<'static, News>>) {
        let mut due: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, cursor) in self.cursors.iter_mut().enumerate() {
            if cursor.is_due(now)
                && let Some(server) = cursor.server_now(&self.client, now)
            {
                cursor.begin(&server);
                due.entry(server).or_default().push(index);
            }
        }
        for (server, indexes) in due {
            self.feeds_begun += 1;
            let number = self.feeds_begun;
            self.fed_by.extend(indexes.iter().map(|index| (*index, number)));
            let cursors = indexes.iter().filter_map(|index| self.cursors.get(*index));
            let request = v1::SubscribeRequest {
                partitions: cursors.map(asked).collect(),
                max_message_bytes: u32::try_from(self.rules.fetch_bytes).unwrap_or(u32::MAX),
                isolation: v1::Isolation::Committed.into(),
                format: v1::FetchFormat::Batches.into(),
            };
            let feed = Feed {
                client: self.client.clone(),
                server,
                number,
                items: self.items.clone(),
                indexes: indexes.into(),
                memory: Arc::clone(&self.memory),
                memory_max: self.rules.prefetch_bytes,
                state: State::Unopened(request),
            };
            feeds.push(futures::stream::unfold(feed, Feed::step).boxed());
        }
    }

    async fn on_news(&mut self, news: News) {
        match news {
            News::Message { indexes, message, mut memory } => {
                self.backoff.reset();
                for part in message.partitions {
                    let place = usize::try_from(part.index).ok().and_then(|place| indexes.get(place));
                    let (Some(index), Some(fetched)) = (place.copied(), part.fetched) else { continue };
                    let is_beginning = part.range.is_some();
                    let Some(cursor) = self.cursors.get_mut(index) else { continue };
                    // The stream tells of an error once, and then no more of this partition.
                    cursor.is_busy &= fetched.error.is_none();
                    if !is_beginning && !cursor.is_ended() {
                        self.on_partition(index, fetched, &mut memory).await;
                    }
                }
            }
            News::Over { server, number, indexes, error } => {
                // A partition that failed may have got another stream meanwhile.
                let of_this = |index: &usize| self.fed_by.get(index) == Some(&number);
                let indexes: Vec<usize> = indexes.iter().copied().filter(of_this).collect();
                self.on_feed_over(&server, indexes, error).await;
            }
        }
    }

    async fn on_feed_over(&mut self, server: &str, indexes: Vec<usize>, error: Option<ClientError>) {
        let now = self.now();
        let mut cut_off = Vec::new();
        for index in indexes {
            if let Some(cursor) = self.cursors.get_mut(index)
                && std::mem::take(&mut cursor.is_busy)
                && !cursor.is_ended()
            {
                // Not at once, should a broker end its streams as soon as they begin.
                cursor.paused_until = now.after(self.client.options().backoff_min);
                cut_off.push(index);
            }
        }
        if let Some(error) = error {
            self.on_call_failed(server, &cut_off, &error).await;
        }
    }
}

fn asked(cursor: &Cursor) -> v1::PartitionSubscribe {
    let v1::PartitionFetch { topic, partition, offset, end_offset, last_read_epoch, .. } = cursor.request();
    let (begin, end) = (Some(Begin::Offset(offset)), end_offset.map(End::EndOffset));
    v1::PartitionSubscribe { topic, partition, begin, end, last_read_epoch }
}

impl Feed {
    async fn step(mut self) -> Option<(News, Feed)> {
        loop {
            match std::mem::replace(&mut self.state, State::Told) {
                State::Unopened(request) => {
                    self.state = match self.open(request).await {
                        Ok(messages) => State::Open(messages),
                        Err(error) => State::Closed(Some(error)),
                    };
                }
                State::Open(mut messages) => match messages.message().await {
                    Ok(Some(message)) => {
                        let memory = self.room_for(&message, messages).await;
                        let indexes = Arc::clone(&self.indexes);
                        return Some((News::Message { indexes, message, memory }, self));
                    }
                    Ok(None) => self.state = State::Closed(None),
                    Err(status) => {
                        self.state = State::Closed(Some(ClientError::of_status(&self.server, &status)));
                    }
                },
                State::Closed(error) => {
                    let (server, indexes) = (self.server.clone(), Arc::clone(&self.indexes));
                    return Some((News::Over { server, number: self.number, indexes, error }, self));
                }
                State::Told => return None,
            }
        }
    }

    async fn open(
        &self,
        request: v1::SubscribeRequest,
    ) -> Result<Streaming<v1::SubscribeResponse>, ClientError> {
        let limit = self.client.options().request_timeout;
        let mut rpc: Rpc = self.client.rpc(&self.server)?;
        // No deadline travels with the call: it would end the stream.
        tokio::select! {
            biased;
            answer = rpc.subscribe(request) => match answer {
                Ok(messages) => Ok(messages.into_inner()),
                Err(status) => Err(ClientError::of_status(&self.server, &status)),
            },
            () = self.client.env().clock.sleep(limit) => {
                Err(ClientError::TimedOut { server: self.server.clone(), after: limit })
            }
        }
    }

    /// Takes prefetch memory for a message; gives the stream up if that takes too long.
    async fn room_for(
        &mut self,
        message: &v1::SubscribeResponse,
        messages: Streaming<v1::SubscribeResponse>,
    ) -> Option<OwnedSemaphorePermit> {
        let sizes = message.partitions.iter().filter_map(|part| Some(part.fetched.as_ref()?.batches.len()));
        let bytes = u32::try_from(sizes.sum::<usize>().min(self.memory_max)).unwrap_or(u32::MAX);
        let clock = Arc::clone(&self.client.env().clock);
        let (memory, items) = (Arc::clone(&self.memory), self.items.clone());
        let mut room = Box::pin(async move {
            let granted = memory.acquire_many_owned(bytes).await.ok();
            // And a place in the queue: whoever hands over must not wait while streams are left unread.
            drop(items.reserve().await);
            granted
        });
        tokio::select! {
            biased;
            memory = &mut room => {
                self.state = State::Open(messages);
                memory
            }
            () = clock.sleep(LAG_PATIENCE) => {
                tracing::debug!(server = %self.server, "nobody takes what was read: the stream is given up for now");
                drop(messages);
                self.state = State::Closed(None);
                room.await
            }
        }
    }
}
