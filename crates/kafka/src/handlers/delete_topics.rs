//! `DeleteTopics` (20), versions 1 to 6: by name, from version 6 on also by id (KIP-516).
//!
//! Not there: the request's timeout, which has no effect: a topic is deleted or refused within the request.

use std::collections::BTreeSet;

use millrace_broker::{TopicLayout, TopicRef};
use millrace_kafka_wire::delete_topics_request::DeleteTopicState;
use millrace_kafka_wire::delete_topics_response::DeletableTopicResult;
use millrace_kafka_wire::{DeleteTopicsRequest, DeleteTopicsResponse};
use millrace_types::TopicId;

use crate::answers::Reply;
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts::{self, Naming};
use crate::request_memory::{RequestMemory, Unanswered};

/// From here on topics are named one by one, by name or by id.
const IDS_FROM: i16 = 6;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: DeleteTopicsRequest,
    _memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let by_name = |name: String| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() };
    let wanted: Vec<DeleteTopicState> = match asked.version {
        IDS_FROM.. => request.topics,
        _ => request.topic_names.into_iter().map(by_name).collect(),
    };
    // Who names a topic by its name and by its id names it twice; so all are looked up before any is deleted.
    let found: Vec<_> = wanted.iter().map(|topic| look_up(api, caller, topic)).collect();
    let twice_named = parts::twice(wanted.iter().filter_map(|topic| topic.name.as_deref()));
    let twice_found = parts::twice(found.iter().flatten().map(|topic| topic.id));
    let mut answered = BTreeSet::new();
    let mut responses = Vec::with_capacity(wanted.len());
    let mut first_error = None;
    for (topic, found) in wanted.iter().zip(found) {
        let is_twice = topic.name.as_deref().is_some_and(|name| twice_named.contains(name))
            || found.as_ref().is_ok_and(|found| twice_found.contains(&found.id));
        if is_twice && !answered.insert((topic.name.clone(), topic.topic_id)) {
            continue;
        }
        let deleted = match found {
            _ if is_twice => Err(Fault::new(KafkaError::InvalidRequest, "the request names the topic twice")),
            Ok(found) => {
                let deleted = api.broker.delete_topic(&caller.context, TopicRef::Id(found.id)).await;
                deleted.map(|()| found).map_err(Fault::from)
            }
            Err(fault) => Err(fault),
        };
        first_error = first_error.or(deleted.as_ref().err().map(|fault| fault.error));
        responses.push(to_wire(topic, deleted, asked.version));
    }
    api.requests.count(Operation::DeleteTopics, first_error);
    let response = DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() };
    Ok(asked.reply::<DeleteTopicsRequest>(&response)?)
}

fn look_up(api: &Handlers, caller: &Caller, wanted: &DeleteTopicState) -> Result<TopicLayout, Fault> {
    let naming = match (&wanted.name, TopicId(wanted.topic_id)) {
        (None, TopicId::ZERO) => Err("neither name nor id"),
        (Some(_), id) if id != TopicId::ZERO => Err("a name and an id, where one of them is wanted"),
        (None, _) => Ok(Naming::Ids),
        (Some(_), _) => Ok(Naming::Names),
    };
    let naming = naming.map_err(|why| Fault::new(KafkaError::InvalidRequest, why))?;
    let topic = naming.topic(wanted.name.as_deref().unwrap_or(""), wanted.topic_id)?;
    api.layout(caller, topic).map_err(|error| naming.fault(error))
}

fn to_wire(
    wanted: &DeleteTopicState,
    deleted: Result<TopicLayout, Fault>,
    version: i16,
) -> DeletableTopicResult {
    let (name, topic_id) = (wanted.name.clone(), wanted.topic_id);
    let none = DeletableTopicResult { name, topic_id, ..DeletableTopicResult::default() };
    match deleted {
        Ok(topic) if version >= IDS_FROM => {
            DeletableTopicResult { name: Some(topic.name.to_string()), topic_id: topic.id.0, ..none }
        }
        Ok(_) => none,
        Err(fault) => {
            DeletableTopicResult { error_code: fault.code(), error_message: Some(fault.message), ..none }
        }
    }
}
