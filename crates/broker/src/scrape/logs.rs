//! What the logs tell when they are asked: sizes by topic, and the histograms of their directory.
//!
//! Series are bounded however many topics there are: the first [`METRIC_TOPICS_MAX`] by name have series of their own, the
//! rest is added up as `other`. A name of a topic is checked when it is made, so that nothing strange becomes a label.

use std::fmt;
use std::sync::{Arc, Weak};

use millrace_log::TallySnapshot;
use millrace_metadata::Topic;
use millrace_types::TopicPartition;
use millrace_types::limits::METRIC_TOPICS_MAX;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::core::Core;
use crate::partitions::{Held, numbers};

/// Read when scraped. Holds the core weakly: a registry must not keep a stopped broker's files open.
pub(super) struct Logs {
    pub(super) core: Weak<Core>,
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logs")
    }
}

/// The partitions of a topic, or of all the other topics, added up.
#[derive(Default)]
struct Sum {
    bytes: u64,
    offsets: u64,
    behind: u64,
}

impl Sum {
    fn add(&mut self, core: &Core, topic: &Topic) {
        for partition in numbers(topic) {
            let Some(Held::Open(log)) = core.partitions.get(TopicPartition { topic: topic.id, partition })
            else {
                continue;
            };
            let marks = log.offsets();
            let between = |from: millrace_types::Offset, to: millrace_types::Offset| {
                u64::try_from(to.get() - from.get()).unwrap_or(0)
            };
            self.bytes += log.size_bytes();
            self.offsets += between(marks.log_start, marks.end);
            self.behind += between(marks.high_watermark, marks.end);
        }
    }
}

impl Collector for Logs {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(core) = self.core.upgrade() else { return Ok(()) };
        let sums = by_topic(&core);
        let mut family = |name: &str, help: &str, unit: Option<Unit>, of: fn(&Sum) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            sums.iter().try_for_each(|(topic, sum)| {
                let gauge = ConstGauge::new(i64::try_from(of(sum)).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&[("topic", topic.as_str())])?)
            })
        };
        family("log_size", "Bytes of the segments", Some(Unit::Bytes), |sum| sum.bytes)?;
        family("log_offsets", "Offsets between the log start and the end", None, |sum| sum.offsets)?;
        let help = "Offsets that are written and not yet committed";
        family("log_uncommitted_offsets", help, None, |sum| sum.behind)?;
        let stats = core.dir.stats();
        let micro = 1.0 / 1_000_000.0;
        let help = "How long syncs of partition logs took";
        histogram(&mut encoder, ("log_sync", help, Some(Unit::Seconds)), (&stats.sync_micros, micro, 4..26))?;
        let help = "Bytes of each write to a log: one batch, or as many as had queued up";
        histogram(&mut encoder, ("log_write", help, Some(Unit::Bytes)), (&stats.write_bytes, 1.0, 6..28))?;
        let help = "Batches of each write to a log";
        histogram(&mut encoder, ("log_write_batches", help, None), (&stats.write_batches, 1.0, 0..13))
    }
}

/// By name of the topic; what is over the bound is `other`, which is always there.
fn by_topic(core: &Arc<Core>) -> Vec<(String, Sum)> {
    let image = core.metadata.image();
    let mut topics: Vec<&Arc<Topic>> = image.topics().collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let mut sums = Vec::new();
    let mut other = Sum::default();
    for (number, topic) in topics.into_iter().enumerate() {
        if number < METRIC_TOPICS_MAX {
            let mut sum = Sum::default();
            sum.add(core, topic);
            sums.push((topic.name.to_string(), sum));
        } else {
            other.add(core, topic);
        }
    }
    sums.push(("other".to_owned(), other));
    sums
}

/// Shows the buckets 2^n of a range; what is larger is in `+Inf` only, what is smaller in the first.
fn histogram(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<Unit>),
    (tally, scale, shown): (&TallySnapshot, f64, std::ops::Range<i32>),
) -> Result<(), fmt::Error> {
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    let mut waiting = 0;
    for (power, count) in (0_i32..).zip(&tally.buckets) {
        waiting += count;
        if shown.contains(&power) {
            buckets.push((2.0_f64.powi(power) * scale, std::mem::take(&mut waiting)));
        }
    }
    buckets.push((f64::INFINITY, waiting));
    let count = tally.buckets.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "a sum of a metric is a float, whatever it counts")]
    let sum = tally.sum as f64 * scale;
    let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}
