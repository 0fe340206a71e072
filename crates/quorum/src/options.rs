//! How a node takes part.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_log::Log;
use millrace_types::NodeId;

use crate::network::QuorumNetwork;

/// What a node needs to take part.
#[derive(Clone, Debug)]
pub struct QuorumOptions {
    /// The node.
    pub node: NodeId,
    /// The quorum's log, opened with [`quorum_log_config`](crate::quorum_log_config) and used by nobody else.
    pub log: Arc<Log>,
    /// Where the small files lie: on the same file system as the log, in a directory that is locked for this process.
    pub dir: PathBuf,
    /// The way to the others.
    pub network: Arc<dyn QuorumNetwork>,
    /// Times and thresholds.
    pub pace: QuorumPace,
}

/// Times and thresholds of the quorum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuorumPace {
    /// How often a leader lets the others know that it is there.
    pub heartbeat: Duration,
    /// Silence after which a follower wants to lead, at least; more than [`Self::heartbeat`].
    pub election_min: Duration,
    /// The same, at most; more than [`Self::election_min`]. A voter gives its vote to nobody for that long after it has heard
    /// of a leader.
    pub election_max: Duration,
    /// How long a proposal or a read may take before its caller hears that nobody knows.
    pub answer: Duration,
    /// How long a snapshot may take to arrive and be put in place.
    pub snapshot: Duration,
    /// Entries after which a snapshot is taken.
    pub snapshot_every: u64,
    /// Entries that are kept though a snapshot has them: who is behind by less catches up without one.
    pub entries_kept: u64,
}

impl Default for QuorumPace {
    fn default() -> QuorumPace {
        QuorumPace {
            // It is also how long an append may take, sync included.
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1000),
            answer: Duration::from_secs(10),
            snapshot: Duration::from_secs(30),
            snapshot_every: 5000,
            entries_kept: 1000,
        }
    }
}

impl QuorumPace {
    /// As openraft wants it.
    pub(crate) fn config(&self) -> Result<openraft::Config, String> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = openraft::Config {
            cluster_name: "millrace".to_owned(),
            election_timeout_min: ms(self.election_min),
            election_timeout_max: ms(self.election_max),
            heartbeat_interval: ms(self.heartbeat),
            install_snapshot_timeout: ms(self.snapshot),
            max_payload_entries: ENTRIES_PER_CALL_MAX,
            // A peer that is further behind than what is kept gets a snapshot.
            replication_lag_threshold: self.snapshot_every.saturating_add(self.entries_kept),
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.entries_kept,
            ..openraft::Config::default()
        };
        config.validate().map_err(|error| error.to_string())
    }
}

/// Entries that one append brings to a peer; reads of the log bound their bytes.
const ENTRIES_PER_CALL_MAX: u64 = 256;
