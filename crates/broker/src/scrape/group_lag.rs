//! How far groups are behind, read when it is scraped.
//!
//! Series are bounded however many groups there are: the first [`METRIC_GROUPS_MAX`] by name that have committed something, as
//! long as they have committed no more than [`METRIC_GROUP_PARTITIONS_MAX`] partitions together.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Weak};

use millrace_group::partition_of;
use millrace_types::limits::{CONSUMER_OFFSETS_PARTITIONS, METRIC_GROUP_PARTITIONS_MAX, METRIC_GROUPS_MAX};
use millrace_types::{GroupId, Offset, PartitionIndex, TopicPartition};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::core::Core;
use crate::ops::group_lag::records_behind;
use crate::partitions::Held;

/// Holds the core weakly: a registry must not keep a stopped broker's files open.
pub(super) struct GroupLags {
    pub(super) core: Weak<Core>,
}

impl fmt::Debug for GroupLags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupLags")
    }
}

/// The partitions of a group.
#[derive(Default)]
struct Sum {
    all: u64,
    worst: u64,
}

impl Collector for GroupLags {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(core) = self.core.upgrade() else { return Ok(()) };
        let sums = by_group(&core);
        let mut family = |name: &str, help: &str, of: fn(&Sum) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            sums.iter().try_for_each(|(group, sum)| {
                let gauge = ConstGauge::new(i64::try_from(of(sum)).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&[("group", group.as_str())])?)
            })
        };
        let help = "Offsets between what a group has committed and the high watermark";
        family("group_lag_records", help, |sum| sum.all)?;
        let help = "The same of the partition that is farthest behind";
        family("group_lag_worst_records", help, |sum| sum.worst)
    }
}

fn by_group(core: &Arc<Core>) -> Vec<(GroupId, Sum)> {
    let mut groups = BTreeSet::new();
    for partition in (0..CONSUMER_OFFSETS_PARTITIONS).map(PartitionIndex) {
        // One that cannot be read has no series; that it cannot is told by the damage.
        let _unread = core.groups.look(partition, |look| {
            groups.extend(look.offsets.groups().take(METRIC_GROUPS_MAX).cloned());
        });
    }
    let mut left = METRIC_GROUP_PARTITIONS_MAX;
    let mut sums = Vec::new();
    for group in groups.into_iter().take(METRIC_GROUPS_MAX) {
        let committed = core.groups.look(partition_of(&group), |look| {
            let positions = look.offsets.of_group(&group).take(left);
            let position =
                |(key, value): (&millrace_group::OffsetCommitKey, &millrace_group::OffsetCommitValue)| {
                    let at = TopicPartition { topic: value.topic_id, partition: key.partition };
                    (at, value.offset)
                };
            positions.map(position).collect::<Vec<_>>()
        });
        let Ok(committed) = committed else { continue };
        left -= committed.len();
        let mut sum = Sum::default();
        for (at, offset) in committed {
            let records = behind(core, at, offset);
            sum.all = sum.all.saturating_add(records);
            sum.worst = sum.worst.max(records);
        }
        sums.push((group, sum));
    }
    sums
}

/// What was committed for a partition that is not here is behind nothing.
fn behind(core: &Core, at: TopicPartition, committed: Offset) -> u64 {
    let Some(Held::Open(log)) = core.partitions.get(at) else { return 0 };
    let marks = log.offsets();
    records_behind(Some(committed), marks.log_start, marks.high_watermark)
}
