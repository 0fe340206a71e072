//! What must be in the log, worked out from the CSV alone, and the tally of what was read.

use millrace_record::partition_for_key;
use millrace_types::TimestampMs;

use crate::input::InputRecord;

/// The order and content of records, as one number: any record lost, stored twice, altered or out of order changes it.
#[derive(Clone, Default, Debug)]
pub(super) struct Tally {
    records: u64,
    sum: crc32fast::Hasher,
}

impl Tally {
    /// Counts a record in.
    pub(super) fn add(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, timestamp: TimestampMs) {
        self.records += 1;
        for part in [key, value] {
            // The length goes in too, so that moving a byte from key to value is a difference.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            self.sum.update(&length.to_le_bytes());
            self.sum.update(part.unwrap_or_default());
        }
        self.sum.update(&timestamp.0.to_le_bytes());
    }

    fn add_input(&mut self, record: &InputRecord) {
        let timestamp = record.timestamp.unwrap_or(TimestampMs::NONE);
        self.add(record.key.as_deref(), record.value.as_deref(), timestamp);
    }

    /// How many records were counted in.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// The checksum over all of them in order.
    pub(super) fn checksum(&self) -> u32 {
        self.sum.clone().finalize()
    }
}

impl PartialEq for Tally {
    fn eq(&self, other: &Tally) -> bool {
        self.records == other.records && self.checksum() == other.checksum()
    }
}

/// What must be in the log.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    partitions: Vec<Vec<&'a InputRecord>>,
}

impl<'a> Expected<'a> {
    /// Deals the records to partitions by Kafka's rule for keys, keeping their order.
    pub(super) fn new(records: &'a [InputRecord], partition_count: u32) -> Expected<'a> {
        let mut partitions: Vec<Vec<&InputRecord>> = (0..partition_count).map(|_| Vec::new()).collect();
        for record in records {
            let partition = partition_for_key(record.key.as_deref().unwrap_or_default(), partition_count);
            if let Some(rows) = usize::try_from(partition.0).ok().and_then(|index| partitions.get_mut(index))
            {
                rows.push(record);
            }
        }
        Expected { partitions }
    }

    /// One tally for each partition, over everything.
    pub(super) fn everything(&self) -> Vec<Tally> {
        self.partitions.iter().map(|rows| tally(rows)).collect()
    }

    /// What a replay of `partition` from `offset` must read.
    pub(super) fn replay_from_offset(&self, partition: usize, offset: usize) -> Tally {
        let rows = self.partitions.get(partition).and_then(|rows| rows.get(offset..));
        tally(rows.unwrap_or_default())
    }

    /// What a replay from `time` must read: in each partition, from the first record at or after it.
    pub(super) fn replay_from_time(&self, time: TimestampMs) -> Vec<Tally> {
        let from = |rows: &Vec<&'a InputRecord>| {
            let first = rows.iter().position(|row| row.timestamp.is_some_and(|at| at >= time));
            tally(first.and_then(|first| rows.get(first..)).unwrap_or_default())
        };
        self.partitions.iter().map(from).collect()
    }

    /// The checksum of each record alone, by partition and offset.
    pub(super) fn record_sums(&self) -> Vec<Vec<u32>> {
        let of = |rows: &Vec<&'a InputRecord>| rows.iter().map(|row| tally(&[*row]).checksum()).collect();
        self.partitions.iter().map(of).collect()
    }

    /// How many records a partition must hold.
    pub(super) fn records_in(&self, partition: usize) -> usize {
        self.partitions.get(partition).map_or(0, Vec::len)
    }
}

fn tally(rows: &[&InputRecord]) -> Tally {
    let mut tally = Tally::default();
    rows.iter().for_each(|row| tally.add_input(row));
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, value: &str, at: i64) -> InputRecord {
        InputRecord {
            key: Some(key.to_owned().into()),
            value: Some(value.to_owned().into()),
            timestamp: Some(TimestampMs(at)),
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_lost_doubled_swapped_or_altered_record_changes_the_tally() {
        let rows = [row("k", "a", 1), row("k", "b", 2), row("k", "c", 3)];
        let all = |order: &[usize]| tally(&order.iter().map(|i| &rows[*i]).collect::<Vec<_>>());
        assert_eq!(all(&[0, 1, 2]), all(&[0, 1, 2]));
        for wrong in [&[0, 1][..], &[0, 1, 2, 2], &[0, 2, 1]] {
            assert_ne!(all(&[0, 1, 2]), all(wrong), "{wrong:?}");
        }
        let (one, other) = (row("ka", "b", 1), row("k", "ab", 1));
        assert_ne!(tally(&[&one]), tally(&[&other]));
    }

    #[test]
    fn a_replay_by_time_begins_at_the_first_record_not_before_it() {
        let rows = [row("k", "a", 5), row("k", "b", 2), row("k", "c", 9), row("k", "d", 1)];
        let expected = Expected::new(&rows, 1);
        assert_eq!(expected.replay_from_time(TimestampMs(6))[0], tally(&[&rows[2], &rows[3]]));
        assert_eq!(expected.replay_from_time(TimestampMs(10))[0].records(), 0);
        assert_eq!(expected.replay_from_offset(0, 3), tally(&[&rows[3]]));
        assert_eq!(expected.records_in(0), 4);
    }
}
