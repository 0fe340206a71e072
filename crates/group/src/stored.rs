//! The records of groups as bytes of `__consumer_offsets`, and back.

use std::collections::BTreeMap;

use millrace_schema::{
    FrameError, GroupPart, GroupsKey, GroupsValue, StoredClassic, StoredClassicMember, StoredCurrent,
    StoredMember, StoredMeta, decode_groups_key,
};
use millrace_types::GroupId;

use crate::assign::Assignor;
use crate::classic::{ClassicMember, ClassicProtocol, ClassicState};
use crate::ids::{GroupEpoch, IdError, InstanceId, MemberId, Pattern, RackId};
use crate::state::{Current, GroupMeta, GroupRecord, Profile, Standing};
use crate::topics::Subscription;

/// A record of `__consumer_offsets`: key, and value or tombstone.
pub type RecordBytes = (Vec<u8>, Option<Vec<u8>>);

/// What a record of `__consumer_offsets` says of groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stored {
    /// Nothing: it is a committed offset, or a record of Kafka's.
    Nothing,
    /// Something of a group.
    Of(GroupId, GroupRecord),
    /// That what stands before it says nothing of members, and that epochs up to this one are used up in every group.
    MembersDropped(GroupEpoch),
}

/// Why a record of a group was not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoredError {
    /// Key or value do not decode.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A field breaks its rule.
    #[error("the record of a group: {field}: {problem}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The value is not of the kind of its key.
    #[error("the record of a group has a value of another kind than its key")]
    Mismatch,
}

/// The record that says [`Stored::MembersDropped`].
#[must_use]
pub fn members_dropped(epoch_floor: GroupEpoch) -> RecordBytes {
    let value = GroupsValue::MembersDropped { epoch_floor: epoch_floor.0 };
    (GroupsKey::MembersDropped.encode(), Some(value.encode()))
}

impl GroupRecord {
    /// The bytes of a record of that group.
    #[must_use]
    pub fn encode(&self, group: &GroupId) -> RecordBytes {
        let text = |member: &MemberId| member.as_str().to_owned();
        let (part, value) = match self {
            GroupRecord::Meta(meta) => (GroupPart::Meta, meta.as_ref().map(stored_meta)),
            GroupRecord::Member { member, value } => {
                (GroupPart::Member(text(member)), value.as_ref().map(stored_member))
            }
            GroupRecord::Target { member, value } => {
                (GroupPart::Target(text(member)), value.clone().map(GroupsValue::Target))
            }
            GroupRecord::Current { member, value } => {
                (GroupPart::Current(text(member)), value.as_ref().map(stored_current))
            }
            GroupRecord::Classic(classic) => (GroupPart::Classic, classic.as_ref().map(stored_classic)),
        };
        let key = GroupsKey::Of { group: group.clone(), part };
        (key.encode(), value.map(|value| value.encode()))
    }
}

/// Reads a record of `__consumer_offsets`.
///
/// # Errors
/// [`StoredError`] if it is one of a group and malformed, or of a newer build.
pub fn decode_record(key: &[u8], value: Option<&[u8]>) -> Result<Stored, StoredError> {
    let Some(key) = decode_groups_key(key)? else { return Ok(Stored::Nothing) };
    let value = value.map(GroupsValue::decode).transpose()?;
    let (group, part) = match key {
        GroupsKey::Of { group, part } => (group, part),
        GroupsKey::MembersDropped => {
            return match value {
                Some(GroupsValue::MembersDropped { epoch_floor }) => {
                    Ok(Stored::MembersDropped(GroupEpoch(epoch_floor)))
                }
                _ => Err(StoredError::Mismatch),
            };
        }
    };
    let id = |text: String| checked("member", MemberId::new(&text));
    let record = match (part, value) {
        (GroupPart::Meta, None) => GroupRecord::Meta(None),
        (GroupPart::Meta, Some(GroupsValue::Meta(meta))) => GroupRecord::Meta(Some(read_meta(&meta)?)),
        (GroupPart::Member(member), None) => GroupRecord::Member { member: id(member)?, value: None },
        (GroupPart::Member(member), Some(GroupsValue::Member(value))) => {
            GroupRecord::Member { member: id(member)?, value: Some(read_member(value)?) }
        }
        (GroupPart::Target(member), None) => GroupRecord::Target { member: id(member)?, value: None },
        (GroupPart::Target(member), Some(GroupsValue::Target(value))) => {
            GroupRecord::Target { member: id(member)?, value: Some(value) }
        }
        (GroupPart::Current(member), None) => GroupRecord::Current { member: id(member)?, value: None },
        (GroupPart::Current(member), Some(GroupsValue::Current(value))) => {
            GroupRecord::Current { member: id(member)?, value: Some(read_current(value)) }
        }
        (GroupPart::Classic, None) => GroupRecord::Classic(None),
        (GroupPart::Classic, Some(GroupsValue::Classic(value))) => {
            GroupRecord::Classic(Some(read_classic(value)?))
        }
        _ => return Err(StoredError::Mismatch),
    };
    Ok(Stored::Of(group, record))
}

fn checked<T>(field: &'static str, id: Result<T, IdError>) -> Result<T, StoredError> {
    id.map_err(|problem| StoredError::Invalid { field, problem: problem.to_string() })
}

fn assignor(name: &str) -> Result<Assignor, StoredError> {
    let unknown = || StoredError::Invalid { field: "assignor", problem: format!("{name:?} is not known") };
    Assignor::from_name(name).ok_or_else(unknown)
}

fn stored_meta(meta: &GroupMeta) -> GroupsValue {
    GroupsValue::Meta(StoredMeta {
        epoch: meta.epoch.0,
        assignor: meta.assignor.name().to_owned(),
        digest: meta.digest,
        emptied_at: meta.emptied_at,
    })
}

fn read_meta(meta: &StoredMeta) -> Result<GroupMeta, StoredError> {
    let StoredMeta { epoch, digest, emptied_at, .. } = *meta;
    Ok(GroupMeta { epoch: GroupEpoch(epoch), assignor: assignor(&meta.assignor)?, digest, emptied_at })
}

fn stored_member(profile: &Profile) -> GroupsValue {
    GroupsValue::Member(StoredMember {
        instance: profile.instance.as_ref().map(ToString::to_string),
        rack: profile.rack.as_ref().map(ToString::to_string),
        client_id: profile.client_id.clone(),
        client_host: profile.client_host.clone(),
        names: profile.subscription.names.clone(),
        pattern: profile.subscription.pattern.as_ref().map(ToString::to_string),
        assignor: profile.assignor.map(|assignor| assignor.name().to_owned()),
        rebalance_timeout_ms: profile.rebalance_timeout_ms,
    })
}

fn read_member(value: StoredMember) -> Result<Profile, StoredError> {
    let pattern = value.pattern.map(|pattern| checked("pattern", Pattern::new(&pattern))).transpose()?;
    Ok(Profile {
        instance: value.instance.map(|id| checked("instance", InstanceId::new(&id))).transpose()?,
        rack: value.rack.map(|id| checked("rack", RackId::new(&id))).transpose()?,
        client_id: value.client_id,
        client_host: value.client_host,
        subscription: Subscription { names: value.names, pattern },
        assignor: value.assignor.as_deref().map(assignor).transpose()?,
        rebalance_timeout_ms: value.rebalance_timeout_ms,
    })
}

fn stored_current(current: &Current) -> GroupsValue {
    GroupsValue::Current(StoredCurrent {
        epoch: current.epoch.0,
        previous_epoch: current.previous_epoch.0,
        assigned: current.assigned.clone(),
        revoking: current.revoking.clone(),
        revision: current.revision,
        departed: current.standing == Standing::Departed,
    })
}

fn read_current(value: StoredCurrent) -> Current {
    Current {
        epoch: GroupEpoch(value.epoch),
        previous_epoch: GroupEpoch(value.previous_epoch),
        assigned: value.assigned,
        revoking: value.revoking,
        revision: value.revision,
        standing: if value.departed { Standing::Departed } else { Standing::Here },
    }
}

fn stored_classic(state: &ClassicState) -> GroupsValue {
    let member = |(id, member): (&MemberId, &ClassicMember)| StoredClassicMember {
        member: id.to_string(),
        instance: member.instance.as_ref().map(ToString::to_string),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        session_timeout_ms: member.session_timeout_ms,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        protocols: member.protocols.iter().map(|p| (p.name.clone(), p.metadata.clone())).collect(),
        assignment: member.assignment.clone(),
    };
    GroupsValue::Classic(StoredClassic {
        generation: state.generation.0,
        protocol_type: state.protocol_type.clone(),
        protocol: state.protocol.clone(),
        leader: state.leader.as_ref().map(ToString::to_string),
        members: state.members.iter().map(member).collect(),
        synced: state.synced,
        emptied_at: state.emptied_at,
    })
}

fn read_classic(value: StoredClassic) -> Result<ClassicState, StoredError> {
    let mut members = BTreeMap::new();
    for member in value.members {
        let id = checked("member", MemberId::new(&member.member))?;
        let instance = member.instance.map(|id| checked("instance", InstanceId::new(&id))).transpose()?;
        let protocols = member.protocols.into_iter();
        let read = ClassicMember {
            instance,
            client_id: member.client_id,
            client_host: member.client_host,
            session_timeout_ms: member.session_timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            protocols: protocols.map(|(name, metadata)| ClassicProtocol { name, metadata }).collect(),
            assignment: member.assignment,
        };
        members.insert(id, read);
    }
    Ok(ClassicState {
        generation: GroupEpoch(value.generation),
        protocol_type: value.protocol_type,
        protocol: value.protocol,
        leader: value.leader.map(|leader| checked("leader", MemberId::new(&leader))).transpose()?,
        members,
        synced: value.synced,
        emptied_at: value.emptied_at,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millrace_types::{PartitionIndex, TimestampMs, TopicId, TopicName, TopicPartition};

    use super::*;

    fn every_record() -> Vec<GroupRecord> {
        let member = MemberId::new("m").unwrap();
        let instance = Some(InstanceId::new("i").unwrap());
        let one = TopicPartition { topic: TopicId([1; 16]), partition: PartitionIndex(3) };
        let profile = Profile {
            instance: instance.clone(),
            rack: Some(RackId::new("r").unwrap()),
            client_id: "c".to_owned(),
            client_host: "h".to_owned(),
            subscription: Subscription {
                names: [TopicName::new("a").unwrap()].into(),
                pattern: Some(Pattern::new("x.*").unwrap()),
            },
            assignor: Some(Assignor::Rack),
            rebalance_timeout_ms: 7,
        };
        let current = Current {
            epoch: GroupEpoch(4),
            previous_epoch: GroupEpoch(3),
            assigned: [one].into(),
            revoking: [TopicPartition { partition: PartitionIndex(4), ..one }].into(),
            revision: 11,
            standing: Standing::Departed,
        };
        let classic = ClassicState {
            generation: GroupEpoch(2),
            protocol_type: "consumer".to_owned(),
            protocol: Some("range".to_owned()),
            leader: Some(member.clone()),
            members: [(
                member.clone(),
                ClassicMember {
                    instance,
                    client_id: "c".to_owned(),
                    client_host: "h".to_owned(),
                    session_timeout_ms: 1,
                    rebalance_timeout_ms: 2,
                    protocols: vec![ClassicProtocol {
                        name: "range".to_owned(),
                        metadata: Bytes::from_static(b"x"),
                    }],
                    assignment: Bytes::from_static(b"y"),
                },
            )]
            .into(),
            synced: true,
            emptied_at: Some(TimestampMs(9)),
        };
        let meta = GroupMeta {
            epoch: GroupEpoch(5),
            assignor: Assignor::Range,
            digest: 12,
            emptied_at: Some(TimestampMs(8)),
        };
        vec![
            GroupRecord::Meta(Some(meta)),
            GroupRecord::Meta(None),
            GroupRecord::Member { member: member.clone(), value: Some(profile) },
            GroupRecord::Member { member: member.clone(), value: None },
            GroupRecord::Target { member: member.clone(), value: Some([one].into()) },
            GroupRecord::Target { member: member.clone(), value: None },
            GroupRecord::Current { member: member.clone(), value: Some(current) },
            GroupRecord::Current { member, value: None },
            GroupRecord::Classic(Some(classic)),
            GroupRecord::Classic(None),
        ]
    }

    #[test]
    fn every_record_reads_back_and_no_cut_reads_as_the_whole() {
        let group = GroupId::new("g").unwrap();
        for record in every_record() {
            let (key, value) = record.encode(&group);
            assert_eq!(value.is_none(), record.is_tombstone());
            let whole = Ok(Stored::Of(group.clone(), record));
            assert_eq!(decode_record(&key, value.as_deref()), whole);
            for cut in 0..key.len() {
                assert_ne!(decode_record(&key[..cut], value.as_deref()), whole, "key cut at {cut}");
            }
            for cut in 0..value.as_ref().map_or(0, Vec::len) {
                let cut = value.as_ref().map(|value| &value[..cut]);
                assert_ne!(decode_record(&key, cut), whole, "{cut:?}");
            }
        }
        let (key, value) = members_dropped(GroupEpoch(6));
        assert_eq!(decode_record(&key, value.as_deref()), Ok(Stored::MembersDropped(GroupEpoch(6))));
    }

    #[test]
    fn a_value_of_another_kind_is_refused() {
        let group = GroupId::new("g").unwrap();
        let (key, _) = GroupRecord::Meta(None).encode(&group);
        let (_, value) = GroupRecord::Classic(Some(ClassicState::default())).encode(&group);
        assert_eq!(decode_record(&key, value.as_deref()), Err(StoredError::Mismatch));
        let (key, _) = members_dropped(GroupEpoch(1));
        assert_eq!(decode_record(&key, None), Err(StoredError::Mismatch));
    }
}
