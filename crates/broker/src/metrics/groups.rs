//! What is counted of groups.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use millrace_types::ErrorCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RefusedLabels {
    code: String,
}

/// Counters of groups; clones count together.
#[derive(Clone, Debug)]
pub(crate) struct GroupCounters {
    epochs: Counter,
    heartbeats: Counter,
    refused: Family<RefusedLabels, Counter>,
    replay_seconds: Gauge<f64, AtomicU64>,
}

impl Default for GroupCounters {
    fn default() -> GroupCounters {
        let refused = Family::<RefusedLabels, Counter>::default();
        // Those that tell of groups, so that they are there before there is one.
        for code in [
            ErrorCode::UnknownMember,
            ErrorCode::StaleMemberEpoch,
            ErrorCode::FencedInstance,
            ErrorCode::GroupNotEmpty,
        ] {
            let _counter = refused.get_or_create_owned(&RefusedLabels { code: code.name() });
        }
        let (epochs, heartbeats, replay_seconds) = Default::default();
        GroupCounters { epochs, heartbeats, refused, replay_seconds }
    }
}

impl GroupCounters {
    /// A group has changed: a new epoch, and a target for it.
    pub(crate) fn epoch_begun(&self) {
        self.epochs.inc();
    }

    pub(crate) fn heartbeat(&self) {
        self.heartbeats.inc();
    }

    /// A commit was refused as a whole.
    pub(crate) fn commit_refused(&self, code: ErrorCode) {
        self.refused.get_or_create(&RefusedLabels { code: code.name() }).inc();
    }

    /// The start has read all groups and offsets.
    pub(crate) fn replayed(&self, took: Duration) {
        self.replay_seconds.set(took.as_secs_f64());
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Changes of groups: a new epoch, and a target for it";
        registry.register("group_epochs", help, self.epochs.clone());
        registry.register("group_heartbeats", "Heartbeats of members", self.heartbeats.clone());
        let help = "Commits refused as a whole";
        registry.register("group_commits_refused", help, self.refused.clone());
        let help = "How long the start took to read groups and committed offsets";
        registry.register_with_unit("group_replay", help, Unit::Seconds, self.replay_seconds.clone());
    }
}
