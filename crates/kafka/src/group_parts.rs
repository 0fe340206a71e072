//! Parts that requests about groups have: the group, and who speaks in its name.

use millrace_broker::{Assignor, Committer, GroupEpoch, InstanceId, MemberId};
use millrace_types::GroupId;

use crate::error_map::{Fault, KafkaError};

/// The group of a request.
pub(crate) fn group(wire: &str) -> Result<GroupId, Fault> {
    GroupId::new(wire).map_err(|error| Fault::new(KafkaError::InvalidGroupId, error.to_string()))
}

/// The lasting name of a static member, if the request says one.
pub(crate) fn instance(wire: Option<&str>) -> Result<Option<InstanceId>, Fault> {
    let wrong = |error| Fault::new(KafkaError::InvalidRequest, format!("an instance id: {error}"));
    wire.map(InstanceId::new).transpose().map_err(wrong)
}

/// The member that a request names. An id that breaks the rule is one that nobody has.
pub(crate) fn member(wire: &str) -> Result<MemberId, Fault> {
    MemberId::new(wire).map_err(|error| Fault::new(KafkaError::UnknownMemberId, error.to_string()))
}

/// The same of a request that may name none.
pub(crate) fn member_if_any(wire: &str) -> Result<Option<MemberId>, Fault> {
    if wire.is_empty() { Ok(None) } else { member(wire).map(Some) }
}

/// A member of a generation that says who it is: by its id, or a static one by its lasting name alone.
pub(crate) fn of_generation(
    generation: i32,
    member_id: &str,
    instance_id: Option<&str>,
) -> Result<Committer, Fault> {
    let (member, instance) = (member_if_any(member_id)?, instance(instance_id)?);
    Ok(Committer { member, instance, epoch: Some(GroupEpoch(generation)) })
}

/// A broker that goes while somebody waits for its group.
pub(crate) fn draining() -> Fault {
    Fault::new(KafkaError::NotCoordinator, "the broker is shutting down")
}

/// Who commits. A generation below zero is that of nobody in particular: of a tool, or of a consumer that assigns itself, whatever id
/// comes with it.
pub(crate) fn committer(
    generation: i32,
    member_id: &str,
    instance_id: Option<&str>,
) -> Result<Option<Committer>, Fault> {
    if generation < 0 {
        return Ok(None);
    }
    let (member, instance) = (member(member_id)?, instance(instance_id)?);
    Ok(Some(Committer { member: Some(member), instance, epoch: Some(GroupEpoch(generation)) }))
}

/// The assignor that clients of Kafka call by that name: what they call `uniform` is sticky.
pub(crate) fn assignor(wire: &str) -> Result<Assignor, Fault> {
    let known = if wire == UNIFORM { Some(Assignor::Sticky) } else { Assignor::from_name(wire) };
    known.ok_or_else(|| Fault::new(KafkaError::UnsupportedAssignor, format!("there is no assignor {wire}")))
}

/// What clients of Kafka call an assignor.
pub(crate) fn assignor_name(name: &str) -> &str {
    if name == Assignor::Sticky.name() { UNIFORM } else { name }
}

const UNIFORM: &str = "uniform";
