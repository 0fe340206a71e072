//! Random commands to a cluster: what always holds of the partitions, and of what their replicas hold.
//!
//! Beside the image goes a ledger that knows nothing of the rules. It counts what each partition has committed, and up
//! to where each replica holds that: whoever is in sync holds what is committed while enough are; who joins has caught
//! up, if it is the run that was seen and nothing changed since; who loses something holds nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{Losses, Standing};

/// The nodes there can be: 1 to this.
const NODES: i32 = 5;
/// The topics there can be, and the partitions of each.
const TOPICS: u8 = 2;
const PARTITIONS: u32 = 2;

/// Something that happens; numbers pick from what there is.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Start {
        node: i32,
        losses: Losses,
        damaged: bool,
        elsewhere: bool,
    },
    Fence(i32),
    Unfence {
        node: i32,
        knows: bool,
    },
    Drain(i32),
    Remove(i32),
    /// The leader asks for this set; it is heard at once, or only when an act of `Hear` comes.
    Ask {
        at: TopicPartition,
        isr: u8,
        at_once: bool,
    },
    Hear(usize),
    Prefer(TopicPartition),
    /// The leader has found an epoch in its log, so far above its own.
    Epoch {
        at: TopicPartition,
        above: i32,
    },
    Unclean(TopicPartition, i32),
    Recover(TopicPartition),
    Reassign(TopicPartition, Vec<i32>),
    Cancel(TopicPartition),
    Create {
        topic: u8,
        replicas: u32,
    },
    Delete(u8),
    Configure {
        topic: u8,
        min: u32,
        os: bool,
    },
}

/// What is committed of a partition, and what of that each replica holds.
#[derive(Clone, Default, Debug)]
struct Ledger {
    committed: u64,
    held: BTreeMap<NodeId, u64>,
}

#[derive(Default)]
struct World {
    image: Image,
    ledgers: BTreeMap<TopicPartition, Ledger>,
    asked: Vec<AlterPartition>,
    leaders: BTreeMap<(TopicPartition, LeaderEpoch), Option<NodeId>>,
    epochs: BTreeSet<BrokerEpoch>,
    created: BTreeSet<u8>,
    runs: u8,
    log: Vec<MetadataRecord>,
}

/// What breaks a rule, if something does.
pub(super) fn violation(acts: &[Act]) -> Option<String> {
    let mut world = World::default();
    world.propose(&Command::RaiseFeatureLevel { level: FEATURE_LEVEL_NEWEST }).ok()?;
    for act in acts {
        if let Err(found) = world.act(act) {
            return Some(found);
        }
    }
    if let Err(found) = world.heals() {
        return Some(found);
    }
    if resumed(&world.image).as_ref() != Some(&world.image) {
        return Some("the image is not what its records fold into".to_owned());
    }
    let replayed = world.log.iter().try_fold(Image::default(), Image::apply);
    (replayed.as_ref() != Ok(&world.image)).then(|| format!("the log folds into another image: {replayed:?}"))
}

/// The image as a snapshot brings it back.
fn resumed(image: &Image) -> Option<Image> {
    let records = image.to_records().into_iter();
    let mut read = records.map(|record| MetadataRecord::decode(&record.encode()).ok());
    read.try_fold(Image::default(), |image, record| image.apply(&record?).ok())
}

impl World {
    /// A cluster whose brokers all come back, none with a loss, is whole again.
    fn heals(&self) -> Result<(), String> {
        let mut image = self.image.clone();
        for node in 1..=NODES {
            let mut back = start_of(node, u8::MAX);
            if let Some(broker) = image.broker(NodeId(node)) {
                back.directory = broker.directory;
                image = fence(&image, node);
            }
            image = unfence(&run(&image, &Command::StartBroker(back)).map_err(|no| no.to_string())?, node);
        }
        let all: Vec<TopicPartition> = image.partitions().map(|(at, _)| at).collect();
        for at in all {
            let told = |node: &NodeId| crate::ReplicaEnd {
                node: *node,
                epoch: epoch_of(&image, node.0),
                leader_epoch: LeaderEpoch(0),
                end: millrace_types::Offset::ZERO,
            };
            let was = image.partition(at).cloned().ok_or("gone")?;
            if was.leader.is_none() {
                let ends = was.replicas.iter().map(told).collect();
                image = run(&image, &Command::RecoverLeader { at, ends })
                    .map_err(|refusal| format!("{at} stays without a leader: {refusal}: {was:?}"))?;
            }
            let everybody =
                World { image: image.clone(), ..World::default() }.ask(at, u8::MAX).ok_or("no leader")?;
            image =
                run(&image, &Command::AlterPartition(everybody)).map_err(|refusal| refusal.to_string())?;
            let is = image.partition(at).ok_or("gone")?;
            if is.isr.len() != is.replicas.len() || is.is_reassigned() {
                return Err(format!("{at} is not whole: {is:?}"));
            }
        }
        Ok(())
    }

    fn act(&mut self, act: &Act) -> Result<(), String> {
        if let Act::Ask { at, isr, at_once: false } = act {
            if let Some(wanted) = self.ask(*at, *isr) {
                self.asked.push(wanted);
            }
            return Ok(());
        }
        let Some(command) = self.command(act) else { return Ok(()) };
        let before = self.image.clone();
        if self.propose(&command)? {
            if let Act::Create { topic, .. } = act {
                self.created.insert(*topic);
            }
            self.account(&before, &command);
            self.check(&before)?;
            if !matches!(command, Command::AlterPartition(_)) {
                self.check_joins(&before)?;
            }
            self.commit();
        }
        Ok(())
    }

    /// Whether it was not refused.
    fn propose(&mut self, command: &Command) -> Result<bool, String> {
        let Ok(records) = decide(&self.image, command) else { return Ok(false) };
        for record in records {
            let bytes = record.encode();
            if MetadataRecord::decode(&bytes).as_ref() != Ok(&record) {
                return Err(format!("{record:?} does not read back"));
            }
            if let MetadataRecord::BrokerStarted(started) = &record
                && !self.epochs.insert(started.epoch)
            {
                return Err(format!("broker epoch {} is given twice", started.epoch));
            }
            self.image = self.image.clone().apply(&record).map_err(|error| format!("{record:?}: {error}"))?;
            self.log.push(record);
        }
        Ok(true)
    }

    fn ask(&self, at: TopicPartition, isr: u8) -> Option<AlterPartition> {
        let partition = self.image.partition(at)?;
        let node = partition.leader?;
        let named = partition.replicas.iter().filter(|other| **other == node || isr & (1 << other.0) != 0);
        Some(AlterPartition {
            node,
            broker_epoch: epoch_of(&self.image, node.0),
            at,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            isr: named.map(|node| InSync { node: *node, epoch: epoch_of(&self.image, node.0) }).collect(),
        })
    }

    /// What every replica would tell of itself.
    fn ends(&self, at: TopicPartition) -> Option<Vec<crate::ReplicaEnd>> {
        let ledger = self.ledgers.get(&at)?;
        let end = |node: &NodeId| {
            let held = ledger.held.get(node).and_then(|held| i64::try_from(*held).ok()).unwrap_or(0);
            crate::ReplicaEnd {
                node: *node,
                epoch: epoch_of(&self.image, node.0),
                leader_epoch: LeaderEpoch(0),
                end: millrace_types::Offset::new(held).unwrap(),
            }
        };
        Some(self.image.partition(at)?.replicas.iter().map(end).collect())
    }

    fn command(&mut self, act: &Act) -> Option<Command> {
        let of = |node: i32| (NodeId(node), epoch_of(&self.image, node));
        Some(match act.clone() {
            Act::Start { node, losses, damaged, elsewhere } => {
                self.runs = self.runs.wrapping_add(1);
                let at = self.ledgers.keys().copied().filter(|_| damaged).collect();
                let mut run = StartBroker { losses, damaged: at, ..start_of(node, self.runs) };
                if elsewhere {
                    run.directory = DirectoryId([100 + self.runs; 16]);
                } else if let Some(broker) = self.image.broker(NodeId(node)) {
                    run.directory = broker.directory;
                }
                Command::StartBroker(run)
            }
            Act::Fence(node) => Command::FenceBroker { node: of(node).0, epoch: of(node).1 },
            Act::Unfence { node, knows } => {
                let applied = if knows { self.image.version() } else { 0 };
                Command::UnfenceBroker { node: of(node).0, epoch: of(node).1, applied }
            }
            Act::Drain(node) => Command::DrainBroker { node: of(node).0, epoch: of(node).1 },
            Act::Remove(node) => Command::RemoveBroker { node: NodeId(node) },
            Act::Ask { at, isr, .. } => Command::AlterPartition(self.ask(at, isr)?),
            Act::Hear(index) => {
                let index = index.checked_rem(self.asked.len())?;
                Command::AlterPartition(self.asked.get(index)?.clone())
            }
            Act::Epoch { at, above } => {
                let partition = self.image.partition(at)?;
                let (node, broker_epoch) = of(partition.leader?.0);
                let above = LeaderEpoch(partition.leader_epoch.0 + above);
                Command::RaiseLeaderEpoch { node, broker_epoch, at, above }
            }
            Act::Prefer(at) => Command::ElectPreferred { at },
            Act::Unclean(at, node) => Command::ElectUnclean { at, node: NodeId(node) },
            Act::Recover(at) => Command::RecoverLeader { at, ends: self.ends(at)? },
            Act::Reassign(at, replicas) => Command::Reassign { at, replicas: nodes(&replicas) },
            Act::Cancel(at) => Command::CancelReassignment { at },
            Act::Create { topic: id, replicas } => {
                // An id is drawn once.
                if self.created.contains(&id) {
                    return None;
                }
                Command::CreateTopic(CreateTopic {
                    id: TopicId([id + 1; 16]),
                    name: TopicName::new(&format!("t{id}")).unwrap(),
                    ..topic(PARTITIONS, replicas, &[])
                })
            }
            Act::Delete(id) => Command::DeleteTopic { id: TopicId([id + 1; 16]) },
            Act::Configure { topic: id, min, os } => {
                let mode = if os { "os" } else { "always" };
                let configs = [("min.insync.replicas", min.to_string()), ("sync.mode", mode.to_owned())];
                let configs = configs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
                Command::ConfigureTopic { id: TopicId([id + 1; 16]), configs }
            }
        })
    }

    /// What the command did to what replicas hold, in the ledger's own words.
    fn account(&mut self, before: &Image, command: &Command) {
        let there = |at: &TopicPartition| self.image.partition(*at).is_some();
        self.ledgers.retain(|at, _| there(at));
        for topic in self.image.topics() {
            for partition in 0..topic.partition_count() {
                let at = TopicPartition { topic: topic.id, partition: PartitionIndex(partition) };
                self.ledgers.entry(at).or_default();
            }
        }
        match command {
            Command::StartBroker(run) if before.newest_broker_epoch() != self.image.newest_broker_epoch() => {
                let moved = before.broker(run.node).is_some_and(|broker| broker.directory != run.directory);
                for (at, ledger) in &mut self.ledgers {
                    let unsynced = self.image.topic_by_id(at.topic).is_some_and(|topic| !topic.always_synced);
                    let lost = moved
                        || run.losses == Losses::Anything
                        || run.losses == Losses::Unsynced && unsynced
                        || run.damaged.contains(at);
                    if lost {
                        ledger.held.remove(&run.node);
                    }
                }
            }
            Command::AlterPartition(wanted) => {
                let Some(was) = before.partition(wanted.at) else { return };
                let Some(ledger) = self.ledgers.get_mut(&wanted.at) else { return };
                for member in &wanted.isr {
                    let seen = wanted.partition_epoch == was.partition_epoch
                        && epoch_of(before, member.node.0) == member.epoch;
                    if seen {
                        ledger.held.insert(member.node, ledger.committed);
                    }
                }
            }
            Command::ElectUnclean { at, .. } | Command::RecoverLeader { at, .. } => {
                let Some(leader) = self.image.partition(*at).and_then(|partition| partition.leader) else {
                    return;
                };
                if let Some(ledger) = self.ledgers.get_mut(at) {
                    ledger.committed = ledger.held.get(&leader).copied().unwrap_or(0);
                    let end = ledger.committed;
                    ledger.held.values_mut().for_each(|held| *held = (*held).min(end));
                    ledger.held.insert(leader, end);
                }
            }
            _ => {}
        }
    }

    /// Everybody who can commits something.
    fn commit(&mut self) {
        for (at, ledger) in &mut self.ledgers {
            let Some(topic) = self.image.topic_by_id(at.topic) else { continue };
            let Some(partition) = topic.partition(at.partition) else { continue };
            if partition.leader.is_some() && partition.isr.len() >= topic.min_insync() {
                ledger.committed += 1;
                for node in &*partition.isr {
                    // Who was in sync without holding everything does not hold it by holding the next record.
                    let held = ledger.held.entry(*node).or_insert(0);
                    if *held + 1 == ledger.committed {
                        *held = ledger.committed;
                    }
                }
            }
        }
    }

    /// Nobody is in sync but by a leader's word, or by leading.
    fn check_joins(&self, before: &Image) -> Result<(), String> {
        for at in self.ledgers.keys() {
            let (Some(was), Some(is)) = (before.partition(*at), self.image.partition(*at)) else { continue };
            let joins = |node: &&NodeId| !was.isr.contains(node) && is.leader != Some(**node);
            if let Some(node) = is.isr.iter().find(joins) {
                return Err(format!("{at}: {node} joins without a leader's word: {was:?}, {is:?}"));
            }
        }
        Ok(())
    }

    fn check(&mut self, before: &Image) -> Result<(), String> {
        for topic in self.image.topics() {
            for (partition, number) in topic.partitions.iter().zip(0..) {
                let at = TopicPartition { topic: topic.id, partition: PartitionIndex(number) };
                check_shape(&self.image, partition, topic.min_insync())
                    .map_err(|problem| format!("{at}: {problem}: {partition:?}"))?;
                if let Some(was) = before.partition(at) {
                    check_epochs(was, partition)
                        .map_err(|problem| format!("{at}: {problem}: {was:?}, {partition:?}"))?;
                }
                let leader = *self.leaders.entry((at, partition.leader_epoch)).or_insert(partition.leader);
                if leader != partition.leader {
                    return Err(format!("{at}: {leader:?} and {:?} lead in one epoch", partition.leader));
                }
                let ledger = self.ledgers.get(&at).cloned().unwrap_or_default();
                for node in partition.isr.iter().chain(&partition.elr) {
                    let held = ledger.held.get(node).copied().unwrap_or(0);
                    if held < ledger.committed {
                        let committed = ledger.committed;
                        return Err(format!("{at}: {node} holds {held} of {committed}: {partition:?}"));
                    }
                }
            }
        }
        Ok(())
    }
}

fn check_shape(image: &Image, partition: &Partition, min_insync: usize) -> Result<(), &'static str> {
    let Partition { replicas, isr, elr, last_known_elr, adding, removing, .. } = partition;
    let of_replicas = |nodes: &[NodeId]| nodes.iter().all(|node| replicas.contains(node));
    let all = [&**isr, elr, last_known_elr].concat();
    let distinct = |nodes: &[NodeId]| nodes.iter().collect::<BTreeSet<_>>().len() == nodes.len();
    let active =
        |node: &NodeId| image.broker(*node).is_some_and(|broker| broker.standing == Standing::Active);
    let rules = [
        (distinct(replicas), "a replica is there twice"),
        (distinct(&all) && of_replicas(&all), "sets overlap, or have a stranger"),
        (of_replicas(adding) && of_replicas(removing), "a stranger is moved"),
        (partition.leader.is_some() != isr.is_empty(), "nobody leads, or nobody is in sync"),
        (partition.leader.is_none_or(|leader| isr.contains(&leader)), "the leader is not in sync"),
        (isr.iter().all(active), "who is not active is in sync"),
        (isr.len() < min_insync || elr.is_empty() && last_known_elr.is_empty(), "too many are eligible"),
        (replicas.len() - removing.len() >= min_insync, "it could never commit again"),
        (
            partition.leader.is_some() || !elr.is_empty() || !last_known_elr.is_empty(),
            "nobody is known to have held everything",
        ),
        (!elr.iter().any(active) || partition.leader.is_some(), "nobody leads although one could"),
    ];
    rules.into_iter().find(|(kept, _)| !kept).map_or(Ok(()), |(_, problem)| Err(problem))
}

fn check_epochs(was: &Partition, is: &Partition) -> Result<(), &'static str> {
    let removed = was.replicas.iter().any(|node| !is.replicas.contains(node));
    let rules = [
        (is.leader_epoch >= was.leader_epoch, "the leader epoch falls"),
        (is.partition_epoch >= was.partition_epoch, "the partition epoch falls"),
        (is == was || is.partition_epoch > was.partition_epoch, "it changes under its partition epoch"),
        (is.leader == was.leader || is.leader_epoch > was.leader_epoch, "leaders change within an epoch"),
        (!removed || is.leader_epoch > was.leader_epoch, "a replica goes within an epoch"),
    ];
    rules.into_iter().find(|(kept, _)| !kept).map_or(Ok(()), |(_, problem)| Err(problem))
}

pub(super) fn any_act() -> impl Strategy<Value = Act> {
    let at = || {
        (0..TOPICS, 0..PARTITIONS).prop_map(|(topic, partition)| TopicPartition {
            topic: TopicId([topic + 1; 16]),
            partition: PartitionIndex(partition),
        })
    };
    let node = || 1..=NODES;
    let losses =
        prop_oneof![4 => Just(Losses::Nothing), 2 => Just(Losses::Unsynced), 1 => Just(Losses::Anything)];
    let set = || prop::sample::subsequence((1..=NODES).collect::<Vec<_>>(), 0..=4).prop_shuffle();
    prop_oneof![
        6 => (node(), losses, prop::bool::weighted(0.2), prop::bool::weighted(0.1)).prop_map(
            |(node, losses, damaged, elsewhere)| Act::Start { node, losses, damaged, elsewhere }
        ),
        4 => node().prop_map(Act::Fence),
        10 => (node(), prop::bool::weighted(0.9)).prop_map(|(node, knows)| Act::Unfence { node, knows }),
        2 => node().prop_map(Act::Drain),
        1 => node().prop_map(Act::Remove),
        16 => (at(), any::<u8>(), any::<bool>()).prop_map(|(at, isr, at_once)| Act::Ask { at, isr, at_once }),
        8 => any::<usize>().prop_map(Act::Hear),
        2 => at().prop_map(Act::Prefer),
        1 => (at(), -1..3).prop_map(|(at, above)| Act::Epoch { at, above }),
        2 => (at(), node()).prop_map(|(at, node)| Act::Unclean(at, node)),
        2 => at().prop_map(Act::Recover),
        3 => (at(), set()).prop_map(|(at, replicas)| Act::Reassign(at, replicas)),
        1 => at().prop_map(Act::Cancel),
        3 => (0..TOPICS, 1_u32..5).prop_map(|(topic, replicas)| Act::Create { topic, replicas }),
        1 => (0..TOPICS).prop_map(Act::Delete),
        3 => (0..TOPICS, 1_u32..4, any::<bool>()).prop_map(|(topic, min, os)| Act::Configure { topic, min, os }),
    ]
}

/// Five brokers and a topic first, so that most of what follows has something to do.
pub(super) fn acts() -> impl Strategy<Value = Vec<Act>> {
    let first = (1..=NODES).flat_map(|node| {
        let start = Act::Start { node, losses: Losses::Nothing, damaged: false, elsewhere: false };
        [start, Act::Unfence { node, knows: true }]
    });
    let first: Vec<Act> = first.chain([Act::Create { topic: 0, replicas: 3 }]).collect();
    prop::collection::vec(any_act(), 0..120).prop_map(move |more| [first.clone(), more].concat())
}

proptest! {
    #[test]
    fn whatever_happens_to_a_cluster_the_rules_hold(acts in acts()) {
        prop_assert_eq!(violation(&acts), None);
    }
}

/// Every bug that is planted in these rules breaks one that the ledger checks.
#[cfg(feature = "teeth")]
mod teeth {
    use millrace_types::teeth::{Bug, plant};
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    use super::*;

    const RUNS_MAX: u32 = 1000;

    #[test]
    fn each_planted_bug_is_found() {
        for bug in [Bug::IsrJoinWithoutEpoch, Bug::OldPartitionEpochTaken, Bug::ElrKept, Bug::QuickReboot] {
            let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            let mut runner = TestRunner::new_with_rng(Config::default(), rng);
            let _planted = plant(bug);
            let caught = (1..=RUNS_MAX)
                .find(|_| violation(&acts().new_tree(&mut runner).unwrap().current()).is_some());
            assert!(caught.is_some(), "{bug:?} was not found within {RUNS_MAX} runs");
        }
    }
}
