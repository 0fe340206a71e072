//! What a topic's configuration means to its logs.

use millrace_types::{CleanupPolicy, SyncMode, limits};

/// Who sets the timestamps of records (`message.timestamp.type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampType {
    /// The producer does (`CreateTime`).
    #[default]
    Create,
    /// The append does (`LogAppendTime`).
    LogAppend,
}

/// Who moves the high watermark of a log, and who numbers its leader epochs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Replication {
    /// There is no other replica: the high watermark is what this node holds, and a start after an unclean stop begins a
    /// leader epoch.
    #[default]
    Alone,
    /// Both are given, by whoever decides for all replicas: [`Log::raise_high_watermark`](crate::Log::raise_high_watermark)
    /// and [`Log::begin_epoch`](crate::Log::begin_epoch). A log opens as a follower, with its high watermark at the log start.
    Replicated,
}

/// The whole, in parts per million.
pub const PARTS_PER_MILLION: u32 = 1_000_000;

/// How a log is compacted (`cleanup.policy` with `compact`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompactionConfig {
    /// More parts per million than this of the log's bytes must be dirty before it is compacted
    /// (`min.cleanable.dirty.ratio`).
    pub dirty_parts_min: u32,
    /// Segments with a timestamp younger than this many milliseconds are left alone (`min.compaction.lag.ms`).
    pub lag_ms_min: u64,
    /// A record that has been dirty for longer than this many milliseconds is compacted whatever the ratio
    /// (`max.compaction.lag.ms`).
    pub lag_ms_max: u64,
    /// How long a tombstone is kept behind the pass that saw it first, in milliseconds (`delete.retention.ms`).
    pub tombstones_ms: u64,
}

impl Default for CompactionConfig {
    fn default() -> CompactionConfig {
        CompactionConfig {
            dirty_parts_min: PARTS_PER_MILLION / 2,
            lag_ms_min: 0,
            lag_ms_max: i64::MAX.unsigned_abs(),
            tombstones_ms: 86_400_000,
        }
    }
}

/// The configuration of one log. May be changed while the log is open; what it touches next follows the new one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// Size in bytes at which the active segment is rolled (`segment.bytes`).
    pub segment_bytes: u64,
    /// Age in milliseconds since its first append at which the active segment is rolled (`segment.ms`).
    pub segment_ms: u64,
    /// Log bytes between two index entries (`index.interval.bytes`).
    pub index_interval_bytes: u64,
    /// The largest batch in bytes that is appended (`max.message.bytes`).
    pub batch_bytes_max: usize,
    /// Who sets the timestamps.
    pub timestamp_type: TimestampType,
    /// When an append counts as safe (`sync.mode`).
    pub sync_mode: SyncMode,
    /// Whether other nodes hold the log, too.
    pub replication: Replication,
    /// What happens to old records (`cleanup.policy`).
    pub cleanup: CleanupPolicy,
    /// Milliseconds since its last append after which a segment is deleted (`retention.ms`); `None` keeps it for ever.
    pub retention_ms: Option<u64>,
    /// Bytes of the newest segments that are kept at least (`retention.bytes`); `None` keeps all.
    pub retention_bytes: Option<u64>,
    /// How it is compacted, if `cleanup` says so.
    pub compaction: CompactionConfig,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
            segment_ms: 7 * 86_400_000,
            index_interval_bytes: limits::INDEX_INTERVAL_BYTES_DEFAULT,
            batch_bytes_max: limits::BATCH_BYTES_DEFAULT,
            timestamp_type: TimestampType::Create,
            sync_mode: SyncMode::Always,
            replication: Replication::Alone,
            cleanup: CleanupPolicy::Delete,
            retention_ms: None,
            retention_bytes: None,
            compaction: CompactionConfig::default(),
        }
    }
}

impl LogConfig {
    /// How it is compacted, if it is.
    #[must_use]
    pub fn compacts(&self) -> Option<CompactionConfig> {
        self.cleanup.compacts().then_some(self.compaction)
    }
}
