//! `ClusterStatus`.

use millrace_broker::{BrokerStatus, Standing};
use millrace_proto::v1;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::status_of;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    _request: v1::ClusterStatusRequest,
) -> Result<v1::ClusterStatusResponse, Status> {
    let status = api.broker.cluster_status(&caller.context).await.map_err(status_of)?;
    let partitions = status.partitions;
    Ok(v1::ClusterStatusResponse {
        cluster_id: status.cluster_id.to_string(),
        controller: status.controller.map_or(-1, |node| node.0),
        feature_level: status.feature_level,
        brokers: status.brokers.into_iter().map(broker_to_wire).collect(),
        voters: status.voters.iter().map(|node| node.0).collect(),
        partitions: partitions.all,
        without_leader: partitions.without_leader,
        under_replicated: partitions.under_replicated,
        below_min_insync: partitions.below_min_insync,
        moving: partitions.moving,
    })
}

fn broker_to_wire(broker: BrokerStatus) -> v1::BrokerStatus {
    let state = match broker.standing {
        Standing::Active => v1::BrokerState::Active,
        Standing::Draining => v1::BrokerState::Draining,
        Standing::Fenced => v1::BrokerState::Fenced,
    };
    v1::BrokerStatus {
        node: broker.node.0,
        state: state.into(),
        grpc: broker.grpc,
        kafka: broker.kafka,
        internal: broker.internal,
        leads: broker.leads,
        replicas: broker.replicas,
        voter: broker.is_voter,
    }
}
