//! What groups are run by.

use std::time::Duration;

use millrace_types::limits::{
    CLASSIC_INITIAL_DELAY_MS, CLASSIC_SESSION_TIMEOUT_MS_MIN, GROUP_MEMBERS_MAX,
    HEARTBEAT_INTERVAL_MS_DEFAULT, OFFSETS_RETENTION_MS_DEFAULT, SESSION_TIMEOUT_MS_DEFAULT,
    SESSION_TIMEOUT_MS_MAX,
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
    /// The shortest session timeout that a member of a classic group may ask for, in milliseconds (Kafka's
    /// `group.min.session.timeout.ms`).
    pub classic_session_timeout_ms_min: u64,
    /// The longest, in milliseconds (Kafka's `group.max.session.timeout.ms`).
    pub classic_session_timeout_ms_max: u64,
    /// How long a classic group that was empty waits for more members before its first generation, in milliseconds (Kafka's
    /// `group.initial.rebalance.delay.ms`).
    pub classic_initial_delay_ms: u64,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings {
            session_timeout_ms: SESSION_TIMEOUT_MS_DEFAULT,
            heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS_DEFAULT,
            members_max: GROUP_MEMBERS_MAX,
            offsets_retention: Duration::from_millis(OFFSETS_RETENTION_MS_DEFAULT),
            classic_session_timeout_ms_min: CLASSIC_SESSION_TIMEOUT_MS_MIN,
            classic_session_timeout_ms_max: SESSION_TIMEOUT_MS_MAX,
            classic_initial_delay_ms: CLASSIC_INITIAL_DELAY_MS,
        }
    }
}
