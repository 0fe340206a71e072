//! How a request names a topic.

use millrace_types::{TopicId, TopicName};

/// A topic by name, by id, or by both, which must then agree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicRef {
    /// By name: whatever topic has that name now.
    Name(TopicName),
    /// By id: that topic and no later one of the same name.
    Id(TopicId),
    /// Both.
    Both(TopicName, TopicId),
}
