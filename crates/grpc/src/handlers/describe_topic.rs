//! `DescribeTopic`.

use millrace_broker::{ConfigEntry, PartitionDescription, TopicDescription};
use millrace_proto::{id_bytes, v1};
use millrace_types::NodeId;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::status_of;
use crate::parts;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::DescribeTopicRequest,
) -> Result<v1::DescribeTopicResponse, Status> {
    let topic = parts::topic(request.topic.as_ref()).map_err(status_of)?;
    let topic = api.broker.describe_topic(&caller.context, topic).await.map_err(status_of)?;
    Ok(v1::DescribeTopicResponse { topic: Some(topic_to_wire(topic)) })
}

/// The wire form of a topic.
pub(crate) fn topic_to_wire(topic: TopicDescription) -> v1::Topic {
    v1::Topic {
        id: id_bytes(topic.id),
        internal: topic.name.is_internal(),
        name: topic.name.to_string(),
        replication_factor: topic.replication_factor,
        partitions: topic.partitions.iter().map(partition_to_wire).collect(),
        configs: topic.configs.into_iter().map(config_to_wire).collect(),
    }
}

fn partition_to_wire(partition: &PartitionDescription) -> v1::Partition {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    v1::Partition {
        partition: partition.partition.get(),
        leader: partition.leader.map_or(-1, |node| node.0),
        leader_epoch: partition.leader_epoch.0,
        replicas: nodes(&partition.replicas),
        isr: nodes(&partition.isr),
        eligible: nodes(&partition.eligible),
        last_known: nodes(&partition.last_known),
        adding: nodes(&partition.adding),
        removing: nodes(&partition.removing),
        log_start_offset: partition.log_start.get(),
        high_watermark: partition.high_watermark.get(),
        end_offset: partition.end_offset.get(),
        size_bytes: partition.size_bytes,
        damaged_ranges: u32::try_from(partition.damage.ranges).unwrap_or(u32::MAX),
        damaged_bytes: partition.damage.bytes,
    }
}

fn config_to_wire(config: ConfigEntry) -> v1::Config {
    v1::Config { key: config.key, value: config.value, is_set: config.is_set }
}
