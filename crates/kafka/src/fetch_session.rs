//! Fetch sessions (KIP-227): what a client fetches again and again is remembered, so that it names only what has changed and
//! hears only of what has news.
//!
//! ```text
//!  epoch 0        everything is named, everything is answered; the answer names the session
//!  epoch 1, 2...  what is named is taken up or changed, what is forgotten is dropped; what has news is answered
//!  epoch -1       the session ends; everything that is named is answered
//! ```
//! A session belongs to its connection and ends with it: a client that connects anew begins anew, whatever it remembers. A
//! connection has a few; the one that was used longest ago makes room. All of a door together remember a bounded number of
//! partitions, paid for from the memory budget; where there is no room, a client is answered without a session, which it must
//! be content with.

#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use millrace_broker::{MemoryBudget, Permit};
use millrace_env::{Rng, RngExt};
use millrace_kafka_wire::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use millrace_kafka_wire::fetch_response::PartitionData;
use millrace_kafka_wire::{FetchRequest, Uuid};
use millrace_types::limits::{
    KAFKA_SESSION_PARTITION_BYTES, KAFKA_SESSION_PARTITIONS_MAX, PARTITIONS_PER_REQUEST_MAX,
};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error_map::KafkaError;

/// Sessions of one connection.
const SESSIONS_MAX: usize = 4;
/// The budget's part that sessions may hold, as a divisor: what requests need must go round.
const BUDGET_PARTS: usize = 16;
/// Room is taken for so many partitions at least.
const UNITS_AT_ONCE: usize = 16;
/// A session is to begin.
const INITIAL: i32 = 0;
/// A session is to end, or there is to be none.
const FINAL: i32 = -1;
/// No session.
pub(crate) const NO_SESSION: i32 = 0;

/// The room for the sessions of a door.
#[derive(Debug)]
pub(crate) struct SessionRoom {
    budget: Arc<MemoryBudget>,
    partitions: Arc<Semaphore>,
}

/// Room that a session has taken.
#[derive(Debug)]
struct Place {
    units: usize,
    _of_door: OwnedSemaphorePermit,
    _of_budget: Permit,
}

impl SessionRoom {
    pub(crate) fn new(budget: &Arc<MemoryBudget>) -> Arc<SessionRoom> {
        let affordable = budget.bytes_max() / BUDGET_PARTS / KAFKA_SESSION_PARTITION_BYTES;
        let partitions = Arc::new(Semaphore::new(KAFKA_SESSION_PARTITIONS_MAX.min(affordable)));
        Arc::new(SessionRoom { budget: Arc::clone(budget), partitions })
    }

    /// Room for so many partitions, if it is there at this moment.
    fn take(&self, units: usize) -> Option<Place> {
        let wanted = u32::try_from(units).ok()?;
        let of_door = Arc::clone(&self.partitions).try_acquire_many_owned(wanted).ok()?;
        let of_budget = self.budget.acquire(units * KAFKA_SESSION_PARTITION_BYTES).now_or_never()?.ok()?;
        Some(Place { units, _of_door: of_door, _of_budget: of_budget })
    }
}

/// A topic as the requests of a session name it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum TopicKey {
    Name(Arc<str>),
    Id(Uuid),
}

/// A partition of a session.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    topic: TopicKey,
    partition: i32,
}

/// What an answer told of a partition, besides records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Told {
    high_watermark: i64,
    last_stable: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Remembered {
    /// What is asked of it.
    asked: FetchPartition,
    /// `None` before the first answer, and after one that carried an error: then the next is told whatever it says.
    told: Option<Told>,
    /// Its place in line: those that had records go to the end, so that a small byte budget goes round.
    turn: u64,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    id: i32,
    next_epoch: i32,
    by_id: bool,
    partitions: BTreeMap<Key, Remembered>,
    /// The line; a partition stands in it once.
    line: BTreeMap<u64, Key>,
    next_turn: u64,
    places: Vec<Place>,
}

/// What a fetch is answered within.
#[derive(Debug)]
pub(crate) enum Within {
    /// Everything is answered, and nothing is remembered.
    NoSession,
    /// Everything is answered, and remembered.
    New(Session),
    /// What has news is answered.
    Known(Session),
}

/// The sessions of a connection, the one that was used last at the end.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Vec<Session>>);

impl Sessions {
    /// Finds out what a request is part of, and makes it name all that is to be read.
    ///
    /// # Errors
    /// What the answer says instead of partitions.
    pub(crate) fn enter(
        &self,
        room: &SessionRoom,
        rng: &dyn Rng,
        request: &mut FetchRequest,
        by_id: bool,
    ) -> Result<Within, KafkaError> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if epoch == INITIAL || epoch == FINAL {
            drop(self.take(id));
            let wanted = epoch == INITIAL && !request.topics.is_empty();
            let session = if wanted { self.begin(room, rng, request, by_id) } else { None };
            return Ok(session.map_or(Within::NoSession, Within::New));
        }
        let mut session = self.take(id).ok_or(KafkaError::FetchSessionIdNotFound)?;
        let refused = if session.by_id != by_id {
            Some(KafkaError::FetchSessionTopicIdError)
        } else if session.next_epoch != epoch {
            Some(KafkaError::InvalidFetchSessionEpoch)
        } else {
            None
        };
        if let Some(error) = refused {
            self.put(session);
            return Err(error);
        }
        // Without room for more the session is gone, and the client begins anew.
        session.change(room, request).ok_or(KafkaError::FetchSessionIdNotFound)?;
        request.topics = session.topics();
        Ok(if session.partitions.is_empty() { Within::NoSession } else { Within::Known(session) })
    }

    /// The answer is made; what it was part of waits for the next request.
    pub(crate) fn leave(&self, within: Within) {
        if let Within::New(mut session) | Within::Known(mut session) = within {
            session.next_epoch = session.next_epoch.checked_add(1).unwrap_or(1);
            self.put(session);
        }
    }

    fn begin(
        &self,
        room: &SessionRoom,
        rng: &dyn Rng,
        request: &FetchRequest,
        by_id: bool,
    ) -> Option<Session> {
        let mut session = Session {
            id: NO_SESSION,
            next_epoch: INITIAL,
            by_id,
            partitions: BTreeMap::new(),
            line: BTreeMap::new(),
            next_turn: 0,
            places: Vec::new(),
        };
        session.change(room, request)?;
        while session.id == NO_SESSION || self.0.lock().iter().any(|other| other.id == session.id) {
            let drawn = rng.next_u64() & u64::from(i32::MAX.unsigned_abs());
            session.id = i32::try_from(drawn).unwrap_or(NO_SESSION);
        }
        Some(session)
    }

    fn take(&self, id: i32) -> Option<Session> {
        let mut sessions = self.0.lock();
        let place = sessions.iter().position(|session| session.id == id)?;
        Some(sessions.remove(place))
    }

    fn put(&self, session: Session) {
        let mut sessions = self.0.lock();
        if sessions.len() == SESSIONS_MAX {
            sessions.remove(0);
        }
        sessions.push(session);
    }
}

impl Within {
    /// The session's number in the answer.
    pub(crate) fn id(&self) -> i32 {
        match self {
            Within::NoSession => NO_SESSION,
            Within::New(session) | Within::Known(session) => session.id,
        }
    }

    /// Whether only news are answered.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self, Within::Known(_))
    }

    /// Whether the answer carries `data` of a partition of `topic`, and remembers that it does.
    pub(crate) fn tells(&mut self, topic: &FetchTopic, data: &PartitionData) -> bool {
        match self {
            Within::NoSession => true,
            Within::New(session) => {
                session.tells(topic, data);
                true
            }
            Within::Known(session) => session.tells(topic, data),
        }
    }
}

impl Session {
    fn topic_key(&self, name: &str, id: Uuid) -> TopicKey {
        if self.by_id { TopicKey::Id(id) } else { TopicKey::Name(name.into()) }
    }

    fn take_up(&mut self, topics: &[FetchTopic]) {
        for topic in topics {
            let name = self.topic_key(&topic.topic, topic.topic_id);
            for asked in &topic.partitions {
                let key = Key { topic: name.clone(), partition: asked.partition };
                match self.partitions.get_mut(&key) {
                    Some(known) => known.asked = asked.clone(),
                    None => {
                        let turn = self.next_turn;
                        self.next_turn += 1;
                        self.line.insert(turn, key.clone());
                        self.partitions.insert(key, Remembered { asked: asked.clone(), told: None, turn });
                    }
                }
            }
        }
    }

    fn forget(&mut self, topics: &[ForgottenTopic]) {
        for topic in topics {
            let name = self.topic_key(&topic.topic, topic.topic_id);
            for partition in &topic.partitions {
                let key = Key { topic: name.clone(), partition: *partition };
                if let Some(known) = self.partitions.remove(&key) {
                    self.line.remove(&known.turn);
                }
            }
        }
    }

    /// Does what a request says; `None` if there is no room for it.
    fn change(&mut self, room: &SessionRoom, request: &FetchRequest) -> Option<()> {
        self.forget(&request.forgotten_topics_data);
        let has: usize = self.places.iter().map(|place| place.units).sum();
        let wanted = self.partitions.len() + self.units_of_new(&request.topics);
        if wanted > PARTITIONS_PER_REQUEST_MAX {
            return None;
        }
        if wanted > has {
            self.places.push(room.take((wanted - has).max(UNITS_AT_ONCE))?);
        }
        self.take_up(&request.topics);
        Some(())
    }

    /// What topics take of the room beside those that are there: a unit for each partition, and for the text of names as long as
    /// what a unit is reckoned with.
    fn units_of_new(&self, topics: &[FetchTopic]) -> usize {
        let of = |topic: &FetchTopic| {
            let name = self.topic_key(&topic.topic, topic.topic_id);
            let key = |partition: i32| Key { topic: name.clone(), partition };
            let new =
                topic.partitions.iter().filter(|asked| !self.partitions.contains_key(&key(asked.partition)));
            new.count() + topic.topic.len() / KAFKA_SESSION_PARTITION_BYTES
        };
        topics.iter().map(of).sum()
    }

    /// All that is to be read, in the order of the line.
    fn topics(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut last: Option<&TopicKey> = None;
        for key in self.line.values() {
            let Some(known) = self.partitions.get(key) else { continue };
            if last != Some(&key.topic) {
                let (topic, topic_id) = match &key.topic {
                    TopicKey::Name(name) => (name.to_string(), [0; 16]),
                    TopicKey::Id(id) => (String::new(), *id),
                };
                topics.push(FetchTopic { topic, topic_id, ..FetchTopic::default() });
                last = Some(&key.topic);
            }
            if let Some(topic) = topics.last_mut() {
                topic.partitions.push(known.asked.clone());
            }
        }
        topics
    }

    /// Whether there is news in what was read of a partition.
    fn tells(&mut self, topic: &FetchTopic, data: &PartitionData) -> bool {
        let key =
            Key { topic: self.topic_key(&topic.topic, topic.topic_id), partition: data.partition_index };
        let Some(known) = self.partitions.get_mut(&key) else { return true };
        let failed = data.error_code != 0 || data.diverging_epoch.end_offset >= 0;
        let now = Told {
            high_watermark: data.high_watermark,
            last_stable: data.last_stable_offset,
            log_start: data.log_start_offset,
        };
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let is_news = failed || has_records || known.told != Some(now);
        known.told = (!failed).then_some(now);
        if has_records {
            self.line.remove(&known.turn);
            known.turn = self.next_turn;
            self.next_turn += 1;
            self.line.insert(known.turn, key);
        }
        is_news
    }
}

#[cfg(test)]
mod tests;
