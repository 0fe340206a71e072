//! `Heartbeat` (12), versions 0 to 4: a member of a generation is there.
//!
//! Static members from 3 on (KIP-345). While the groups are being read again everybody is believed to be there, as in Kafka.

use millrace_kafka_wire::{HeartbeatRequest, HeartbeatResponse, WireError};

use crate::answers::Reply;
use crate::error_map::{Fault, KafkaError};
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: &HeartbeatRequest,
) -> Result<Reply, WireError> {
    let error = match heard(api, caller, request).await {
        Ok(()) => None,
        Err(fault) if fault.error == KafkaError::CoordinatorLoadInProgress => None,
        Err(fault) => Some(fault.error),
    };
    api.requests.count(Operation::Heartbeat, error);
    let error_code = error.map_or(0, KafkaError::code);
    asked.reply::<HeartbeatRequest>(&HeartbeatResponse { error_code, ..HeartbeatResponse::default() })
}

async fn heard(api: &Handlers, caller: &Caller, request: &HeartbeatRequest) -> Result<(), Fault> {
    let group = group_parts::group(&request.group_id)?;
    let instance = request.group_instance_id.as_deref();
    let who = group_parts::of_generation(request.generation_id, &request.member_id, instance)?;
    api.broker.heartbeat_classic(&caller.context, &group, who).await.map_err(Fault::of_coordinator)
}
