//! What a door counts of its calls: the hook that every door uses, each under its own name.
//!
//! A door asks once for the handles of its calls and keeps them; a call that ends costs four additions and a search in
//! the buckets of a histogram.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What calls are counted under that are not in a door's list.
const OTHER: &str = "other";

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ApiLabels {
    door: &'static str,
    api: &'static str,
}

/// The calls of all doors.
#[derive(Debug)]
pub(crate) struct Doors {
    calls: Family<ApiLabels, Counter>,
    received: Family<ApiLabels, Counter>,
    sent: Family<ApiLabels, Counter>,
    seconds: Family<ApiLabels, Histogram>,
}

/// The handles of one door.
#[derive(Clone, Debug)]
pub struct DoorMetrics {
    by_api: Arc<BTreeMap<&'static str, ApiMetrics>>,
    other: ApiMetrics,
}

/// The handles of one kind of call.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    calls: Counter,
    received: Counter,
    sent: Counter,
    seconds: Histogram,
}

impl Doors {
    pub(crate) fn new() -> Doors {
        Doors {
            calls: Family::default(),
            received: Family::default(),
            sent: Family::default(),
            // 100 microseconds to 26 seconds.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_1, 2.0, 18))),
        }
    }

    pub(crate) fn door(&self, door: &'static str, apis: &[&'static str]) -> DoorMetrics {
        let metrics = |api: &'static str| {
            let labels = ApiLabels { door, api };
            ApiMetrics {
                calls: self.calls.get_or_create_owned(&labels),
                received: self.received.get_or_create_owned(&labels),
                sent: self.sent.get_or_create_owned(&labels),
                seconds: self.seconds.get_or_create_owned(&labels),
            }
        };
        let by_api = apis.iter().map(|api| (*api, metrics(api))).collect();
        DoorMetrics { by_api: Arc::new(by_api), other: metrics(OTHER) }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("door_calls", "Calls that have ended, by door and API", self.calls.clone());
        let received = self.received.clone();
        registry.register_with_unit(
            "door_received",
            "Bytes of requests, without framing",
            Unit::Bytes,
            received,
        );
        let sent = self.sent.clone();
        registry.register_with_unit("door_sent", "Bytes of answers, without framing", Unit::Bytes, sent);
        let seconds = self.seconds.clone();
        let help = "From the arrival of a call to its answer, waiting included; streams are not in it";
        registry.register_with_unit("door_call", help, Unit::Seconds, seconds);
    }
}

impl DoorMetrics {
    /// The handles of a kind of call; those of `other` for a name that the door did not list.
    #[must_use]
    pub fn api(&self, api: &str) -> &ApiMetrics {
        self.by_api.get(api).unwrap_or(&self.other)
    }
}

impl ApiMetrics {
    /// A call has been answered, `seconds` after it came in.
    pub fn answered(&self, seconds: f64) {
        self.calls.inc();
        self.seconds.observe(seconds);
    }

    /// A stream has ended. How long it was open says nothing.
    pub fn stream_ended(&self) {
        self.calls.inc();
    }

    /// Bytes of requests were received.
    pub fn received(&self, bytes: usize) {
        self.received.inc_by(bytes as u64);
    }

    /// Bytes of answers were handed to the network.
    pub fn sent(&self, bytes: usize) {
        self.sent.inc_by(bytes as u64);
    }
}
