//! What happens to old records of a topic.

use std::fmt;
use std::str::FromStr;

/// A topic's `cleanup.policy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CleanupPolicy {
    /// Whole segments go once they are too old or too many (`retention.ms`, `retention.bytes`).
    #[default]
    Delete,
    /// Of each key the last record stays.
    Compact,
    /// Both.
    CompactAndDelete,
}

impl CleanupPolicy {
    /// Every policy.
    pub const ALL: [CleanupPolicy; 3] =
        [CleanupPolicy::Delete, CleanupPolicy::Compact, CleanupPolicy::CompactAndDelete];

    /// Whether records go by age and size.
    #[must_use]
    pub const fn deletes(self) -> bool {
        matches!(self, CleanupPolicy::Delete | CleanupPolicy::CompactAndDelete)
    }

    /// Whether records go because a later one has their key.
    #[must_use]
    pub const fn compacts(self) -> bool {
        matches!(self, CleanupPolicy::Compact | CleanupPolicy::CompactAndDelete)
    }
}

/// A text that is no cleanup policy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not delete, compact or compact,delete")]
pub struct CleanupPolicyError(pub String);

impl FromStr for CleanupPolicy {
    type Err = CleanupPolicyError;

    fn from_str(text: &str) -> Result<CleanupPolicy, CleanupPolicyError> {
        match text {
            "delete" => Ok(CleanupPolicy::Delete),
            "compact" => Ok(CleanupPolicy::Compact),
            "compact,delete" | "delete,compact" => Ok(CleanupPolicy::CompactAndDelete),
            other => Err(CleanupPolicyError(other.to_owned())),
        }
    }
}

impl fmt::Display for CleanupPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CleanupPolicy::Delete => "delete",
            CleanupPolicy::Compact => "compact",
            CleanupPolicy::CompactAndDelete => "compact,delete",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_reads_back_as_it_is_written() {
        for policy in CleanupPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!("delete,compact".parse(), Ok(CleanupPolicy::CompactAndDelete));
        assert!("".parse::<CleanupPolicy>().is_err());
    }
}
