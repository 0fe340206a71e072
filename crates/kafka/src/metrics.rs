//! What the door counts: requests by operation and Kafka's error.

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
#[derive(Clone, Default, Debug)]
pub(crate) struct Requests(Family<Labels, Counter>);

impl Requests {
    /// Counts a request; of several errors in one answer the first.
    pub(crate) fn count(&self, api: Operation, error: Option<KafkaError>) {
        let labels = Labels { api: api.name(), error: error.map_or("NONE", KafkaError::name) };
        self.0.get_or_create(&labels).inc();
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Requests of Kafka's protocol, by operation and the first error of their answer";
        registry.register("kafka_requests", help, self.0.clone());
    }
}
