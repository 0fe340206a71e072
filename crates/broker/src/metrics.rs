//! What the broker counts, for Prometheus; what it tells when it is asked is in `scrape`. Each metric stands in `docs/metrics.md`; a test holds the two together.

mod doors;
mod groups;

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_types::ErrorCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use self::doors::Doors;
pub use self::doors::{ApiMetrics, DoorMetrics};
pub(crate) use self::groups::GroupCounters;
use crate::ApiError;
use crate::admission::Operation;

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

    /// Lets the registry show the counters.
    pub(crate) fn register(&self, registry: &mut Registry) {
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
        self.groups.register(registry);
        let latency = self.produce_seconds.clone();
        let help = "From the arrival of a produce to its acknowledgement";
        registry.register_with_unit("produce_latency", help, Unit::Seconds, latency);
    }
}
