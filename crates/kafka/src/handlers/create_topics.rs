//! `CreateTopics` (19), versions 2 to 7.
//!
//! The request's timeout has no effect: a topic is made or refused within the request.

use std::collections::BTreeMap;

use millrace_broker::{CreateTopicRequest, TopicDescription};
use millrace_kafka_wire::create_topics_request::CreatableTopic;
use millrace_kafka_wire::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use millrace_kafka_wire::{CreateTopicsRequest, CreateTopicsResponse};
use millrace_types::limits::KAFKA_NEW_TOPIC_BYTES;

use crate::answers::Reply;
use crate::assignment;
use crate::config_resource::config_fault;
use crate::config_resource::{BY_DEFAULT, SET_BY_TOPIC};
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;
use crate::request_memory::{RequestMemory, Unanswered};

/// So many topics are within what every request pays for.
const TOPICS_UNPAID_MAX: usize = 8;
/// From here on an answer tells what was made.
const DESCRIBED_FROM: i16 = 5;
/// From here on an answer carries the topic's id.
const IDS_FROM: i16 = 7;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: CreateTopicsRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    if request.topics.len() > TOPICS_UNPAID_MAX {
        memory.more(request.topics.len() * KAFKA_NEW_TOPIC_BYTES).await?;
    }
    let twice = parts::twice(request.topics.iter().map(|topic| topic.name.as_str()));
    let mut results = Vec::with_capacity(request.topics.len());
    let mut first_error = None;
    for topic in &request.topics {
        let made = if twice.contains(topic.name.as_str()) {
            Err(Fault::new(KafkaError::InvalidRequest, "the request names the topic twice"))
        } else {
            create(api, caller, topic, request.validate_only).await
        };
        first_error = first_error.or(made.as_ref().err().map(|fault| fault.error));
        results.push(to_wire(topic.name.clone(), made, asked.version));
    }
    api.requests.count(Operation::CreateTopics, first_error);
    let response = CreateTopicsResponse { topics: results, ..CreateTopicsResponse::default() };
    Ok(asked.reply::<CreateTopicsRequest>(&response)?)
}

async fn create(
    api: &Handlers,
    caller: &Caller,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<TopicDescription, Fault> {
    let partitions = match (topic.num_partitions, assigned(api, topic)?) {
        (-1, Some(count)) => count,
        (-1, None) => api.settings.new_topics.partitions,
        (count, _) => u32::try_from(count)
            .map_err(|_| Fault::new(KafkaError::InvalidPartitions, format!("{count} partitions")))?,
    };
    let replication_factor = match topic.replication_factor {
        -1 => None,
        factor => Some(u32::try_from(factor).map_err(|_| {
            Fault::new(KafkaError::InvalidReplicationFactor, format!("a replication factor of {factor}"))
        })?),
    };
    let mut configs = BTreeMap::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let message = format!("config {} has no value", config.name);
            return Err(Fault::new(KafkaError::InvalidConfig, message));
        };
        configs.insert(config.name.clone(), value.clone());
    }
    let request = CreateTopicRequest {
        name: topic.name.clone(),
        partitions: Some(partitions),
        replication_factor,
        configs,
        validate_only,
    };
    api.broker.create_topic(&caller.context, request).await.map_err(config_fault)
}

/// How many partitions an assignment by hand has, where there is one.
fn assigned(api: &Handlers, topic: &CreatableTopic) -> Result<Option<u32>, Fault> {
    if topic.assignments.is_empty() {
        return Ok(None);
    }
    if (topic.num_partitions, topic.replication_factor) != (-1, -1) {
        let message =
            "an assignment says how many partitions and replicas there are: both numbers must be -1";
        return Err(Fault::new(KafkaError::InvalidRequest, message));
    }
    assignment::check(topic.assignments.iter().map(|one| &one.broker_ids), api.settings.node)?;
    assignment::count(topic.assignments.iter().map(|one| one.partition_index)).map(Some)
}

fn to_wire(name: String, made: Result<TopicDescription, Fault>, version: i16) -> CreatableTopicResult {
    let none = CreatableTopicResult { name, error_message: None, ..CreatableTopicResult::default() };
    match made {
        Err(fault) => {
            CreatableTopicResult { error_code: fault.code(), error_message: Some(fault.message), ..none }
        }
        Ok(_) if version < DESCRIBED_FROM => none,
        Ok(topic) => CreatableTopicResult {
            topic_id: if version >= IDS_FROM { topic.id.0 } else { [0; 16] },
            num_partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(topic.replication_factor).unwrap_or(i16::MAX),
            configs: Some(
                topic
                    .configs
                    .into_iter()
                    .map(|entry| CreatableTopicConfigs {
                        name: entry.key,
                        value: Some(entry.value),
                        config_source: if entry.is_set { SET_BY_TOPIC } else { BY_DEFAULT },
                        ..CreatableTopicConfigs::default()
                    })
                    .collect(),
            ),
            ..none
        },
    }
}
