//! What goes wrong.

use millrace_types::{NodeId, SyncMode};

use super::invariants::Verdict;
use super::wire::Place;
use super::world::{Happening, REPLICAS, World};

impl World {
    fn some_node(&self) -> NodeId {
        // The leader is hit as often as everybody else together.
        if let Some(leader) = self.helm.partition.view.leader.filter(|_| self.rng.chance(1, 2)) {
            return leader;
        }
        let nodes = u64::try_from(self.nodes.len()).unwrap_or(1);
        NodeId(1 + i32::try_from(self.rng.below(nodes)).unwrap_or_default())
    }

    /// Whether what a broker has may be lost: another one that may be elected has all that is committed, for certain.
    ///
    /// So many disks may be lost at a time as the minimum of in-sync replicas is above one.
    pub(super) fn is_spare(&self, id: NodeId) -> bool {
        let partition = &self.helm.partition;
        if partition.view.isr_min < 2 || self.is_short(Some(id)) {
            return false;
        }
        self.nodes.values().any(|other| {
            let candidate = partition.view.isr.contains(&other.id) || partition.elr.contains(&other.id);
            let certain = other.certain(self.truth.topic).min(self.truth.agrees(other.id));
            let whole = certain >= self.truth.committed.len();
            other.id != id && candidate && whole && !other.suspect
        })
    }

    /// Something happens.
    pub(crate) fn fault(&mut self) -> Verdict {
        let id = self.some_node();
        match self.rng.below(22) {
            0..=2 => self.kill(id),
            3..=5 => self.power_cut(id),
            6 => self.all_cut(),
            7 => return self.stop(id),
            8 => {
                let _is_gone = self.wipe(id);
            }
            9 | 10 => self.pause(id),
            11 | 12 => self.cut_link(id),
            13 | 14 => self.isolate(id),
            15 => return self.minimum(),
            16 => return self.move_leader(),
            17 => return self.reassign(),
            18 if self.rng.chance(1, 2) => return self.recreate(),
            18 | 19 => self.slow(id),
            _ => return self.plot(),
        }
        Ok(())
    }

    pub(super) fn back_soon(&mut self, id: NodeId) {
        let wait = match self.rng.below(3) {
            0 => 5 + self.rng.below(50),
            1 => 200 + self.rng.below(800),
            _ => 800 + self.rng.below(2_500),
        };
        self.later(wait, Happening::Start(id));
    }

    fn kill(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| node.run.is_some()) {
            node.kill();
            self.marks.kills += 1;
            self.tell(|| format!("  {id} is killed"));
            self.back_soon(id);
        }
    }

    fn power_cut(&mut self, id: NodeId) {
        let may_lose = self.weather.sync_mode != SyncMode::Always;
        if may_lose && !self.is_spare(id) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            let was_up = node.run.is_some();
            node.power_cut();
            node.suspect |= may_lose;
            node.lacking |= may_lose;
            self.truth.forget(id);
            self.marks.power_cuts += 1;
            self.tell(|| format!("  {id} has no power"));
            if was_up {
                self.back_soon(id);
            }
        }
    }

    fn all_cut(&mut self) {
        if self.weather.sync_mode != SyncMode::Always {
            return;
        }
        self.marks.all_cut += 1;
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.power_cut(id);
        }
    }

    fn stop(&mut self, id: NodeId) -> Verdict {
        let told = self.rng.chance(3, 4);
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let number = node.runs;
        let Some(run) = node.run.as_mut().filter(|run| !node.paused && !run.stopping) else { return Ok(()) };
        if told && run.registered.is_some() {
            // It tells the controller, and goes when others have taken over what it leads.
            run.stopping = true;
            self.later(400, Happening::Stop(id, number));
            return Ok(());
        }
        self.gone(id)
    }

    /// A broker stops, cleanly.
    pub(crate) fn gone(&mut self, id: NodeId) -> Verdict {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        if let Err(error) = node.stop() {
            return self.died(id, error);
        }
        self.marks.clean_stops += 1;
        self.tell(|| format!("  {id} stops"));
        self.back_soon(id);
        Ok(())
    }

    pub(crate) fn wipe(&mut self, id: NodeId) -> bool {
        if !self.is_spare(id) {
            return false;
        }
        let seed = self.rng.below(u64::MAX);
        if let Some(node) = self.nodes.get_mut(&id) {
            let was_up = node.run.is_some();
            node.wipe(seed);
            node.suspect = true;
            node.lacking = true;
            self.truth.forget(id);
            self.marks.wiped += 1;
            self.tell(|| format!("  {id} loses its disk"));
            if was_up {
                self.back_soon(id);
            }
        }
        true
    }

    fn pause(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| node.run.is_some() && !node.paused) {
            node.paused = true;
            self.marks.pauses += 1;
            let wait = 100 + self.rng.below(3_000);
            self.tell(|| format!("  {id} stands still for {wait} ms"));
            self.later(wait, Happening::Resume(id));
        }
    }

    fn cut(&mut self, from: Place, to: Place) {
        let wait = 200 + self.rng.below(3_000);
        self.cut_for(from, to, wait);
    }

    pub(crate) fn cut_for(&mut self, from: Place, to: Place, wait: u64) {
        self.cut.insert((from, to));
        self.tell(|| format!("  nothing goes from {from:?} to {to:?} for {wait} ms"));
        self.later(wait, Happening::Join(from, to));
    }

    fn cut_link(&mut self, id: NodeId) {
        let other = self.some_node();
        let other = if other == id { Place::Controller } else { Place::Node(other) };
        self.marks.cuts += 1;
        self.cut(Place::Node(id), other);
        // Half of the time one way only.
        if self.rng.chance(1, 2) {
            self.cut(other, Place::Node(id));
        }
    }

    fn isolate(&mut self, id: NodeId) {
        self.marks.isolated += 1;
        let with_controller = self.rng.chance(1, 2);
        let mut others: Vec<Place> =
            self.nodes.keys().filter(|other| **other != id).map(|id| Place::Node(*id)).collect();
        others.extend(with_controller.then_some(Place::Controller));
        let both = self.rng.chance(2, 3);
        for other in others {
            self.cut(Place::Node(id), other);
            if both {
                self.cut(other, Place::Node(id));
            }
        }
    }

    /// Whether a broker, other than this one, has lost what others had to hold for it and does not have it again.
    fn is_short(&self, but: Option<NodeId>) -> bool {
        self.nodes.values().any(|node| Some(node.id) != but && (node.lacking || node.suspect))
    }

    fn minimum(&mut self) -> Verdict {
        let before = self.helm.partition.clone();
        let isr_min = if before.view.isr_min == 1 { 2 } else { 1 };
        if isr_min == 1 && self.is_short(None) {
            return Ok(());
        }
        self.helm.set_isr_min(isr_min);
        self.marks.minimum_changed += 1;
        self.decided(&before, None)
    }

    fn move_leader(&mut self) -> Verdict {
        let before = self.helm.partition.clone();
        self.marks.moved += u64::from(self.helm.move_leader());
        self.decided(&before, None)
    }

    fn reassign(&mut self) -> Verdict {
        let before = self.helm.partition.clone();
        let replicas = &before.view.replicas;
        let (from, to) = (self.some_node(), self.nodes.keys().copied().find(|id| !replicas.contains(id)));
        if let Some(to) = to.filter(|_| replicas.len() == REPLICAS)
            && self.helm.reassign(from, to)
        {
            self.marks.reassigned += 1;
        }
        self.decided(&before, None)
    }

    fn recreate(&mut self) -> Verdict {
        let before = self.helm.partition.clone();
        if !before.adding.is_empty() || !before.removing.is_empty() {
            return Ok(());
        }
        let _is_new = self.helm.recreate();
        self.decided(&before, None)
    }

    fn slow(&mut self, id: NodeId) {
        let slow = self.rng.below(1_500);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.disk_ms = if node.disk_ms == 0 { slow } else { 0 };
            self.marks.slow_disks += u64::from(node.disk_ms > 0);
        }
    }
}
