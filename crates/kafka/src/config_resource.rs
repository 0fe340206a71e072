//! What has a configuration: topics and brokers, as requests name them; and how those of topics are changed.

use millrace_broker::{AlterTopicsRequest, Alteration, ApiError, TopicChanges, TopicRef};
use millrace_types::limits::KAFKA_LAYOUT_BYTES;
use millrace_types::{ErrorCode, NodeId, TopicName};

use crate::bill::Bill;
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Caller, Handlers};
use crate::parts;
use crate::request_memory::{RequestMemory, Unanswered};

/// The kinds of resources, as the protocol numbers them.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Where a value comes from, as answers number it.
pub(crate) const SET_BY_TOPIC: i8 = 1;
pub(crate) const SET_AT_START: i8 = 4;
pub(crate) const BY_DEFAULT: i8 = 5;

/// Something that has a configuration here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ConfigResource {
    Topic(TopicRef),
    /// This broker.
    Broker,
    /// What would count for every broker that does not say otherwise. There is no such thing here: it is empty.
    AllBrokers,
}

impl ConfigResource {
    /// What a request means, on the broker `node`.
    pub(crate) fn of(kind: i8, name: &str, node: NodeId) -> Result<ConfigResource, Fault> {
        match kind {
            TOPIC => match TopicName::new(name) {
                Ok(name) => Ok(ConfigResource::Topic(TopicRef::Name(name))),
                Err(error) => Err(Fault::new(KafkaError::InvalidTopic, error.to_string())),
            },
            BROKER if name.is_empty() => Ok(ConfigResource::AllBrokers),
            BROKER if name.parse() == Ok(node.0) => Ok(ConfigResource::Broker),
            BROKER => Err(Fault::new(
                KafkaError::InvalidRequest,
                format!("broker {name:?} is asked for, and this is broker {node}"),
            )),
            other => Err(Fault::new(
                KafkaError::InvalidRequest,
                format!("resources of type {other} have no configuration here"),
            )),
        }
    }
}

/// What is wanted of one resource.
pub(crate) struct Wanted<'a> {
    pub(crate) kind: i8,
    pub(crate) name: &'a str,
    /// What its configuration is to become, or why that cannot be said.
    pub(crate) alteration: Result<Alteration, Fault>,
}

/// Changes configurations: each resource stands for itself, and may be named once.
///
/// # Errors
/// There is no memory for what the broker answers.
pub(crate) async fn alter(
    api: &Handlers,
    caller: &Caller,
    wanted: Vec<Wanted<'_>>,
    validate_only: bool,
    memory: &mut RequestMemory,
) -> Result<Vec<Result<(), Fault>>, Unanswered> {
    // The broker answers with the topics as they are then, each of them once.
    let mut bill = Bill::new(memory);
    bill.add(api.broker.partitions_open() * KAFKA_LAYOUT_BYTES).await?;
    let twice = parts::twice(wanted.iter().map(|resource| (resource.kind, resource.name)));
    let questions = wanted.into_iter().map(|resource| {
        let Wanted { kind, name, alteration } = resource;
        if twice.contains(&(kind, name)) {
            return Err(Fault::new(KafkaError::InvalidRequest, "the request names the resource twice"));
        }
        match ConfigResource::of(kind, name, api.settings.node)? {
            ConfigResource::Topic(topic) => Ok(TopicChanges { topic, changes: alteration? }),
            ConfigResource::Broker | ConfigResource::AllBrokers => Err(Fault::new(
                KafkaError::InvalidRequest,
                "a broker reads its settings when it starts: from its file, its environment and its flags",
            )),
        }
    });
    let (topics, faults) = parts::readable(questions.collect());
    let ask = AlterTopicsRequest { topics, validate_only };
    let altered = api.broker.alter_topics(&caller.context, ask).await;
    let answers = faults.around(altered, config_fault).into_iter().map(|answer| answer.map(drop)).collect();
    bill.settle(0);
    Ok(answers)
}

/// What an answer says of a configuration that is refused: also of a value that Kafka has and we have not.
pub(crate) fn config_fault(error: ApiError) -> Fault {
    match error.code {
        ErrorCode::Unsupported => Fault::new(KafkaError::InvalidConfig, error.message),
        _ => error.into(),
    }
}

/// What Kafka calls the setting of a broker that a topic's key is the exception from.
pub(crate) fn broker_name(key: &'static str) -> &'static str {
    match key {
        "cleanup.policy" => "log.cleanup.policy",
        "delete.retention.ms" => "log.cleaner.delete.retention.ms",
        "file.delete.delay.ms" => "log.segment.delete.delay.ms",
        "flush.messages" => "log.flush.interval.messages",
        "flush.ms" => "log.flush.interval.ms",
        "index.interval.bytes" => "log.index.interval.bytes",
        "local.retention.bytes" => "log.local.retention.bytes",
        "local.retention.ms" => "log.local.retention.ms",
        "max.compaction.lag.ms" => "log.cleaner.max.compaction.lag.ms",
        "max.message.bytes" => "message.max.bytes",
        "message.timestamp.after.max.ms" => "log.message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms" => "log.message.timestamp.before.max.ms",
        "message.timestamp.type" => "log.message.timestamp.type",
        "min.cleanable.dirty.ratio" => "log.cleaner.min.cleanable.ratio",
        "min.compaction.lag.ms" => "log.cleaner.min.compaction.lag.ms",
        "preallocate" => "log.preallocate",
        "retention.bytes" => "log.retention.bytes",
        "retention.ms" => "log.retention.ms",
        "segment.bytes" => "log.segment.bytes",
        "segment.index.bytes" => "log.index.size.max.bytes",
        "segment.jitter.ms" => "log.roll.jitter.ms",
        "segment.ms" => "log.roll.ms",
        // The others have one name for both.
        same => same,
    }
}
