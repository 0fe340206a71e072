//! `DescribeConfigs` (32), versions 1 to 4: the configuration of topics and of this broker.
//!
//! A key of a topic that is followed is told with its default too; one without meaning is told where the topic sets it. A
//! broker's settings are all read-only: they are read when it starts. Not there: settings for all brokers (an empty list),
//! loggers, client metrics and groups, which are refused with `INVALID_REQUEST`.

use std::collections::{BTreeMap, BTreeSet};

use millrace_broker::{ConfigEntry, TOPIC_KEYS, TopicKey, TopicRef, ValueKind};
use millrace_kafka_wire::describe_configs_request::DescribeConfigsResource;
use millrace_kafka_wire::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use millrace_kafka_wire::{DescribeConfigsRequest, DescribeConfigsResponse};
use millrace_types::limits::KAFKA_CONFIG_BYTES;

use crate::answers::Reply;
use crate::bill::Bill;
use crate::config_resource::{BY_DEFAULT, ConfigResource, SET_AT_START, SET_BY_TOPIC, broker_name};
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;
use crate::request_memory::{RequestMemory, Unanswered};

/// What is to be told of each config.
#[derive(Clone, Copy)]
struct Told {
    synonyms: bool,
    documentation: bool,
}

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: DescribeConfigsRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let told = Told { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let twice = parts::twice(
        request.resources.iter().map(|resource| (resource.resource_type, resource.resource_name.as_str())),
    );
    let (mut bill, mut first_error) = (Bill::new(memory), None);
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let described = if twice.contains(&(resource.resource_type, resource.resource_name.as_str())) {
            Err(Fault::new(KafkaError::InvalidRequest, "the request names the resource twice"))
        } else {
            describe(api, caller, resource, told)
        };
        first_error = first_error.or(described.as_ref().err().map(|fault| fault.error));
        bill.add(described.as_ref().map_or(0, Vec::len) * KAFKA_CONFIG_BYTES).await?;
        results.push(to_wire(resource, described));
    }
    api.requests.count(Operation::DescribeConfigs, first_error);
    let response = DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() };
    let reply = asked.reply::<DescribeConfigsRequest>(&response)?;
    bill.settle(reply.rope.len());
    Ok(reply)
}

fn describe(
    api: &Handlers,
    caller: &Caller,
    resource: &DescribeConfigsResource,
    told: Told,
) -> Result<Vec<DescribeConfigsResourceResult>, Fault> {
    let (kind, name) = (resource.resource_type, resource.resource_name.as_str());
    let mut configs = match ConfigResource::of(kind, name, api.settings.node)? {
        ConfigResource::Topic(topic) => of_topic(api, caller, topic, told)?,
        ConfigResource::Broker => of_broker(api, caller, told),
        ConfigResource::AllBrokers => Vec::new(),
    };
    // None of them and all of them are asked for in the same way.
    if let Some(keys) = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
        let keys: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
        configs.retain(|config| keys.contains(config.name.as_str()));
    }
    Ok(configs)
}

fn of_topic(
    api: &Handlers,
    caller: &Caller,
    topic: TopicRef,
    told: Told,
) -> Result<Vec<DescribeConfigsResourceResult>, Fault> {
    let mut found = api.broker.topic_configs(&caller.context, &[topic])?;
    let topic = found.pop().unwrap_or_else(parts::unanswered)?;
    // The topics of the product are its own to change.
    let read_only = topic.name.is_internal();
    let configs = topic
        .configs
        .into_iter()
        .map(|entry| DescribeConfigsResourceResult { read_only, ..topic_config(entry, told) });
    Ok(configs.collect())
}

fn topic_config(entry: ConfigEntry, told: Told) -> DescribeConfigsResourceResult {
    let ConfigEntry { key: name, value, is_set } = entry;
    let key = TopicKey::of_name(&name);
    let mut synonyms = Vec::new();
    if told.synonyms {
        if is_set {
            synonyms.push(synonym(&name, value.clone(), SET_BY_TOPIC));
        }
        let default = key.and_then(|key| Some((broker_name(key.name), key.default_value()?)));
        synonyms.extend(default.map(|(name, value)| synonym(name, value, BY_DEFAULT)));
    }
    DescribeConfigsResourceResult {
        config_source: if is_set { SET_BY_TOPIC } else { BY_DEFAULT },
        config_type: key.map_or(UNKNOWN_TYPE, |key| type_of(key.kind)),
        documentation: key.filter(|_| told.documentation).map(|key| key.about.to_owned()),
        name,
        value: Some(value),
        synonyms,
        ..DescribeConfigsResourceResult::default()
    }
}

fn synonym(name: &str, value: String, source: i8) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym {
        name: name.to_owned(),
        value: Some(value),
        source,
        ..DescribeConfigsSynonym::default()
    }
}

/// What the broker was started with, and what it does where a topic says nothing.
fn of_broker(api: &Handlers, caller: &Caller, told: Told) -> Vec<DescribeConfigsResourceResult> {
    let mut configs = BTreeMap::new();
    let mut add = |name: &str, value: String, source, kind, about: &str| {
        let synonym = synonym(name, value.clone(), source);
        let config = DescribeConfigsResourceResult {
            name: name.to_owned(),
            value: Some(value),
            read_only: true,
            config_source: source,
            synonyms: told.synonyms.then_some(synonym).into_iter().collect(),
            config_type: kind,
            documentation: told.documentation.then(|| about.to_owned()),
            ..DescribeConfigsResourceResult::default()
        };
        configs.insert(name.to_owned(), config);
    };
    for key in TOPIC_KEYS {
        if let Some(value) = key.default_value() {
            add(broker_name(key.name), value, BY_DEFAULT, type_of(key.kind), key.about);
        }
    }
    let node = api.settings.node.to_string();
    for name in ["broker.id", "node.id"] {
        add(name, node.clone(), SET_AT_START, type_of(ValueKind::Int), "The number of this broker.");
    }
    let listener = format!("PLAINTEXT://{}", caller.advertised);
    add("advertised.listeners", listener, SET_AT_START, type_of(ValueKind::List), "What clients connect to.");
    for setting in &api.settings.configs {
        let source = if setting.is_default { BY_DEFAULT } else { SET_AT_START };
        add(&setting.name, setting.value.clone(), source, type_of_text(&setting.value), setting.about);
    }
    configs.into_values().collect()
}

const UNKNOWN_TYPE: i8 = 0;

/// The number of a type in answers.
fn type_of(kind: ValueKind) -> i8 {
    match kind {
        ValueKind::Boolean => 1,
        ValueKind::Text => 2,
        ValueKind::Int => 3,
        ValueKind::Long => 5,
        ValueKind::Double => 6,
        ValueKind::List => 7,
    }
}

fn type_of_text(value: &str) -> i8 {
    type_of(if value.parse::<bool>().is_ok() {
        ValueKind::Boolean
    } else if value.parse::<i64>().is_ok() {
        ValueKind::Long
    } else {
        ValueKind::Text
    })
}

fn to_wire(
    resource: &DescribeConfigsResource,
    described: Result<Vec<DescribeConfigsResourceResult>, Fault>,
) -> DescribeConfigsResult {
    let none = DescribeConfigsResult {
        error_message: None,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..DescribeConfigsResult::default()
    };
    match described {
        Ok(configs) => DescribeConfigsResult { configs, ..none },
        Err(fault) => {
            DescribeConfigsResult { error_code: fault.code(), error_message: Some(fault.message), ..none }
        }
    }
}
