//! `PlanMoves`: what would move if a broker came or went.

use millrace_broker::{BrokerChange, PartitionMove};
use millrace_proto::v1;
use millrace_proto::v1::plan_moves_request::Change;
use millrace_types::NodeId;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::status_of;
use crate::parts;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::PlanMovesRequest,
) -> Result<v1::PlanMovesResponse, Status> {
    let change = match request.change {
        Some(Change::Add(node)) => BrokerChange::Add(NodeId(node)),
        Some(Change::Remove(node)) => BrokerChange::Remove(NodeId(node)),
        None => {
            return Err(status_of(parts::invalid("neither a broker that comes nor one that goes is named")));
        }
    };
    let moves = api.broker.plan_moves(&caller.context, change).await.map_err(status_of)?;
    let answer = v1::PlanMovesResponse { moves: moves.iter().map(move_to_wire).collect() };
    api.pay_for(caller, &answer).await?;
    Ok(answer)
}

fn move_to_wire(planned: &PartitionMove) -> v1::PartitionMove {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    v1::PartitionMove {
        topic: Some(v1::TopicRef::by_both(&planned.topic, planned.id)),
        partition: planned.partition.get(),
        from: nodes(&planned.from),
        to: nodes(&planned.to),
    }
}
