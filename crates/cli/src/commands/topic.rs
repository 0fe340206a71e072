//! `millrace topic create|list|describe|alter|reassign|elect|delete`.

use millrace_client::{Client, ConfigChange, NewTopic, TopicDescription};
use serde_json::{Map, Value};

use super::moving;
use crate::args::{TopicAlterArgs, TopicChangesArgs, TopicCommand, TopicCreateArgs};
use crate::exit::tell;
use crate::table::{self, ListFormat, counted, row};

const TOPIC_COLUMNS: [&str; 4] = ["topic", "id", "partitions", "replication_factor"];
const PARTITION_COLUMNS: [&str; 13] = [
    "topic",
    "partition",
    "leader",
    "leader_epoch",
    "replicas",
    "isr",
    "eligible",
    "log_start",
    "high_watermark",
    "end_offset",
    "size_bytes",
    "damaged_ranges",
    "damaged_bytes",
];
const CONFIG_COLUMNS: [&str; 4] = ["topic", "key", "value", "source"];

/// Runs the verb.
///
/// # Errors
/// The broker's answer, or standard output's.
pub(super) async fn run(client: &Client, command: TopicCommand) -> anyhow::Result<()> {
    let admin = client.admin();
    match command {
        TopicCommand::Create(args) => create(client, args).await?,
        TopicCommand::List { internal, format } => {
            let topics = match internal {
                true => admin.list_topics_with_internal().await?,
                false => admin.list_topics().await?,
            };
            let rows: Vec<_> = topics
                .iter()
                .map(|topic| {
                    row! {
                        "topic": topic.name.as_str(),
                        "id": topic.id.to_string(),
                        "partitions": topic.partitions,
                        "replication_factor": topic.replication_factor,
                    }
                })
                .collect();
            table::print(&TOPIC_COLUMNS, &rows, format)?;
            if rows.is_empty() && format == ListFormat::Table {
                tell!("there is no topic yet; `millrace topic create NAME` makes one");
            }
        }
        TopicCommand::Describe { name, configs, format } => {
            let topic = admin.describe_topic(&name).await?;
            if configs {
                table::print(&CONFIG_COLUMNS, &config_rows(&topic), format)?;
            } else {
                table::print(&PARTITION_COLUMNS, &partition_rows(&topic), format)?;
            }
        }
        TopicCommand::Alter(args) => alter(client, args).await?,
        TopicCommand::Reassign(args) => moving::reassign(client, args).await?,
        TopicCommand::Elect(args) => moving::elect(client, args).await?,
        TopicCommand::Delete { name } => {
            admin.delete_topic(&name).await?;
            tell!("deleted topic {name}");
        }
    }
    Ok(())
}

async fn create(client: &Client, args: TopicCreateArgs) -> anyhow::Result<()> {
    let mut topic = NewTopic::new(args.name).partitions(args.partitions.get());
    if let Some(replication_factor) = args.replication_factor {
        topic = topic.replication_factor(replication_factor.get());
    }
    for (key, value) in args.configs {
        topic = topic.config(key, value);
    }
    let made = client.admin().create_topic(topic).await?;
    tell!("created topic {} with {}", made.name, counted(made.partitions.len() as u64, "partition"));
    Ok(())
}

/// The configuration first: if it is refused, nothing is changed.
async fn alter(client: &Client, args: TopicAlterArgs) -> anyhow::Result<()> {
    let TopicAlterArgs { name, changes: TopicChangesArgs { configs, unset, partitions } } = args;
    let admin = client.admin();
    let set = configs.into_iter().map(|(key, value)| ConfigChange::Set { key, value });
    let changes: Vec<_> = set.chain(unset.into_iter().map(|key| ConfigChange::Unset { key })).collect();
    if !changes.is_empty() {
        let count = changes.len() as u64;
        admin.alter_topic(&name, changes).await?;
        tell!("changed {} of topic {name}", counted(count, "config"));
    }
    if let Some(partitions) = partitions {
        let grown = admin.create_partitions(&name, partitions.get()).await?;
        tell!("topic {name} has {} now", counted(grown.partitions.len() as u64, "partition"));
    }
    Ok(())
}

fn partition_rows(topic: &TopicDescription) -> Vec<Map<String, Value>> {
    let nodes = |nodes: &[millrace_types::NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    let describe = |partition: &millrace_client::PartitionDescription| {
        row! {
            "topic": topic.name.as_str(),
            "partition": partition.partition.0,
            "leader": partition.leader.map(|node| node.0),
            "leader_epoch": partition.leader_epoch.0,
            "replicas": nodes(&partition.replicas),
            "isr": nodes(&partition.isr),
            "eligible": nodes(&partition.eligible),
            "last_known": nodes(&partition.last_known),
            "adding": nodes(&partition.adding),
            "removing": nodes(&partition.removing),
            "log_start": partition.log_start.get(),
            "high_watermark": partition.high_watermark.get(),
            "end_offset": partition.end_offset.get(),
            "size_bytes": partition.size_bytes,
            "damaged_ranges": partition.damaged_ranges,
            "damaged_bytes": partition.damaged_bytes,
        }
    };
    topic.partitions.iter().map(describe).collect()
}

fn config_rows(topic: &TopicDescription) -> Vec<Map<String, Value>> {
    let describe = |config: &millrace_client::ConfigEntry| {
        row! {
            "topic": topic.name.as_str(),
            "key": config.key.as_str(),
            "value": config.value.as_str(),
            "source": if config.is_set { "topic" } else { "default" },
        }
    };
    topic.configs.iter().map(describe).collect()
}
