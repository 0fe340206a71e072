//! `JoinGroup` (11), versions 0 to 9: a consumer wants to be in the next generation of a group whose members assign each other.
//!
//! Static members (KIP-345, from 5 on), an id that must be brought back (KIP-394, from 4 on), a leader that comes back and need
//! not assign anew (KIP-814, from 9 on; older clients are told of another leader). Reasons (KIP-800) are read and go nowhere.
//!
//! It waits until the generation is formed and holds no memory meanwhile; what the member has sent is the group's by then.
//! Given up when the client hangs up; told to look for another coordinator when the broker goes.

use millrace_broker::{
    ClassicIdentity, ClassicJoined, ClassicMember, ClassicProtocol, ClassicRole, InstanceId,
    JoinClassicRequest, MemberId,
};
use millrace_kafka_wire as wire;
use millrace_kafka_wire::JoinGroupResponse;
use millrace_kafka_wire::join_group_response::JoinGroupResponseMember;
use millrace_types::limits::{KAFKA_ELEMENT_BYTES, REBALANCE_TIMEOUT_MS_MAX};

use crate::answers::Reply;
use crate::error_map::{Fault, KafkaError};
use crate::group_parts;
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::request_memory::{RequestMemory, Unanswered};

/// From here on clients come back with the id that they are given.
const RETURNS_FROM: i16 = 4;
/// From here on an answer names the kind of protocol, and an error has no protocol.
const TYPE_FROM: i16 = 7;
/// From here on a leader may be told not to assign.
const SKIP_FROM: i16 = 9;
/// In an answer without a generation.
const NO_GENERATION: i32 = -1;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: wire::JoinGroupRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let (version, given) = (asked.version, request.member_id.clone());
    let joined = join(api, caller, version, request, memory).await;
    let error = match &joined {
        Ok(ClassicJoined::Generation { .. }) => None,
        Ok(ClassicJoined::ComeBackAs(_)) => Some(KafkaError::MemberIdRequired),
        Err(fault) => Some(fault.error),
    };
    api.requests.count(Operation::JoinGroup, error);
    let nothing = JoinGroupResponse {
        error_code: error.map_or(0, KafkaError::code),
        generation_id: NO_GENERATION,
        protocol_name: (version < TYPE_FROM).then(String::new),
        member_id: given,
        ..JoinGroupResponse::default()
    };
    let response = match joined {
        Err(_told_by_its_number) => nothing,
        Ok(ClassicJoined::ComeBackAs(member)) => {
            JoinGroupResponse { member_id: member.as_str().to_owned(), ..nothing }
        }
        Ok(ClassicJoined::Generation { member, generation, protocol_type, protocol, leader, role }) => {
            let formed = JoinGroupResponse {
                generation_id: generation.0,
                protocol_type: (version >= TYPE_FROM).then_some(protocol_type),
                protocol_name: Some(protocol),
                member_id: member.as_str().to_owned(),
                ..nothing
            };
            // A list of members may be megabytes.
            memory.more(list_bytes(&role)).await?;
            with_role(formed, &member, &leader, role, version)
        }
    };
    Ok(asked.reply::<wire::JoinGroupRequest>(&response)?)
}

async fn join(
    api: &Handlers,
    caller: &Caller,
    version: i16,
    request: wire::JoinGroupRequest,
    memory: &mut RequestMemory,
) -> Result<ClassicJoined, Fault> {
    let question = question(api, caller, version, request)?;
    let pending = api.broker.join_classic(&caller.context, question).await.map_err(Fault::of_coordinator)?;
    memory.give_back_all();
    tokio::select! {
        biased;
        joined = pending.joined() => joined.map_err(Fault::of_coordinator),
        () = api.draining.cancelled() => Err(group_parts::draining()),
    }
}

fn question(
    api: &Handlers,
    caller: &Caller,
    version: i16,
    request: wire::JoinGroupRequest,
) -> Result<JoinClassicRequest, Fault> {
    let group = group_parts::group(&request.group_id)?;
    let settings = api.broker.group_settings();
    let allowed = settings.classic_session_timeout_ms_min..=settings.classic_session_timeout_ms_max;
    let session = u64::try_from(request.session_timeout_ms).ok().filter(|ms| allowed.contains(ms));
    let session_timeout_ms = session.ok_or_else(|| {
        let message =
            format!("a session timeout of {} ms; {allowed:?} is allowed", request.session_timeout_ms);
        Fault::new(KafkaError::InvalidSessionTimeout, message)
    })?;
    let identity = match group_parts::member_if_any(&request.member_id)? {
        Some(member) => ClassicIdentity::Known(member),
        None if version >= RETURNS_FROM => ClassicIdentity::FreshAndReturns,
        None => ClassicIdentity::Fresh,
    };
    // Version 0 has none: it is the session's. Some clients say that they have all the time there is.
    let rebalance = u64::try_from(request.rebalance_timeout_ms).unwrap_or(session_timeout_ms);
    let protocols = request
        .protocols
        .into_iter()
        .map(|offered| ClassicProtocol { name: offered.name, metadata: offered.metadata });
    let profile = ClassicMember {
        instance: group_parts::instance(request.group_instance_id.as_deref())?,
        client_id: caller.context.client_id.to_string(),
        client_host: caller.host.to_string(),
        session_timeout_ms,
        rebalance_timeout_ms: rebalance.min(REBALANCE_TIMEOUT_MS_MAX),
        protocols: protocols.collect(),
        ..ClassicMember::default()
    };
    Ok(JoinClassicRequest { group, identity, profile, protocol_type: request.protocol_type })
}

type Members = Vec<(MemberId, Option<InstanceId>, bytes::Bytes)>;

fn list_bytes(role: &ClassicRole) -> usize {
    match role {
        ClassicRole::Follower => 0,
        ClassicRole::Leader(members) | ClassicRole::ReturnedLeader(members) => {
            members.iter().map(|(_, _, metadata)| KAFKA_ELEMENT_BYTES + metadata.len()).sum()
        }
    }
}

fn with_role(
    formed: JoinGroupResponse,
    member: &MemberId,
    leader: &MemberId,
    role: ClassicRole,
    version: i16,
) -> JoinGroupResponse {
    let leader = leader.as_str().to_owned();
    match role {
        ClassicRole::Follower => JoinGroupResponse { leader, ..formed },
        ClassicRole::Leader(members) => JoinGroupResponse { leader, members: listed(members), ..formed },
        ClassicRole::ReturnedLeader(members) if version >= SKIP_FROM => {
            JoinGroupResponse { leader, skip_assignment: true, members: listed(members), ..formed }
        }
        // It would assign anew, and nobody would hear of it.
        ClassicRole::ReturnedLeader(members) => {
            let other = members.into_iter().map(|(id, _, _)| id).find(|id| id != member);
            let leader = other.map(|id| id.as_str().to_owned()).unwrap_or_default();
            JoinGroupResponse { leader, ..formed }
        }
    }
}

fn listed(members: Members) -> Vec<JoinGroupResponseMember> {
    let one = |(id, instance, metadata): (MemberId, Option<InstanceId>, _)| JoinGroupResponseMember {
        member_id: id.as_str().to_owned(),
        group_instance_id: instance.map(|instance| instance.as_str().to_owned()),
        metadata,
        ..JoinGroupResponseMember::default()
    };
    members.into_iter().map(one).collect()
}
