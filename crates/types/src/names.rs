//! Names that users choose, validated once at the edge and trusted from there on.

use std::fmt;
use std::sync::Arc;

use crate::limits::{GROUP_ID_BYTES_MAX, TOPIC_NAME_BYTES_MAX};

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("the name is empty")]
    Empty,
    /// The name is longer than allowed.
    #[error("the name has {bytes} bytes, {max} are allowed")]
    TooLong {
        /// Length of the refused name in bytes.
        bytes: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// The name holds a character outside its alphabet.
    #[error("the name holds {found:?}; allowed are {allowed}")]
    Character {
        /// The first character that is not allowed.
        found: char,
        /// The alphabet, in words.
        allowed: &'static str,
    },
    /// `.` and `..` are not names.
    #[error("{0:?} is not allowed as a name")]
    Dots(String),
}

macro_rules! shared_name {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

/// The topics of the product, those of rooms that are still to be built among them: clients must not have taken their names by then.
const INTERNAL_TOPICS: [&str; 4] =
    ["__cluster_metadata", "__consumer_offsets", "__share_group_state", "__transaction_state"];
/// What else the product may come to need.
const INTERNAL_PREFIX: &str = "__millrace";

/// The name of a topic: 1 to 249 of `a-z A-Z 0-9 . _ -`, but not `.` or `..` (Kafka's rule).
///
/// Cloning is cheap. A few names belong to the product: [`TopicName::is_internal`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks `text` against the rule.
    ///
    /// # Errors
    /// [`NameError`] names what is wrong with it.
    pub fn new(text: &str) -> Result<TopicName, NameError> {
        check_length(text, TOPIC_NAME_BYTES_MAX)?;
        if text == "." || text == ".." {
            return Err(NameError::Dots(text.to_owned()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(found) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character { found, allowed: "a-z A-Z 0-9 . _ -" });
        }
        Ok(TopicName(text.into()))
    }

    /// Whether the topic belongs to the product. Any other name may begin with `__`: as in Kafka, tools of others keep their own
    /// topics under such names.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        INTERNAL_TOPICS.contains(&&*self.0) || self.0.starts_with(INTERNAL_PREFIX)
    }

    /// The form under which two names clash: case folded, `.` and `_` alike (they become one in metric names).
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase().replace('.', "_")
    }
}

shared_name!(TopicName);

/// The name of a consumer group: 1 to 249 bytes without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(Arc<str>);

impl GroupId {
    /// Checks `text` against the rule.
    ///
    /// # Errors
    /// [`NameError`] names what is wrong with it.
    pub fn new(text: &str) -> Result<GroupId, NameError> {
        check_length(text, GROUP_ID_BYTES_MAX)?;
        if let Some(found) = text.chars().find(|c| c.is_control()) {
            return Err(NameError::Character { found, allowed: "all but control characters" });
        }
        Ok(GroupId(text.into()))
    }
}

shared_name!(GroupId);

fn check_length(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong { bytes: text.len(), max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_follow_the_rule() {
        for good in ["a", "orders.v1", "A_b-9", "__cluster_metadata", &"x".repeat(249)] {
            assert!(TopicName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ü", "../../etc/passwd", "a\0b", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_the_names_of_the_product_are_internal() {
        let internal = |text| TopicName::new(text).map(|name| name.is_internal());
        for ours in ["__cluster_metadata", "__consumer_offsets", "__transaction_state", "__millrace_x"] {
            assert_eq!(internal(ours), Ok(true), "{ours}");
        }
        for others in ["__amazon_msk_canary", "__consumer_offsets_copy", "_schemas", "__"] {
            assert_eq!(internal(others), Ok(false), "{others}");
        }
    }

    #[test]
    fn names_that_differ_in_case_or_dots_clash() {
        let folded = |text| TopicName::new(text).map(|name| name.folded());
        assert_eq!(folded("Orders.v1"), folded("orders_V1"));
        assert_ne!(folded("orders"), folded("order"));
    }

    #[test]
    fn group_ids_hold_no_control_characters() {
        assert!(GroupId::new("my group/é").is_ok());
        assert!(GroupId::new("a\nb").is_err());
        assert!(GroupId::new("").is_err());
    }
}
