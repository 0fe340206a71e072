//! `DescribeCluster`.

use millrace_proto::v1;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::status_of;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    _request: v1::DescribeClusterRequest,
) -> Result<v1::DescribeClusterResponse, Status> {
    let cluster = api.broker.describe_cluster(&caller.context).await.map_err(status_of)?;
    let brokers = cluster.brokers.into_iter();
    Ok(v1::DescribeClusterResponse {
        cluster_id: cluster.cluster_id.to_string(),
        controller: cluster.controller.map_or(-1, |node| node.0),
        brokers: brokers.map(|broker| v1::Broker { node: broker.node.0, grpc: broker.grpc }).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        feature_level: cluster.feature_level,
    })
}
