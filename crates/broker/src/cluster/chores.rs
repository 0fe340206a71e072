//! What goes on beside requests: the metadata are followed, the controller is asked, time passes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::{AlterPartition, Command, Image, InSync};
use millrace_replication::{Alter, AlterAnswer, AlterRefusal};
use millrace_types::{LeaderEpoch, TopicId, TopicPartition, limits};

use super::Cluster;
use super::replicas::view_of;
use crate::ApiError;
use crate::core::Core;
use crate::led_log::LedLog;
use crate::partitions::CONSUMER_OFFSETS;

/// How often replicas are told that time has passed.
const TICK_EVERY: Duration = Duration::from_millis(250);
/// After a question that was not answered.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Has the replicas of this node follow the metadata, for ever.
pub(crate) async fn follow(cluster: Arc<Cluster>, core: Arc<Core>) {
    let mut changes = cluster.quorum().changes();
    let mut before = Arc::new(Image::default());
    loop {
        changes.borrow_and_update();
        let image = cluster.quorum().image();
        let epoch = cluster.replicas.epoch();
        let knows_me = epoch.is_some() && image.broker(cluster.me).map(|broker| broker.epoch) == epoch;
        if knows_me && image.version() > before.version() {
            match cluster.replicas.apply(&before, &image).await {
                Ok(deleted) => {
                    if before.version() == 0 {
                        for at in cluster.replicas.orphans() {
                            tracing::warn!(%at, "a log belongs to no topic that the metadata know; it is left alone");
                        }
                    }
                    before = Arc::clone(&image);
                    // Before whoever waits for this version: a coordinator that was replaced must not be asked any more.
                    coordinators_elsewhere(&cluster, &core, &image);
                    cluster.metadata().apply(image.version());
                    if !deleted.is_empty() {
                        forget(&cluster, &core, deleted);
                    }
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "the metadata could not be followed");
                    cluster.env.clock.sleep(RETRY_AFTER).await;
                    continue;
                }
            }
        }
        // A registration changes what may be believed, and no image comes with it.
        tokio::select! {
            biased;
            changed = changes.changed() => if changed.is_err() { return },
            () = cluster.env.clock.sleep(RETRY_AFTER), if !knows_me => {}
        }
    }
}

/// Writes the tombstones of what was committed for deleted topics, beside everything else: they may have to wait for replicas.
fn forget(cluster: &Cluster, core: &Arc<Core>, deleted: BTreeSet<TopicId>) {
    let core = Arc::clone(core);
    let forget = async move {
        if let Err(error) = core.forget_offsets(deleted).await {
            tracing::warn!(%error, "what was committed for deleted topics is still there");
        }
    };
    let _task = cluster.env.tasks.spawn("offsets of deleted topics", Box::pin(forget));
}

/// Asks the controller about in-sync replicas, for ever.
pub(crate) async fn alter(cluster: Arc<Cluster>) {
    let queue = &cluster.replicas.outbox().alters;
    loop {
        queue.filled().await;
        let alters: Vec<Alter> = queue.take(limits::ALTERS_PER_PROPOSAL_MAX).into_values().collect();
        let commands: Vec<Command> = alters.iter().map(command_of).collect();
        match cluster.metadata().decide(&commands).await {
            Ok(outcomes) => {
                let image = cluster.quorum().image();
                for (alter, outcome) in alters.iter().zip(outcomes) {
                    answered(&cluster, &image, alter, outcome.err());
                }
            }
            Err(error) => {
                // The replicas ask again.
                tracing::debug!(%error, "the controller did not say who is in sync");
                cluster.env.clock.sleep(RETRY_AFTER).await;
            }
        }
    }
}

fn command_of(alter: &Alter) -> Command {
    Command::AlterPartition(AlterPartition {
        node: alter.leader,
        broker_epoch: alter.broker_epoch,
        at: alter.partition,
        leader_epoch: alter.leader_epoch,
        partition_epoch: alter.partition_epoch.0,
        isr: alter.isr.iter().map(|(node, epoch)| InSync { node: *node, epoch: *epoch }).collect(),
    })
}

fn answered(cluster: &Cluster, image: &Image, alter: &Alter, refused: Option<ApiError>) {
    let Some(part) = cluster.replicas.get(alter.partition) else { return };
    let outcome = match refused {
        // Asked anew after a while. What is stale is told by the metadata.
        Some(error) => {
            tracing::debug!(at = %alter.partition, %error, "the in-sync replicas stay as they are");
            Err(AlterRefusal::Ineligible)
        }
        None => {
            let Some(topic) = image.topic_by_id(alter.partition.topic) else { return };
            let Some(partition) = topic.partition(alter.partition.partition) else { return };
            Ok(view_of(topic, alter.partition, partition))
        }
    };
    part.altered(AlterAnswer { asked: alter.partition_epoch, outcome });
}

/// Asks for leader epochs above those that logs have, for ever.
pub(crate) async fn raise(cluster: Arc<Cluster>) {
    let queue = &cluster.replicas.outbox().raises;
    loop {
        queue.filled().await;
        let Some(broker_epoch) = cluster.replicas.epoch() else { continue };
        let raises: BTreeMap<TopicPartition, LeaderEpoch> = queue.take(limits::ALTERS_PER_PROPOSAL_MAX);
        let node = cluster.me;
        let command = |(at, above): (TopicPartition, LeaderEpoch)| Command::RaiseLeaderEpoch {
            node,
            broker_epoch,
            at,
            above,
        };
        let commands: Vec<Command> = raises.clone().into_iter().map(command).collect();
        if let Err(error) = cluster.metadata().decide(&commands).await {
            tracing::warn!(%error, "no later leader epoch was given yet");
            cluster.env.clock.sleep(RETRY_AFTER).await;
            for (at, above) in raises {
                queue.put(at, above);
            }
        }
    }
}

/// Tells replicas that time has passed, for ever.
pub(crate) async fn tick(cluster: Arc<Cluster>) {
    loop {
        cluster.env.clock.sleep(TICK_EVERY).await;
        for part in cluster.replicas.all().values() {
            if let Err(fault) = part.tick() {
                tracing::error!(%fault, "a replica does not go on");
            }
        }
        let image = cluster.quorum().image();
        if let Err(error) = cluster.replicas.relearn(&image).await {
            tracing::error!(%error, "replicas that have given up stay so");
        }
    }
}

/// Brings coordinators to life where this node leads their partitions, for ever.
pub(crate) async fn coordinate(cluster: Arc<Cluster>, core: Arc<Core>) {
    let roles = &cluster.replicas.outbox().roles;
    loop {
        roles.filled().await;
        let changed = roles.take(usize::MAX);
        let image = cluster.quorum().image();
        let offsets = offsets_topic(&image);
        for at in changed.into_keys().filter(|at| Some(at.topic) == offsets) {
            let Some(part) = cluster.replicas.get(at) else {
                // It may be on its way into the list.
                if image.partition(at).is_some_and(|partition| partition.replicas.contains(&cluster.me)) {
                    roles.put(at, ());
                    cluster.env.clock.sleep(RETRY_AFTER / 10).await;
                }
                continue;
            };
            let standing = part.standing();
            if standing.complete {
                let led = (LedLog::replicated(part), standing.epoch);
                let read = core.groups.lead(at.partition, led, &image);
                let core = Arc::clone(&core);
                let forget = async move {
                    read.await;
                    core.forget_missed_offsets().await;
                };
                let _task = cluster.env.tasks.spawn("take over groups", Box::pin(forget));
            } else if standing.leads {
                core.groups.lead_soon(at.partition, standing.epoch);
            } else {
                core.groups.follow(at.partition, leader_address(&image, at));
            }
        }
    }
}

/// Coordinators that are elsewhere may have moved.
fn coordinators_elsewhere(cluster: &Cluster, core: &Core, image: &Image) {
    let Some(topic) = offsets_topic(image).and_then(|id| image.topic_by_id(id)) else { return };
    for (at, partition) in topic.numbered() {
        if partition.leader != Some(cluster.me) {
            core.groups.follow(at.partition, leader_address(image, at));
        }
    }
}

fn offsets_topic(image: &Image) -> Option<TopicId> {
    image.topics().find(|topic| topic.name.as_str() == CONSUMER_OFFSETS).map(|topic| topic.id)
}

fn leader_address(image: &Image, at: TopicPartition) -> Option<String> {
    let leader = image.partition(at)?.leader?;
    Some(image.broker(leader)?.grpc.clone())
}
