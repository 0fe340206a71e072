//! G2, as the members see it: no partition has two owners.
//!
//! An owner is who was told to own it and took it up, until it has let go or its lease is over. That is stricter than what the
//! coordinator has in its books: what is on its way to a member counts from the moment at which the member takes it up,
//! and what a member has let go counts as its own until it does.

use std::collections::BTreeMap;

use super::{Invariant, Scene, Verdict};

pub(crate) struct Ownership;

impl Invariant for Ownership {
    fn name(&self) -> &'static str {
        "no partition has two owners"
    }

    fn after(&mut self, scene: Scene<'_>) -> Verdict {
        let mut owners = BTreeMap::new();
        for consumer in scene.consumers {
            for partition in consumer.holds(scene.now).into_iter().flatten() {
                if let Some(other) = owners.insert(*partition, consumer.number) {
                    return Err(format!("consumers {other} and {} own {partition}", consumer.number));
                }
            }
        }
        Ok(())
    }
}
