//! `DescribeCluster` (60), versions 0 to 2 (KIP-700, KIP-919): who serves.
//!
//! Not there: authorized operations (there is no authorization yet), racks, controllers as endpoints of their own: every broker
//! answers for the cluster.

use millrace_broker::ClusterDescription;
use millrace_kafka_wire::describe_cluster_response::DescribeClusterBroker;
use millrace_kafka_wire::{DescribeClusterRequest, DescribeClusterResponse};
use millrace_types::NodeId;

use crate::answers::Reply;
use crate::door::Endpoint;
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::request_memory::{RequestMemory, Unanswered};
use crate::served::Served;

/// The kinds of endpoints that can be asked for.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: DescribeClusterRequest,
    _memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let described = match request.endpoint_type {
        BROKERS => api.broker.describe_cluster(&caller.context).await.map_err(Fault::from),
        CONTROLLERS => Err(Fault::new(KafkaError::MismatchedEndpointType, "this is an endpoint of brokers")),
        other => Err(Fault::new(KafkaError::UnsupportedEndpointType, format!("endpoint type {other}"))),
    };
    api.requests.count(Operation::DescribeCluster, described.as_ref().err().map(|fault| fault.error));
    let response = match described {
        Ok(cluster) => DescribeClusterResponse {
            cluster_id: cluster.cluster_id.to_string(),
            controller_id: cluster.controller.map_or(-1, |node| node.0),
            brokers: brokers(api, caller, &cluster, request.include_fenced_brokers),
            ..DescribeClusterResponse::default()
        },
        Err(fault) => DescribeClusterResponse {
            error_code: fault.code(),
            error_message: Some(fault.message),
            ..DescribeClusterResponse::default()
        },
    };
    Ok(asked.reply::<DescribeClusterRequest>(&response)?)
}

fn brokers(
    api: &Handlers,
    caller: &Caller,
    cluster: &ClusterDescription,
    with_fenced: bool,
) -> Vec<DescribeClusterBroker> {
    let served = Served::of(api, caller, Some(cluster));
    let fenced = served.others().filter(|_| with_fenced).map(|(node, endpoint)| (node, endpoint, true));
    let brokers = served.active().map(|(node, endpoint)| (node, endpoint, false)).chain(fenced);
    let to_wire = |(node, endpoint, is_fenced): (NodeId, &Endpoint, bool)| DescribeClusterBroker {
        broker_id: node.0,
        host: endpoint.host.clone(),
        port: i32::from(endpoint.port),
        is_fenced,
        ..DescribeClusterBroker::default()
    };
    brokers.map(to_wire).collect()
}
