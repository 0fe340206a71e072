//! `DescribeCluster`.

use millrace_broker::BrokerDescription;
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
        brokers: brokers.map(broker_to_wire).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        feature_level: cluster.feature_level,
    })
}

fn broker_to_wire(broker: BrokerDescription) -> v1::Broker {
    let BrokerDescription { node, grpc, kafka, is_active } = broker;
    v1::Broker { node: node.0, grpc, kafka, active: is_active }
}
