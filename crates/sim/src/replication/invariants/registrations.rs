//! R12: each run of a broker has an epoch of its own, higher than all before, and none is given while the last is not fenced.
//! Whoever registers with a log that may have lost something is neither in sync nor eligible then.

use std::collections::BTreeMap;

use millrace_metadata::Losses;
use millrace_types::{BrokerEpoch, NodeId};

use super::{Invariant, Scene, Verdict};
use crate::replication::helm::Partition;
use crate::replication::wire::Message;

#[derive(Default)]
pub(crate) struct Registrations {
    given: BTreeMap<BrokerEpoch, (NodeId, u64)>,
    disks: BTreeMap<NodeId, u64>,
}

impl Invariant for Registrations {
    fn name(&self) -> &'static str {
        "R12 registrations"
    }

    fn decided(&mut self, scene: Scene<'_>, _before: &Partition, message: &Message) -> Verdict {
        let Message::Register(ask) = message else { return Ok(()) };
        let Some(broker) = scene.helm.brokers.get(&ask.node).filter(|broker| broker.run == ask.run) else {
            return Ok(());
        };
        let newest = self.given.last_key_value().map(|(epoch, _)| *epoch);
        match self.given.get(&broker.epoch) {
            Some(known) if *known == (ask.node, ask.run) => return Ok(()),
            Some(known) => return Err(format!("{} has the epoch of {known:?}", ask.node)),
            None if newest > Some(broker.epoch) => {
                return Err(format!("{} comes after {newest:?}", broker.epoch));
            }
            None => {}
        }
        self.given.insert(broker.epoch, (ask.node, ask.run));
        let partition = &scene.helm.partition;
        if partition.view.isr.contains(&ask.node) {
            return Err(format!("{} starts and is in sync: {partition:?}", ask.node));
        }
        let new_disk = self.disks.insert(ask.node, ask.disk).unwrap_or_default() != ask.disk;
        let lossy = new_disk || (ask.losses == Losses::Unsynced && !scene.always);
        let trusted = partition.view.isr.contains(&ask.node) || partition.elr.contains(&ask.node);
        if lossy && trusted && !scene.truth.committed.is_empty() {
            return Err(format!("{} may have lost records and is trusted: {partition:?}", ask.node));
        }
        Ok(())
    }
}
