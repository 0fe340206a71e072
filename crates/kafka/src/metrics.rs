//! What the door counts: requests by operation and Kafka's error.

use std::collections::BTreeMap;
use std::sync::Arc;

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
