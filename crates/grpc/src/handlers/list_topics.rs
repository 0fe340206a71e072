//! `ListTopics`.

use millrace_proto::{id_bytes, v1};
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::status_of;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::ListTopicsRequest,
) -> Result<v1::ListTopicsResponse, Status> {
    let topics = api.broker.list_topics(&caller.context).await.map_err(status_of)?;
    let wanted = topics.into_iter().filter(|topic| request.include_internal || !topic.name.is_internal());
    let topics = wanted.map(|topic| v1::TopicSummary {
        id: id_bytes(topic.id),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        internal: topic.name.is_internal(),
        name: topic.name.to_string(),
    });
    Ok(v1::ListTopicsResponse { topics: topics.collect() })
}
