//! The keys of a topic's configuration: Kafka's, each enforced, accepted without meaning, or accepted with one value only.
//!
//! [`KEYS`] is the one table. A key that is not in it is unknown and refused.

use std::fmt;

use millrace_types::limits::{BATCH_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use millrace_types::{CleanupPolicyError, SyncModeError};

use crate::topic_config::{RecordTime, TopicConfig};
use ValueKind::{Boolean, Double, Int, List, Long, Text};

/// The most replicas there can be; `min.insync.replicas` is checked against the topic's own factor besides.
const MIN_INSYNC_MAX: u64 = 32_767;
/// A ratio of one, in the parts that ratios are kept in.
pub(crate) const RATIO_PARTS: u32 = 1_000_000;

/// The type of a key's values, as Kafka has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueKind {
    /// `true` or `false`.
    Boolean,
    /// A word.
    Text,
    /// A number of 32 bits.
    Int,
    /// A number of 64 bits.
    Long,
    /// A number with decimals.
    Double,
    /// Words with commas between them; one can be added or taken away.
    List,
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
    /// The type of its values.
    pub kind: ValueKind,
    /// What it says, in a sentence.
    pub about: &'static str,
    /// What it does.
    pub meaning: Meaning,
}

impl Key {
    /// The key of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The value where a topic sets none; `None` if it has no meaning.
    #[must_use]
    pub fn default_value(&self) -> Option<String> {
        match self.meaning {
            Meaning::Enforced { show, .. } => Some(show(&TopicConfig::default())),
            Meaning::Only { value, .. } => Some(value.to_owned()),
            Meaning::WithoutMeaning { .. } => None,
        }
    }
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
const COMPRESSES_NOTHING: &str = "the broker stores batches as they come and compresses none again";
const NO_THROTTLE: &str = "nothing throttles replication";

/// Every key that is known, sorted by name.
pub const KEYS: &[Key] = &[
    enforced(
        "cleanup.policy",
        List,
        "What happens to old records: delete, compact, or both.",
        read_cleanup,
        |c| c.cleanup.to_string(),
    ),
    ignored("compression.gzip.level", Int, "How hard gzip compresses.", COMPRESSES_NOTHING),
    ignored("compression.lz4.level", Int, "How hard lz4 compresses.", COMPRESSES_NOTHING),
    only("compression.type", Text, "The codec in which batches are stored.", "producer", COMPRESSES_NOTHING),
    ignored("compression.zstd.level", Int, "How hard zstd compresses.", COMPRESSES_NOTHING),
    enforced(
        "delete.retention.ms",
        Long,
        "Milliseconds for which a compacted topic keeps a tombstone.",
        read_tombstones,
        |c| c.compaction.tombstones_ms.to_string(),
    ),
    ignored(
        "file.delete.delay.ms",
        Long,
        "Milliseconds before a file of a deleted segment is unlinked.",
        "readers keep the bytes that they hold; files are unlinked in the background",
    ),
    ignored("flush.messages", Long, "Records after which a log is synced.", SYNC_MODE_RULES),
    ignored("flush.ms", Long, "Milliseconds after which a log is synced.", SYNC_MODE_RULES),
    ignored(
        "follower.replication.throttled.replicas",
        List,
        "Replicas whose followers are throttled.",
        NO_THROTTLE,
    ),
    enforced(
        "index.interval.bytes",
        Int,
        "Bytes of log between two entries of its index.",
        read_index_interval,
        |c| c.index_interval_bytes.to_string(),
    ),
    ignored(
        "leader.replication.throttled.replicas",
        List,
        "Replicas whose leaders are throttled.",
        NO_THROTTLE,
    ),
    only("local.retention.bytes", Long, "Bytes that are kept here of what is tiered.", "-2", NO_TIERS),
    only("local.retention.ms", Long, "Milliseconds for which is kept here what is tiered.", "-2", NO_TIERS),
    enforced(
        "max.compaction.lag.ms",
        Long,
        "Milliseconds after which a record is compacted whatever the ratio.",
        read_lag_max,
        |c| c.compaction.lag_ms_max.to_string(),
    ),
    enforced("max.message.bytes", Int, "The largest batch that is taken, in bytes.", read_batch_bytes, |c| {
        c.batch_bytes_max.to_string()
    }),
    only(
        "message.timestamp.after.max.ms",
        Long,
        "How far a record may be ahead of the broker's clock, in milliseconds.",
        "9223372036854775807",
        NO_TIME_BOUNDS,
    ),
    only(
        "message.timestamp.before.max.ms",
        Long,
        "How far a record may be behind the broker's clock, in milliseconds.",
        "9223372036854775807",
        NO_TIME_BOUNDS,
    ),
    enforced(
        "message.timestamp.type",
        Text,
        "Who sets the times of records: CreateTime or LogAppendTime.",
        read_record_time,
        |c| record_time_name(c.record_time).to_owned(),
    ),
    enforced(
        "min.cleanable.dirty.ratio",
        Double,
        "The part of a log that must be dirty before it is compacted.",
        read_dirty_ratio,
        |c| show_ratio(c.compaction.dirty_parts_min),
    ),
    enforced(
        "min.compaction.lag.ms",
        Long,
        "Milliseconds for which compaction leaves a record alone.",
        read_lag_min,
        |c| c.compaction.lag_ms_min.to_string(),
    ),
    enforced(
        "min.insync.replicas",
        Int,
        "Replicas that must hold a record before it is acknowledged with acks=all.",
        read_min_insync,
        |c| c.min_insync_replicas.to_string(),
    ),
    ignored(
        "preallocate",
        Boolean,
        "Whether segment files are allocated when they are made.",
        "files are always preallocated, without showing in their size",
    ),
    only(
        "remote.log.copy.disable",
        Boolean,
        "Whether nothing more is copied to the other tier.",
        "false",
        NO_TIERS,
    ),
    only(
        "remote.log.delete.on.disable",
        Boolean,
        "Whether the other tier is emptied when it is switched off.",
        "false",
        NO_TIERS,
    ),
    only("remote.storage.enable", Boolean, "Whether old segments go to another tier.", "false", NO_TIERS),
    enforced(
        "retention.bytes",
        Long,
        "Bytes that a partition keeps at least, the newest ones; -1 keeps all.",
        read_retention_bytes,
        |c| show_bound(c.retention_bytes),
    ),
    enforced(
        "retention.ms",
        Long,
        "Milliseconds for which a record is kept, from its append; -1 keeps it for ever.",
        read_retention_ms,
        |c| show_bound(c.retention_ms),
    ),
    enforced("segment.bytes", Int, "The size at which a segment is rolled.", read_segment_bytes, |c| {
        c.segment_bytes.to_string()
    }),
    ignored(
        "segment.index.bytes",
        Int,
        "The size of an index.",
        "an index grows with its segment and has no size of its own",
    ),
    ignored(
        "segment.jitter.ms",
        Long,
        "Milliseconds by which the age is varied at which segments are rolled.",
        "segments roll by the time of their own first append, which spreads them",
    ),
    enforced(
        "segment.ms",
        Long,
        "The age at which a segment is rolled, in milliseconds.",
        read_segment_ms,
        |c| c.segment_ms.to_string(),
    ),
    enforced(
        "sync.mode",
        Text,
        "When an append may be acknowledged: always, interval=MS,BYTES, or os.",
        read_sync_mode,
        |c| c.sync_mode.to_string(),
    ),
    only(
        "unclean.leader.election.enable",
        Boolean,
        "Whether a replica that is behind may lead.",
        "false",
        "an unclean election is a command, never a setting",
    ),
];

const fn enforced(
    name: &'static str,
    kind: ValueKind,
    about: &'static str,
    read: fn(&mut TopicConfig, &str) -> Result<(), Problem>,
    show: fn(&TopicConfig) -> String,
) -> Key {
    Key { name, kind, about, meaning: Meaning::Enforced { read, show } }
}

const fn only(
    name: &'static str,
    kind: ValueKind,
    about: &'static str,
    value: &'static str,
    why: &'static str,
) -> Key {
    Key { name, kind, about, meaning: Meaning::Only { value, why } }
}

const fn ignored(name: &'static str, kind: ValueKind, about: &'static str, why: &'static str) -> Key {
    Key { name, kind, about, meaning: Meaning::WithoutMeaning { why } }
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
    let words: Vec<_> = value.split(',').map(str::trim).collect();
    config.cleanup = words.join(",").parse().map_err(expected)?;
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

pub(crate) fn show_ratio(parts: u32) -> String {
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
