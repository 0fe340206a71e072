//! What the door counts: requests by operation and Kafka's error, and what every door counts of its calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_broker::{ApiMetrics, Broker};
use millrace_env::{Clock, Monotonic};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::error_map::KafkaError;
use crate::handlers::Operation;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Labels {
    api: &'static str,
    error: &'static str,
}

/// Counters of requests, shared by the connections of a door.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    all: Family<Labels, Counter>,
    /// Those without an error, looked up once.
    succeeded: Arc<BTreeMap<Operation, Counter>>,
}

impl Default for Requests {
    fn default() -> Requests {
        let all = Family::<Labels, Counter>::default();
        let ok = |api: &Operation| (*api, all.get_or_create_owned(&Labels::of(*api, None)));
        let succeeded = Operation::ALL.iter().map(ok).collect();
        Requests { succeeded: Arc::new(succeeded), all }
    }
}

impl Labels {
    fn of(api: Operation, error: Option<KafkaError>) -> Labels {
        Labels { api: api.name(), error: error.map_or("NONE", KafkaError::name) }
    }
}

impl Requests {
    /// Counts a request; of several errors in one answer the first.
    pub(crate) fn count(&self, api: Operation, error: Option<KafkaError>) {
        match (error, self.succeeded.get(&api)) {
            (None, Some(counter)) => {
                counter.inc();
            }
            _ => {
                self.all.get_or_create(&Labels::of(api, error)).inc();
            }
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Requests of Kafka's protocol, by operation and the first error of their answer";
        registry.register("kafka_requests", help, self.all.clone());
    }
}

/// The traffic of the door's operations, shared by its connections.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    /// In the order of [`Operation::ALL`].
    by_operation: Arc<[ApiMetrics]>,
    clock: Arc<dyn Clock>,
}

/// A request that is counted when it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    api: Operation,
    began: Monotonic,
}

impl Traffic {
    pub(crate) fn new(broker: &Broker, clock: Arc<dyn Clock>) -> Traffic {
        let names: Vec<_> = Operation::ALL.iter().map(|api| api.name()).collect();
        let metrics = broker.door_metrics("kafka", &names);
        Traffic { by_operation: names.iter().map(|name| metrics.api(name).clone()).collect(), clock }
    }

    /// A request of so many bytes has come in.
    pub(crate) fn begin(&self, api: Operation, bytes: usize) -> Call {
        if let Some(metrics) = self.by_operation.get(api as usize) {
            metrics.received(bytes);
        }
        Call { api, began: self.clock.monotonic() }
    }

    /// It was answered with so many bytes, or with none because none were asked for.
    pub(crate) fn end(&self, call: Call, bytes: usize) {
        if let Some(metrics) = self.by_operation.get(call.api as usize) {
            metrics.sent(bytes);
            metrics.answered(self.clock.monotonic().since(call.began).as_secs_f64());
        }
    }
}
