//! What a broker tells of its part in the cluster when it is asked. A broker that is alone decides for all there is.

use std::fmt;
use std::sync::Weak;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::core::Core;

/// Read when scraped, as [`super::broker::Gauges`].
pub(super) struct ClusterGauges {
    pub(super) core: Weak<Core>,
}

impl fmt::Debug for ClusterGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterGauges")
    }
}

impl Collector for ClusterGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(core) = self.core.upgrade() else { return Ok(()) };
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let image = core.metadata.image();
        let (leads, term, followed) = match &core.cluster {
            Some(cluster) => {
                let metadata = cluster.metadata();
                (metadata.leads(), cluster.quorum().status().term, metadata.applied())
            }
            None => (true, 0, image.version()),
        };
        gauge("quorum_leader", "Whether this node decides about metadata", u64::from(leads))?;
        gauge("quorum_term", "The term of the metadata quorum; 0 of a broker that is alone", term)?;
        gauge("metadata_version", "The version of the metadata that this node has", image.version())?;
        let help = "The version of the metadata that its replicas follow";
        gauge("metadata_version_followed", help, followed)?;
        let me = core.config.node;
        let (mut led, mut under_replicated, mut below_minimum, mut leaderless) = (0, 0, 0, 0);
        for topic in image.topics() {
            for (_, partition) in topic.numbered() {
                leaderless += u64::from(partition.leader.is_none());
                if partition.leader == Some(me) {
                    led += 1;
                    under_replicated += u64::from(partition.isr.len() < partition.replicas.len());
                    below_minimum += u64::from(partition.isr.len() < topic.min_insync());
                }
            }
        }
        gauge("partitions_led", "Partitions that this node leads", led)?;
        let help = "Of the partitions that this node leads, those with fewer replicas in sync than there are";
        gauge("partitions_under_replicated", help, under_replicated)?;
        let help = "Of the partitions that this node leads, those that take no acks=all for want of replicas in sync";
        gauge("partitions_below_min_insync", help, below_minimum)?;
        gauge("partitions_leaderless", "Partitions of the cluster that nobody leads", leaderless)
    }
}
