//! What groups are run by.

use std::time::Duration;

use millrace_types::limits::{
    GROUP_MEMBERS_MAX, HEARTBEAT_INTERVAL_MS_DEFAULT, OFFSETS_RETENTION_MS_DEFAULT,
    SESSION_TIMEOUT_MS_DEFAULT,
};

/// The settings of a broker for its groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupSettings {
    /// How long a member may be silent, in milliseconds.
    pub session_timeout_ms: u64,
    /// How often a member is asked to be heard of, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// How many may be members of one group; at most [`GROUP_MEMBERS_MAX`].
    pub members_max: usize,
    /// How long committed offsets are kept once nobody reads by them (Kafka's `offsets.retention.minutes`).
    pub offsets_retention: Duration,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings {
            session_timeout_ms: SESSION_TIMEOUT_MS_DEFAULT,
            heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS_DEFAULT,
            members_max: GROUP_MEMBERS_MAX,
            offsets_retention: Duration::from_millis(OFFSETS_RETENTION_MS_DEFAULT),
        }
    }
}
