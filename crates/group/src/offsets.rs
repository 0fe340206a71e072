//! The committed offsets of one partition of `__consumer_offsets`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

use millrace_schema::{OffsetCommitKey, OffsetCommitValue, OffsetsError, OffsetsKey, decode_offsets_key};
use millrace_types::limits::{OFFSET_METADATA_BYTES_MAX, TOPIC_NAME_BYTES_MAX};
use millrace_types::{
    ErrorCode, GroupId, LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId, TopicName,
};

/// One position that a group commits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The topic's name.
    pub topic: TopicName,
    /// Its id, which exists at the moment of the step.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next offset to read.
    pub offset: Offset,
    /// Epoch of the last record read.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Free text.
    pub metadata: String,
}

/// What happens to a group or to what it reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A group commits.
    Commit {
        /// Which group.
        group: GroupId,
        /// What, in the order of the reply.
        commits: Vec<Commit>,
    },
    /// The time of these is over (see [`GroupOffsets::expired`]); what is being committed anew stays. Not answered.
    Expired {
        /// Which positions.
        keys: Vec<OffsetCommitKey>,
    },
    /// Somebody wants these forgotten, also what is still on its way. Not answered.
    Forgotten {
        /// Which positions.
        keys: Vec<OffsetCommitKey>,
    },
    /// Topics are gone; what was committed for them is forgotten.
    TopicsDeleted {
        /// Their ids.
        ids: BTreeSet<TopicId>,
    },
}

/// Names a persist, in the order of the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PersistId(u64);

/// A record of `__consumer_offsets`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetRecord {
    /// Group, topic and partition.
    pub key: OffsetCommitKey,
    /// The position, or `None` to forget it.
    pub value: Option<OffsetCommitValue>,
}

/// What the driver is to do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Append these records as one batch; the effects behind wait until it is committed.
    Persist {
        /// To be named when the outcome is known.
        id: PersistId,
        /// One at least.
        records: Vec<OffsetRecord>,
    },
    /// Answer each commit of the event, in order.
    Reply(Vec<Result<(), CommitRefusal>>),
}

/// Why one position is not committed; the others of the request are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitRefusal {
    /// The free text is too long.
    #[error("the metadata has {bytes} bytes, {OFFSET_METADATA_BYTES_MAX} are allowed")]
    MetadataTooLarge {
        /// Its length.
        bytes: usize,
    },
}

impl CommitRefusal {
    /// What a door answers.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            CommitRefusal::MetadataTooLarge { .. } => ErrorCode::OffsetMetadataTooLarge,
        }
    }
}

/// Why a record of the log cannot be replayed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplayError {
    /// The record has no key; in this topic every record has one.
    #[error("a record of __consumer_offsets has no key")]
    NoKey,
    /// Key or value do not decode.
    #[error(transparent)]
    Malformed(#[from] OffsetsError),
}

/// The value: what is committed, and what is on its way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupOffsets {
    committed: BTreeMap<OffsetCommitKey, OffsetCommitValue>,
    pending: VecDeque<(PersistId, Vec<OffsetRecord>)>,
    next_persist: u64,
}

impl GroupOffsets {
    /// Takes one record of the log, in the log's order, before the first step. Records of other kinds (the state of
    /// groups, once there is any) are left alone.
    ///
    /// # Errors
    /// [`ReplayError`]: the log was damaged or written by something else, and the value must not be used.
    pub fn replay(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), ReplayError> {
        let OffsetsKey::Commit(key) = decode_offsets_key(key.ok_or(ReplayError::NoKey)?)? else {
            return Ok(());
        };
        let value = value.map(OffsetCommitValue::decode).transpose()?;
        self.show(OffsetRecord { key, value });
        Ok(())
    }

    /// Decides about an event at `now`, the wall clock's time.
    pub fn step(&mut self, event: Event, now: TimestampMs) -> Vec<Effect> {
        match event {
            Event::Commit { group, commits } => self.commit(&group, commits, now),
            Event::Expired { keys } => {
                let settled =
                    |key: &OffsetCommitKey| self.committed.contains_key(key) && !self.is_pending(key);
                let doomed = keys.into_iter().filter(settled).collect();
                self.tombstones(doomed)
            }
            Event::Forgotten { keys } => {
                let known = |key: &OffsetCommitKey| self.committed.contains_key(key) || self.is_pending(key);
                let doomed = keys.into_iter().filter(known).collect();
                self.tombstones(doomed)
            }
            Event::TopicsDeleted { ids } => self.forget(&ids),
        }
    }

    /// Persist `id`, and with it every earlier one, is committed: it becomes visible.
    pub fn committed(&mut self, id: PersistId) {
        while let Some((_, records)) = self.pending.pop_front_if(|(first, _)| *first <= id) {
            for record in records {
                self.show(record);
            }
        }
    }

    /// Persist `id` was refused and nothing of it was appended; it is undone.
    ///
    /// Only the newest can be undone so: whoever drives steps and appends under one lock. `false` says that this one
    /// is not it, and that the value must be dropped.
    #[must_use]
    pub fn refused(&mut self, id: PersistId) -> bool {
        self.pending.pop_back_if(|(last, _)| *last == id).is_some()
    }

    /// What a group has committed for a partition of the topic with that name *and* id.
    #[must_use]
    pub fn fetch(&self, key: &OffsetCommitKey, topic_id: TopicId) -> Option<&OffsetCommitValue> {
        #[cfg(feature = "teeth")]
        millrace_types::planted!(FetchedBeforePersisted => {
            let mut newest = self.pending.iter().rev().flat_map(|(_, records)| records.iter().rev());
            if let Some(record) = newest.find(|record| record.key == *key) {
                return record.value.as_ref();
            }
        });
        self.committed.get(key).filter(|value| value.topic_id == topic_id)
    }

    /// Everything that a group has committed, sorted by topic name and partition.
    pub fn of_group<'a>(
        &'a self,
        group: &GroupId,
    ) -> impl Iterator<Item = (&'a OffsetCommitKey, &'a OffsetCommitValue)> {
        // The shortest name that there is sorts first; it only marks the beginning of the group's keys.
        let first = TopicName::new("-").ok().map(|topic| OffsetCommitKey {
            group: group.clone(),
            topic,
            partition: PartitionIndex(0),
        });
        let group = group.clone();
        first
            .into_iter()
            .flat_map(|first| self.committed.range(first..))
            .take_while(move |(key, _)| key.group == group)
    }

    /// The groups that have committed something, by name. Each costs one search, however much it has committed.
    pub fn groups(&self) -> impl Iterator<Item = &GroupId> {
        // No name sorts behind this one, and no number of a partition behind that.
        let last_topic = TopicName::new(&"z".repeat(TOPIC_NAME_BYTES_MAX)).ok();
        let mut next = self.committed.keys().next().map(|key| &key.group);
        std::iter::from_fn(move || {
            let group = next?;
            next = last_topic.clone().and_then(|topic| {
                let last =
                    OffsetCommitKey { group: group.clone(), topic, partition: PartitionIndex(u32::MAX) };
                self.committed.range((Excluded(last), Unbounded)).next().map(|(key, _)| &key.group)
            });
            Some(group)
        })
    }

    /// The positions of a group whose retention counts from `cutoff` or earlier. `counts_from` is the group's own answer (of
    /// [`ConsumerGroup::expires_from`](crate::consumer::ConsumerGroup::expires_from) or its classic sister): `None` while
    /// a position must be kept.
    pub fn expired(
        &self,
        group: &GroupId,
        cutoff: TimestampMs,
        counts_from: impl Fn(&TopicName, TimestampMs) -> Option<TimestampMs>,
    ) -> Vec<OffsetCommitKey> {
        let over = |(key, value): &(&OffsetCommitKey, &OffsetCommitValue)| {
            counts_from(&key.topic, value.committed_at).is_some_and(|from| from <= cutoff)
        };
        self.of_group(group).filter(over).map(|(key, _)| key.clone()).collect()
    }

    /// The topics that something is committed for.
    #[must_use]
    pub fn topic_ids(&self) -> BTreeSet<TopicId> {
        self.committed.values().map(|value| value.topic_id).collect()
    }

    fn show(&mut self, record: OffsetRecord) {
        match record.value {
            Some(value) => self.committed.insert(record.key, value),
            None => self.committed.remove(&record.key),
        };
    }

    fn commit(&mut self, group: &GroupId, commits: Vec<Commit>, now: TimestampMs) -> Vec<Effect> {
        let mut records = Vec::with_capacity(commits.len());
        let mut reply = Vec::with_capacity(commits.len());
        for commit in commits {
            let bytes = commit.metadata.len();
            if bytes > OFFSET_METADATA_BYTES_MAX {
                reply.push(Err(CommitRefusal::MetadataTooLarge { bytes }));
                continue;
            }
            let key =
                OffsetCommitKey { group: group.clone(), topic: commit.topic, partition: commit.partition };
            let value = OffsetCommitValue {
                offset: commit.offset,
                leader_epoch: commit.leader_epoch.unwrap_or(LeaderEpoch::NONE),
                metadata: commit.metadata,
                committed_at: now,
                expires_at: None,
                topic_id: commit.topic_id,
            };
            records.push(OffsetRecord { key, value: Some(value) });
            reply.push(Ok(()));
        }
        let mut effects = self.persist(records);
        effects.push(Effect::Reply(reply));
        effects
    }

    fn forget(&mut self, ids: &BTreeSet<TopicId>) -> Vec<Effect> {
        // What the log will hold once everything pending is committed.
        let mut latest: BTreeMap<&OffsetCommitKey, Option<TopicId>> = BTreeMap::new();
        for (key, value) in &self.committed {
            if ids.contains(&value.topic_id) {
                latest.insert(key, Some(value.topic_id));
            }
        }
        for record in self.pending.iter().flat_map(|(_, records)| records) {
            latest.insert(&record.key, record.value.as_ref().map(|value| value.topic_id));
        }
        let doomed = latest.into_iter().filter(|(_, id)| id.is_some_and(|id| ids.contains(&id)));
        let doomed = doomed.map(|(key, _)| key.clone()).collect();
        self.tombstones(doomed)
    }

    fn is_pending(&self, key: &OffsetCommitKey) -> bool {
        self.pending.iter().flat_map(|(_, records)| records).any(|record| record.key == *key)
    }

    fn tombstones(&mut self, doomed: Vec<OffsetCommitKey>) -> Vec<Effect> {
        self.persist(doomed.into_iter().map(|key| OffsetRecord { key, value: None }).collect())
    }

    fn persist(&mut self, records: Vec<OffsetRecord>) -> Vec<Effect> {
        if records.is_empty() {
            return Vec::new();
        }
        let id = PersistId(self.next_persist);
        self.next_persist += 1;
        self.pending.push_back((id, records.clone()));
        vec![Effect::Persist { id, records }]
    }
}

#[cfg(test)]
mod tests;
