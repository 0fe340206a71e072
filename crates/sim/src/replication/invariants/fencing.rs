//! R7, R10: a change of the in-sync replicas is taken only if it follows from the state that is in force, by the leader that is, and
//! who joins runs under the registration under which it was heard.

use super::{Invariant, Scene, Verdict};
use crate::replication::helm::Partition;
use crate::replication::wire::Message;

pub(crate) struct Fencing;

impl Invariant for Fencing {
    fn name(&self) -> &'static str {
        "R10 what is old is refused"
    }

    fn decided(&mut self, scene: Scene<'_>, before: &Partition, message: &Message) -> Verdict {
        let Message::Alter(alter) = message else { return Ok(()) };
        let (view, after) = (&before.view, &scene.helm.partition.view);
        if view.isr == after.isr {
            return Ok(());
        }
        if alter.partition != view.id
            || alter.partition_epoch != view.partition_epoch
            || alter.leader_epoch != view.leader_epoch
            || view.leader != Some(alter.leader)
        {
            return Err(format!("{alter:?} is taken for {view:?}"));
        }
        for node in after.isr.difference(&view.isr) {
            let registered = scene.helm.brokers.get(node).map(|broker| broker.epoch);
            let running = scene.nodes.get(node).and_then(|node| node.run.as_ref()?.registered);
            let stranger = registered != alter.isr.get(node).copied();
            if stranger {
                return Err(format!("{node} joins as {:?}, it is {registered:?}", alter.isr.get(node)));
            }
            if running == registered && !scene.truth.is_complete(*node) {
                let (agrees, committed) = (scene.truth.agrees(*node), scene.truth.committed.len());
                return Err(format!("{node} joins with {agrees} of {committed} committed records"));
            }
        }
        Ok(())
    }
}
