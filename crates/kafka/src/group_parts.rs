//! Parts that requests about groups have: the group, and who speaks in its name.

use millrace_broker::{Assignor, Committer, GroupEpoch, MemberId};

use crate::error_map::{Fault, KafkaError};
pub(crate) use crate::member_parts::{group, instance};

/// The member that a request names. An id that breaks the rule is one that nobody has.
pub(crate) fn member(wire: &str) -> Result<MemberId, Fault> {
    MemberId::new(wire).map_err(|error| Fault::new(KafkaError::UnknownMemberId, error.to_string()))
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
