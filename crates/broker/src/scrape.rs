//! What is read out of the broker when its metrics are asked for; what it counts as it goes is in `metrics`.

mod broker;
mod cluster;
mod group_lag;
mod groups;
mod logs;

use std::sync::{Arc, Weak};

use prometheus_client::registry::Registry;

use self::broker::Gauges;
use self::cluster::ClusterGauges;
use self::group_lag::GroupLags;
use self::groups::GroupGauges;
use self::logs::Logs;
use crate::core::Core;

/// Lets the registry show what the core can tell when it is asked.
pub(crate) fn register(core: &Arc<Core>, registry: &mut Registry) {
    let weak = || -> Weak<Core> { Arc::downgrade(core) };
    registry.register_collector(Box::new(Gauges { core: weak() }));
    registry.register_collector(Box::new(ClusterGauges { core: weak() }));
    registry.register_collector(Box::new(Logs { core: weak() }));
    registry.register_collector(Box::new(GroupGauges { core: weak() }));
    registry.register_collector(Box::new(GroupLags { core: weak() }));
}
