//! `Metadata` (3), versions 0 to 13: who serves, and where partitions live. Topics that are asked for and not there are made,
//! if both client and broker are for it.
//!
//! Not there: authorized operations (there is no authorization yet), racks.

use std::collections::{BTreeMap, BTreeSet};

use millrace_broker::{CreateTopicRequest, PartitionLayout, TopicLayout, TopicRef};
use millrace_kafka_wire::metadata_request::MetadataRequestTopic;
use millrace_kafka_wire::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use millrace_kafka_wire::{MetadataRequest, MetadataResponse};
use millrace_types::limits::KAFKA_LAYOUT_BYTES;
use millrace_types::{ErrorCode, NodeId, TopicId, TopicName};

use crate::answers::Reply;
use crate::bill::Bill;
use crate::door::Endpoint;
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts::Naming;
use crate::request_memory::{RequestMemory, Unanswered};
use crate::served::Served;

/// Topics that somebody made by asking for them do not stay full for ever: their records go after seven days, as Kafka's
/// do. What is made on purpose keeps what it is not told to let go.
const RETENTION: &str = "retention.ms";
const RETENTION_OF_MADE: &str = "604800000";
/// From here on an empty list of topics is none of them, and all are asked for with null.
const NONE_FROM: i16 = 1;
/// From here on a client says whether topics are to be made for it; before, they always are.
const ALLOW_FROM: i16 = 4;
/// From here on the name of a topic may be null.
const NAMELESS_FROM: i16 = 12;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: MetadataRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let version = asked.version;
    let wanted = request.topics.filter(|topics| version >= NONE_FROM || !topics.is_empty());
    let may_create = version < ALLOW_FROM || request.allow_auto_topic_creation;
    let mut bill = Bill::new(memory);
    let topics = match wanted {
        None => {
            bill.add(api.broker.partitions_open() * KAFKA_LAYOUT_BYTES).await?;
            all_topics(api, caller)
        }
        Some(mut topics) => {
            // As in Kafka, a topic is answered once however often it is asked for.
            let mut seen = BTreeSet::new();
            topics.retain(|topic| seen.insert((topic.name.clone(), topic.topic_id)));
            let mut answers = Vec::with_capacity(topics.len());
            for topic in topics {
                let answer = one_topic(api, caller, topic, may_create).await;
                bill.add(answer.0.partitions.len() * KAFKA_LAYOUT_BYTES).await?;
                answers.push(answer);
            }
            answers
        }
    };
    let error = topics.iter().find_map(|topic| topic.1);
    api.requests.count(Operation::Metadata, error);
    let topics = topics.into_iter().map(|(topic, _)| nameable(topic, version)).collect();
    let cluster = api.broker.describe_cluster(&caller.context).await.ok();
    let controller = cluster.as_ref().and_then(|cluster| cluster.controller);
    let brokers: Vec<_> = Served::of(api, caller, cluster.as_ref()).active().map(broker_to_wire).collect();
    if brokers.len() == 1 {
        // Among several it may be another that the client comes back to.
        caller.visit.told();
    }
    let response = MetadataResponse {
        brokers,
        cluster_id: cluster.filter(|_| version >= 2).map(|cluster| cluster.cluster_id.to_string()),
        controller_id: controller.filter(|_| version >= 1).map_or(-1, |node| node.0),
        topics,
        ..MetadataResponse::default()
    };
    let reply = asked.reply::<MetadataRequest>(&response)?;
    bill.settle(reply.rope.len());
    Ok(reply)
}

type TopicAnswer = (MetadataResponseTopic, Option<KafkaError>);

fn all_topics(api: &Handlers, caller: &Caller) -> Vec<TopicAnswer> {
    let layouts = api.broker.topic_layouts(&caller.context, None).unwrap_or_default();
    layouts.into_iter().flatten().map(|layout| (to_wire(layout), None)).collect()
}

async fn one_topic(
    api: &Handlers,
    caller: &Caller,
    wanted: MetadataRequestTopic,
    may_create: bool,
) -> TopicAnswer {
    let found = match (&wanted.name, TopicId(wanted.topic_id)) {
        (None, TopicId::ZERO) => Err(Fault::new(KafkaError::InvalidRequest, "neither name nor id")),
        (None, id) => api.layout(caller, TopicRef::Id(id)).map_err(|error| Naming::Ids.fault(error)),
        (Some(name), _) => by_name(api, caller, name, may_create).await,
    };
    match found {
        Ok(layout) => (to_wire(layout), None),
        Err(fault) => {
            let topic = MetadataResponseTopic {
                error_code: fault.code(),
                name: wanted.name,
                topic_id: wanted.topic_id,
                ..MetadataResponseTopic::default()
            };
            (topic, Some(fault.error))
        }
    }
}

async fn by_name(
    api: &Handlers,
    caller: &Caller,
    name: &str,
    may_create: bool,
) -> Result<TopicLayout, Fault> {
    let invalid = |error: &dyn std::fmt::Display| Fault::new(KafkaError::InvalidTopic, error.to_string());
    let name = TopicName::new(name).map_err(|error| invalid(&error))?;
    let topic = TopicRef::Name(name.clone());
    let new_topics = api.settings.new_topics;
    match api.layout(caller, topic.clone()) {
        Err(error)
            if error.code == ErrorCode::UnknownTopicOrPartition
                && may_create
                && new_topics.auto_create
                && !name.is_internal() =>
        {
            let request = CreateTopicRequest {
                name: name.to_string(),
                partitions: Some(new_topics.partitions),
                replication_factor: None,
                configs: BTreeMap::from([(RETENTION.to_owned(), RETENTION_OF_MADE.to_owned())]),
                validate_only: false,
            };
            match api.broker.create_topic(&caller.context, request).await {
                // Somebody else may have made it at the same moment.
                Ok(_) => Ok(api.layout(caller, topic)?),
                Err(error) if error.code == ErrorCode::TopicAlreadyExists => {
                    api.layout(caller, topic).map_err(|_clash| invalid(&error.message))
                }
                Err(error) => Err(error.into()),
            }
        }
        found => Ok(found?),
    }
}

fn broker_to_wire((node, endpoint): (NodeId, &Endpoint)) -> MetadataResponseBroker {
    MetadataResponseBroker {
        node_id: node.0,
        host: endpoint.host.clone(),
        port: i32::from(endpoint.port),
        ..MetadataResponseBroker::default()
    }
}

fn to_wire(layout: TopicLayout) -> MetadataResponseTopic {
    MetadataResponseTopic {
        is_internal: layout.name.is_internal(),
        name: Some(layout.name.to_string()),
        topic_id: layout.id.0,
        partitions: layout.partitions.iter().map(partition_to_wire).collect(),
        ..MetadataResponseTopic::default()
    }
}

fn partition_to_wire(partition: &PartitionLayout) -> MetadataResponsePartition {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    let led = partition.leader.is_some();
    MetadataResponsePartition {
        error_code: if led { 0 } else { KafkaError::LeaderNotAvailable.code() },
        partition_index: partition.partition.get(),
        leader_id: partition.leader.map_or(-1, |node| node.0),
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: nodes(&partition.replicas),
        isr_nodes: nodes(&partition.isr),
        offline_replicas: nodes(&partition.offline),
        ..MetadataResponsePartition::default()
    }
}

/// What a version cannot say is left out.
fn nameable(mut topic: MetadataResponseTopic, version: i16) -> MetadataResponseTopic {
    if version < NAMELESS_FROM && topic.name.is_none() {
        topic.name = Some(String::new());
    }
    topic
}
