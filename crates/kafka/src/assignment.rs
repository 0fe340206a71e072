//! Assignments by hand: who asks for a topic may say on which brokers each partition is to lie.
//!
//! Taken is what the cluster can do: with one broker, that every partition lies on that one.

use millrace_types::NodeId;

use crate::error_map::{Fault, KafkaError};

/// Checks the brokers of each partition.
pub(crate) fn check<'a>(
    partitions: impl IntoIterator<Item = &'a Vec<i32>>,
    broker: NodeId,
) -> Result<(), Fault> {
    for brokers in partitions {
        match brokers.as_slice() {
            [only] if *only == broker.0 => {}
            [] => return Err(fault("a partition is assigned to no broker")),
            [.., last] if brokers.iter().all(|one| *one == broker.0) => {
                return Err(fault(format!("a partition is assigned to broker {last} twice")));
            }
            others => {
                let unknown = others.iter().find(|one| **one != broker.0);
                let number = unknown.copied().unwrap_or_default();
                return Err(fault(format!("there is no broker {number}")));
            }
        }
    }
    Ok(())
}

/// Checks that the partitions are numbered from 0, each once, and counts them.
pub(crate) fn count(numbers: impl Iterator<Item = i32>) -> Result<u32, Fault> {
    let mut numbers: Vec<i32> = numbers.collect();
    numbers.sort_unstable();
    for (expected, number) in (0..).zip(&numbers) {
        if expected != *number {
            return Err(fault("the partitions of an assignment are numbered from 0, each once"));
        }
    }
    u32::try_from(numbers.len()).map_err(|_| fault("too many partitions are assigned"))
}

pub(crate) fn fault(message: impl Into<String>) -> Fault {
    Fault::new(KafkaError::InvalidReplicaAssignment, message)
}
