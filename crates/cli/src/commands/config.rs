//! `millrace config`, and how `serve` puts its configuration together.

use std::collections::BTreeMap;

use anyhow::Context;
use millrace_server::ServerConfig;
use millrace_server::config::{Key, Layers};

use crate::args::{ConfigArgs, ServeArgs};
use crate::table::{self, row};

/// Prints what is in force and where each value came from.
///
/// # Errors
/// The configuration is refused, or standard output's.
pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let config = read(&args.serve)?;
    let rows: Vec<_> = config
        .in_force()
        .iter()
        .map(|entry| {
            row! {
                "key": entry.key.name(),
                "value": entry.value.as_str(),
                "source": entry.origin.to_string(),
            }
        })
        .collect();
    table::print(&["key", "value", "source"], &rows, args.format)?;
    Ok(())
}

/// File, then environment, then flags.
///
/// # Errors
/// What is refused, with the key and where it was set.
pub(super) fn read(args: &ServeArgs) -> anyhow::Result<ServerConfig> {
    let mut layers = Layers::default();
    if let Some(path) = &args.config {
        #[expect(clippy::disallowed_methods, reason = "the user's file, not one of the log's")]
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("--config {}", path.display()))?;
        layers = layers.file(&text).with_context(|| format!("--config {}", path.display()))?;
    }
    let variables: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    layers = layers.environment(&variables)?;
    let data_dir = args.data_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
    let flags = [
        (Key::DataDir, &data_dir),
        (Key::Grpc, &args.grpc),
        (Key::Http, &args.http),
        (Key::Kafka, &args.kafka),
        (Key::KafkaAdvertised, &args.kafka_advertised),
        (Key::AutoCreateTopics, &args.auto_create_topics_enable),
        (Key::NumPartitions, &args.num_partitions),
        (Key::OffsetsRetentionMinutes, &args.offsets_retention_minutes),
        (Key::GroupSessionTimeoutMs, &args.group_consumer_session_timeout_ms),
        (Key::GroupInitialDelayMs, &args.group_initial_rebalance_delay_ms),
        (Key::Amqp, &args.amqp),
        (Key::GrpcAdvertised, &args.grpc_advertised),
        (Key::Internal, &args.internal),
        (Key::InternalAdvertised, &args.internal_advertised),
        (Key::Join, &args.join),
        (Key::NodeId, &args.node_id),
        (Key::MemoryBudget, &args.memory_budget),
        (Key::DrainTimeout, &args.drain_timeout),
        (Key::LogLevel, &args.log_level),
        (Key::LogFormat, &args.log_format),
    ];
    for (key, value) in flags {
        if let Some(value) = value {
            layers = layers.flag(key, value.clone())?;
        }
    }
    if args.insecure_listen {
        layers = layers.flag(Key::InsecureListen, "true")?;
    }
    Ok(ServerConfig::read(&layers)?)
}
