//! `DescribeLogDirs` (35), versions 1 to 4 (KIP-113, KIP-827): the data directory and what the partitions take of it.
//!
//! There is one directory. Partitions that are not there are left out, as in Kafka. Not there: replicas that move.

use millrace_broker::{LogDirDescription, TopicRef};
use millrace_kafka_wire::describe_log_dirs_request::DescribableLogDirTopic;
use millrace_kafka_wire::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use millrace_kafka_wire::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use millrace_types::PartitionIndex;
use millrace_types::limits::KAFKA_LAYOUT_BYTES;

use crate::answers::Reply;
use crate::bill::Bill;
use crate::error_map::Fault;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;
use crate::request_memory::{RequestMemory, Unanswered};

/// From here on an answer as a whole may fail.
const ERROR_FROM: i16 = 3;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: DescribeLogDirsRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let mut bill = Bill::new(memory);
    let wanted: Option<Vec<_>> = request.topics.map(|topics| topics.iter().filter_map(nameable).collect());
    if wanted.is_none() {
        bill.add(api.broker.partitions_open() * KAFKA_LAYOUT_BYTES).await?;
    }
    let described = api.broker.describe_log_dir(&caller.context, wanted.as_deref());
    let described = described.map_err(Fault::from);
    let fault = described.as_ref().err().map(|fault| fault.error);
    api.requests.count(Operation::DescribeLogDirs, fault);
    let error_code = fault.map_or(0, |error| error.code());
    let results = match described {
        Ok(directory) => vec![to_wire(directory)],
        Err(_) if asked.version >= ERROR_FROM => Vec::new(),
        Err(_) => vec![DescribeLogDirsResult { error_code, ..DescribeLogDirsResult::default() }],
    };
    let error_code = if asked.version >= ERROR_FROM { error_code } else { 0 };
    let response = DescribeLogDirsResponse { error_code, results, ..DescribeLogDirsResponse::default() };
    let reply = asked.reply::<DescribeLogDirsRequest>(&response)?;
    bill.settle(reply.rope.len());
    Ok(reply)
}

/// What has a name that nobody may have is not there.
fn nameable(topic: &DescribableLogDirTopic) -> Option<(TopicRef, Vec<PartitionIndex>)> {
    let name = parts::topic(&topic.topic).ok()?;
    Some((name, topic.partitions.iter().filter_map(|number| parts::partition(*number).ok()).collect()))
}

fn to_wire(directory: LogDirDescription) -> DescribeLogDirsResult {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let topics = directory.topics.into_iter().map(|topic| DescribeLogDirsTopic {
        name: topic.name.to_string(),
        partitions: topic
            .partitions
            .into_iter()
            .map(|(partition, bytes)| DescribeLogDirsPartition {
                partition_index: partition.get(),
                partition_size: signed(bytes),
                ..DescribeLogDirsPartition::default()
            })
            .collect(),
        ..DescribeLogDirsTopic::default()
    });
    DescribeLogDirsResult {
        log_dir: directory.path.display().to_string(),
        topics: topics.collect(),
        total_bytes: signed(directory.total_bytes),
        usable_bytes: signed(directory.usable_bytes),
        ..DescribeLogDirsResult::default()
    }
}
