//! How a request names a topic.

use bytes::Bytes;
use millrace_types::{NameError, TopicId, TopicName};

use crate::v1;

/// Why a topic reference cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicRefError {
    /// The field is absent, or neither name nor id is given.
    #[error("no topic is named")]
    Missing,
    /// The name breaks the naming rule.
    #[error("topic name: {0}")]
    Name(#[from] NameError),
    /// The id is not 16 bytes long.
    #[error("the topic id has {0} bytes, not 16")]
    IdLength(usize),
}

/// A checked reference to a topic: name, id, or both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CheckedTopicRef {
    /// By name.
    Name(TopicName),
    /// By id.
    Id(TopicId),
    /// By both, which must agree.
    Both(TopicName, TopicId),
}

impl v1::TopicRef {
    /// A reference by name.
    #[must_use]
    pub fn by_name(name: &TopicName) -> v1::TopicRef {
        v1::TopicRef { name: name.to_string(), id: Bytes::new() }
    }

    /// A reference by id.
    #[must_use]
    pub fn by_id(id: TopicId) -> v1::TopicRef {
        v1::TopicRef { name: String::new(), id: id_bytes(id) }
    }

    /// A reference by name and id.
    #[must_use]
    pub fn by_both(name: &TopicName, id: TopicId) -> v1::TopicRef {
        v1::TopicRef { name: name.to_string(), id: id_bytes(id) }
    }

    /// The reference, checked.
    ///
    /// # Errors
    /// [`TopicRefError`].
    pub fn check(&self) -> Result<CheckedTopicRef, TopicRefError> {
        let id = topic_id(&self.id)?;
        match (self.name.is_empty(), id) {
            (true, None) => Err(TopicRefError::Missing),
            (true, Some(id)) => Ok(CheckedTopicRef::Id(id)),
            (false, None) => Ok(CheckedTopicRef::Name(TopicName::new(&self.name)?)),
            (false, Some(id)) => Ok(CheckedTopicRef::Both(TopicName::new(&self.name)?, id)),
        }
    }
}

/// A topic id as bytes on the wire.
#[must_use]
pub fn id_bytes(id: TopicId) -> Bytes {
    Bytes::copy_from_slice(&id.0)
}

/// The topic id of a bytes field; `None` if the field is empty.
///
/// # Errors
/// [`TopicRefError::IdLength`].
pub fn topic_id(bytes: &[u8]) -> Result<Option<TopicId>, TopicRefError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let id = bytes.try_into().map_err(|_| TopicRefError::IdLength(bytes.len()))?;
    Ok(Some(TopicId(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_reads_back() {
        let (name, id) = (TopicName::new("orders").unwrap(), TopicId([7; 16]));
        assert_eq!(v1::TopicRef::by_name(&name).check(), Ok(CheckedTopicRef::Name(name.clone())));
        assert_eq!(v1::TopicRef::by_id(id).check(), Ok(CheckedTopicRef::Id(id)));
        assert_eq!(v1::TopicRef::by_both(&name, id).check(), Ok(CheckedTopicRef::Both(name, id)));
    }

    #[test]
    fn hostile_references_are_refused() {
        assert_eq!(v1::TopicRef::default().check(), Err(TopicRefError::Missing));
        for length in (1..40).filter(|length| *length != 16) {
            let id = Bytes::from(vec![0; length]);
            let reference = v1::TopicRef { name: "a".to_owned(), id };
            assert_eq!(reference.check(), Err(TopicRefError::IdLength(length)));
        }
        let reference = v1::TopicRef { name: "../etc".to_owned(), id: Bytes::new() };
        assert!(matches!(reference.check(), Err(TopicRefError::Name(_))));
    }
}
