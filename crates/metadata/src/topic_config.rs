//! The configuration of a topic, typed, and read from what a topic sets by the table of the keys ([`KEYS`]).

use std::collections::BTreeMap;

use millrace_types::limits::{BATCH_BYTES_DEFAULT, INDEX_INTERVAL_BYTES_DEFAULT, SEGMENT_BYTES_DEFAULT};
use millrace_types::{CleanupPolicy, ErrorCode, SyncMode};

use crate::topic_keys::{KEYS, Key, Meaning, Problem, RATIO_PARTS};

/// `segment.ms` of a topic that does not set it: seven days.
const SEGMENT_MS_DEFAULT: u64 = 7 * 86_400_000;
/// The longest text that is kept for a key without meaning.
const VALUE_BYTES_MAX: usize = 1024;

/// Who sets the timestamps of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RecordTime {
    /// The producer does (`CreateTime`).
    #[default]
    Create,
    /// The append does (`LogAppendTime`).
    LogAppend,
}

/// A topic's configuration, typed: what it sets itself, and the defaults for the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicConfig {
    /// Size in bytes at which a segment is rolled.
    pub segment_bytes: u64,
    /// Age in milliseconds at which a segment is rolled.
    pub segment_ms: u64,
    /// Log bytes between two index entries.
    pub index_interval_bytes: u64,
    /// The largest batch in bytes.
    pub batch_bytes_max: usize,
    /// Who sets the timestamps.
    pub record_time: RecordTime,
    /// When an append counts as safe.
    pub sync_mode: SyncMode,
    /// What happens to old records.
    pub cleanup: CleanupPolicy,
    /// Milliseconds since its last append after which a segment goes; `None` keeps it for ever.
    pub retention_ms: Option<u64>,
    /// Bytes that are kept at least, the newest ones; `None` keeps all.
    pub retention_bytes: Option<u64>,
    /// How a compacted topic is compacted.
    pub compaction: CompactionBounds,
    /// How many replicas must hold a record before it is committed.
    pub min_insync_replicas: u32,
}

/// When a compacted topic is compacted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompactionBounds {
    /// How many parts per million of a log must be dirty at least.
    pub dirty_parts_min: u32,
    /// Milliseconds for which a record is left alone.
    pub lag_ms_min: u64,
    /// Milliseconds after which a record is compacted whatever the ratio.
    pub lag_ms_max: u64,
    /// Milliseconds for which a tombstone is kept behind the pass that saw it first.
    pub tombstones_ms: u64,
}

impl Default for CompactionBounds {
    /// Kafka's.
    fn default() -> CompactionBounds {
        CompactionBounds {
            dirty_parts_min: RATIO_PARTS / 2,
            lag_ms_min: 0,
            lag_ms_max: i64::MAX.unsigned_abs(),
            tombstones_ms: 86_400_000,
        }
    }
}

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            segment_ms: SEGMENT_MS_DEFAULT,
            index_interval_bytes: INDEX_INTERVAL_BYTES_DEFAULT,
            batch_bytes_max: BATCH_BYTES_DEFAULT,
            record_time: RecordTime::Create,
            sync_mode: SyncMode::Always,
            cleanup: CleanupPolicy::Delete,
            retention_ms: None,
            retention_bytes: None,
            compaction: CompactionBounds::default(),
            min_insync_replicas: 1,
        }
    }
}

/// Why a config is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such key.
    #[error("config {0:?} is not known")]
    Unknown(String),
    /// The value is none of those that the key takes.
    #[error("config {key}: {value:?} is not {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value that was refused.
        value: String,
        /// What is taken, in words.
        expected: String,
    },
    /// The value has a meaning that is not built.
    #[error("config {key}={value}: {why}")]
    Unsupported {
        /// The key.
        key: String,
        /// The value that was refused.
        value: String,
        /// What is missing.
        why: &'static str,
    },
}

impl ConfigError {
    /// What a door answers.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            ConfigError::Unknown(_) | ConfigError::Value { .. } => ErrorCode::InvalidConfig,
            ConfigError::Unsupported { .. } => ErrorCode::Unsupported,
        }
    }
}

impl TopicConfig {
    /// Reads what a topic sets itself.
    ///
    /// # Errors
    /// [`ConfigError`] for the first key, in their order, that is refused.
    pub fn read(configs: &BTreeMap<String, String>) -> Result<TopicConfig, ConfigError> {
        let mut config = TopicConfig::default();
        for (key, value) in configs {
            let known = Key::of_name(key).ok_or_else(|| ConfigError::Unknown(key.clone()))?;
            config.read_one(known, value).map_err(|problem| problem.of(key, value))?;
        }
        Ok(config)
    }

    fn read_one(&mut self, key: &Key, value: &str) -> Result<(), Problem> {
        match key.meaning {
            Meaning::Enforced { read, .. } => read(self, value),
            Meaning::Only { value: only, .. } if only == value => Ok(()),
            Meaning::Only { why, .. } => Err(Problem::NotThere(why)),
            Meaning::WithoutMeaning { .. } if value.len() <= VALUE_BYTES_MAX => Ok(()),
            Meaning::WithoutMeaning { .. } => {
                Err(Problem::Expected(format!("at most {VALUE_BYTES_MAX} bytes long")))
            }
        }
    }

    /// Every key that is followed, sorted, with the value in force. Keys without meaning are left out.
    pub fn in_force(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        KEYS.iter().filter_map(|key| match key.meaning {
            Meaning::Enforced { show, .. } => Some((key.name, show(self))),
            Meaning::Only { value, .. } => Some((key.name, value.to_owned())),
            Meaning::WithoutMeaning { .. } => None,
        })
    }
}

impl Problem {
    fn of(self, key: &str, value: &str) -> ConfigError {
        let (key, mut value) = (key.to_owned(), value.to_owned());
        if value.len() > VALUE_BYTES_MAX {
            value = format!("({} bytes)", value.len());
        }
        match self {
            Problem::Expected(expected) => ConfigError::Value { key, value, expected },
            Problem::NotThere(why) => ConfigError::Unsupported { key, value, why },
        }
    }
}

#[cfg(test)]
mod tests;
