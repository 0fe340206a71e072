//! Who leads what, as the brokers tell it.

use serde_json::Value;

use super::Cluster;
use crate::tool;

/// A partition as it is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) leader: Option<u8>,
    pub(super) in_sync: Vec<u8>,
    pub(super) replicas: Vec<u8>,
}

impl Cluster {
    /// The partitions of a topic, in their order; none if nobody answers.
    pub(super) fn describe(&self, topic: &str) -> Vec<Described> {
        let rows = self.ask(&["topic", "describe", topic, "--format", "json"]);
        let numbers = |value: &Value| -> Vec<u8> {
            value.as_array().into_iter().flatten().filter_map(number).collect()
        };
        let describe = |row: &Value| Described {
            leader: number(&row["leader"]),
            in_sync: numbers(&row["isr"]),
            replicas: numbers(&row["replicas"]),
        };
        rows.iter().map(describe).collect()
    }

    /// The broker that leads the metadata.
    pub(super) fn controller(&self) -> Option<u8> {
        let rows = self.ask(&["cluster", "status", "--format", "json"]);
        rows.iter().find_map(|row| number(&row["controller"]))
    }

    /// The broker that coordinates most groups: the leader of a partition of the committed offsets.
    pub(super) fn coordinator(&self) -> Option<u8> {
        self.describe("__consumer_offsets").iter().find_map(|partition| partition.leader)
    }

    /// The objects that a tool prints, one a line or in a list; none if it fails.
    fn ask(&self, words: &[&str]) -> Vec<Value> {
        let said = tool::ask(&self.grpc().join(","), words, "");
        if said.code != 0 {
            return Vec::new();
        }
        match serde_json::from_str(&said.out) {
            Ok(Value::Array(rows)) => rows,
            Ok(row) => vec![row],
            Err(_) => said.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
        }
    }
}

fn number(value: &Value) -> Option<u8> {
    value.as_u64().and_then(|number| u8::try_from(number).ok())
}
