//! What `/metrics` shows, read when it is asked for: no counter of its own for anything that already knows its number.

use std::fmt;
use std::sync::{Arc, OnceLock};

use millrace_broker::Broker;
use millrace_env::{Clock, Monotonic};
use millrace_grpc::GrpcDoor;
use millrace_kafka::KafkaDoor;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::http::Readiness;

/// The parts that are measured; the last three are there once the broker has started.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started: Monotonic,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) broker: OnceLock<Arc<Broker>>,
    pub(crate) door: OnceLock<Arc<GrpcDoor>>,
    pub(crate) kafka: OnceLock<Arc<KafkaDoor>>,
}

impl Measured {
    /// The metrics in OpenMetrics text.
    pub(crate) fn text(self: &Arc<Self>) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("millrace");
        registry.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_collector(Box::new(Scrape(Arc::clone(self))));
        if let Some(broker) = self.broker.get() {
            broker.register_metrics(&mut registry);
        }
        if let Some(door) = self.kafka.get() {
            door.register_metrics(&mut registry);
        }
        let mut page = String::new();
        text::encode(&mut page, &registry)?;
        Ok(page)
    }
}

#[derive(Debug)]
struct Scrape(Arc<Measured>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let measured = &self.0;
        let uptime = measured.clock.monotonic().since(measured.started).as_secs();
        let connections = measured.door.get().map_or(0, |door| door.connections()) as u64;
        let kafka = measured.kafka.get().map_or(0, |door| door.connections()) as u64;
        let gauges = [
            ("uptime", "Time since the start", Some(Unit::Seconds), uptime),
            ("ready", "1 if requests are taken", None, u64::from(measured.readiness.is_ready())),
            ("grpc_connections", "Open connections of the native door", None, connections),
            ("kafka_connections", "Open connections of the Kafka door", None, kafka),
        ];
        for (name, help, unit, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let encoder = encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?;
            gauge.encode(encoder)?;
        }
        Ok(())
    }
}
