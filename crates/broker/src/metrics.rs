//! What the broker counts, for Prometheus. Each metric stands in `docs/metrics.md`; a test holds the two together.

mod doors;
mod group_lag;
mod groups;
mod logs;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use millrace_types::ErrorCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use self::doors::Doors;
pub use self::doors::{ApiMetrics, DoorMetrics};
use self::group_lag::GroupLags;
pub(crate) use self::groups::GroupCounters;
use self::logs::Logs;
use crate::ApiError;
use crate::admission::Operation;
use crate::core::Core;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    code: String,
}

/// Counters with their handles at hand: no label is looked up on the way of a request that succeeds.
#[derive(Debug)]
pub(crate) struct BrokerMetrics {
    requests: Family<RequestLabels, Counter>,
    succeeded: BTreeMap<Operation, Counter>,
    partition_errors: Family<RequestLabels, Counter>,
    bytes_produced: Counter,
    records_produced: Counter,
    bytes_fetched: Counter,
    records_fetched: Counter,
    produce_seconds: Histogram,
    subscriptions: Gauge,
    groups: GroupCounters,
    doors: Doors,
}

/// A subscription that is counted as open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenSubscription(Gauge);

impl Drop for OpenSubscription {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl BrokerMetrics {
    pub(crate) fn new(groups: GroupCounters) -> Arc<BrokerMetrics> {
        let requests = Family::<RequestLabels, Counter>::default();
        let ok = |operation: Operation| {
            let labels = RequestLabels { operation: operation.name(), code: "OK".to_owned() };
            (operation, requests.get_or_create_owned(&labels))
        };
        Arc::new(BrokerMetrics {
            succeeded: Operation::ALL.into_iter().map(ok).collect(),
            requests,
            partition_errors: Family::default(),
            bytes_produced: Counter::default(),
            records_produced: Counter::default(),
            bytes_fetched: Counter::default(),
            records_fetched: Counter::default(),
            // 50 microseconds to 26 seconds.
            produce_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 20)),
            subscriptions: Gauge::default(),
            groups,
            doors: Doors::new(),
        })
    }

    /// The handles of a door's calls.
    pub(crate) fn door(&self, door: &'static str, apis: &[&'static str]) -> DoorMetrics {
        self.doors.door(door, apis)
    }

    /// What is counted of groups.
    pub(crate) fn groups(&self) -> &GroupCounters {
        &self.groups
    }

    /// Counts a subscription as open.
    pub(crate) fn subscribed(&self) -> OpenSubscription {
        self.subscriptions.inc();
        OpenSubscription(self.subscriptions.clone())
    }

    /// Counts a partition that a read answered with an error.
    pub(crate) fn partition_failed(&self, operation: Operation, code: ErrorCode) {
        let labels = RequestLabels { operation: operation.name(), code: code.name() };
        self.partition_errors.get_or_create(&labels).inc();
    }

    /// Counts a request by its outcome and passes it on.
    pub(crate) fn count<T>(&self, operation: Operation, result: Result<T, ApiError>) -> Result<T, ApiError> {
        self.count_code(operation, result.as_ref().err().map(|error| error.code));
        result
    }

    /// Counts a request; no code is a success.
    pub(crate) fn count_code(&self, operation: Operation, code: Option<ErrorCode>) {
        match (code, self.succeeded.get(&operation)) {
            (None, Some(counter)) => {
                counter.inc();
            }
            (code, _) => {
                let code = code.map_or_else(|| "OK".to_owned(), ErrorCode::name);
                self.requests.get_or_create(&RequestLabels { operation: operation.name(), code }).inc();
            }
        }
    }

    pub(crate) fn produced(&self, bytes: usize, records: u64) {
        self.bytes_produced.inc_by(bytes as u64);
        self.records_produced.inc_by(records);
    }

    /// Records are counted by their offsets: to look into the batches would touch bytes that only pass through.
    pub(crate) fn fetched(&self, bytes: usize, records: u64) {
        self.bytes_fetched.inc_by(bytes as u64);
        self.records_fetched.inc_by(records);
    }

    pub(crate) fn acknowledged(&self, seconds: f64) {
        self.produce_seconds.observe(seconds);
    }

    /// Lets the registry show the counters, and what the core can tell when it is asked.
    pub(crate) fn register(&self, core: &Arc<Core>, registry: &mut Registry) {
        let (requests, produced, fetched) =
            (self.requests.clone(), self.bytes_produced.clone(), self.bytes_fetched.clone());
        registry.register("requests", "Requests by operation and outcome", requests);
        registry.register_with_unit("produced", "Batches appended", Unit::Bytes, produced);
        registry.register_with_unit("fetched", "Batches answered to readers", Unit::Bytes, fetched);
        registry.register("produced_records", "Records appended", self.records_produced.clone());
        let help = "Records answered to readers, counted by their offsets";
        registry.register("fetched_records", help, self.records_fetched.clone());
        let help = "Partitions of fetches and subscriptions that were answered with an error";
        registry.register("partition_errors", help, self.partition_errors.clone());
        registry.register("subscriptions", "Subscriptions that are open", self.subscriptions.clone());
        self.doors.register(registry);
        self.groups.register(core, registry);
        let latency = self.produce_seconds.clone();
        let help = "From the arrival of a produce to its acknowledgement";
        registry.register_with_unit("produce_latency", help, Unit::Seconds, latency);
        registry.register_collector(Box::new(Gauges { core: Arc::downgrade(core) }));
        registry.register_collector(Box::new(Logs { core: Arc::downgrade(core) }));
        registry.register_collector(Box::new(GroupLags { core: Arc::downgrade(core) }));
    }
}

/// Read when scraped. Holds the core weakly: a registry must not keep a stopped broker's files open.
struct Gauges {
    core: Weak<Core>,
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
