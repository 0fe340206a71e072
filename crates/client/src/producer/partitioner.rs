//! Which partition a record without one goes to.

use std::collections::BTreeMap;

use millrace_env::{Rng, RngExt};
use millrace_types::{PartitionIndex, TopicId, TopicPartition};

use super::accumulator::Accumulator;

/// Records without a key stick to a partition for as long as its batch is open, so that few batches are full rather
/// than many small; then they move to another one, drawn at random (KIP-480).
#[derive(Default, Debug)]
pub(crate) struct Sticky {
    current: BTreeMap<TopicId, PartitionIndex>,
}

impl Sticky {
    /// The partition of the next record without a key.
    pub(crate) fn choose(
        &mut self,
        topic: TopicId,
        partitions: u32,
        open: &Accumulator,
        rng: &dyn Rng,
    ) -> PartitionIndex {
        let last = self.current.get(&topic).copied();
        if let Some(partition) = last
            && partition.0 < partitions
            && open.has_open_batch(TopicPartition { topic, partition })
        {
            return partition;
        }
        let drawn = draw(rng, partitions, last);
        self.current.insert(topic, drawn);
        drawn
    }
}

/// A partition other than `last`, each with the same chance.
fn draw(rng: &dyn Rng, partitions: u32, last: Option<PartitionIndex>) -> PartitionIndex {
    let below = |bound: u32| u32::try_from(rng.next_u64() % u64::from(bound.max(1))).unwrap_or(0);
    match last {
        Some(last) if partitions > 1 && last.0 < partitions => {
            let step = 1 + below(partitions - 1);
            PartitionIndex((last.0 + step) % partitions)
        }
        _ => PartitionIndex(below(partitions)),
    }
}

#[cfg(test)]
mod tests {
    use millrace_env::real::RealRng;

    use super::*;

    #[test]
    fn a_draw_never_repeats_the_last_partition_unless_it_is_the_only_one() {
        for partitions in 1..6 {
            let mut last = None;
            for _ in 0..50 {
                let drawn = draw(&RealRng, partitions, last);
                assert!(drawn.0 < partitions);
                assert!(partitions == 1 || Some(drawn) != last);
                last = Some(drawn);
            }
        }
    }
}
