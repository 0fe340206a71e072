//! Faults that do harm only together, each aimed at a rule that chance alone seldom meets.

use millrace_types::NodeId;

use super::helm::Partition;
use super::invariants::Verdict;
use super::wire::Place;
use super::world::{Happening, REPLICAS, World};

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plot {
    /// A follower that has fetched everything while it was fenced loses its disk, registers again, and does not reach the leader:
    /// what the leader knows of it is of its earlier run.
    Revenant(NodeId),
    /// A replica that was taken out comes back, without its records, before the leader has heard that it was gone.
    Returning { gone: NodeId, stand_in: NodeId },
}

impl World {
    pub(crate) fn plot(&mut self) -> Verdict {
        let view = &self.helm.partition.view;
        let Some(leader) = view.leader else { return Ok(()) };
        let runs = |id: &NodeId| self.nodes.get(id).is_some_and(|node| node.run.is_some() && !node.paused);
        let followers: Vec<NodeId> =
            view.isr.iter().copied().filter(|id| *id != leader && runs(id)).collect();
        let at =
            usize::try_from(self.rng.below(2)).unwrap_or_default().min(followers.len().saturating_sub(1));
        let Some(follower) = followers.get(at).copied() else { return Ok(()) };
        let spare = self.nodes.keys().copied().find(|id| !view.replicas.contains(id) && runs(id));
        if self.rng.chance(1, 2) {
            self.cut.insert((Place::Node(follower), Place::Controller));
            self.cut.insert((Place::Controller, Place::Node(follower)));
            self.later(1_300, Happening::Plot(Plot::Revenant(follower)));
            return Ok(());
        }
        let Some(stand_in) = spare.filter(|_| view.replicas.len() == REPLICAS) else { return Ok(()) };
        let before = self.helm.partition.clone();
        if self.helm.reassign(follower, stand_in) {
            self.returning = Some((follower, stand_in));
            self.marks.reassigned += 1;
        }
        self.decided(&before, None)
    }

    pub(crate) fn goes_on(&mut self, plot: Plot) -> Verdict {
        match plot {
            Plot::Revenant(id) => {
                self.cut.remove(&(Place::Node(id), Place::Controller));
                self.cut.remove(&(Place::Controller, Place::Node(id)));
                let view = &self.helm.partition.view;
                let Some(leader) = view.leader.filter(|_| !view.isr.contains(&id) && !self.healing) else {
                    return Ok(());
                };
                if self.wipe(id) {
                    self.cut_for(Place::Node(id), Place::Node(leader), 2_500);
                    self.cut_for(Place::Node(leader), Place::Node(id), 2_500);
                    self.marks.revenants += 1;
                }
                Ok(())
            }
            Plot::Returning { gone, stand_in } => {
                let before = self.helm.partition.clone();
                if !self.healing && self.helm.reassign(stand_in, gone) {
                    self.marks.returned += 1;
                }
                self.decided(&before, None)
            }
        }
    }

    /// A reassignment has just been completed: if it was made for that, the leader does not hear of it before the next.
    pub(crate) fn was_reassigned(&mut self, after: &Partition) {
        let (Some((gone, stand_in)), Some(leader)) = (self.returning.take(), after.view.leader) else {
            return;
        };
        self.cut_for(Place::Controller, Place::Node(leader), 700);
        self.later(40, Happening::Plot(Plot::Returning { gone, stand_in }));
    }
}
