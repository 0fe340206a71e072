use millrace_env::Env;
use millrace_metadata::Image;
use millrace_types::{LeaderEpoch, PartitionIndex, limits};

use crate::groups::Groups;
use crate::led_log::LedLog;
use crate::metrics::GroupCounters;
use crate::{ApiError, GroupSettings};

impl Groups {
    pub(crate) fn elsewhere(env: &Env, settings: &GroupSettings, counters: GroupCounters) -> Groups {
        let found = (0..limits::CONSUMER_OFFSETS_PARTITIONS)
            .map(|number| Err::<_, ApiError>(super::chores::elsewhere(PartitionIndex(number))));
        Groups::new(env, settings, counters, &Image::default(), found.collect())
    }
    pub(crate) async fn lead(&self, _partition: PartitionIndex, _log: LedLog, _epoch: LeaderEpoch) {}
    pub(crate) fn follow(&self, _partition: PartitionIndex, _leader: Option<String>) {}
}
