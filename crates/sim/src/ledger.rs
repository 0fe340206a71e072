//! What was sent to the logs and what they acknowledged: the oracle.
//!
//! ```text
//!   first        log start                    acked                end
//!     ├─────────────┼───────────────────────────┼───────────────────┤
//!     │   trimmed   │       must be there       │  may be there,    │
//!     │             │                           │  as a prefix      │
//! ```
//! It knows of a batch the bytes that the client sent. The log puts sixteen bytes before them (base offset, length,
//! leader epoch) and stores the rest as it came: [`raw`](crate::crash_states) compares exactly that.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::policy::Policy;

/// How many bytes of a batch the log fills in.
pub(crate) const HEAD_BYTES: usize = 16;

/// A record with a key, as it was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Keyed {
    pub(crate) key: Vec<u8>,
    /// None: a tombstone.
    pub(crate) value: Option<Vec<u8>>,
}

/// A batch as it was sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The offset that it must get.
    pub(crate) base: u64,
    pub(crate) records: u64,
    pub(crate) timestamp: i64,
    /// Producer id and first sequence.
    pub(crate) producer: Option<(i64, i32)>,
    pub(crate) bytes: Bytes,
    /// The wall time at which it was sent.
    pub(crate) appended: i64,
    /// Its records, where they have keys.
    pub(crate) keyed: Vec<Keyed>,
}

impl Sent {
    pub(crate) fn end(&self) -> u64 {
        self.base + self.records
    }

    /// What the log stores as it came.
    pub(crate) fn tail(&self) -> &[u8] {
        self.bytes.get(HEAD_BYTES..).unwrap_or_default()
    }
}

/// An operation that may or may not have taken effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum UnderWay {
    #[default]
    Nothing,
    Truncation(u64),
    Trim(u64),
    Reset(u64),
}

/// Whether a partition is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Fate {
    #[default]
    Absent,
    Creating,
    There,
    Deleting,
}

/// One partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partition {
    pub(crate) fate: Fate,
    pub(crate) policy: Policy,
    pub(crate) sent: Vec<Arc<Sent>>,
    /// The offset at which `sent` begins.
    pub(crate) first: u64,
    pub(crate) log_start: u64,
    pub(crate) acked: u64,
    /// What was acknowledged when marks were written last: bad bytes below it are damage.
    pub(crate) marked: u64,
    /// Below it a compaction may have been: there, and only there, records may be gone.
    pub(crate) dirty_from: u64,
    pub(crate) under_way: UnderWay,
}

impl Partition {
    pub(crate) fn end(&self) -> u64 {
        self.sent.last().map_or(self.first, |sent| sent.end())
    }

    /// The operation has returned: what it meant is what is.
    pub(crate) fn settle(&mut self) {
        match std::mem::take(&mut self.under_way) {
            UnderWay::Nothing => {}
            UnderWay::Truncation(to) => {
                self.sent.retain(|sent| sent.end() <= to);
                self.acked = self.end();
                self.marked = self.marked.min(self.acked);
                self.log_start = self.log_start.min(self.acked);
            }
            UnderWay::Trim(to) => self.log_start = to,
            UnderWay::Reset(to) => {
                *self = Partition {
                    fate: self.fate,
                    policy: self.policy,
                    first: to,
                    log_start: to,
                    acked: to,
                    ..Partition::default()
                };
            }
        }
    }

    /// What a log that starts and ends there must hold, or why it must not start or end there.
    pub(crate) fn expected(&self, start: u64, end: u64) -> Result<&[Arc<Sent>], String> {
        if let UnderWay::Reset(to) = self.under_way
            && (start, end) == (to, to)
        {
            return Ok(&[]);
        }
        let least = match self.under_way {
            UnderWay::Nothing | UnderWay::Trim(_) => self.acked,
            UnderWay::Truncation(to) => {
                let kept = self.sent.iter().take_while(|sent| sent.end() <= to).last();
                kept.map_or(self.first, |sent| sent.end()).min(self.acked)
            }
            UnderWay::Reset(_) => self.first.min(self.acked),
        };
        if end < least || end > self.end() {
            return Err(format!(
                "it ends at {end}; {least} to {} were due ({:?})",
                self.end(),
                self.under_way
            ));
        }
        let may_start = match self.under_way {
            UnderWay::Trim(to) => start == to || start == self.log_start,
            _ => start == self.log_start.min(end),
        };
        if !may_start {
            return Err(format!("it starts at {start}, not at {} ({:?})", self.log_start, self.under_way));
        }
        let held = self.sent.partition_point(|sent| sent.end() <= end);
        let held = self.sent.get(..held).unwrap_or_default();
        if held.last().map_or(self.first, |sent| sent.end()) != end {
            return Err(format!("it ends at {end}, inside of a batch"));
        }
        let skipped = held.partition_point(|sent| sent.end() <= start);
        Ok(held.get(skipped..).unwrap_or_default())
    }
}

/// How far the process is with starting and stopping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Stop {
    /// The directory is being opened: the mark of the last stop may be there or not.
    #[default]
    Opening,
    /// It was opened: no clean mark may be there.
    Running,
    /// It is being closed.
    Closing,
    /// It was closed: the clean mark must be there.
    Closed,
}

/// Everything that the logs of a directory were told and have answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) partitions: BTreeMap<u32, Partition>,
    pub(crate) stop: Stop,
    /// The operation that runs.
    pub(crate) operation: &'static str,
    /// Rises with every change.
    pub(crate) revision: u64,
}
