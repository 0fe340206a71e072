//! The replicas of this node, and how they follow the metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use millrace_env::Env;
use millrace_log::{DirError, Log, LogDir, Replication};
use millrace_metadata::{Image, Partition, Topic};
use millrace_replication::{BrokerView, Brokers, PartitionEpoch, PartitionView};
use millrace_types::{BrokerEpoch, CleanupPolicy, NodeId, TopicId, TopicPartition};
use parking_lot::Mutex;

use super::outbox::ReplicaOutbox;
use super::replica::PartitionReplica;
use crate::ApiError;
use crate::io_pool::each_on_pool;
use crate::partitions::{Held, Partitions, log_config, partition_meta};

type Parts = BTreeMap<TopicPartition, Arc<PartitionReplica>>;

/// See above.
#[derive(Debug)]
pub(crate) struct Replicas {
    env: Env,
    me: NodeId,
    dir: Arc<LogDir>,
    partitions: Arc<Partitions>,
    outbox: Arc<ReplicaOutbox>,
    /// Under which registration they run. Nothing is believed of the metadata before there is one.
    epoch: OnceLock<BrokerEpoch>,
    parts: ArcSwap<Parts>,
    /// What was found in the directory and that no metadata have spoken of yet.
    found: Mutex<BTreeMap<TopicPartition, Held>>,
}

/// A partition that this node is to have.
struct Wanted {
    at: TopicPartition,
    topic: Arc<Topic>,
    view: PartitionView,
    brokers: Arc<Brokers>,
    here: Here,
    configure: bool,
}

/// What there is of it.
enum Here {
    Replica(Arc<PartitionReplica>),
    Log(Arc<Log>),
    Unavailable(Arc<str>),
    Nothing,
}

impl Replicas {
    pub(crate) fn new(
        env: &Env,
        me: NodeId,
        dir: &Arc<LogDir>,
        outbox: &Arc<ReplicaOutbox>,
        found: BTreeMap<TopicPartition, Held>,
    ) -> Replicas {
        Replicas {
            env: env.clone(),
            me,
            dir: Arc::clone(dir),
            partitions: Arc::default(),
            outbox: Arc::clone(outbox),
            epoch: OnceLock::new(),
            parts: ArcSwap::default(),
            found: Mutex::new(found),
        }
    }

    /// The logs by number, as every operation finds them.
    pub(crate) fn partitions(&self) -> &Arc<Partitions> {
        &self.partitions
    }

    pub(crate) fn outbox(&self) -> &Arc<ReplicaOutbox> {
        &self.outbox
    }

    /// This run has registered.
    pub(crate) fn registered(&self, epoch: BrokerEpoch) {
        let _first = self.epoch.set(epoch);
    }

    pub(crate) fn epoch(&self) -> Option<BrokerEpoch> {
        self.epoch.get().copied()
    }

    pub(crate) fn get(&self, at: TopicPartition) -> Option<Arc<PartitionReplica>> {
        self.parts.load().get(&at).cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Arc<Parts> {
        self.parts.load_full()
    }

    /// Whether a replica here follows that leader, as the metadata are known here.
    pub(crate) fn follows(&self, leader: NodeId) -> bool {
        self.parts.load().values().any(|part| part.follows(leader))
    }

    /// Logs that belong to no topic that is known. They are left alone.
    pub(crate) fn orphans(&self) -> Vec<TopicPartition> {
        self.found.lock().keys().copied().collect()
    }

    /// Follows the metadata from one image to a later one; answers the topics that were deleted.
    pub(crate) async fn apply(&self, before: &Image, image: &Image) -> Result<BTreeSet<TopicId>, ApiError> {
        let Some(epoch) = self.epoch() else { return Ok(BTreeSet::new()) };
        let knows_me = image.broker(self.me).is_some_and(|broker| broker.epoch == epoch);
        if !knows_me {
            // They speak of an earlier run: by them it may be no replica, and would delete what it has.
            return Ok(BTreeSet::new());
        }
        let brokers = brokers_of(image);
        let all = brokers != brokers_of(before);
        let brokers = Arc::new(brokers);
        let (mut wanted, mut unwanted, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        for topic in image.topics() {
            let same = before.topic_by_id(topic.id).is_some_and(|old| Arc::ptr_eq(old, topic));
            if same && !all {
                continue;
            }
            let old = before.topic_by_id(topic.id);
            let configure = old.is_some_and(|old| old.config != topic.config);
            changed.push(Arc::clone(topic));
            for (at, partition) in topic.numbered() {
                // Most partitions of a large topic are as they were.
                let was = old.and_then(|old| old.partition(at.partition));
                if was == Some(partition) && !all && !configure {
                    continue;
                }
                if partition.replicas.contains(&self.me) {
                    let (view, brokers) = (view_of(topic, at, partition), Arc::clone(&brokers));
                    let here = self.here(at);
                    wanted.push(Wanted { at, topic: Arc::clone(topic), view, brokers, here, configure });
                } else if self.has(at) {
                    unwanted.push(at);
                }
            }
        }
        let deleted: BTreeSet<TopicId> =
            before.topics().map(|topic| topic.id).filter(|id| image.topic_by_id(*id).is_none()).collect();
        let parts = self.parts.load_full();
        unwanted.extend(parts.keys().filter(|at| deleted.contains(&at.topic)).copied());
        self.let_go(unwanted).await?;
        for id in &deleted {
            self.partitions.remove(*id);
        }
        self.take_up(wanted, epoch).await?;
        for topic in changed {
            self.place(&topic);
        }
        Ok(deleted)
    }

    fn here(&self, at: TopicPartition) -> Here {
        if let Some(part) = self.get(at) {
            return Here::Replica(part);
        }
        match self.found.lock().remove(&at) {
            Some(Held::Open(log)) => Here::Log(log),
            Some(Held::Unavailable(why)) => Here::Unavailable(why),
            None => Here::Nothing,
        }
    }

    fn has(&self, at: TopicPartition) -> bool {
        self.parts.load().contains_key(&at) || self.found.lock().contains_key(&at)
    }

    /// Replicas that are none any more. Their logs are deleted: the metadata say where the partition lies instead, or that its
    /// topic was deleted.
    async fn let_go(&self, unwanted: Vec<TopicPartition>) -> Result<(), ApiError> {
        if unwanted.is_empty() {
            return Ok(());
        }
        for part in unwanted.iter().filter_map(|at| self.get(*at)) {
            part.retire();
        }
        self.parts.rcu(|parts| {
            let mut parts = Parts::clone(parts);
            parts.retain(|at, _| !unwanted.contains(at));
            parts
        });
        for at in &unwanted {
            self.found.lock().remove(at);
        }
        let dir = Arc::clone(&self.dir);
        let deleted = each_on_pool(&self.env, unwanted, move |at| (at, dir.delete(at))).await?;
        for (at, outcome) in deleted {
            match outcome {
                Ok(()) | Err(DirError::Conflict(_)) => {}
                Err(error) => {
                    tracing::warn!(%at, %error, "a replica that is none any more stays on the disk")
                }
            }
        }
        Ok(())
    }

    /// Makes and steps what is wanted, some of it side by side: a change of leader syncs a file.
    async fn take_up(&self, wanted: Vec<Wanted>, epoch: BrokerEpoch) -> Result<(), ApiError> {
        let (dir, outbox, me) = (Arc::clone(&self.dir), Arc::clone(&self.outbox), self.me);
        let work = move |wanted: Wanted| {
            let at = wanted.at;
            (at, take_up(&dir, &outbox, (me, epoch), wanted))
        };
        let taken = each_on_pool(&self.env, wanted, work).await?;
        let mut made = Vec::new();
        for (at, outcome) in taken {
            match outcome {
                Ok(part) => made.push((at, part)),
                Err(Untaken::Unavailable(why)) => {
                    tracing::error!(%at, %why, "a replica cannot be served");
                    self.found.lock().insert(at, Held::Unavailable(why));
                }
                Err(Untaken::Failed(error)) => {
                    tracing::error!(%at, %error, "a replica cannot be made yet");
                    self.outbox.relearns.put(at, ());
                }
            }
        }
        self.parts.rcu(|parts| {
            let mut parts = Parts::clone(parts);
            parts.extend(made.iter().map(|(at, part)| (*at, Arc::clone(part))));
            parts
        });
        // Followers that have asked for them before are answered now.
        made.iter().for_each(|(_, part)| part.wrote());
        Ok(())
    }

    fn place(&self, topic: &Topic) {
        let (parts, found) = (self.parts.load(), self.found.lock());
        let held = topic.numbered().map(|(at, _)| match parts.get(&at) {
            Some(part) => Some(Held::Open(Arc::clone(part.log()))),
            None => found.get(&at).cloned(),
        });
        self.partitions.place(topic.id, held.collect());
    }

    /// Steps replicas anew that have given up, or makes those that could not be made.
    pub(crate) async fn relearn(&self, image: &Image) -> Result<(), ApiError> {
        let Some(epoch) = self.epoch() else { return Ok(()) };
        let brokers = Arc::new(brokers_of(image));
        let mut wanted = Vec::new();
        for at in self.outbox.relearns.take(usize::MAX).into_keys() {
            let Some(topic) = image.topic_by_id(at.topic) else { continue };
            let Some(partition) = topic.partition(at.partition) else { continue };
            if partition.replicas.contains(&self.me) {
                let (view, brokers) = (view_of(topic, at, partition), Arc::clone(&brokers));
                let (topic, here) = (Arc::clone(topic), self.here(at));
                wanted.push(Wanted { at, topic, view, brokers, here, configure: false });
            }
        }
        let topics: BTreeMap<TopicId, Arc<Topic>> =
            wanted.iter().map(|wanted| (wanted.topic.id, Arc::clone(&wanted.topic))).collect();
        self.take_up(wanted, epoch).await?;
        for topic in topics.values() {
            self.place(topic);
        }
        Ok(())
    }
}

enum Untaken {
    Unavailable(Arc<str>),
    Failed(ApiError),
}

impl From<DirError> for Untaken {
    fn from(error: DirError) -> Untaken {
        match error {
            DirError::Damaged { path, what } => Untaken::Unavailable(format!("{path}: {what}").into()),
            error => Untaken::Failed(error.into()),
        }
    }
}

/// Makes a replica, if there is none, and tells it what the metadata say. Blocks.
fn take_up(
    dir: &LogDir,
    outbox: &Arc<ReplicaOutbox>,
    me: (NodeId, BrokerEpoch),
    wanted: Wanted,
) -> Result<Arc<PartitionReplica>, Untaken> {
    let Wanted { at, topic, view, brokers, here, configure } = wanted;
    let config = log_config(&topic, Replication::Replicated);
    let of_log = |log| Arc::new(PartitionReplica::new(at, me, outbox.timing(), log, Arc::clone(outbox)));
    let part = match here {
        Here::Replica(part) => {
            if configure {
                part.log().configure(config)?;
            }
            part
        }
        Here::Log(log) => {
            log.configure(config)?;
            if !log.damaged().is_empty() && has_another(me.0, &view) {
                tracing::warn!(%at, "a damaged replica begins anew from its leader");
                log.reset_to(log.offsets().log_start)?;
            }
            of_log(log)
        }
        Here::Unavailable(why) if !has_another(me.0, &view) => return Err(Untaken::Unavailable(why)),
        Here::Unavailable(why) => {
            let aside = dir.set_aside(at)?;
            tracing::warn!(%at, %why, ?aside, "a replica that cannot be opened begins anew from its leader");
            of_log(dir.create(partition_meta(&topic, at.partition), config)?)
        }
        Here::Nothing => {
            let meta = partition_meta(&topic, at.partition);
            match dir.create(meta, config.clone()) {
                // An earlier attempt has made it.
                Err(DirError::Conflict(_)) => of_log(dir.open_log(at, config)?),
                made => of_log(made?),
            }
        }
    };
    part.set_compacted(topic.config.cleanup != CleanupPolicy::Delete);
    if let Err(fault) = part.learn(view, Brokers::clone(&brokers)) {
        // It begins anew with the next look.
        tracing::error!(%at, %fault, "a replica does not follow the metadata");
    }
    Ok(part)
}

/// Whether another broker leads the partition, and this one is not held to have anything of it.
fn has_another(me: NodeId, view: &PartitionView) -> bool {
    view.leader.is_some_and(|leader| leader != me) && !view.isr.contains(&me)
}

/// What the metadata say of a partition, as replicas hear it.
pub(crate) fn view_of(topic: &Topic, id: TopicPartition, partition: &Partition) -> PartitionView {
    let set = |nodes: &[NodeId]| nodes.iter().copied().collect();
    PartitionView {
        id,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: PartitionEpoch(partition.partition_epoch),
        replicas: set(&partition.replicas),
        isr: set(&partition.isr),
        isr_min: topic.min_insync(),
        unclean_epoch: partition.lossy.as_ref().map(|lossy| lossy.leader_epoch),
    }
}

fn brokers_of(image: &Image) -> Brokers {
    let view =
        |broker: &millrace_metadata::Broker| BrokerView { epoch: broker.epoch, may_join: broker.is_active() };
    image.brokers().map(|broker| (broker.node, view(broker))).collect()
}
