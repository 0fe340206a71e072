//! Creates a topic.

use std::collections::BTreeMap;

/// The topic to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateTopicRequest {
    /// Its name, as the user wrote it.
    pub name: String,
    /// How many partitions; `None` leaves it to the broker.
    pub partitions: Option<u32>,
    /// How many replicas; `None` leaves it to the broker.
    pub replication_factor: Option<u32>,
    /// Kafka's keys; unknown ones are refused.
    pub configs: BTreeMap<String, String>,
    /// Check only, and answer what would be made.
    pub validate_only: bool,
}
