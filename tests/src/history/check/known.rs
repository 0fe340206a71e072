//! What is known of each partition: the log as its clients have seen it.

use super::super::{Analysis, Chain, History, Outcome, ReaderEvent, Verdict};

/// Somebody was told that this value is at this offset.
#[derive(Debug, Clone, Copy)]
struct Fact {
    partition: u32,
    offset: i64,
    value: Option<u64>,
    /// When.
    at: u64,
}

/// One partition, in the order of its offsets; where several values were seen at one, the first.
#[derive(Debug, Default)]
pub(super) struct KnownPartition {
    pub(super) offsets: Vec<i64>,
    values: Vec<Option<u64>>,
    /// When the record was first known to anybody.
    first_known: Vec<u64>,
    /// When this record or any behind it was first known.
    known_from_here: Vec<u64>,
}

/// All partitions.
#[derive(Debug)]
pub(super) struct Known {
    partitions: Vec<KnownPartition>,
    facts: Vec<Fact>,
}

impl Known {
    pub(super) fn of(history: &History) -> Known {
        let mut facts = Vec::new();
        for send in &history.sends {
            if let Outcome::Acked(Some(offset)) = send.outcome {
                let (partition, value) = (send.partition, Some(send.value));
                facts.push(Fact { partition, offset, value, at: send.ended });
            }
        }
        for event in history.readers.iter().flat_map(|reader| &reader.events) {
            let ReaderEvent::Poll(poll) = event else { continue };
            facts.extend(poll.records.iter().map(|read| Fact {
                partition: read.partition,
                offset: read.offset,
                value: read.value,
                at: poll.ended,
            }));
        }
        facts.sort_unstable_by_key(|fact| (fact.partition, fact.offset, fact.at, fact.value));
        let mut partitions: Vec<KnownPartition> = Vec::new();
        partitions.resize_with(history.partitions.len(), KnownPartition::default);
        for fact in &facts {
            partitions[fact.partition as usize].add(fact);
        }
        partitions.iter_mut().for_each(KnownPartition::finish);
        Known { partitions, facts }
    }

    pub(super) fn partition(&self, partition: u32) -> &KnownPartition {
        &self.partitions[partition as usize]
    }

    /// Partition, time and offset of everything that anybody was told, by partition.
    pub(super) fn told(&self) -> impl Iterator<Item = (u32, u64, i64)> {
        self.facts.iter().map(|fact| (fact.partition, fact.at, fact.offset))
    }
}

impl KnownPartition {
    fn add(&mut self, fact: &Fact) {
        if self.offsets.last() != Some(&fact.offset) {
            self.offsets.push(fact.offset);
            self.values.push(fact.value);
            self.first_known.push(fact.at);
        }
    }

    fn finish(&mut self) {
        let mut earliest = u64::MAX;
        self.known_from_here = vec![0; self.first_known.len()];
        for (index, at) in self.first_known.iter().enumerate().rev() {
            earliest = earliest.min(*at);
            self.known_from_here[index] = earliest;
        }
    }

    /// The first known offset that is at least `offset`, if it is before `end`.
    pub(super) fn first_between(&self, offset: i64, end: i64) -> Option<i64> {
        let index = self.offsets.partition_point(|known| *known < offset);
        self.offsets.get(index).copied().filter(|known| *known < end)
    }

    /// When anybody first knew of a record at `offset` or behind it.
    pub(super) fn known_behind(&self, offset: i64) -> Option<u64> {
        let index = self.offsets.partition_point(|known| *known < offset);
        self.known_from_here.get(index).copied()
    }

    /// The chain of what is known between two offsets.
    pub(super) fn chain(&self, from: i64, to: i64) -> Chain {
        let mut chain = Chain::default();
        let start = self.offsets.partition_point(|known| *known < from);
        let end = self.offsets.partition_point(|known| *known < to);
        for index in start..end {
            chain.add(self.offsets[index], self.values[index]);
        }
        chain
    }
}

/// C2, C3: two values at one offset, one value at two places.
pub(super) fn conflicts(history: &History, known: &Known, verdict: &mut Verdict) {
    let name = |fact: &Fact| &history.partitions[fact.partition as usize];
    for pair in known.facts.windows(2) {
        let [one, other] = pair else { continue };
        let same_place = (one.partition, one.offset) == (other.partition, other.offset);
        if same_place && one.value != other.value {
            verdict.find(Analysis::InconsistentOffsets, || {
                format!("{} at {}: {} and {}", name(one), one.offset, shown(one.value), shown(other.value))
            });
        }
    }
    let mut places: Vec<(u64, u32, i64)> =
        known.facts.iter().filter_map(|fact| Some((fact.value?, fact.partition, fact.offset))).collect();
    places.sort_unstable();
    places.dedup();
    for pair in places.windows(2) {
        let [one, other] = pair else { continue };
        if one.0 == other.0 {
            let place =
                |place: &(u64, u32, i64)| format!("{} at {}", history.partitions[place.1 as usize], place.2);
            verdict.find(Analysis::Duplicate, || {
                format!("{} is in {} and in {}", shown(Some(one.0)), place(one), place(other))
            });
        }
    }
}

/// A value as the files have it.
pub(super) fn shown(value: Option<u64>) -> String {
    value.map_or_else(|| "bytes that nobody sent".to_owned(), |value| format!("value {value}"))
}
