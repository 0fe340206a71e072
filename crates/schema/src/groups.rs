//! The records of groups in `__consumer_offsets`, beside the committed offsets.
//!
//! ```text
//!   kind     record           key             newest version
//!   0x4d01   the group        group           0
//!   0x4d02   a member         group, member   0
//!   0x4d03   its target       group, member   0
//!   0x4d04   where it stands  group, member   0
//!   0x4d05   a classic group  group           0
//!   0x4d06   members dropped  -               0
//! ```
//! The messages are in `proto/millrace/storage/v1/groups.proto`. A key begins with its kind, as Kafka's keys begin with theirs,
//! which count from 0: Kafka's tools take ours for unknown ones, and [`decode_offsets_key`](crate::decode_offsets_key) for
//! [`OffsetsKey::Other`](crate::OffsetsKey::Other). A value names its kind again.
//!
//! Ids of members, instances and racks, patterns and names of assignors are text here: their rules are the group's.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use millrace_types::{GroupId, PartitionIndex, TimestampMs, TopicId, TopicName, TopicPartition};

use crate::{Frame, FrameError, decode_frame, encode_frame, wire};

const META: u16 = 0x4d01;
const MEMBER: u16 = 0x4d02;
const TARGET: u16 = 0x4d03;
const CURRENT: u16 = 0x4d04;
const CLASSIC: u16 = 0x4d05;
const MEMBERS_DROPPED: u16 = 0x4d06;
/// The high byte of all kinds of ours, `M`.
const OURS: u16 = 0x4d;

/// The newest version of every value; there are no newer ones yet. Keys stay at version 0 for ever.
const NEWEST: u16 = 0;

/// What a record is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum GroupsKey {
    /// A group, or a member of one.
    Of {
        /// The group.
        group: GroupId,
        /// What of it.
        part: GroupPart,
    },
    /// The members of all groups of the partition.
    MembersDropped,
}

/// What of a group a record is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum GroupPart {
    /// The group as a whole.
    Meta,
    /// What the member of that id is and wants.
    Member(String),
    /// What it is to own.
    Target(String),
    /// Where it stands.
    Current(String),
    /// A classic group, whole.
    Classic,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupsValue {
    /// Of the group as a whole.
    Meta(StoredMeta),
    /// What a member is and wants.
    Member(StoredMember),
    /// What it is to own.
    Target(BTreeSet<TopicPartition>),
    /// Where it stands.
    Current(StoredCurrent),
    /// Of a classic group.
    Classic(StoredClassic),
    /// What stands before it says nothing of members; epochs up to this one are used up.
    MembersDropped {
        /// The epoch.
        epoch_floor: i32,
    },
}

/// See `GroupMeta` in the schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredMeta {
    pub epoch: i32,
    pub assignor: String,
    pub digest: u64,
    pub emptied_at: Option<TimestampMs>,
}

/// See `GroupMemberProfile` in the schema.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoredMember {
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub names: BTreeSet<TopicName>,
    pub pattern: Option<String>,
    pub assignor: Option<String>,
    pub rebalance_timeout_ms: u64,
}

/// See `GroupCurrent` in the schema.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoredCurrent {
    pub epoch: i32,
    pub previous_epoch: i32,
    pub assigned: BTreeSet<TopicPartition>,
    pub revoking: BTreeSet<TopicPartition>,
    pub revision: u64,
    pub departed: bool,
}

/// See `ClassicGroup` in the schema.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoredClassic {
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub members: Vec<StoredClassicMember>,
    pub synced: bool,
    pub emptied_at: Option<TimestampMs>,
}

/// See `ClassicGroupMember` in the schema.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoredClassicMember {
    pub member: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: u64,
    pub rebalance_timeout_ms: u64,
    /// Name and metadata.
    pub protocols: Vec<(String, Bytes)>,
    pub assignment: Bytes,
}

impl GroupsKey {
    /// The bytes of the key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, group, member) = match self {
            GroupsKey::MembersDropped => (MEMBERS_DROPPED, "", ""),
            GroupsKey::Of { group, part } => match part {
                GroupPart::Meta => (META, group.as_str(), ""),
                GroupPart::Member(member) => (MEMBER, group.as_str(), member.as_str()),
                GroupPart::Target(member) => (TARGET, group.as_str(), member.as_str()),
                GroupPart::Current(member) => (CURRENT, group.as_str(), member.as_str()),
                GroupPart::Classic => (CLASSIC, group.as_str(), ""),
            },
        };
        let message = wire::GroupRecordKey { group: group.to_owned(), member: member.to_owned() };
        encode_frame(kind, 0, &message)
    }
}

/// Reads a key of `__consumer_offsets`, if it is one of a group: `None` if it is Kafka's.
///
/// # Errors
/// [`FrameError`] names the kind and the version, and the field that breaks its rule.
pub fn decode_groups_key(bytes: &[u8]) -> Result<Option<GroupsKey>, FrameError> {
    let frame = decode_frame(bytes)?;
    if frame.kind >> 8 != OURS {
        return Ok(None);
    }
    let part: fn(String) -> GroupPart = match frame.kind {
        META => |_| GroupPart::Meta,
        MEMBER => GroupPart::Member,
        TARGET => GroupPart::Target,
        CURRENT => GroupPart::Current,
        CLASSIC => |_| GroupPart::Classic,
        MEMBERS_DROPPED => {
            let _empty: wire::GroupRecordKey = frame.message(0)?;
            return Ok(Some(GroupsKey::MembersDropped));
        }
        _ => return Err(frame.unknown_kind()),
    };
    let message: wire::GroupRecordKey = frame.message(0)?;
    let group = GroupId::new(&message.group).map_err(|problem| frame.invalid("group", problem))?;
    Ok(Some(GroupsKey::Of { group, part: part(message.member) }))
}

impl GroupsValue {
    /// The bytes of the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            GroupsValue::Meta(meta) => {
                let StoredMeta { epoch, assignor, digest, emptied_at } = meta;
                let emptied_at_ms = emptied_at.map(|at| at.0);
                let (epoch, digest, assignor) = (*epoch, *digest, assignor.clone());
                encode_frame(META, NEWEST, &wire::GroupMeta { epoch, assignor, digest, emptied_at_ms })
            }
            GroupsValue::Member(member) => encode_frame(MEMBER, NEWEST, &member.to_wire()),
            GroupsValue::Target(owned) => {
                encode_frame(TARGET, NEWEST, &wire::GroupTarget { topics: by_topic(owned) })
            }
            GroupsValue::Current(current) => encode_frame(CURRENT, NEWEST, &current.to_wire()),
            GroupsValue::Classic(classic) => encode_frame(CLASSIC, NEWEST, &classic.to_wire()),
            GroupsValue::MembersDropped { epoch_floor } => {
                let message = wire::MembersDropped { epoch_floor: *epoch_floor };
                encode_frame(MEMBERS_DROPPED, NEWEST, &message)
            }
        }
    }

    /// Reads the bytes of a value.
    ///
    /// # Errors
    /// [`FrameError`] names the kind and the version, and the field that breaks its rule.
    pub fn decode(bytes: &[u8]) -> Result<GroupsValue, FrameError> {
        let frame = decode_frame(bytes)?;
        match frame.kind {
            META => {
                let message: wire::GroupMeta = frame.message(NEWEST)?;
                let wire::GroupMeta { epoch, assignor, digest, emptied_at_ms } = message;
                let emptied_at = emptied_at_ms.map(TimestampMs);
                Ok(GroupsValue::Meta(StoredMeta {
                    epoch: counted(&frame, "epoch", epoch)?,
                    assignor,
                    digest,
                    emptied_at,
                }))
            }
            MEMBER => StoredMember::from_wire(&frame, frame.message(NEWEST)?).map(GroupsValue::Member),
            TARGET => {
                let message: wire::GroupTarget = frame.message(NEWEST)?;
                partitions(&frame, "topics", &message.topics).map(GroupsValue::Target)
            }
            CURRENT => StoredCurrent::from_wire(&frame, &frame.message(NEWEST)?).map(GroupsValue::Current),
            CLASSIC => StoredClassic::from_wire(&frame, frame.message(NEWEST)?).map(GroupsValue::Classic),
            MEMBERS_DROPPED => {
                let message: wire::MembersDropped = frame.message(NEWEST)?;
                let epoch_floor = counted(&frame, "epoch_floor", message.epoch_floor)?;
                Ok(GroupsValue::MembersDropped { epoch_floor })
            }
            _ => Err(frame.unknown_kind()),
        }
    }
}

impl StoredMember {
    fn to_wire(&self) -> wire::GroupMemberProfile {
        wire::GroupMemberProfile {
            instance: self.instance.clone(),
            rack: self.rack.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            names: self.names.iter().map(|name| name.as_str().to_owned()).collect(),
            pattern: self.pattern.clone(),
            assignor: self.assignor.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
        }
    }

    fn from_wire(frame: &Frame<'_>, message: wire::GroupMemberProfile) -> Result<StoredMember, FrameError> {
        let names = message.names.iter().map(|name| TopicName::new(name));
        let names: Result<_, _> = names.collect();
        Ok(StoredMember {
            instance: message.instance,
            rack: message.rack,
            client_id: message.client_id,
            client_host: message.client_host,
            names: names.map_err(|problem| frame.invalid("names", problem))?,
            pattern: message.pattern,
            assignor: message.assignor,
            rebalance_timeout_ms: message.rebalance_timeout_ms,
        })
    }
}

impl StoredCurrent {
    fn to_wire(&self) -> wire::GroupCurrent {
        wire::GroupCurrent {
            epoch: self.epoch,
            previous_epoch: self.previous_epoch,
            assigned: by_topic(&self.assigned),
            revoking: by_topic(&self.revoking),
            revision: self.revision,
            departed: self.departed,
        }
    }

    fn from_wire(frame: &Frame<'_>, message: &wire::GroupCurrent) -> Result<StoredCurrent, FrameError> {
        Ok(StoredCurrent {
            epoch: counted(frame, "epoch", message.epoch)?,
            previous_epoch: counted(frame, "previous_epoch", message.previous_epoch)?,
            assigned: partitions(frame, "assigned", &message.assigned)?,
            revoking: partitions(frame, "revoking", &message.revoking)?,
            revision: message.revision,
            departed: message.departed,
        })
    }
}

impl StoredClassic {
    fn to_wire(&self) -> wire::ClassicGroup {
        let protocol = |(name, metadata): &(String, Bytes)| wire::ClassicGroupProtocol {
            name: name.clone(),
            metadata: metadata.clone(),
        };
        let member = |member: &StoredClassicMember| wire::ClassicGroupMember {
            member: member.member.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout_ms: member.session_timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            protocols: member.protocols.iter().map(protocol).collect(),
            assignment: member.assignment.clone(),
        };
        wire::ClassicGroup {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.iter().map(member).collect(),
            synced: self.synced,
            emptied_at_ms: self.emptied_at.map(|at| at.0),
        }
    }

    fn from_wire(frame: &Frame<'_>, message: wire::ClassicGroup) -> Result<StoredClassic, FrameError> {
        let protocol = |protocol: wire::ClassicGroupProtocol| (protocol.name, protocol.metadata);
        let member = |member: wire::ClassicGroupMember| StoredClassicMember {
            member: member.member,
            instance: member.instance,
            client_id: member.client_id,
            client_host: member.client_host,
            session_timeout_ms: member.session_timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            protocols: member.protocols.into_iter().map(protocol).collect(),
            assignment: member.assignment,
        };
        Ok(StoredClassic {
            generation: counted(frame, "generation", message.generation)?,
            protocol_type: message.protocol_type,
            protocol: message.protocol,
            leader: message.leader,
            members: message.members.into_iter().map(member).collect(),
            synced: message.synced,
            emptied_at: message.emptied_at_ms.map(TimestampMs),
        })
    }
}

fn counted(frame: &Frame<'_>, field: &'static str, value: i32) -> Result<i32, FrameError> {
    if value < 0 { Err(frame.invalid(field, "negative")) } else { Ok(value) }
}

fn by_topic(owned: &BTreeSet<TopicPartition>) -> Vec<wire::PartitionsOfTopic> {
    let mut topics: BTreeMap<TopicId, Vec<u32>> = BTreeMap::new();
    for TopicPartition { topic, partition } in owned {
        topics.entry(*topic).or_default().push(partition.0);
    }
    let one = |(topic, partitions): (TopicId, Vec<u32>)| wire::PartitionsOfTopic {
        topic: topic.0.to_vec().into(),
        partitions,
    };
    topics.into_iter().map(one).collect()
}

fn partitions(
    frame: &Frame<'_>,
    field: &'static str,
    topics: &[wire::PartitionsOfTopic],
) -> Result<BTreeSet<TopicPartition>, FrameError> {
    let mut owned = BTreeSet::new();
    for of_topic in topics {
        let id: Result<[u8; 16], _> = of_topic.topic.as_ref().try_into();
        let id = id.map_err(|_| frame.invalid(field, "a topic's id is not 16 bytes long"))?;
        for number in &of_topic.partitions {
            let partition = i32::try_from(*number).ok().and_then(PartitionIndex::new);
            let partition = partition.ok_or_else(|| frame.invalid(field, format!("partition {number}")))?;
            owned.insert(TopicPartition { topic: TopicId(id), partition });
        }
    }
    Ok(owned)
}

#[cfg(test)]
mod tests;
