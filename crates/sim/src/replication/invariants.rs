//! What must hold, one file each, by the numbers of the rules that they watch (R1 to R20 of the reliability rules).
//!
//! They know what the clients were told, what lies in the logs (as it was sent, not as it is decoded), and what the controller has
//! decided. Of the values under test they ask only what those claim: the high watermark, the in-sync set.

mod admission;
mod candidates;
mod committed;
mod deleted;
mod durable;
mod eligible;
mod fencing;
mod leader;
mod marks;
mod quorum;
mod reads;
mod reassigned;
mod registrations;
mod topics;

use std::collections::BTreeMap;

use millrace_types::NodeId;

use super::helm::Helm;
use super::node::{Did, Node};
use super::truth::Truth;
use super::wire::{Answer, Message};

/// What there is to be seen.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) nodes: &'a BTreeMap<NodeId, Node>,
    pub(crate) helm: &'a Helm,
    pub(crate) truth: &'a Truth,
    pub(crate) always: bool,
}

impl<'a> Scene<'a> {
    /// The running brokers that the controller knows, under the registration that it knows, each with its replica.
    pub(crate) fn current(
        &self,
    ) -> impl Iterator<Item = (&'a Node, &'a millrace_replication::Replica)> + use<'a> {
        let (helm, topic) = (self.helm, self.truth.topic);
        self.nodes.values().filter_map(move |node| {
            let run = node.run.as_ref()?;
            let known = helm.brokers.get(&node.id)?;
            let replica = run.parts.get(&topic)?.replica.as_ref()?;
            (run.registered == Some(known.epoch)).then_some((node, replica))
        })
    }

    /// The leader that the controller has elected, if it knows of that.
    pub(crate) fn leader(&self) -> Option<(&'a Node, &'a millrace_replication::Leader)> {
        let view = &self.helm.partition.view;
        let (node, replica) = self.current().find(|(node, _)| Some(node.id) == view.leader)?;
        let leader = replica.leader()?;
        (leader.leader_epoch() == view.leader_epoch).then_some((node, leader))
    }
}

/// What is broken.
pub(crate) type Verdict = Result<(), String>;

pub(crate) trait Invariant {
    fn name(&self) -> &'static str;

    /// A broker has done something.
    fn did(&mut self, _scene: Scene<'_>, _node: &Node, _did: &Did) -> Verdict {
        Ok(())
    }

    /// The controller has taken a message: `before` is the partition as it was.
    fn decided(
        &mut self,
        _scene: Scene<'_>,
        _before: &super::helm::Partition,
        _message: &Message,
    ) -> Verdict {
        Ok(())
    }

    /// A client is told something by a broker.
    fn told(&mut self, _scene: Scene<'_>, _node: NodeId, _answer: &Answer) -> Verdict {
        Ok(())
    }

    /// Something has happened.
    fn after(&mut self, _scene: Scene<'_>) -> Verdict {
        Ok(())
    }
}

pub(crate) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(marks::Marks::default()),
        Box::new(durable::Durable),
        Box::new(committed::Kept),
        Box::new(leader::LeaderComplete),
        Box::new(candidates::CandidatesComplete),
        Box::new(quorum::QuorumSuperset),
        Box::new(fencing::Fencing),
        Box::new(reads::Reads),
        Box::new(deleted::Deleted),
        Box::new(eligible::Eligible),
        Box::new(registrations::Registrations::default()),
        Box::new(admission::Admission::default()),
        Box::new(reassigned::Reassigned),
        Box::new(topics::Topics),
    ]
}
