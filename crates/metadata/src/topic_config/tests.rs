//! Tests of the configuration and of the table of its keys.

use super::*;
use crate::topic_keys::show_ratio;

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
        assert_eq!(read(&[(key, value)]).map_err(|e| e.code()), Err(ErrorCode::Unsupported), "{key}={value}");
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

/// The topic configs of Apache Kafka 4.1.1 (its `LogConfig`), but for `internal.segment.bytes`, which is for its own tests.
const KAFKAS: [&str; 33] = [
    "cleanup.policy",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];

#[test]
fn every_topic_config_of_kafka_has_its_row_and_one_more_is_ours() {
    let ours: Vec<_> = KEYS.iter().map(|key| key.name).filter(|name| !KAFKAS.contains(name)).collect();
    assert_eq!(ours, ["sync.mode"]);
    assert_eq!(KEYS.len(), KAFKAS.len() + 1);
}

/// The row of a key in the documentation.
fn row(key: &Key) -> String {
    let Key { name, about, .. } = key;
    match key.meaning {
        Meaning::Enforced { .. } => {
            format!("| `{name}` | enforced | `{}` | {about} |", key.default_value().unwrap())
        }
        Meaning::Only { value, why } => {
            format!("| `{name}` | takes one value | `{value}` | {about} Another value is refused: {why}. |")
        }
        Meaning::WithoutMeaning { why } => format!(
            "| `{name}` | without meaning | | {about} Any value is taken and changes nothing: {why}. |"
        ),
    }
}

#[test]
fn the_documentation_has_the_table_that_the_code_has() {
    let page = include_str!("../../../../docs/topic-configs.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<_> = KEYS.iter().map(row).collect();
    assert_eq!(rows, expected);
}

#[test]
fn every_key_takes_its_default_and_what_has_no_meaning_changes_nothing() {
    for key in KEYS {
        let value = key.default_value().unwrap_or_else(|| "7".to_owned());
        assert_eq!(read(&[(key.name, &value)]), Ok(TopicConfig::default()), "{}", key.name);
    }
}
