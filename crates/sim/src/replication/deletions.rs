//! Records that are deleted from the front (Kafka's DeleteRecords): a leader's log starts later, and those that follow it do as it
//! does.

use millrace_types::Offset;

use super::invariants::Verdict;
use super::node::Node;
use super::truth::place;
use super::world::World;

impl World {
    /// Some leader is told to delete some of what is committed: the one that the controller has elected, or one that was replaced and
    /// does not know it.
    pub(super) fn delete_records(&mut self) -> Verdict {
        let (topic, now) = (self.truth.topic, self.now);
        let leads = |node: &&Node| {
            let part = node.run.as_ref().and_then(|run| run.parts.get(&topic));
            !node.paused
                && part.is_some_and(|part| part.replica.as_ref().is_some_and(|it| it.leader().is_some()))
        };
        let leaders: Vec<_> = self.nodes.values().filter(leads).map(|node| node.id).collect();
        let at = self.more_rng.below(u64::try_from(leaders.len().max(1)).unwrap_or(1));
        let Some(id) = usize::try_from(at).ok().and_then(|at| leaders.get(at)).copied() else {
            return Ok(());
        };
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let committed = place(node.high_watermark(topic)) as u64;
        let to = Offset::from_count(committed.saturating_sub(self.more_rng.below(4)));
        let mut did = Vec::new();
        if let Some(to) = node.delete_records(topic, to, now, &mut did) {
            self.truth.deleted_to = self.truth.deleted_to.max(to);
            self.marks.deletions += 1;
        }
        self.carry_on(id, did)
    }
}
