//! The leader epochs of a partition: at which offset each began (KIP-101, KIP-279).
//!
//! ```text
//!   offsets   0 ────────── 40 ───────────── 95 ──────── end
//!   epochs    │ epoch 1    │ epoch 4        │ epoch 5   │
//!   end_of(1) = (1, 40)    end_of(2) = (1, 40)    end_of(5) = (5, end)    end_of(6) = None
//! ```
//! Epochs and start offsets both rise strictly; an epoch in which nothing was appended leaves no entry. A pure value:
//! the engine writes it through [`crate::format::epoch_file`] whenever [`EpochCache::assign`] says that it changed.

use millrace_types::{LeaderEpoch, Offset};

/// An epoch and the offset of the first record that was appended in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEntry {
    /// The epoch; never negative.
    pub epoch: LeaderEpoch,
    /// Its first offset.
    pub start: Offset,
}

/// Where an epoch ended, as a follower or a reader asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    /// The largest known epoch at or below the one asked for; the one asked for if it lies before all that are known.
    pub epoch: LeaderEpoch,
    /// The first offset that does not belong to it.
    pub end: Offset,
}

/// Whether the entries changed, so that they must be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Change {
    /// As before.
    Unchanged,
    /// Write them.
    Changed,
}

/// The epochs of one partition, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EpochCache {
    entries: Vec<EpochEntry>,
}

impl EpochCache {
    /// Takes entries as they were stored; `None` unless epochs and start offsets rise strictly from zero or more.
    #[must_use]
    pub fn from_entries(entries: Vec<EpochEntry>) -> Option<EpochCache> {
        let rising = entries.windows(2).all(|pair| match pair {
            [a, b] => a.epoch < b.epoch && a.start < b.start,
            _ => true,
        });
        let valid = entries.first().is_none_or(|first| first.epoch.0 >= 0);
        (rising && valid).then_some(EpochCache { entries })
    }

    /// The entries in order.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The epoch of the last record appended, as far as is known.
    #[must_use]
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// The epoch in which the record at `offset` was appended, if `offset` is not before the first known epoch.
    #[must_use]
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let behind = self.entries.partition_point(|entry| entry.start <= offset);
        self.entries.get(behind.checked_sub(1)?).map(|entry| entry.epoch)
    }

    /// Whether a batch of `epoch` may begin at `offset`, as far as is known.
    #[must_use]
    pub fn agrees(&self, offset: Offset, epoch: LeaderEpoch) -> bool {
        self.epoch_of(offset).is_none_or(|known| known == epoch)
    }

    /// Notes that `epoch` appends from `start` on. Call it for every batch: it is cheap when the epoch is the latest.
    ///
    /// Entries that contradict it (a later epoch, or a start at or after `start`) are dropped, as Kafka does: they
    /// name records that the log no longer has. A negative epoch ("none known") changes nothing.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> Change {
        if epoch.0 < 0 || self.is_known(epoch, start) {
            return Change::Unchanged;
        }
        while self.entries.pop_if(|last| last.epoch > epoch || last.start >= start).is_some() {}
        if self.latest() != Some(epoch) {
            self.entries.push(EpochEntry { epoch, start });
        }
        Change::Changed
    }

    /// Whether a batch of `epoch` at `start` changes nothing, because the latest epoch goes on.
    #[must_use]
    pub fn is_known(&self, epoch: LeaderEpoch, start: Offset) -> bool {
        self.entries.last().is_some_and(|last| last.epoch == epoch && last.start <= start)
    }

    /// Where `epoch` ended in a log that ends at `log_end` (KIP-279's answer to OffsetForLeaderEpoch).
    ///
    /// `None` if the epoch is not known here: it is later than all that are, or there are none, or it is negative.
    /// An epoch before all that are known answers with the start of the first: its records were trimmed away.
    #[must_use]
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        let latest = self.latest()?;
        if epoch.0 < 0 || epoch > latest {
            return None;
        }
        if epoch == latest {
            return Some(EpochEnd { epoch, end: log_end });
        }
        let behind = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let end = self.entries.get(behind)?.start;
        let floor = behind.checked_sub(1).and_then(|at| self.entries.get(at));
        Some(EpochEnd { epoch: floor.map_or(epoch, |entry| entry.epoch), end })
    }

    /// Forgets what begins at or after `end`: the log was truncated to it.
    pub fn truncate_from_end(&mut self, end: Offset) -> Change {
        let kept = self.entries.partition_point(|entry| entry.start < end);
        if kept == self.entries.len() {
            return Change::Unchanged;
        }
        self.entries.truncate(kept);
        Change::Changed
    }

    /// Forgets what ends at or before `start`: the log was trimmed to it. The epoch that holds `start` begins there.
    pub fn trim_from_start(&mut self, start: Offset) -> Change {
        let behind = self.entries.partition_point(|entry| entry.start <= start);
        let Some(floor) = behind.checked_sub(1) else {
            return Change::Unchanged;
        };
        self.entries.drain(..floor);
        match self.entries.first_mut() {
            Some(first) if floor > 0 || first.start != start => {
                first.start = start;
                Change::Changed
            }
            _ => Change::Unchanged,
        }
    }

    /// Forgets everything: the log was reset.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests;
