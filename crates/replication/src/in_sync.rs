//! The in-sync replicas as their leader knows them: those that are committed, and those that may be by now.
//!
//! ```text
//!   committed ──ask──► maximal = committed + all that any request under this partition epoch would bring in
//!       ▲                 │ accepted, or the metadata have moved on: a new partition epoch
//!       └─────────────────┘ refused: stays maximal, and a request that changes nothing is made, for the next partition epoch
//! ```
//! The controller may have accepted a request whose answer was lost, or may yet accept a copy of one that it refused before: then
//! it can elect whom the request brings in. So whoever *may* be in sync must hold what is committed (the maximal in-sync set
//! of KIP-497's successors), until a later partition epoch says that every copy of those requests is void.

use std::collections::{BTreeMap, BTreeSet};

use millrace_types::{BrokerEpoch, LeaderEpoch, NodeId, TopicPartition};

use crate::partition::{Moment, PartitionEpoch, PartitionView};

/// A leader asks for other in-sync replicas (Kafka's AlterPartition).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alter {
    /// The partition.
    pub partition: TopicPartition,
    /// Who leads it.
    pub leader: NodeId,
    /// Under which registration the leader runs.
    pub broker_epoch: BrokerEpoch,
    /// Under which election.
    pub leader_epoch: LeaderEpoch,
    /// Of which state of the partition this is the successor.
    pub partition_epoch: PartitionEpoch,
    /// Who is to be in sync, each with the registration under which the leader has heard it (KIP-903).
    pub isr: BTreeMap<NodeId, BrokerEpoch>,
}

/// What the controller answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlterAnswer {
    /// The partition epoch that was asked for a successor.
    pub asked: PartitionEpoch,
    /// The partition as it is then, or why not.
    pub outcome: Result<PartitionView, AlterRefusal>,
}

/// Why the controller refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlterRefusal {
    /// The partition has changed since, or has another leader, or is gone: the metadata will tell.
    Stale,
    /// One of those who are to join may not: fenced, about to stop, registered anew, or no replica.
    Ineligible,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct UnderWay {
    alter: Alter,
    sent_at: Moment,
}

/// Who is in sync.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InSync {
    committed: BTreeSet<NodeId>,
    /// Whom any request under this partition epoch names.
    asked: BTreeSet<NodeId>,
    under_way: Option<UnderWay>,
    /// Nothing is asked for before this.
    rests_until: Option<Moment>,
    /// Nothing is asked for before the metadata come.
    overtaken: bool,
}

impl InSync {
    pub(crate) fn new(committed: BTreeSet<NodeId>) -> InSync {
        InSync { committed, asked: BTreeSet::new(), under_way: None, rests_until: None, overtaken: false }
    }

    /// The metadata say so, in a new partition epoch: no older request can be accepted any more.
    pub(crate) fn commit(&mut self, isr: BTreeSet<NodeId>) {
        *self = InSync::new(isr);
    }

    pub(crate) fn committed(&self) -> &BTreeSet<NodeId> {
        &self.committed
    }

    /// All who are in sync as far as anybody may know.
    pub(crate) fn maximal(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.committed.union(&self.asked).copied()
    }

    /// Whether somebody might be in sync who is not committed to be.
    pub(crate) fn is_in_doubt(&self) -> bool {
        !self.asked.is_subset(&self.committed)
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether a request may be made now.
    pub(crate) fn may_ask(&self, now: Moment) -> bool {
        self.under_way.is_none() && !self.overtaken && self.rests_until.is_none_or(|until| until <= now)
    }

    /// A request is made.
    pub(crate) fn ask(&mut self, alter: &Alter, now: Moment) {
        self.asked.extend(alter.isr.keys());
        self.under_way = Some(UnderWay { alter: alter.clone(), sent_at: now });
    }

    /// A request that was not answered in time, to be sent once more.
    pub(crate) fn overdue(&mut self, now: Moment, retry_ms: u64) -> Option<Alter> {
        let under_way = self.under_way.as_mut()?;
        if now.since(under_way.sent_at) < retry_ms {
            return None;
        }
        under_way.sent_at = now;
        Some(under_way.alter.clone())
    }

    /// The request was refused. Copies of it may still be on their way, so that whom it names stays.
    pub(crate) fn refused(&mut self, refusal: AlterRefusal, rests_until: Moment) {
        self.under_way = None;
        self.rests_until = Some(rests_until);
        self.overtaken = refusal == AlterRefusal::Stale;
    }
}

#[cfg(test)]
mod tests {
    use millrace_types::{PartitionIndex, TopicId};

    use super::*;

    fn nodes(ids: &[i32]) -> BTreeSet<NodeId> {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    fn alter(ids: &[i32]) -> Alter {
        Alter {
            partition: TopicPartition { topic: TopicId([1; 16]), partition: PartitionIndex(0) },
            leader: NodeId(1),
            broker_epoch: BrokerEpoch(1),
            leader_epoch: LeaderEpoch(1),
            partition_epoch: PartitionEpoch(1),
            isr: ids.iter().map(|id| (NodeId(*id), BrokerEpoch(1))).collect(),
        }
    }

    fn maximal(set: &InSync) -> BTreeSet<NodeId> {
        set.maximal().collect()
    }

    #[test]
    fn whoever_was_asked_for_counts_until_the_metadata_move_on() {
        let mut set = InSync::new(nodes(&[1, 2]));
        set.ask(&alter(&[1, 2, 3]), Moment(0));
        assert_eq!(maximal(&set), nodes(&[1, 2, 3]));
        set.refused(AlterRefusal::Ineligible, Moment(5));
        assert_eq!(maximal(&set), nodes(&[1, 2, 3]), "a copy of the request may still be accepted");
        assert!(set.is_in_doubt() && !set.may_ask(Moment(4)) && set.may_ask(Moment(5)));
        set.commit(nodes(&[1, 2]));
        assert_eq!(maximal(&set), nodes(&[1, 2]));
    }

    #[test]
    fn a_shrink_that_is_under_way_takes_nobody_out() {
        let mut set = InSync::new(nodes(&[1, 2, 3]));
        set.ask(&alter(&[1]), Moment(0));
        assert_eq!(maximal(&set), nodes(&[1, 2, 3]));
        assert!(!set.is_in_doubt());
    }

    #[test]
    fn an_overtaken_request_waits_for_the_metadata() {
        let mut set = InSync::new(nodes(&[1, 2]));
        set.ask(&alter(&[1]), Moment(0));
        assert_eq!(set.overdue(Moment(9), 10), None);
        assert_eq!(set.overdue(Moment(10), 10), Some(alter(&[1])));
        assert_eq!(set.overdue(Moment(11), 10), None);
        set.refused(AlterRefusal::Stale, Moment(0));
        assert!(!set.may_ask(Moment(1_000_000)));
    }
}
