//! What is true, whoever knows it: what is committed, what was acknowledged, and how far each replica agrees.
//!
//! Plain lists of what was sent. A record counts as committed from the moment at which any leader says so.

use std::collections::{BTreeMap, BTreeSet};

use millrace_types::{NodeId, Offset, TopicId};

use super::node::Node;
use super::wire::{Entry, Value};

#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) topic: TopicId,
    pub(crate) committed: Vec<Entry>,
    /// How many offsets, from the first, each replica has as they are committed.
    agrees: BTreeMap<NodeId, usize>,
    /// Values that a client was told to be committed, and where.
    pub(crate) acked: BTreeMap<Value, Offset>,
    /// Values of which a client was told that they are not written and never will be, at the only time that they were sent.
    pub(crate) refused: BTreeSet<Value>,
    /// Values that were sent for this topic.
    pub(crate) sent: BTreeSet<Value>,
    /// How much was committed when the leader of each epoch was elected.
    pub(crate) elected_at: BTreeMap<i32, usize>,
    /// Up to where a leader was told to delete.
    pub(crate) deleted_to: usize,
}

pub(crate) fn place(offset: Offset) -> usize {
    usize::try_from(offset.get()).unwrap_or_default()
}

impl Truth {
    pub(crate) fn new(topic: TopicId) -> Truth {
        Truth {
            topic,
            committed: Vec::new(),
            agrees: BTreeMap::new(),
            acked: BTreeMap::new(),
            refused: BTreeSet::new(),
            sent: BTreeSet::new(),
            elected_at: BTreeMap::new(),
            deleted_to: 0,
        }
    }

    /// A leader says that everything of its log below `to` is committed.
    pub(crate) fn rose(&mut self, node: &Node, to: Offset) {
        let Some(mirror) = node.mirrors.get(&self.topic) else { return };
        let known = self.committed.len();
        if let Some(more) = mirror.get(known..place(to)) {
            self.committed.extend_from_slice(more);
        }
    }

    /// Looks how far the replicas agree.
    pub(crate) fn look(&mut self, nodes: &BTreeMap<NodeId, Node>) {
        for (id, node) in nodes {
            let mirror = node.mirrors.get(&self.topic).map_or(&[][..], Vec::as_slice);
            let agrees = self.agrees.entry(*id).or_default();
            // What it has deleted, or never had because it was, is nobody's to hold.
            *agrees = (*agrees).max(node.start_of(self.topic).min(self.committed.len())).min(mirror.len());
            let ahead = self.committed.iter().skip(*agrees).zip(mirror.iter().skip(*agrees));
            *agrees += ahead.take_while(|(committed, found)| committed == found).count();
        }
    }

    /// A replica's log is another one, or was cut.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.agrees.remove(&node);
    }

    /// How many offsets, from the first, a replica has as they are committed.
    pub(crate) fn agrees(&self, node: NodeId) -> usize {
        self.agrees.get(&node).copied().unwrap_or_default()
    }

    /// Whether a replica has all that is committed.
    pub(crate) fn is_complete(&self, node: NodeId) -> bool {
        self.agrees(node) >= self.committed.len()
    }
}
