//! `DescribeTopicPartitions` (75), version 0 (KIP-966): topics, a bounded number of partitions at a time.
//!
//! Not there: authorized operations.

use std::collections::BTreeSet;

use millrace_broker::{PartitionLayout, TopicLayout, TopicRef};
use millrace_kafka_wire::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use millrace_kafka_wire::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use millrace_types::limits::KAFKA_LAYOUT_BYTES;
use millrace_types::{NodeId, TopicName};

use crate::answers::Reply;
use crate::bill::Bill;
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::request_memory::{RequestMemory, Unanswered};

/// The most partitions in one answer, whatever is asked for (Kafka's `max.request.partition.size.limit`).
const PARTITIONS_MAX: usize = 2000;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: DescribeTopicPartitionsRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_MAX);
    let mut bill = Bill::new(memory);
    let all = request.topics.is_empty();
    let names: BTreeSet<String> = if all {
        let topics = api.broker.list_topics(&caller.context).await.unwrap_or_default();
        topics.into_iter().map(|topic| topic.name.to_string()).collect()
    } else {
        request.topics.into_iter().map(|topic| topic.name).collect()
    };
    let (from, first_partition) = request.cursor.map_or((String::new(), 0), |cursor| {
        (cursor.topic_name, usize::try_from(cursor.partition_index).unwrap_or(0))
    });
    let (mut topics, mut left, mut next_cursor) = (Vec::new(), limit, None);
    for name in names.range(from.clone()..) {
        if left == 0 {
            next_cursor = Some((name.clone(), 0));
            break;
        }
        let skipped = if *name == from { first_partition } else { 0 };
        match look_up(api, caller, name) {
            Ok(layout) => {
                bill.add(layout.partitions.len() * KAFKA_LAYOUT_BYTES).await?;
                let end = skipped.saturating_add(left);
                if layout.partitions.len() > end {
                    next_cursor = Some((name.clone(), end));
                }
                let told = layout.partitions.iter().skip(skipped).take(left).map(partition_to_wire);
                let partitions: Vec<_> = told.collect();
                left -= partitions.len();
                topics.push((to_wire(&layout, partitions), None));
            }
            // Deleted in between.
            Err(_) if all => {}
            Err(fault) => topics.push((refused(name, &fault), Some(fault.error))),
        }
        if next_cursor.is_some() {
            break;
        }
    }
    api.requests.count(Operation::DescribeTopicPartitions, topics.iter().find_map(|topic| topic.1));
    let response = DescribeTopicPartitionsResponse {
        topics: topics.into_iter().map(|topic| topic.0).collect(),
        next_cursor: next_cursor.map(|(topic_name, partition)| Cursor {
            topic_name,
            partition_index: i32::try_from(partition).unwrap_or(i32::MAX),
            ..Cursor::default()
        }),
        ..DescribeTopicPartitionsResponse::default()
    };
    let reply = asked.reply::<DescribeTopicPartitionsRequest>(&response)?;
    bill.settle(reply.rope.len());
    Ok(reply)
}

fn look_up(api: &Handlers, caller: &Caller, name: &str) -> Result<TopicLayout, Fault> {
    let name = TopicName::new(name);
    let name = name.map_err(|error| Fault::new(KafkaError::InvalidTopic, error.to_string()))?;
    Ok(api.layout(caller, TopicRef::Name(name))?)
}

fn refused(name: &str, fault: &Fault) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: fault.code(),
        name: Some(name.to_owned()),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn to_wire(
    layout: &TopicLayout,
    partitions: Vec<DescribeTopicPartitionsResponsePartition>,
) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        name: Some(layout.name.to_string()),
        topic_id: layout.id.0,
        is_internal: layout.name.is_internal(),
        partitions,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn partition_to_wire(partition: &PartitionLayout) -> DescribeTopicPartitionsResponsePartition {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    let led = partition.leader.is_some();
    DescribeTopicPartitionsResponsePartition {
        error_code: if led { 0 } else { KafkaError::LeaderNotAvailable.code() },
        partition_index: partition.partition.get(),
        leader_id: partition.leader.map_or(-1, |node| node.0),
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: nodes(&partition.replicas),
        isr_nodes: nodes(&partition.isr),
        eligible_leader_replicas: Some(nodes(&partition.eligible)),
        last_known_elr: Some(nodes(&partition.last_known_eligible)),
        offline_replicas: nodes(&partition.offline),
        ..DescribeTopicPartitionsResponsePartition::default()
    }
}
