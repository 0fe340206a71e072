//! The controller: the real metadata, commands decided on an image and their records folded into it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_metadata::{
    AlterPartition, AlterPartitionRefusal, Command, ConfigChange, CreateTopic, FEATURE_LEVEL_NEWEST, Image,
    InSync, Losses, Owner, Refusal, ReplicaEnd, Standing, StartBroker, decide,
};
use millrace_replication::{Alter, AlterAnswer, AlterRefusal, BrokerView, PartitionEpoch, PartitionView};
use millrace_types::{
    BrokerEpoch, DirectoryId, IncarnationId, NodeId, SyncMode, TopicId, TopicName, TopicPartition,
};

use super::store::partition_of;
use super::wire::{Known, Registration};

/// After which silence a broker is fenced.
pub(crate) const SESSION_MS: u64 = 900;
const REPLICATION_FACTOR: u32 = 3;

/// A broker as the controller knows it.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) epoch: BrokerEpoch,
    pub(crate) run: u64,
}

/// The partition as the controller knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Partition {
    pub(crate) view: PartitionView,
    pub(crate) elr: BTreeSet<NodeId>,
    pub(crate) last_known: BTreeSet<NodeId>,
    pub(crate) adding: BTreeSet<NodeId>,
    pub(crate) removing: BTreeSet<NodeId>,
}

#[derive(Debug)]
pub(crate) struct Helm {
    image: Image,
    name: TopicName,
    topics: u8,
    configs: BTreeMap<String, String>,
    heard: BTreeMap<NodeId, u64>,
    pub(crate) brokers: BTreeMap<NodeId, Registered>,
    pub(crate) partition: Partition,
}

fn set(nodes: &[NodeId]) -> BTreeSet<NodeId> {
    nodes.iter().copied().collect()
}

fn incarnation(node: NodeId, run: u64) -> IncarnationId {
    let (mut id, node) = ([0; 16], node.0.to_be_bytes());
    id[..4].copy_from_slice(&node);
    id[8..].copy_from_slice(&run.to_be_bytes());
    IncarnationId(id)
}

fn run_of(incarnation: IncarnationId) -> u64 {
    let run = incarnation.0.last_chunk().copied();
    u64::from_be_bytes(run.unwrap_or_default())
}

fn directory(node: NodeId, disk: u64) -> DirectoryId {
    DirectoryId(incarnation(node, disk).0)
}

impl Helm {
    /// A cluster with a topic that nobody has written to, and whose brokers have all just gone away.
    pub(crate) fn new(nodes: &[NodeId], isr_min: usize, mode: SyncMode) -> Result<Helm, String> {
        let configs = BTreeMap::from([
            ("min.insync.replicas".to_owned(), isr_min.to_string()),
            ("sync.mode".to_owned(), mode.to_string()),
        ]);
        let name = TopicName::new("orders").map_err(|error| error.to_string())?;
        let mut image = Image::default();
        image = carry_out(image, &Command::RaiseFeatureLevel { level: FEATURE_LEVEL_NEWEST })?;
        for node in nodes {
            let ask = Registration { node: *node, run: 0, losses: Losses::Nothing, disk: 0 };
            image = carry_out(image, &start(&ask))?;
            let broker = image.broker(*node).ok_or("no broker")?;
            let (epoch, applied) = (broker.epoch, image.version());
            image = carry_out(image, &Command::UnfenceBroker { node: *node, epoch, applied })?;
        }
        image = carry_out(image, &create(1, &name, &configs))?;
        let partition = partition_in(&image, TopicId([1; 16])).ok_or("no partition")?;
        let (heard, brokers) = (BTreeMap::new(), BTreeMap::new());
        let mut helm = Helm { image, name, topics: 1, configs, heard, brokers, partition };
        helm.look();
        Ok(helm)
    }

    fn at(&self) -> TopicPartition {
        self.partition.view.id
    }

    pub(crate) fn topic(&self) -> TopicId {
        self.at().topic
    }

    pub(crate) fn version(&self) -> u64 {
        self.image.version()
    }

    pub(crate) fn known(&self) -> Arc<Known> {
        let brokers = self
            .image
            .brokers()
            .map(|broker| (broker.node, BrokerView { epoch: broker.epoch, may_join: broker.is_active() }));
        let (version, brokers) = (self.version(), Arc::new(brokers.collect()));
        Arc::new(Known { version, view: Arc::new(self.partition.view.clone()), brokers })
    }

    /// Decides a command and folds its records. What is refused changes nothing.
    fn propose(&mut self, command: &Command) -> Result<(), Refusal> {
        let mut image = self.image.clone();
        for record in decide(&image, command)? {
            match image.apply(&record) {
                Ok(next) => image = next,
                // What was decided on an image fits into it; if it does not, nothing here is worth anything.
                Err(error) => panic!("{command:?} became {record:?}: {error}"),
            }
        }
        self.image = image;
        self.look();
        Ok(())
    }

    fn look(&mut self) {
        if let Some(partition) = partition_in(&self.image, TopicId([self.topics; 16])) {
            self.partition = partition;
        }
        let run = |broker: &millrace_metadata::Broker| broker.incarnation.map_or(0, run_of);
        let brokers = self.image.brokers();
        self.brokers = brokers
            .map(|broker| (broker.node, Registered { epoch: broker.epoch, run: run(broker) }))
            .collect();
    }

    /// A run of a broker asks to be one. `None`: it may not, yet.
    pub(crate) fn register(&mut self, ask: &Registration, now: u64) -> Option<BrokerEpoch> {
        if self.brokers.get(&ask.node).is_some_and(|known| known.run > ask.run) {
            // A message of a run that is over. In a cluster it would be refused for its directory, which is locked by the next.
            return None;
        }
        self.propose(&start(ask)).ok()?;
        self.heard.insert(ask.node, now);
        self.brokers.get(&ask.node).map(|broker| broker.epoch)
    }

    /// A broker is heard. It is unfenced once it knows of its own registration.
    pub(crate) fn heard(&mut self, node: NodeId, epoch: BrokerEpoch, version: u64, now: u64) {
        let Some(broker) = self.image.broker(node).filter(|broker| broker.epoch == epoch) else { return };
        let fenced = broker.standing == Standing::Fenced;
        self.heard.insert(node, now);
        if fenced {
            // Refused as long as it is behind.
            let _outcome = self.propose(&Command::UnfenceBroker { node, epoch, applied: version });
        }
    }

    /// A broker is about to stop.
    pub(crate) fn stopping(&mut self, node: NodeId, epoch: BrokerEpoch) {
        let _outcome = self.propose(&Command::DrainBroker { node, epoch });
    }

    /// Fences whoever was silent for too long.
    pub(crate) fn fence_silent(&mut self, now: u64) -> u64 {
        let silent: Vec<(NodeId, BrokerEpoch)> = self
            .image
            .brokers()
            .filter(|broker| broker.standing != Standing::Fenced)
            .filter(|broker| {
                now.saturating_sub(self.heard.get(&broker.node).copied().unwrap_or(0)) >= SESSION_MS
            })
            .map(|broker| (broker.node, broker.epoch))
            .collect();
        for (node, epoch) in &silent {
            let _outcome = self.propose(&Command::FenceBroker { node: *node, epoch: *epoch });
        }
        silent.len() as u64
    }

    pub(crate) fn alter(&mut self, alter: &Alter) -> AlterAnswer {
        let command = Command::AlterPartition(AlterPartition {
            node: alter.leader,
            broker_epoch: alter.broker_epoch,
            at: alter.partition,
            leader_epoch: alter.leader_epoch,
            partition_epoch: alter.partition_epoch.0,
            isr: alter.isr.iter().map(|(node, epoch)| InSync { node: *node, epoch: *epoch }).collect(),
        });
        let outcome = match self.propose(&command) {
            Ok(()) => Ok(self.partition.view.clone()),
            Err(Refusal::AlterPartition(AlterPartitionRefusal::Ineligible { .. })) => {
                Err(AlterRefusal::Ineligible)
            }
            Err(_) => Err(AlterRefusal::Stale),
        };
        AlterAnswer { asked: alter.partition_epoch, outcome }
    }

    pub(crate) fn set_isr_min(&mut self, isr_min: usize) {
        let (key, value) = ("min.insync.replicas".to_owned(), isr_min.to_string());
        self.configs.insert(key.clone(), value.clone());
        let changes = vec![ConfigChange::Set { key, value }];
        let _outcome = self.propose(&Command::AlterTopic { id: self.topic(), changes });
    }

    /// The preferred replica leads again, if it is in sync.
    pub(crate) fn move_leader(&mut self) -> bool {
        let before = self.partition.view.leader;
        let _outcome = self.propose(&Command::ElectPreferred { at: self.at() });
        self.partition.view.leader != before
    }

    /// One replica takes the place of another.
    pub(crate) fn reassign(&mut self, from: NodeId, to: NodeId) -> bool {
        let replicas = self.image.partition(self.at()).map(|partition| partition.replicas.to_vec());
        let mut replicas = replicas.unwrap_or_default();
        let Some(place) = replicas.iter_mut().find(|node| **node == from) else { return false };
        *place = to;
        self.propose(&Command::Reassign { at: self.at(), replicas }).is_ok()
    }

    /// The topic is deleted, and another one has its name.
    pub(crate) fn recreate(&mut self) -> bool {
        let nobody = !self.image.brokers().any(millrace_metadata::Broker::is_active);
        if nobody || self.propose(&Command::DeleteTopic { id: self.topic() }).is_err() {
            return false;
        }
        self.topics += 1;
        let command = create(self.topics, &self.name, &self.configs);
        self.propose(&command).is_ok()
    }

    /// An operator has the best of those lead who were last known to hold everything.
    pub(crate) fn recover(&mut self, ends: Vec<ReplicaEnd>) -> bool {
        self.propose(&Command::RecoverLeader { at: self.at(), ends }).is_ok()
    }

    /// An operator has this replica lead, whatever is lost.
    pub(crate) fn elect_uncleanly(&mut self, node: NodeId) -> bool {
        self.propose(&Command::ElectUnclean { at: self.at(), node }).is_ok()
    }
}

fn carry_out(mut image: Image, command: &Command) -> Result<Image, String> {
    for record in decide(&image, command).map_err(|refusal| refusal.to_string())? {
        image = image.apply(&record).map_err(|error| error.to_string())?;
    }
    Ok(image)
}

fn start(ask: &Registration) -> Command {
    Command::StartBroker(StartBroker {
        node: ask.node,
        incarnation: incarnation(ask.node, ask.run),
        directory: directory(ask.node, ask.disk),
        grpc: String::new(),
        kafka: String::new(),
        internal: format!("node-{}", ask.node),
        losses: ask.losses,
        damaged: BTreeSet::new(),
    })
}

fn create(number: u8, name: &TopicName, configs: &BTreeMap<String, String>) -> Command {
    Command::CreateTopic(CreateTopic {
        id: TopicId([number; 16]),
        name: name.clone(),
        partitions: Some(1),
        replication_factor: Some(REPLICATION_FACTOR),
        configs: configs.clone(),
        owner: Owner::User,
    })
}

fn partition_in(image: &Image, topic: TopicId) -> Option<Partition> {
    let id = partition_of(topic);
    let (found, topic) = (image.partition(id)?, image.topic_by_id(topic)?);
    Some(Partition {
        view: PartitionView {
            id,
            leader: found.leader,
            leader_epoch: found.leader_epoch,
            partition_epoch: PartitionEpoch(found.partition_epoch),
            replicas: set(&found.replicas),
            isr: set(&found.isr),
            isr_min: topic.min_insync(),
            unclean_epoch: found.lossy.as_ref().map(|lossy| lossy.leader_epoch),
        },
        elr: set(&found.elr),
        last_known: set(&found.last_known_elr),
        adding: set(&found.adding),
        removing: set(&found.removing),
    })
}
