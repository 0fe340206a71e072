//! The fold of the records of a cluster: a record about a broker is one fact, and what it means for each partition of
//! that broker follows from the rules (`partition/change.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_schema::{BrokerRegistered, BrokerRun, BrokerStarted, Losses, PartitionChanged};
use millrace_types::{NodeId, TopicPartition};

use super::{ApplyError, Image, Topic};
use crate::partition::{Change, Rules};
use crate::{Broker, Partition, Standing};

/// Nobody is eligible any more, now that another number of replicas commits (KIP-966): the leader may commit from here
/// on without those who have left. Where nobody leads nobody commits, so who was eligible still holds everything.
///
/// The partition epoch rises: a leader that asks for a change without having heard of the new number is refused.
/// Otherwise it could shrink the in-sync set by the new number and go on to commit by the old one.
pub(super) fn min_insync_changes(topic: &mut Topic) {
    for partition in &mut topic.partitions {
        *partition = partition.successor();
        #[cfg(feature = "teeth")]
        millrace_types::planted!(ElrKept => continue);
        if partition.leader.is_some() {
            partition.elr.clear();
            partition.last_known_elr.clear();
        }
    }
}

impl Image {
    pub(super) fn register_broker(&mut self, record: &BrokerRegistered) -> Result<(), ApplyError> {
        if self.broker(record.node).is_some_and(|broker| broker.incarnation.is_some()) {
            return Err(ApplyError::EpochLost(record.node));
        }
        let broker = Broker::registered(record, self.version + 1);
        Arc::make_mut(&mut self.brokers).insert(record.node, broker);
        Ok(())
    }

    pub(super) fn start_broker(&mut self, record: &BrokerStarted) -> Result<(), ApplyError> {
        let (node, epoch, newest) = (record.node, record.epoch, self.newest_broker_epoch());
        let before = self.broker(node).map(|broker| broker.standing);
        let fenced = before.is_none_or(|standing| standing == Standing::Fenced);
        #[cfg(feature = "teeth")]
        let fenced = millrace_types::planted!(QuickReboot, true, else fenced);
        if !fenced || epoch <= newest {
            return Err(ApplyError::RunTooSoon { node, epoch, newest });
        }
        let standing = Standing::Fenced;
        #[cfg(feature = "teeth")]
        let standing = millrace_types::planted!(QuickReboot, before.unwrap_or(standing), else standing);
        let broker = Broker::started(record, standing, self.version + 1);
        Arc::make_mut(&mut self.brokers).insert(node, broker);
        self.broker_epoch = epoch.0;
        let damaged: BTreeSet<_> = record.damaged.iter().copied().collect();
        let lossy = |topic: &Topic, at| match record.losses {
            Losses::Anything => true,
            Losses::Unsynced if !topic.always_synced => true,
            Losses::Unsynced | Losses::Nothing => damaged.contains(&at),
        };
        let held_everything = |partition: &Partition| partition.elr.contains(&node);
        self.rework(
            held_everything,
            |change, topic, at| {
                if lossy(topic, at) { change.lossy(node) } else { change }
            },
        );
        Ok(())
    }

    pub(super) fn fence_broker(&mut self, run: BrokerRun) -> Result<(), ApplyError> {
        self.stand(run, Standing::Fenced)?;
        self.rework(|partition| partition.isr.contains(&run.node), |change, _, _| change);
        Ok(())
    }

    pub(super) fn drain_broker(&mut self, run: BrokerRun) -> Result<(), ApplyError> {
        self.stand(run, Standing::Draining)?;
        self.rework(|partition| partition.isr.contains(&run.node), |change, _, _| change);
        Ok(())
    }

    pub(super) fn unfence_broker(&mut self, run: BrokerRun) -> Result<(), ApplyError> {
        self.stand(run, Standing::Active)?;
        let waits = |partition: &Partition| partition.leader.is_none() && partition.elr.contains(&run.node);
        self.rework(waits, |change, _, _| change);
        Ok(())
    }

    pub(super) fn change_partition(&mut self, record: &PartitionChanged) -> Result<(), ApplyError> {
        let (at, state) = (record.at, &record.state);
        let (leader_epoch, partition_epoch) = (state.leader_epoch, state.partition_epoch);
        let refused = ApplyError::PartitionEpochs { at, leader_epoch, partition_epoch };
        let Some(was) = self.partition(at) else { return Err(refused) };
        let another_leader = state.leader != was.leader;
        let follows =
            if another_leader { leader_epoch > was.leader_epoch } else { leader_epoch >= was.leader_epoch };
        if !follows || was.partition_epoch.checked_add(1) != Some(partition_epoch) {
            return Err(refused);
        }
        let topic = self.topic_mut(at.topic)?;
        let index = usize::try_from(at.partition.0).ok();
        if let Some(partition) = index.and_then(|index| topic.partitions.get_mut(index)) {
            *partition = Partition::of_state(state);
        }
        // Partitions that are added later have as many replicas as those that are there, once these agree.
        let factor = u32::try_from(state.replicas.len()).unwrap_or(u32::MAX);
        let agreed = |p: &Partition| !p.is_reassigned() && p.replicas.len() == state.replicas.len();
        if factor != topic.replication_factor && topic.partitions.iter().all(agreed) {
            topic.replication_factor = factor;
        }
        Ok(())
    }

    pub(super) fn remove_broker(&mut self, node: NodeId) -> Result<(), ApplyError> {
        let fenced = self.broker(node).is_some_and(|broker| broker.standing == Standing::Fenced);
        if !fenced || self.partitions_of(node) > 0 {
            return Err(ApplyError::StillNeeded(node));
        }
        Arc::make_mut(&mut self.brokers).remove(&node);
        Ok(())
    }

    /// How many partitions have a replica on this node.
    pub(crate) fn partitions_of(&self, node: NodeId) -> usize {
        self.partitions().filter(|(_, partition)| partition.replicas.contains(&node)).count()
    }

    fn stand(&mut self, run: BrokerRun, standing: Standing) -> Result<(), ApplyError> {
        let BrokerRun { node, epoch } = run;
        let version = self.version + 1;
        let broker = Arc::make_mut(&mut self.brokers).get_mut(&node).filter(|broker| broker.epoch == epoch);
        let broker = broker.ok_or(ApplyError::NoRun { node, epoch })?;
        (broker.standing, broker.standing_since) = (standing, version);
        Ok(())
    }

    /// Works every partition out anew that `concerned` picks, with what `more` adds to the change. Topics without any
    /// stay shared with the image before.
    fn rework(
        &mut self,
        concerned: impl Fn(&Partition) -> bool,
        more: impl for<'a> Fn(Change<'a>, &Topic, TopicPartition) -> Change<'a>,
    ) {
        let brokers = Arc::clone(&self.brokers);
        for topic in Arc::make_mut(&mut self.topics).values_mut() {
            if !topic.partitions.iter().any(&concerned) {
                continue;
            }
            let rules = Rules { brokers: &brokers, min_insync: topic.min_insync() };
            let mut changed = Vec::new();
            for (index, (at, partition)) in topic.numbered().enumerate() {
                if concerned(partition)
                    && let Some(after) = more(Change::new(rules, partition), topic, at).finish()
                {
                    changed.push((index, after));
                }
            }
            if changed.is_empty() {
                continue;
            }
            let topic = Arc::make_mut(topic);
            for (index, after) in changed {
                if let Some(partition) = topic.partitions.get_mut(index) {
                    *partition = after;
                }
            }
        }
    }
}
