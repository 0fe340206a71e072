//! `SyncGroup` (14), versions 0 to 5: a member of a generation wants its assignment; the leader brings all of them.
//!
//! From 5 on the request says by which protocol (KIP-559), and is refused if that is not the group's. It waits for the leader as
//! `JoinGroup` does for the others. While the groups are being read again it says that the members are to join again, as Kafka
//! does: Java's consumer stops at anything else.

use millrace_broker::{ClassicSynced, SyncClassicRequest};
use millrace_kafka_wire::{SyncGroupRequest, SyncGroupResponse};
use millrace_types::limits::KAFKA_ELEMENT_BYTES;

use crate::answers::Reply;
use crate::error_map::{Fault, KafkaError};
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::request_memory::{RequestMemory, Unanswered};

/// From here on requests and answers name the protocol.
const PROTOCOL_FROM: i16 = 5;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: SyncGroupRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let synced = sync(api, caller, asked.version, request, memory).await;
    let synced = synced.map_err(|fault| match fault.error {
        KafkaError::CoordinatorLoadInProgress => Fault::new(KafkaError::RebalanceInProgress, fault.message),
        _ => fault,
    });
    api.requests.count(Operation::SyncGroup, synced.as_ref().err().map(|fault| fault.error));
    let response = match synced {
        Ok(ClassicSynced { protocol_type, protocol, assignment }) => {
            let named = asked.version >= PROTOCOL_FROM;
            memory.more(KAFKA_ELEMENT_BYTES + assignment.len()).await?;
            SyncGroupResponse {
                protocol_type: named.then_some(protocol_type),
                protocol_name: named.then_some(protocol),
                assignment,
                ..SyncGroupResponse::default()
            }
        }
        Err(fault) => SyncGroupResponse { error_code: fault.code(), ..SyncGroupResponse::default() },
    };
    Ok(asked.reply::<SyncGroupRequest>(&response)?)
}

async fn sync(
    api: &Handlers,
    caller: &Caller,
    version: i16,
    request: SyncGroupRequest,
    memory: &mut RequestMemory,
) -> Result<ClassicSynced, Fault> {
    let unnamed = request.protocol_type.is_none() || request.protocol_name.is_none();
    if version >= PROTOCOL_FROM && unnamed {
        let message = "the request does not say by which protocol";
        return Err(Fault::new(KafkaError::InconsistentGroupProtocol, message));
    }
    let instance = request.group_instance_id.as_deref();
    let who = group_parts::of_generation(request.generation_id, &request.member_id, instance)?;
    // An id that nobody can have is that of no member, and gets nothing.
    let assignments = request.assignments.into_iter().filter_map(|share| {
        let member = group_parts::member_if_any(&share.member_id).ok()??;
        Some((member, share.assignment))
    });
    let question = SyncClassicRequest {
        group: group_parts::group(&request.group_id)?,
        who,
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignments: assignments.collect(),
    };
    let pending = api.broker.sync_classic(&caller.context, question).await.map_err(Fault::of_coordinator)?;
    memory.give_back_all();
    tokio::select! {
        biased;
        synced = pending.synced() => synced.map_err(Fault::of_coordinator),
        () = api.draining.cancelled() => Err(group_parts::draining()),
    }
}
