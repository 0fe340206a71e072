//! What the coordinator of groups tells when it is asked: how many there are, and what their members take.

use std::fmt;
use std::sync::Weak;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::core::Core;

/// Read when scraped. Holds the core weakly: a registry must not keep a stopped broker's files open.
pub(super) struct GroupGauges {
    pub(super) core: Weak<Core>,
}

impl fmt::Debug for GroupGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupGauges")
    }
}

impl Collector for GroupGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(core) = self.core.upgrade() else { return Ok(()) };
        let census = core.groups.census();
        let mut family =
            encoder.encode_descriptor("groups", "Groups by kind and stage", None, MetricType::Gauge)?;
        for ((kind, stage), count) in census.groups {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&[("kind", kind), ("stage", stage)])?)?;
        }
        let mut gauge = |name: &str, help: &str, value: usize| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("group_members", "Members of all groups", census.members)?;
        gauge(
            "group_members_bytes",
            "What the members of all groups take, as they are written down",
            census.bytes,
        )
    }
}
