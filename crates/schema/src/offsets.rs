//! Records of `__consumer_offsets`, in Kafka's schemas (OffsetCommitKey and OffsetCommitValue of Kafka 4.2).
//!
//! ```text
//!   key     i16 kind (0 or 1: a committed offset) | string group | string topic | i32 partition
//!   value   i16 version
//!     0     i64 offset | string metadata | i64 commit time
//!     1     i64 offset | string metadata | i64 commit time | i64 expiry time
//!     2     as 0
//!     3     i64 offset | i32 leader epoch | string metadata | i64 commit time
//!     4     i64 offset | i32 leader epoch | compact string metadata | i64 commit time | tagged fields (0: topic id)
//! ```
//!
//! All big endian. A string is an i16 length and UTF-8; a compact string an unsigned varint of its length plus one. A
//! record without a value is a tombstone: the offset is forgotten. All versions are read, the newest is written.

use millrace_types::{GroupId, LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId, TopicName};

/// The kind that a key of a committed offset is written with.
const KIND_OFFSET: i16 = 1;
/// The newest version of the value, which is the one written.
const VALUE_VERSION: i16 = 4;
/// The tagged field of a value that holds the topic's id.
const TAG_TOPIC_ID: u32 = 0;

/// What a record of `__consumer_offsets` is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OffsetsKey {
    /// An offset that a group committed.
    Commit(OffsetCommitKey),
    /// Something else: the state of a group (2), of its members and assignments (3 and up). To be skipped by a reader
    /// of offsets.
    Other {
        /// The kind, the first number of the key.
        kind: i16,
    },
}

/// Whose committed offset a record holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OffsetCommitKey {
    /// The group.
    pub group: GroupId,
    /// The topic, by name: Kafka's key has no id.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
}

/// A committed offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetCommitValue {
    /// The next record that the group wants.
    pub offset: Offset,
    /// The leader epoch of the last record consumed, or [`LeaderEpoch::NONE`].
    pub leader_epoch: LeaderEpoch,
    /// Text that the client wants to keep.
    pub metadata: String,
    /// When the offset was committed.
    pub committed_at: TimestampMs,
    /// When it expires, if a client asked for that (version 1 only; not written).
    pub expires_at: Option<TimestampMs>,
    /// The topic's id, or [`TopicId::ZERO`] in records older than version 4: a topic that was deleted and created again
    /// has another one, and its old offsets do not count.
    pub topic_id: TopicId,
}

/// Why the bytes of a key or value were not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffsetsError {
    /// The bytes end early, or a length points behind their end.
    #[error("{what} is cut off at {field}")]
    Truncated {
        /// The key or the value.
        what: &'static str,
        /// The field that is not whole.
        field: &'static str,
    },
    /// The value has a version that this build does not read.
    #[error("the value of a committed offset has version {version}, this build reads 0 to 4")]
    Version {
        /// The version found.
        version: i16,
    },
    /// A field breaks its rule.
    #[error("{what}: {field}: {problem}")]
    Invalid {
        /// The key or the value.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// More bytes than fields.
    #[error("{extra} bytes follow the last field of {what}")]
    Trailing {
        /// The key or the value.
        what: &'static str,
        /// The bytes too many.
        extra: usize,
    },
}

impl OffsetCommitKey {
    /// The bytes of the key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = KIND_OFFSET.to_be_bytes().to_vec();
        for name in [self.group.as_str(), self.topic.as_str()] {
            // Names are bounded far below the length field's type.
            out.extend_from_slice(&i16::try_from(name.len()).unwrap_or(i16::MAX).to_be_bytes());
            out.extend_from_slice(name.as_bytes());
        }
        out.extend_from_slice(&self.partition.get().to_be_bytes());
        out
    }
}

/// Reads a key of `__consumer_offsets`.
///
/// # Errors
/// [`OffsetsError`] if it is a committed offset's key and malformed. A key of another kind is no error.
pub fn decode_offsets_key(bytes: &[u8]) -> Result<OffsetsKey, OffsetsError> {
    let mut fields = Fields { what: "the key of a committed offset", bytes };
    let kind = i16::from_be_bytes(fields.array("kind")?);
    if !(0..=KIND_OFFSET).contains(&kind) {
        return Ok(OffsetsKey::Other { kind });
    }
    let group = fields.string("group")?;
    let group = GroupId::new(group).map_err(|error| fields.invalid("group", error))?;
    let topic = fields.string("topic")?;
    let topic = TopicName::new(topic).map_err(|error| fields.invalid("topic", error))?;
    let partition = i32::from_be_bytes(fields.array("partition")?);
    let partition =
        PartitionIndex::new(partition).ok_or_else(|| fields.invalid("partition", "it is negative"))?;
    fields.end()?;
    Ok(OffsetsKey::Commit(OffsetCommitKey { group, topic, partition }))
}

impl OffsetCommitValue {
    /// The bytes of the value, in the newest version. The expiry time has no place there.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = VALUE_VERSION.to_be_bytes().to_vec();
        out.extend_from_slice(&self.offset.get().to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.0.to_be_bytes());
        write_unsigned(&mut out, u32::try_from(self.metadata.len()).unwrap_or(u32::MAX).saturating_add(1));
        out.extend_from_slice(self.metadata.as_bytes());
        out.extend_from_slice(&self.committed_at.0.to_be_bytes());
        if self.topic_id == TopicId::ZERO {
            write_unsigned(&mut out, 0);
        } else {
            // One tagged field: its number, its length, its bytes.
            out.extend_from_slice(&[1, 0, 16]);
            out.extend_from_slice(&self.topic_id.0);
        }
        out
    }

    /// Reads a value, in any version.
    ///
    /// # Errors
    /// [`OffsetsError`] if the version is unknown or the bytes are malformed.
    pub fn decode(bytes: &[u8]) -> Result<OffsetCommitValue, OffsetsError> {
        let mut fields = Fields { what: "the value of a committed offset", bytes };
        let version = i16::from_be_bytes(fields.array("version")?);
        if !(0..=VALUE_VERSION).contains(&version) {
            return Err(OffsetsError::Version { version });
        }
        let offset = i64::from_be_bytes(fields.array("offset")?);
        let offset = Offset::new(offset).ok_or_else(|| fields.invalid("offset", "it is negative"))?;
        let leader_epoch = match version {
            0..3 => LeaderEpoch::NONE,
            _ => LeaderEpoch(i32::from_be_bytes(fields.array("leader epoch")?)),
        };
        let metadata = match version {
            0..4 => fields.string("metadata")?,
            _ => fields.compact_string("metadata")?,
        };
        let metadata = metadata.to_owned();
        let committed_at = TimestampMs(i64::from_be_bytes(fields.array("commit time")?));
        let expires_at = match version {
            // -1 stands for "as the broker's retention says".
            1 => {
                Some(TimestampMs(i64::from_be_bytes(fields.array("expiry time")?))).filter(|at| at.is_some())
            }
            _ => None,
        };
        let topic_id = if version >= 4 { fields.tagged_topic_id()? } else { TopicId::ZERO };
        fields.end()?;
        Ok(OffsetCommitValue { offset, leader_epoch, metadata, committed_at, expires_at, topic_id })
    }
}

fn write_unsigned(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// What is left to read of a key or value.
struct Fields<'a> {
    what: &'static str,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    fn invalid(&self, field: &'static str, problem: impl ToString) -> OffsetsError {
        OffsetsError::Invalid { what: self.what, field, problem: problem.to_string() }
    }

    fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], OffsetsError> {
        let truncated = OffsetsError::Truncated { what: self.what, field };
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], OffsetsError> {
        let truncated = OffsetsError::Truncated { what: self.what, field };
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn text(&mut self, field: &'static str, length: usize) -> Result<&'a str, OffsetsError> {
        let bytes = self.take(field, length)?;
        std::str::from_utf8(bytes).map_err(|error| self.invalid(field, error))
    }

    fn string(&mut self, field: &'static str) -> Result<&'a str, OffsetsError> {
        let length = i16::from_be_bytes(self.array(field)?);
        let length = usize::try_from(length).map_err(|_| self.invalid(field, "its length is negative"))?;
        self.text(field, length)
    }

    fn compact_string(&mut self, field: &'static str) -> Result<&'a str, OffsetsError> {
        let length = self.unsigned(field)?.checked_sub(1).ok_or_else(|| self.invalid(field, "it is null"))?;
        self.text(field, length as usize)
    }

    fn unsigned(&mut self, field: &'static str) -> Result<u32, OffsetsError> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array(field)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value)
                    .map_err(|_| self.invalid(field, "a varint of more than 32 bits"));
            }
        }
        Err(self.invalid(field, "a varint of more than five bytes"))
    }

    /// Reads the tagged fields; the ones that this build does not know are skipped, which is what they are for.
    fn tagged_topic_id(&mut self) -> Result<TopicId, OffsetsError> {
        let mut topic_id = TopicId::ZERO;
        for _ in 0..self.unsigned("tagged fields")? {
            let tag = self.unsigned("a tag")?;
            let length = self.unsigned("a tagged field's length")? as usize;
            let field = self.take("a tagged field", length)?;
            if tag == TAG_TOPIC_ID {
                let id = field.try_into().map_err(|_| self.invalid("topic id", "it has not 16 bytes"))?;
                topic_id = TopicId(id);
            }
        }
        Ok(topic_id)
    }

    fn end(&self) -> Result<(), OffsetsError> {
        match self.bytes.len() {
            0 => Ok(()),
            extra => Err(OffsetsError::Trailing { what: self.what, extra }),
        }
    }
}

#[cfg(test)]
mod tests;
