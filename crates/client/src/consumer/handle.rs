//! What may be done to a consumer from anywhere: callbacks, other tasks, the consumer itself.

use std::sync::Arc;

use millrace_types::{Offset, PartitionIndex};
use tokio::sync::{mpsc, oneshot};

use super::CommitError;
use super::commits::{Order, Wish};
use super::held::{AssignedPartition, Mark};
use super::state::{Shared, State};
use crate::{Client, CommitFailure, ConsumedRecord, OffsetCommit};

/// A handle of a [`crate::Consumer`]. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct ConsumerHandle {
    client: Client,
    group: Arc<str>,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

/// A commit that is on its way. It goes on whether it is waited for or not.
#[derive(Debug)]
pub struct PendingCommit(Result<oneshot::Receiver<Result<(), CommitError>>, CommitError>);

impl PendingCommit {
    /// Completes when the broker has acknowledged it.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn outcome(self) -> Result<(), CommitError> {
        self.0?.await.unwrap_or(Err(CommitError::Closed))
    }
}

impl ConsumerHandle {
    pub(super) fn new(
        client: Client,
        group: &str,
        shared: Arc<Shared>,
        orders: mpsc::Sender<Order>,
    ) -> ConsumerHandle {
        ConsumerHandle { client, group: group.into(), shared, orders }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The name of the group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// What is assigned and not on its way out, sorted.
    #[must_use]
    pub fn assignment(&self) -> Vec<AssignedPartition> {
        let state = self.shared.lock();
        let held = state.held.values().filter(|held| !held.is_going());
        let mut names: Vec<_> = held.map(|held| held.name.clone()).collect();
        names.sort();
        names
    }

    /// How many more partitions will come as soon as other members have let them go.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().waiting
    }

    /// The next offset of a partition to be handed out; `None` if it is not assigned, or nobody knows yet where it begins.
    #[must_use]
    pub fn position(&self, topic: &str, partition: PartitionIndex) -> Option<Offset> {
        let state = self.shared.lock();
        let key = state.find(topic, partition)?;
        state.held.get(&key).filter(|held| !held.is_going())?.position
    }

    /// The high watermark of a partition as last seen: the lag is its distance from the position.
    #[must_use]
    pub fn high_watermark(&self, topic: &str, partition: PartitionIndex) -> Option<Offset> {
        let state = self.shared.lock();
        state.find(topic, partition).and_then(|key| state.held.get(&key)?.high_watermark)
    }

    /// Hands out nothing more of a partition until [`ConsumerHandle::resume`], as long as it is assigned. Answers whether it is.
    pub fn pause(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.on(topic, partition, |state, key| {
            state.cut(key);
            if let Some(held) = state.held.get_mut(&key) {
                held.is_paused = true;
            }
        })
    }

    /// Goes on where the partition was paused. Answers whether it is assigned.
    pub fn resume(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.on(topic, partition, |state, key| {
            if let Some(held) = state.held.get_mut(&key) {
                held.is_paused = false;
            }
        })
    }

    /// What is paused, sorted.
    #[must_use]
    pub fn paused(&self) -> Vec<AssignedPartition> {
        let state = self.shared.lock();
        let held = state.held.values().filter(|held| held.is_paused && !held.is_going());
        let mut names: Vec<_> = held.map(|held| held.name.clone()).collect();
        names.sort();
        names
    }

    /// Hands out the record at that offset next. A partition that has failed is read again. Answers whether it is assigned.
    pub fn seek(&self, topic: &str, partition: PartitionIndex, offset: Offset) -> bool {
        self.on(topic, partition, |state, key| state.seek(key, offset))
    }

    fn on(
        &self,
        topic: &str,
        partition: PartitionIndex,
        change: impl FnOnce(&mut State, millrace_types::TopicPartition),
    ) -> bool {
        self.shared.change(|state| {
            let key = state.find(topic, partition);
            let key = key.filter(|key| state.held.get(key).is_some_and(|held| !held.is_going()));
            if let Some(key) = key {
                change(state, key);
            }
            key.is_some()
        })
    }

    /// Commits what earlier polls have handed out, of all partitions; what was handed out last counts once the application has
    /// come back for more.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit_sync(&self) -> Result<(), CommitError> {
        let wishes = self.shared.lock().due(None);
        self.order(wishes).await
    }

    /// The same without waiting.
    pub fn commit_async(&self) -> PendingCommit {
        let wishes = self.shared.lock().due(None);
        self.order_later(wishes)
    }

    /// Commits these offsets, each the next to be read.
    ///
    /// # Errors
    /// [`CommitError`]; a partition that is not assigned is not committed, the others are.
    pub async fn commit_offsets_sync(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
        self.commit_offsets_async(offsets).outcome().await
    }

    /// The same without waiting.
    pub fn commit_offsets_async(&self, offsets: &[OffsetCommit]) -> PendingCommit {
        let (mut wishes, mut strangers) = (Vec::new(), Vec::new());
        let state = self.shared.lock();
        for commit in offsets {
            let mark = Mark {
                offset: commit.offset,
                leader_epoch: commit.leader_epoch,
                metadata: commit.metadata.clone(),
            };
            let key = state.find(&commit.topic, commit.partition);
            match key.and_then(|key| state.wish(key, mark)) {
                Some(wish) => wishes.push(wish),
                None => strangers.push((commit.topic.clone(), commit.partition)),
            }
        }
        drop(state);
        self.order_with(wishes, &strangers)
    }

    /// Commits that this record, and all before it in its partition, are done.
    ///
    /// # Errors
    /// [`CommitError`]; also if the record was handed out before the partition went to somebody else and came back.
    pub async fn commit_record(&self, record: &ConsumedRecord) -> Result<(), CommitError> {
        match self.wish_of(record) {
            Some(wish) => self.order(vec![wish]).await,
            None => {
                let name = AssignedPartition { topic: record.topic.clone(), partition: record.partition };
                Err(CommitError::Failed { failed: vec![(name, CommitFailure::NotAssigned)] })
            }
        }
    }

    /// To commit that a record is done, if its partition is still held as it was when the record was handed out.
    fn wish_of(&self, record: &ConsumedRecord) -> Option<Wish> {
        let state = self.shared.lock();
        let key = state.find(record.topic.as_str(), record.partition)?;
        state.held.get(&key)?.floor.filter(|floor| *floor <= record.offset)?;
        let mark = Mark {
            offset: record.offset.next(),
            leader_epoch: Some(record.leader_epoch).filter(|epoch| epoch.0 >= 0),
            metadata: String::new(),
        };
        state.wish(key, mark)
    }

    pub(super) async fn order(&self, wishes: Vec<Wish>) -> Result<(), CommitError> {
        let (reply, outcome) = oneshot::channel();
        if self.orders.send(Order { wishes, reply }).await.is_err() {
            return Err(CommitError::Closed);
        }
        outcome.await.unwrap_or(Err(CommitError::Closed))
    }

    pub(super) fn order_later(&self, wishes: Vec<Wish>) -> PendingCommit {
        let (reply, outcome) = oneshot::channel();
        PendingCommit(match self.orders.try_send(Order { wishes, reply }) {
            Ok(()) => Ok(outcome),
            Err(mpsc::error::TrySendError::Full(_)) => Err(CommitError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(CommitError::Closed),
        })
    }

    /// Orders what can be ordered; what cannot makes the outcome a failure.
    fn order_with(&self, wishes: Vec<Wish>, strangers: &[(String, PartitionIndex)]) -> PendingCommit {
        let strangers = strangers.iter().filter_map(|(topic, partition)| stranger(topic, *partition));
        let failed: Vec<_> = strangers.map(|name| (name, CommitFailure::NotAssigned)).collect();
        let ordered = self.order_later(wishes);
        if failed.is_empty() { ordered } else { PendingCommit(Err(CommitError::Failed { failed })) }
    }
}

fn stranger(topic: &str, partition: PartitionIndex) -> Option<AssignedPartition> {
    let topic = millrace_types::TopicName::new(topic).ok()?;
    Some(AssignedPartition { topic, partition })
}
