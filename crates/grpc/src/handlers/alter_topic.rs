//! `AlterTopic`: the configuration of one topic, key by key.

use std::sync::Arc;

use millrace_broker::{AlterTopicsRequest, Alteration, ConfigChange, TopicChanges};
use millrace_proto::v1;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::status_of;
use crate::handlers::describe_topic::topic_to_wire;
use crate::parts;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::AlterTopicRequest,
) -> Result<v1::AlterTopicResponse, Status> {
    let topic = parts::topic(request.topic.as_ref()).map_err(status_of)?;
    let changes = request.changes.into_iter().map(change).collect();
    let request = AlterTopicsRequest {
        topics: vec![TopicChanges { topic, changes: Alteration::Keys(changes) }],
        validate_only: request.validate_only,
    };
    let (broker, context) = (Arc::clone(&api.broker), caller.context.clone());
    let altered = api
        .complete("alter topic", async move { parts::only(broker.alter_topics(&context, request).await?) });
    Ok(v1::AlterTopicResponse { topic: Some(topic_to_wire(altered.await?)) })
}

fn change(wire: v1::ConfigChange) -> ConfigChange {
    match wire.value {
        Some(value) => ConfigChange::Set { key: wire.key, value },
        None => ConfigChange::Unset { key: wire.key },
    }
}
