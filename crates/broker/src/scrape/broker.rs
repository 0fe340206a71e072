//! What the broker tells of itself when it is asked: memory, handles, storage, damage, the scrub.

use std::fmt;
use std::sync::Weak;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::core::Core;

/// Read when scraped. Holds the core weakly: a registry must not keep a stopped broker's files open.
pub(super) struct Gauges {
    pub(super) core: Weak<Core>,
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(core) = self.core.upgrade() else { return Ok(()) };
        let image = core.metadata.image();
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("memory_in_use_bytes", "Bytes granted to requests and answers", core.memory.in_use())?;
        gauge("memory_waiting_bytes", "Bytes that requests and answers wait for", core.memory.waiting())?;
        let limit = (core.memory.bytes_max() + core.memory.reserve_bytes()) as u64;
        gauge("memory_limit_bytes", "Bytes that can be granted", limit)?;
        gauge("requests_in_flight", "Requests under way", core.admission.in_flight() as u64)?;
        let handles = core.dir.handles();
        gauge("log_files_open", "Files of partition logs that are kept open", handles.files as u64)?;
        gauge(
            "log_files_open_max",
            "At most so many are, once written bytes are synced",
            handles.limits.files as u64,
        )?;
        gauge("log_maps", "Maps of sealed segments and their indexes that are kept", handles.maps as u64)?;
        gauge("log_maps_max", "At most so many are kept", handles.limits.maps as u64)?;
        gauge("topics", "Topics, those of the product included", image.topics().count() as u64)?;
        gauge("partitions_open", "Partition logs open on this node", core.partitions.count() as u64)?;
        let storage = core.dir.storage();
        let used = storage.total.saturating_sub(storage.available);
        gauge("storage_used_bytes", "Of the data directory's file system, what cannot be used", used)?;
        gauge(
            "storage_available_bytes",
            "Of the data directory's file system, what is free",
            storage.available,
        )?;
        gauge("storage_reserve_bytes", "What commits and metadata keep of a full disk", storage.reserve())?;
        gauge(
            "storage_level",
            "0 ample, 1 low, 2 scarce, 3 full: produce is refused",
            storage.level.number(),
        )?;
        let damaged = core.dir.damaged_ranges() + core.partitions.unavailable_count();
        let help = "Damaged ranges that are not served, at most 64 of each log; a partition without a log counts once";
        gauge("log_damaged_ranges", help, damaged as u64)?;
        let scrub = core.dir.scrub_report();
        let ended = u64::try_from(scrub.pass_ended.0 / 1000).unwrap_or(0);
        let help =
            "When the scrub last was through all sealed bytes, in seconds since 1970; 0 if it never was";
        gauge("scrub_pass_ended_timestamp_seconds", help, ended)?;
        gauge("scrub_under_way", "Whether a pass of the scrub is under way", u64::from(scrub.is_under_way))?;
        let mut counter = |name: &str, help: &str, value: u64| {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
        };
        let stats = core.dir.stats();
        let help = "Bytes of segments that retention has let go since the start";
        counter("retention_removed_bytes", help, stats.retention_bytes)?;
        let help = "Segments that retention has let go since the start";
        counter("retention_removed_segments", help, stats.retention_segments)?;
        counter(
            "scrub_read_bytes",
            "Sealed bytes read back from the medium since the start",
            scrub.bytes_read,
        )?;
        counter(
            "scrub_damage_found",
            "Damaged ranges that the scrub found since the start",
            scrub.damage_found,
        )
    }
}
