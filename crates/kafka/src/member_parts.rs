//! Parts that the requests of members have who assign each other: their group, and who they are.

use millrace_broker::{Committer, GroupEpoch, InstanceId, MemberId};
use millrace_types::GroupId;

use crate::error_map::{Fault, KafkaError};

/// The group of a request.
pub(crate) fn group(wire: &str) -> Result<GroupId, Fault> {
    GroupId::new(wire).map_err(|error| Fault::new(KafkaError::InvalidGroupId, error.to_string()))
}

/// The member of a request; `None` if it names none. An id that nobody can have is nobody's.
pub(crate) fn member(wire: &str) -> Result<Option<MemberId>, Fault> {
    let unknown = |error| Fault::new(KafkaError::UnknownMemberId, format!("the id of a member: {error}"));
    if wire.is_empty() { Ok(None) } else { MemberId::new(wire).map(Some).map_err(unknown) }
}

/// The lasting name of a static member, if the request says one.
pub(crate) fn instance(wire: Option<&str>) -> Result<Option<InstanceId>, Fault> {
    let wrong = |error| Fault::new(KafkaError::InvalidRequest, format!("an instance id: {error}"));
    wire.map(InstanceId::new).transpose().map_err(wrong)
}

/// A member that says who it is, and in which generation.
pub(crate) fn committer(
    member_id: &str,
    instance_id: Option<&str>,
    generation: i32,
) -> Result<Committer, Fault> {
    let (member, instance) = (member(member_id)?, instance(instance_id)?);
    Ok(Committer { member, instance, epoch: Some(GroupEpoch(generation)) })
}

/// A broker that goes while somebody waits for its group.
pub(crate) fn draining() -> Fault {
    Fault::new(KafkaError::NotCoordinator, "the broker is shutting down")
}
