//! The configuration of a topic: Kafka's keys, each enforced, accepted without meaning, or refused.
//!
//! [`KEYS`] is the one table. A key that is not in it is unknown and refused.

use std::collections::BTreeMap;
use std::fmt;

use millrace_types::limits::{
    BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX, INDEX_INTERVAL_BYTES_DEFAULT, SEGMENT_BYTES_DEFAULT,
    SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
};
use millrace_types::{CleanupPolicy, CleanupPolicyError, ErrorCode, SyncMode, SyncModeError};

/// `segment.ms` of a topic that does not set it: seven days.
const SEGMENT_MS_DEFAULT: u64 = 7 * 86_400_000;
/// The most replicas there can be; `min.insync.replicas` is checked against the topic's own factor besides.
const MIN_INSYNC_MAX: u64 = 32_767;
/// A ratio of one, in the parts that ratios are kept in.
const RATIO_PARTS: u32 = 1_000_000;
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

/// What a key does.
#[derive(Clone, Copy)]
pub enum Meaning {
    /// The value is read into the typed configuration and followed.
    Enforced {
        /// Reads the value.
        read: fn(&mut TopicConfig, &str) -> Result<(), Problem>,
        /// Writes the value in force.
        show: fn(&TopicConfig) -> String,
    },
    /// One value is taken, because it says what happens anyway; others are not there.
    Only {
        /// The value.
        value: &'static str,
        /// What the others would need.
        why: &'static str,
    },
    /// Any value is taken and changes nothing.
    WithoutMeaning {
        /// Why that is right.
        why: &'static str,
    },
}

impl fmt::Debug for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Meaning::Enforced { .. } => f.write_str("Enforced"),
            Meaning::Only { value, why } => write!(f, "Only({value:?}: {why})"),
            Meaning::WithoutMeaning { why } => write!(f, "WithoutMeaning({why})"),
        }
    }
}

/// A key of the table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Kafka's name, or ours.
    pub name: &'static str,
    /// What it does.
    pub meaning: Meaning,
}

/// What is wrong with a value, before its key is named.
#[derive(Debug)]
pub enum Problem {
    /// It is none of the values that the key takes; in words, which those are.
    Expected(String),
    /// It means something that is not there yet.
    NotThere(&'static str),
}

const NO_TIERS: &str = "tiered storage is not there yet";
const SYNC_MODE_RULES: &str = "sync.mode says when what is appended is synced, and with \"always\" it is synced before it is \
                               acknowledged";
const NO_TIME_BOUNDS: &str =
    "bounds on record timestamps are not there yet; only the largest number (no bound) is";

/// Every key that is known, sorted by name.
pub const KEYS: &[Key] = &[
    enforced("cleanup.policy", read_cleanup, |c| c.cleanup.to_string()),
    only("compression.type", "producer", "the broker stores batches as they come and compresses none again"),
    enforced("delete.retention.ms", read_tombstones, |c| c.compaction.tombstones_ms.to_string()),
    ignored(
        "file.delete.delay.ms",
        "readers keep the bytes that they hold; files are unlinked in the background",
    ),
    ignored("flush.messages", SYNC_MODE_RULES),
    ignored("flush.ms", SYNC_MODE_RULES),
    enforced("index.interval.bytes", read_index_interval, |c| c.index_interval_bytes.to_string()),
    only("local.retention.bytes", "-2", NO_TIERS),
    only("local.retention.ms", "-2", NO_TIERS),
    enforced("max.compaction.lag.ms", read_lag_max, |c| c.compaction.lag_ms_max.to_string()),
    enforced("max.message.bytes", read_batch_bytes, |c| c.batch_bytes_max.to_string()),
    only("message.timestamp.after.max.ms", "9223372036854775807", NO_TIME_BOUNDS),
    only("message.timestamp.before.max.ms", "9223372036854775807", NO_TIME_BOUNDS),
    enforced("message.timestamp.type", read_record_time, |c| record_time_name(c.record_time).to_owned()),
    enforced("min.cleanable.dirty.ratio", read_dirty_ratio, |c| show_ratio(c.compaction.dirty_parts_min)),
    enforced("min.compaction.lag.ms", read_lag_min, |c| c.compaction.lag_ms_min.to_string()),
    enforced("min.insync.replicas", read_min_insync, |c| c.min_insync_replicas.to_string()),
    ignored("preallocate", "files are always preallocated, without showing in their size"),
    only("remote.storage.enable", "false", NO_TIERS),
    enforced("retention.bytes", read_retention_bytes, |c| show_bound(c.retention_bytes)),
    enforced("retention.ms", read_retention_ms, |c| show_bound(c.retention_ms)),
    enforced("segment.bytes", read_segment_bytes, |c| c.segment_bytes.to_string()),
    ignored("segment.index.bytes", "an index grows with its segment and has no size of its own"),
    ignored("segment.jitter.ms", "segments roll by the time of their own first append, which spreads them"),
    enforced("segment.ms", read_segment_ms, |c| c.segment_ms.to_string()),
    enforced("sync.mode", read_sync_mode, |c| c.sync_mode.to_string()),
    only("unclean.leader.election.enable", "false", "an unclean election is a command, never a setting"),
];

const fn enforced(
    name: &'static str,
    read: fn(&mut TopicConfig, &str) -> Result<(), Problem>,
    show: fn(&TopicConfig) -> String,
) -> Key {
    Key { name, meaning: Meaning::Enforced { read, show } }
}

const fn only(name: &'static str, value: &'static str, why: &'static str) -> Key {
    Key { name, meaning: Meaning::Only { value, why } }
}

const fn ignored(name: &'static str, why: &'static str) -> Key {
    Key { name, meaning: Meaning::WithoutMeaning { why } }
}

impl TopicConfig {
    /// Reads what a topic sets itself.
    ///
    /// # Errors
    /// [`ConfigError`] for the first key, in their order, that is refused.
    pub fn read(configs: &BTreeMap<String, String>) -> Result<TopicConfig, ConfigError> {
        let mut config = TopicConfig::default();
        for (key, value) in configs {
            let known = KEYS.iter().find(|known| known.name == key);
            let known = known.ok_or_else(|| ConfigError::Unknown(key.clone()))?;
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

fn number(value: &str, min: u64, max: u64) -> Result<u64, Problem> {
    let parsed = value.parse().ok().filter(|number| (min..=max).contains(number));
    parsed.ok_or_else(|| Problem::Expected(format!("a number from {min} to {max}")))
}

fn read_segment_bytes(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    config.segment_bytes = number(value, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)?;
    Ok(())
}

fn read_segment_ms(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    config.segment_ms = number(value, 1, i64::MAX.unsigned_abs())?;
    Ok(())
}

fn read_index_interval(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    config.index_interval_bytes = number(value, 1, SEGMENT_BYTES_MAX)?;
    Ok(())
}

fn read_batch_bytes(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    let bytes = number(value, 1, BATCH_BYTES_MAX as u64)?;
    config.batch_bytes_max = usize::try_from(bytes).unwrap_or(BATCH_BYTES_MAX);
    Ok(())
}

fn read_min_insync(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    config.min_insync_replicas = u32::try_from(number(value, 1, MIN_INSYNC_MAX)?).unwrap_or(1);
    Ok(())
}

fn read_record_time(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    let known = [RecordTime::Create, RecordTime::LogAppend];
    let found = known.into_iter().find(|time| record_time_name(*time) == value);
    config.record_time = found.ok_or_else(|| Problem::Expected("CreateTime or LogAppendTime".to_owned()))?;
    Ok(())
}

fn record_time_name(time: RecordTime) -> &'static str {
    match time {
        RecordTime::Create => "CreateTime",
        RecordTime::LogAppend => "LogAppendTime",
    }
}

fn read_cleanup(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    let expected = |_: CleanupPolicyError| Problem::Expected("delete, compact or compact,delete".to_owned());
    config.cleanup = value.parse().map_err(expected)?;
    Ok(())
}

fn read_tombstones(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    config.compaction.tombstones_ms = number(value, 0, i64::MAX.unsigned_abs())?;
    Ok(())
}

fn read_lag_max(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    config.compaction.lag_ms_max = number(value, 1, i64::MAX.unsigned_abs())?;
    Ok(())
}

fn read_lag_min(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    config.compaction.lag_ms_min = number(value, 0, i64::MAX.unsigned_abs())?;
    Ok(())
}

/// A ratio in decimals, read without rounding: `0.5`, `1`, `.25`.
fn read_dirty_ratio(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    let parts = || {
        let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
        let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if value.is_empty() || value == "." || !digits(decimals) || decimals.len() > 6 {
            return None;
        }
        let decimals: u32 = format!("{decimals:0<6}").parse().ok()?;
        whole.checked_mul(RATIO_PARTS)?.checked_add(decimals).filter(|parts| *parts <= RATIO_PARTS)
    };
    let expected = || Problem::Expected("a ratio from 0 to 1 with at most six decimals".to_owned());
    config.compaction.dirty_parts_min = parts().ok_or_else(expected)?;
    Ok(())
}

fn show_ratio(parts: u32) -> String {
    let text = format!("{}.{:06}", parts / RATIO_PARTS, parts % RATIO_PARTS);
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
}

/// A bound on what is kept, where -1 stands for none.
fn bound(value: &str) -> Result<Option<u64>, Problem> {
    if value == "-1" {
        return Ok(None);
    }
    let number = value.parse().ok().filter(|number| *number <= i64::MAX.unsigned_abs());
    number.map(Some).ok_or_else(|| Problem::Expected("-1 (keep everything) or a number from 0".to_owned()))
}

fn show_bound(bound: Option<u64>) -> String {
    bound.map_or_else(|| "-1".to_owned(), |bound| bound.to_string())
}

fn read_retention_ms(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    config.retention_ms = bound(value)?;
    Ok(())
}

fn read_retention_bytes(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    config.retention_bytes = bound(value)?;
    Ok(())
}

fn read_sync_mode(config: &mut TopicConfig, value: &str) -> Result<(), Problem> {
    config.sync_mode = value.parse().map_err(|error: SyncModeError| match error {
        SyncModeError::Unknown(_) => Problem::Expected("always, interval=MS,BYTES or os".to_owned()),
        which => Problem::Expected(format!("an interval: {which}")),
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<TopicConfig, ConfigError> {
        TopicConfig::read(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn the_table_is_sorted_and_names_no_key_twice() {
        assert!(KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(read(&[]), Ok(TopicConfig::default()));
    }

    #[test]
    fn what_is_in_force_reads_back_as_itself() {
        let set = [
            ("segment.bytes", "1048576"),
            ("message.timestamp.type", "LogAppendTime"),
            ("sync.mode", "interval=100,65536"),
            ("retention.ms", "604800000"),
        ];
        let config = read(&set).unwrap();
        assert_eq!((config.retention_ms, config.retention_bytes), (Some(604_800_000), None));
        assert_eq!((config.segment_bytes, config.record_time), (1 << 20, RecordTime::LogAppend));
        let shown = config.in_force().map(|(key, value)| (key.to_owned(), value)).collect();
        assert_eq!(TopicConfig::read(&shown), Ok(config));
    }

    #[test]
    fn how_a_topic_is_compacted_is_read_without_rounding() {
        let config = read(&[("cleanup.policy", "compact"), ("delete.retention.ms", "0")]).unwrap();
        assert!(config.cleanup.compacts() && config.compaction.tombstones_ms == 0);
        for (text, parts, shown) in [
            ("0", 0, "0.0"),
            ("0.5", 500_000, "0.5"),
            (".01", 10_000, "0.01"),
            ("1.0", 1_000_000, "1.0"),
            ("0.123456", 123_456, "0.123456"),
        ] {
            let config = read(&[("min.cleanable.dirty.ratio", text)]).unwrap();
            assert_eq!(config.compaction.dirty_parts_min, parts, "{text}");
            assert_eq!(show_ratio(parts), shown);
        }
    }

    #[test]
    fn unknown_keys_and_bad_values_are_invalid() {
        for (key, value) in [
            ("segment.byte", "1048576"),
            ("segment.bytes", "1"),
            ("segment.bytes", "2147483648"),
            ("segment.bytes", "-1"),
            ("segment.bytes", ""),
            ("segment.ms", "0"),
            ("max.message.bytes", "8388609"),
            ("max.message.bytes", "1e6"),
            ("message.timestamp.type", "createtime"),
            ("min.insync.replicas", "0"),
            ("retention.ms", "-2"),
            ("retention.ms", "9223372036854775808"),
            ("retention.bytes", "1GB"),
            ("cleanup.policy", "none"),
            ("min.cleanable.dirty.ratio", "1.1"),
            ("min.cleanable.dirty.ratio", "-0.5"),
            ("min.cleanable.dirty.ratio", "."),
            ("min.cleanable.dirty.ratio", "0.1234567"),
            ("min.cleanable.dirty.ratio", "4295"),
            ("delete.retention.ms", "-1"),
            ("max.compaction.lag.ms", "0"),
            ("sync.mode", "sometimes"),
            ("sync.mode", "interval=0,65536"),
            ("sync.mode", "interval=100"),
        ] {
            assert_eq!(
                read(&[(key, value)]).map_err(|e| e.code()),
                Err(ErrorCode::InvalidConfig),
                "{key}={value}"
            );
        }
    }

    #[test]
    fn a_bad_interval_says_which_of_its_numbers_is_bad() {
        assert_eq!(
            read(&[("sync.mode", "interval=100,1")]).unwrap_err().to_string(),
            "config sync.mode: \"interval=100,1\" is not an interval: the bytes \"1\" are not a number from 4096 to 16777216"
        );
    }

    #[test]
    fn what_is_not_built_is_unsupported_and_says_so() {
        for (key, value) in [("compression.type", "zstd"), ("unclean.leader.election.enable", "true")] {
            assert_eq!(
                read(&[(key, value)]).map_err(|e| e.code()),
                Err(ErrorCode::Unsupported),
                "{key}={value}"
            );
        }
        assert_eq!(
            read(&[("compression.type", "zstd")]).unwrap_err().to_string(),
            "config compression.type=zstd: the broker stores batches as they come and compresses none again"
        );
        assert_eq!(read(&[("retention.ms", "-1"), ("cleanup.policy", "delete")]), Ok(TopicConfig::default()));
    }

    #[test]
    fn a_long_value_does_not_travel_through_the_error() {
        let error = read(&[("flush.ms", &"9".repeat(5000))]).unwrap_err();
        assert!(error.to_string().len() < 200, "{error}");
    }
}
