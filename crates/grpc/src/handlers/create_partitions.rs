//! `CreatePartitions`: more partitions for one topic.

use std::sync::Arc;

use millrace_broker::{CreatePartitionsRequest, NewPartitions};
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
    request: v1::CreatePartitionsRequest,
) -> Result<v1::CreatePartitionsResponse, Status> {
    let topic = parts::topic(request.topic.as_ref()).map_err(status_of)?;
    let request = CreatePartitionsRequest {
        topics: vec![NewPartitions { topic, count: request.count }],
        validate_only: request.validate_only,
    };
    let (broker, context) = (Arc::clone(&api.broker), caller.context.clone());
    let grown = api.complete("create partitions", async move {
        parts::only(broker.create_partitions(&context, request).await?)
    });
    Ok(v1::CreatePartitionsResponse { topic: Some(topic_to_wire(grown.await?)) })
}
