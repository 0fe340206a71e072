//! The faults end, and everything must come to rest: a leader, everybody in sync, all that was acknowledged on every replica.

use millrace_metadata::ReplicaEnd;

use super::clients::Kind;
use super::invariants::Verdict;
use super::truth::place;
use super::world::{Happening, World};

/// How long it may take.
const REST_MS: u64 = 30_000;
const STEP_MS: u64 = 500;

impl World {
    pub(crate) fn come_to_rest(&mut self) -> Verdict {
        self.healing = true;
        self.weather.clear();
        self.cut.clear();
        for (id, node) in &mut self.nodes {
            node.paused = false;
            node.disk_ms = 0;
            node.repair();
            if let Some(run) = node.run.as_mut().filter(|run| run.stopping) {
                // Who was about to stop does so, and comes back.
                run.stopping = false;
                node.kill();
                self.marks.kills += 1;
            }
            let _ = id;
        }
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.later(1, Happening::Start(id));
        }
        for client in &mut self.clients {
            if let Kind::Producer(producer) = &mut client.kind {
                producer.goes_on = false;
            }
        }
        let end = self.now + REST_MS;
        let mut unrest = self.unrest();
        while let Some(what) = unrest {
            if self.now >= end {
                return Err(format!("no rest: {what}"));
            }
            self.run_until(self.now + STEP_MS)?;
            if self.now + REST_MS / 2 > end {
                self.recover()?;
            }
            unrest = self.unrest();
        }
        self.marks.healed += 1;
        self.is_whole()
    }

    /// Nobody may be elected any more: an operator decides, for the longest log of the latest epoch. Somewhere there is a whole one, and
    /// none is longer that is not whole.
    fn recover(&mut self) -> Verdict {
        let before = self.helm.partition.clone();
        if before.view.leader.is_some() || !before.elr.is_empty() {
            return Ok(());
        }
        let logs = before.view.replicas.iter().filter_map(|id| {
            let part = self.nodes.get(id)?.run.as_ref()?.parts.get(&self.truth.topic)?;
            let facts = part.store.facts();
            let epoch = self.helm.brokers.get(id)?.epoch;
            Some(ReplicaEnd { node: *id, epoch, leader_epoch: facts.last_epoch, end: facts.end })
        });
        let logs: Vec<ReplicaEnd> = logs.collect();
        let longest = logs.iter().max_by_key(|end| (end.leader_epoch, end.end, end.node)).map(|end| end.node);
        if self.helm.recover(logs) {
            self.marks.commanded += 1;
        } else if let Some(node) = longest {
            self.marks.commanded += u64::from(self.helm.elect_uncleanly(node));
        }
        self.decided(&before, None)
    }

    /// What is not at rest.
    fn unrest(&self) -> Option<String> {
        let view = &self.helm.partition.view;
        let Some(leader) = view.leader else {
            return Some(format!("nobody leads: {:?}", self.helm.partition));
        };
        if view.isr != view.replicas {
            return Some(format!("in sync are {:?} of {:?}", view.isr, view.replicas));
        }
        if !self.helm.partition.adding.is_empty() || !self.helm.partition.removing.is_empty() {
            return Some("a reassignment does not end".to_owned());
        }
        for client in &self.clients {
            match &client.kind {
                Kind::Producer(producer) if producer.pending.is_some() => {
                    return Some(format!("{:?} is not acknowledged", producer.pending));
                }
                Kind::Consumer(consumer) if place(consumer.position) < self.truth.committed.len() => {
                    let committed = self.truth.committed.len();
                    return Some(format!("a consumer is at {} of {committed}", consumer.position));
                }
                _ => {}
            }
        }
        let end = self.nodes.get(&leader).and_then(|node| Some(node.mirrors.get(&self.truth.topic)?.len()));
        for id in &view.replicas {
            let part = self.nodes.get(id).and_then(|node| node.run.as_ref()?.parts.get(&self.truth.topic));
            let Some((part, replica)) = part.and_then(|part| Some((part, part.replica.as_ref()?))) else {
                return Some(format!("{id} has no log"));
            };
            let facts = part.store.facts();
            if Some(place(facts.held)) != end || replica.high_watermark() != facts.end {
                return Some(format!("{id} has {facts:?}, high watermark {}", replica.high_watermark()));
            }
        }
        None
    }

    /// What the logs hold, read once more, is what is committed, and all that was acknowledged is there.
    fn is_whole(&mut self) -> Verdict {
        for id in &self.helm.partition.view.replicas {
            let part = self.nodes.get(id).and_then(|node| node.run.as_ref()?.parts.get(&self.truth.topic));
            let Some(part) = part else { return Err(format!("{id} has no log")) };
            let start = place(part.store.facts().start);
            if self.truth.committed.get(start..) != Some(part.store.all()?.as_slice()) {
                return Err(format!("{id} does not hold what is committed"));
            }
        }
        for (value, offset) in &self.truth.acked {
            let found = self.truth.committed.get(place(*offset)).map(|entry| entry.value);
            if found != Some(*value) {
                return Err(format!("{value} was acknowledged at {offset}, {found:?} lies there"));
            }
        }
        Ok(())
    }
}
