//! What clients were told: the oracle. It knows of a record the number that was sent, and where it was acknowledged or read.
//!
//! ```text
//!   offset   0   1   2   3   4   5
//!   known   17  18   -  40  41   -      by an acknowledgement or a read: neither may ever be otherwise
//!   sent        {17, 18, 22, 40, 41, 43}: nothing else may come, each at most once
//!   refused     {43}: must never come
//! ```

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use millrace_types::{PartitionIndex, TopicId, TopicName, TopicPartition};

/// A topic as clients know it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: TopicName,
    pub(super) partitions: u32,
    /// Somebody wants it to go: from then on nothing is expected of it.
    pub(super) doomed: bool,
    /// Its deletion was acknowledged.
    pub(super) deleted: bool,
}

/// What is known of a partition.
#[derive(Clone, Debug, Default)]
struct Part {
    sent: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    at: BTreeMap<u64, u64>,
    places: BTreeMap<u64, u64>,
    acked: BTreeMap<u64, u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) topics: BTreeMap<TopicId, Known>,
    parts: BTreeMap<TopicPartition, Part>,
    values: u64,
    ids: BTreeSet<i64>,
    broken: Option<String>,
    /// What has happened, if it is told.
    pub(super) story: Option<Vec<String>>,
    hasher: DefaultHasher,
}

impl Truth {
    /// Something has happened: part of what two runs of a seed are compared by.
    pub(super) fn tell(&mut self, at: std::time::Duration, what: impl FnOnce() -> String) {
        let line = format!("{:>9.3} {}", at.as_secs_f64(), what());
        line.hash(&mut self.hasher);
        if let Some(story) = &mut self.story {
            story.push(line);
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// A promise is broken; the first counts.
    pub(super) fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    pub(super) fn broken(&self) -> Option<String> {
        self.broken.clone()
    }

    pub(super) fn made(&mut self, name: TopicName, id: TopicId, partitions: u32) {
        let known = Known { name, partitions, doomed: false, deleted: false };
        self.topics.entry(id).or_insert(known);
    }

    /// Partitions of topics that are to stay.
    pub(super) fn living(&self) -> Vec<(TopicName, TopicPartition)> {
        let living = self.topics.iter().filter(|(_, known)| !known.doomed);
        let parts = living.flat_map(|(id, known)| {
            let at = |number| TopicPartition { topic: *id, partition: PartitionIndex(number) };
            (0..known.partitions).map(move |number| (known.name.clone(), at(number)))
        });
        parts.collect()
    }

    pub(super) fn is_doomed(&self, topic: TopicId) -> bool {
        self.topics.get(&topic).is_none_or(|known| known.doomed)
    }

    /// A producer was given an id.
    pub(super) fn given(&mut self, id: i64) {
        if !self.ids.insert(id) {
            self.breaks(format!("producer id {id} was given twice"));
        }
    }

    /// Numbers for records that are about to be sent.
    pub(super) fn send(&mut self, at: TopicPartition, count: u64) -> Vec<u64> {
        let first = self.values;
        self.values += count;
        let values: Vec<u64> = (first..self.values).collect();
        self.parts.entry(at).or_default().sent.extend(&values);
        values
    }

    /// A batch was acknowledged: its records lie there, one behind the other.
    pub(super) fn acknowledge(&mut self, at: TopicPartition, base: i64, values: &[u64]) {
        let Ok(base) = u64::try_from(base) else {
            return self.breaks(format!("{values:?} were acknowledged at {base}"));
        };
        for (offset, value) in (base..).zip(values) {
            self.lies(at, offset, *value, "acknowledged");
            self.parts.entry(at).or_default().acked.insert(*value, offset);
        }
    }

    /// Only definite errors were heard of a batch.
    pub(super) fn refuse(&mut self, at: TopicPartition, values: &[u64]) {
        let part = self.parts.entry(at).or_default();
        part.refused.extend(values);
        let found = values.iter().find_map(|value| Some((*value, *part.places.get(value)?)));
        if let Some((value, offset)) = found {
            self.breaks(format!("{at}: {value} was read at {offset} and then refused for good"));
        }
    }

    /// A record was seen by somebody who sees only what is committed.
    pub(super) fn lies(&mut self, at: TopicPartition, offset: u64, value: u64, how: &str) {
        let part = self.parts.entry(at).or_default();
        let broken = if !part.sent.contains(&value) {
            Some(format!("{at}: {value} was {how} at {offset}, and nobody has sent it there"))
        } else if part.refused.contains(&value) {
            Some(format!("{at}: {value} was {how} at {offset}, and it was refused for good"))
        } else {
            let there = *part.at.entry(offset).or_insert(value);
            let place = *part.places.entry(value).or_insert(offset);
            let is_there = there == value && place == offset;
            (!is_there).then(|| {
                format!(
                    "{at}: {value} was {how} at {offset}; known was {there} there, and {value} at {place}"
                )
            })
        };
        if let Some(broken) = broken {
            self.breaks(broken);
        }
    }

    /// The end of what is known to be committed.
    pub(super) fn end(&self, at: TopicPartition) -> u64 {
        let part = self.parts.get(&at);
        part.and_then(|part| part.at.last_key_value()).map_or(0, |(offset, _)| offset + 1)
    }

    /// All that a partition holds in the end.
    ///
    /// # Errors
    /// What should have been otherwise.
    pub(super) fn check(&mut self, at: TopicPartition, records: &[(u64, u64)]) -> Result<(), String> {
        for ((offset, value), due) in records.iter().zip(0..) {
            if *offset != due {
                return Err(format!("{at}: {value} lies at {offset} where {due} is due"));
            }
            self.lies(at, *offset, *value, "found");
        }
        let Some(part) = self.parts.get(&at) else { return Ok(()) };
        let end = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let lost = part.at.iter().find(|(offset, _)| **offset >= end);
        if let Some((offset, value)) = lost {
            let how = if part.acked.contains_key(value) { "acknowledged" } else { "read" };
            return Err(format!("{at}: {value} was {how} at {offset}; in the end the log ends at {end}"));
        }
        self.broken.clone().map_or(Ok(()), Err)
    }
}
