//! What the application's side and the background tasks share, under one lock that nobody holds over a wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::Waker;

use millrace_proto::v1;
use millrace_record::Batch;
use millrace_types::{Offset, PartitionIndex, TopicPartition};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};

use super::commits::Wish;
use super::held::{AssignedPartition, Begin, Held, Mark, Stage};
use super::{ConsumeError, Leaving};
use crate::reader::{ConsumedBatch, ConsumedRecords};
use crate::{ClientError, ConsumedRecord, Position, ReadError};

/// As whom the consumer commits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) member: String,
    pub(super) epoch: i32,
}

impl Identity {
    pub(super) fn on_the_wire(&self, instance: Option<&str>) -> v1::MemberRef {
        v1::MemberRef {
            member: self.member.clone(),
            instance: instance.map(str::to_owned),
            epoch: self.epoch,
        }
    }
}

/// Where the consumer stands with its group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Membership {
    /// It is none yet, or none any more and about to join anew.
    Joining,
    /// It is a member.
    In(Identity),
    /// It is none and will not be one: closed, or refused for good.
    Over(Option<ClientError>),
}

/// What was fetched of one partition and not handed out yet.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) key: TopicPartition,
    pub(super) feed: u64,
    pub(super) batches: VecDeque<Batch>,
    /// Where the fetch has got to, behind the last of the batches.
    pub(super) next: Offset,
    pub(super) memory: Option<OwnedSemaphorePermit>,
    pub(super) then: Then,
}

/// What follows behind the batches of a chunk.
#[derive(Debug)]
pub(super) enum Then {
    More,
    /// The log does not have what comes next: go on from there.
    Misplaced(Position),
    Failed(ReadError),
}

/// A batch that is about to be handed out.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) key: TopicPartition,
    pub(super) feed: u64,
    pub(super) batch: ConsumedBatch,
}

/// What became of a record that was to be handed out.
#[derive(Debug)]
pub(super) enum HandedOut {
    Record(ConsumedRecord),
    /// The batch has no more.
    AtEnd,
    /// Not now: the broker is away.
    Held,
    /// The partition is not read like this any more.
    Stale,
    /// It could not be decoded; the application is told.
    Failed,
}

/// What is shared.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// For the driver: something is to be done.
    pub(super) news: Notify,
    /// For the fetcher: something is to be fetched, or not any more.
    pub(super) work: Notify,
    /// The application has come back for records.
    pub(super) checked_in: Notify,
    pub(super) membership: watch::Sender<Membership>,
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) held: BTreeMap<TopicPartition, Held>,
    /// How many partitions will come as soon as others have let them go.
    pub(super) waiting: usize,
    /// What was fetched, in its order for each partition.
    fetched: BTreeMap<TopicPartition, VecDeque<Chunk>>,
    /// The partitions that have something, in the order of their turns: one that is new does not wait for all that lies before it.
    turns: VecDeque<TopicPartition>,
    /// Of which partitions records were handed out since the application came the last time.
    outstanding: BTreeSet<TopicPartition>,
    errors: VecDeque<ConsumeError>,
    /// The broker has not been heard of for a session timeout: others may own what this consumer holds.
    pub(super) is_suspended: bool,
    pub(super) closing: Option<Leaving>,
    pub(super) is_over: bool,
    /// Something is to be fetched or looked up that was not when the fetcher looked the last time.
    wants_fetcher: bool,
    /// What went wrong last with the membership.
    pub(super) trouble: Option<ClientError>,
    waker: Option<Waker>,
    holds: u64,
    feeds: u64,
}

impl Shared {
    pub(super) fn new() -> Shared {
        Shared {
            state: Mutex::default(),
            news: Notify::new(),
            work: Notify::new(),
            checked_in: Notify::new(),
            membership: watch::Sender::new(Membership::Joining),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The application is back: it is done with all that it was handed.
    pub(super) fn check_in(&self) {
        if self.lock().check_in() {
            self.checked_in.notify_waiters();
        }
    }

    /// Completes when the application is done with all that it was handed of these partitions.
    pub(super) async fn until_done_with(&self, keys: &BTreeSet<TopicPartition>) {
        loop {
            // Made before the look: a notification between the two is not missed.
            let checked_in = self.checked_in.notified();
            if self.lock().outstanding.is_disjoint(keys) {
                return;
            }
            checked_in.await;
        }
    }

    pub(super) fn note_trouble(&self, error: ClientError) {
        self.lock().trouble = Some(error);
    }

    /// Changes what is to be fetched, and tells the fetcher.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = {
            let mut state = self.lock();
            let changed = change(&mut state);
            state.open_feeds();
            changed
        };
        self.work.notify_one();
        changed
    }
}

impl State {
    /// Answers whether anything was outstanding.
    fn check_in(&mut self) -> bool {
        let outstanding = std::mem::take(&mut self.outstanding);
        for key in &outstanding {
            if let Some(held) = self.held.get_mut(key) {
                held.settle();
            }
        }
        !outstanding.is_empty()
    }

    /// The partition of that name; of two topics of one name the one that stays.
    pub(super) fn find(&self, topic: &str, partition: PartitionIndex) -> Option<TopicPartition> {
        let is_it = |held: &Held| held.name.topic.as_str() == topic && held.name.partition == partition;
        let found = self.held.iter().filter(|(_, held)| is_it(held));
        found.min_by_key(|(_, held)| held.is_going()).map(|(key, _)| *key)
    }

    /// Takes up what is new in an assignment and dooms what is not in it any more; answers whether anything was doomed.
    pub(super) fn adopt(&mut self, assigned: BTreeMap<TopicPartition, AssignedPartition>) -> bool {
        let gone: Vec<TopicPartition> = self
            .held
            .iter()
            .filter(|(key, held)| !held.is_going() && !assigned.contains_key(key))
            .map(|(key, _)| *key)
            .collect();
        for key in &gone {
            self.doom(*key);
        }
        for (key, name) in assigned {
            if !self.held.contains_key(&key) {
                self.holds += 1;
                self.held.insert(key, Held::new(name, self.holds));
            }
        }
        !gone.is_empty()
    }

    /// From now on nothing of the partition is handed out.
    fn doom(&mut self, key: TopicPartition) {
        self.cut(key);
        let Some(held) = self.held.get_mut(&key) else { return };
        if held.stage == Stage::Announced {
            // Nobody was told of it.
            self.held.remove(&key);
        } else {
            held.stage = Stage::Doomed;
        }
    }

    /// Dooms all that is held.
    pub(super) fn doom_all(&mut self) {
        let all: Vec<TopicPartition> = self.held.keys().copied().collect();
        for key in all {
            if self.held.get(&key).is_some_and(|held| !held.is_going()) {
                self.doom(key);
            }
        }
    }

    /// Forgets all that is held, at once; answers what the application had been told of and is not being told of now.
    pub(super) fn lose_all(&mut self) -> Vec<AssignedPartition> {
        self.fetched.clear();
        self.turns.clear();
        self.outstanding.clear();
        self.waiting = 0;
        let held = std::mem::take(&mut self.held).into_values();
        let told = held.filter(|held| !matches!(held.stage, Stage::Announced | Stage::Parting));
        told.map(|held| held.name).collect()
    }

    /// Moves every partition of one stage to the next.
    pub(super) fn advance(&mut self, from: Stage, to: Stage) -> BTreeMap<TopicPartition, AssignedPartition> {
        let all = self.held.iter_mut().filter(|(_, held)| held.stage == from);
        all.map(|(key, held)| {
            held.stage = to;
            (*key, held.name.clone())
        })
        .collect()
    }

    /// They are not held any more.
    pub(super) fn let_go(&mut self, keys: &BTreeSet<TopicPartition>) {
        for key in keys {
            if self.held.get(key).is_some_and(|held| held.stage == Stage::Parting) {
                self.held.remove(key);
                self.outstanding.remove(key);
            }
        }
    }

    /// Ends the fetching of a partition and throws away what it brought.
    pub(super) fn cut(&mut self, key: TopicPartition) {
        let Some(held) = self.held.get_mut(&key) else { return };
        if held.feed.take().is_some() {
            self.fetched.remove(&key);
            self.turns.retain(|waiting| *waiting != key);
        }
    }

    /// Whether the fetcher has to look again; it is told by whoever asks.
    pub(super) fn take_wants_fetcher(&mut self) -> bool {
        std::mem::take(&mut self.wants_fetcher)
    }

    fn open_feeds(&mut self) {
        for held in self.held.values_mut().filter(|held| held.wants_feed()) {
            self.feeds += 1;
            held.feed = Some(self.feeds);
        }
    }

    /// Goes on from there.
    pub(super) fn seek(&mut self, key: TopicPartition, offset: Offset) {
        self.cut(key);
        let Some(held) = self.held.get_mut(&key) else { return };
        held.position = Some(offset);
        held.floor = Some(held.floor.map_or(offset, |floor| floor.min(offset)));
        held.last_epoch = None;
        held.has_failed = false;
    }

    /// Nothing more is read of the partition until somebody says where to go on; the application is told.
    pub(super) fn fail(&mut self, key: TopicPartition, error: ReadError) {
        self.cut(key);
        if let Some(held) = self.held.get_mut(&key) {
            held.has_failed = true;
            self.errors.push_back(ConsumeError::Partition(error));
            self.wake();
        }
    }

    pub(super) fn is_fed_by(&self, key: TopicPartition, feed: u64) -> bool {
        self.held.get(&key).is_some_and(|held| held.feed == Some(feed))
    }

    /// Takes what was fetched, unless nobody wants it any more.
    pub(super) fn push(&mut self, chunk: Chunk) {
        if self.is_fed_by(chunk.key, chunk.feed) {
            let key = chunk.key;
            let fetched = self.fetched.entry(key).or_default();
            if fetched.is_empty() {
                self.turns.push_back(key);
            }
            fetched.push_back(chunk);
            self.wake();
        }
    }

    /// The end of the consumer: with an error, the application is told of it.
    pub(super) fn end(&mut self, error: Option<ConsumeError>) {
        self.lose_all();
        self.errors.extend(error);
        self.is_over = true;
        self.wake();
    }

    pub(super) fn has_error(&self) -> bool {
        !self.errors.is_empty()
    }

    pub(super) fn next_error(&mut self) -> Option<ConsumeError> {
        self.errors.pop_front()
    }

    /// The next batch to be handed out. The partitions take turns, batch by batch.
    pub(super) fn next_batch(&mut self) -> Option<Queued> {
        if self.is_suspended {
            return None;
        }
        while let Some(key) = self.turns.pop_front() {
            let next = self.next_batch_of(key);
            // Its turn comes again, if nothing has ended it.
            if self.fetched.get(&key).is_some_and(|fetched| !fetched.is_empty()) {
                self.turns.push_back(key);
            } else {
                self.fetched.remove(&key);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }

    /// The next batch of that partition; chunks that have none are done with.
    fn next_batch_of(&mut self, key: TopicPartition) -> Option<Queued> {
        while let Some(chunk) = self.fetched.get_mut(&key).and_then(VecDeque::front_mut) {
            let held = self.held.get_mut(&key).filter(|held| held.feed == Some(chunk.feed));
            if let Some(held) = held {
                if let Some(batch) = chunk.batches.pop_front() {
                    let size = batch.size();
                    let memory = chunk.memory.as_mut();
                    let memory = memory.and_then(|memory| memory.split(size.min(memory.num_permits())));
                    let batch = ConsumedBatch {
                        topic: held.name.topic.clone(),
                        partition: held.name.partition,
                        batch,
                        from: held.position.unwrap_or(Offset::ZERO),
                        end: None,
                        memory,
                    };
                    return Some(Queued { key, feed: chunk.feed, batch });
                }
                held.position = held.position.max(Some(chunk.next));
            }
            if let Some(chunk) = self.fetched.get_mut(&key).and_then(VecDeque::pop_front) {
                self.go_on(chunk);
            }
        }
        None
    }

    /// All batches of the chunk were handed out.
    fn go_on(&mut self, chunk: Chunk) {
        if !self.is_fed_by(chunk.key, chunk.feed) {
            return;
        }
        match chunk.then {
            Then::More => {}
            Then::Failed(error) => self.fail(chunk.key, error),
            Then::Misplaced(begin) => {
                self.cut(chunk.key);
                if let Some(held) = self.held.get_mut(&chunk.key) {
                    (held.position, held.begin) = (None, Begin::At(begin));
                }
                self.wants_fetcher = true;
            }
        }
    }

    /// Hands out the next record of a batch, if its partition is still read as it was when the batch was fetched.
    pub(super) fn hand_out(
        &mut self,
        key: TopicPartition,
        feed: u64,
        records: &mut ConsumedRecords,
    ) -> HandedOut {
        let Some(held) = self.held.get_mut(&key).filter(|held| held.feed == Some(feed)) else {
            return HandedOut::Stale;
        };
        if self.is_suspended {
            return HandedOut::Held;
        }
        match records.next() {
            None => HandedOut::AtEnd,
            Some(Ok(record)) => {
                held.position = Some(record.offset.next());
                held.last_epoch = Some(record.leader_epoch).filter(|epoch| epoch.0 >= 0);
                self.outstanding.insert(key);
                HandedOut::Record(record)
            }
            Some(Err(error)) => {
                self.fail(key, error);
                HandedOut::Failed
            }
        }
    }

    /// The batch before that offset was handed out whole.
    pub(super) fn pass(&mut self, key: TopicPartition, feed: u64, next: Offset) {
        if let Some(held) = self.held.get_mut(&key).filter(|held| held.feed == Some(feed)) {
            held.position = held.position.max(Some(next));
        }
    }

    /// What the application is done with and the broker has not heard of, of these partitions or of all.
    pub(super) fn due(&self, of: Option<&BTreeSet<TopicPartition>>) -> Vec<Wish> {
        let wanted = self.held.iter().filter(|(key, _)| of.is_none_or(|keys| keys.contains(key)));
        wanted.filter_map(|(key, held)| self.wish(*key, held.due()?)).collect()
    }

    /// To commit that for a partition as it is held now; `None` if it is not.
    pub(super) fn wish(&self, key: TopicPartition, mark: Mark) -> Option<Wish> {
        let held = self.held.get(&key)?;
        Some(Wish { key, hold: held.hold, name: held.name.clone(), mark })
    }

    pub(super) fn listen(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The broker is there again.
    pub(super) fn unsuspend(&mut self) {
        if std::mem::take(&mut self.is_suspended) {
            self.wake();
        }
    }
}

#[cfg(test)]
mod tests;
