//! A coordinator whose log has other replicas: what becomes of what is on its way when the in-sync set or the leader changes.

use std::collections::BTreeMap;

use millrace_log::Replication;
use millrace_replication::{BrokerView, PartitionEpoch, PartitionView, Timing};
use millrace_types::{BrokerEpoch, LeaderEpoch};
use parking_lot::Mutex;

use super::*;
use crate::cluster::{PartitionReplica, ReplicaOutbox};
use crate::led_log::LedLog;

const AT: PartitionIndex = PartitionIndex(0);

/// Broker 1 has a replica, and so has broker 2, which never asks for anything.
struct Replicated {
    part: Arc<PartitionReplica>,
    groups: Groups,
    view: Mutex<PartitionView>,
    _dir: Arc<LogDir>,
}

impl Replicated {
    fn new(sim: &Sim) -> Replicated {
        let options = LogDirOptions {
            path: PathBuf::from("/data"),
            node: NodeId(1),
            tail_cache_bytes: 0,
            handles: None,
        };
        let dir = LogDir::open(&sim.env(), options).unwrap().dir;
        let id = TopicPartition { topic: TopicId([3; 16]), partition: AT };
        let name = TopicName::new("__consumer_offsets").unwrap();
        let meta = PartitionMeta { id, name, partitions: 16, replication_factor: 2 };
        let config = LogConfig { replication: Replication::Replicated, ..LogConfig::default() };
        let log = dir.create(meta, config).unwrap();
        let timing = Timing::default();
        let outbox = Arc::new(ReplicaOutbox::new(sim.env().clock, timing));
        let part = PartitionReplica::new(id, (NodeId(1), BrokerEpoch(1)), timing, log, outbox);
        let view = PartitionView {
            id,
            leader: Some(NodeId(1)),
            leader_epoch: LeaderEpoch(1),
            partition_epoch: PartitionEpoch(1),
            replicas: [NodeId(1), NodeId(2)].into(),
            isr: [NodeId(1)].into(),
            isr_min: 1,
            unclean_epoch: None,
        };
        let groups = Groups::elsewhere(&sim.env(), &GroupSettings::default(), GroupCounters::default());
        let world = Replicated { part: Arc::new(part), groups, view: Mutex::new(view), _dir: dir };
        world.learn(|_| {});
        world
    }

    /// The metadata change.
    fn learn(&self, change: impl FnOnce(&mut PartitionView)) {
        let mut view = self.view.lock();
        change(&mut view);
        view.partition_epoch = PartitionEpoch(view.partition_epoch.0 + 1);
        let broker =
            |node| (NodeId(node), BrokerView { epoch: BrokerEpoch(i64::from(node)), may_join: true });
        self.part.learn(view.clone(), BTreeMap::from([broker(1), broker(2)])).unwrap();
    }

    async fn lead(&self, epoch: i32) {
        let led = (LedLog::replicated(Arc::clone(&self.part)), LeaderEpoch(epoch));
        self.groups.lead(AT, led, &Image::default()).await;
    }

    /// Commits an offset of topic `a`; what was wrong.
    async fn commit(&self, offset: u64) -> Option<ErrorCode> {
        let partition = Arc::clone(self.groups.partition(AT).unwrap());
        let (sender, receiver) = oneshot::channel();
        let stepped = partition.step(None, |value, now, draft| {
            value.step_offsets(commit("a", offset), now, draft, Some(sender));
            Ok(())
        });
        match stepped.await {
            Ok(()) => answer_of(receiver).await.err().map(|error| error.code),
            Err(error) => Some(error.code),
        }
    }

    fn shown(&self) -> Result<Option<i64>, ErrorCode> {
        let looked = self.groups.look(AT, |look| {
            let group = GroupId::new("g").unwrap();
            look.offsets.of_group(&group).next().map(|(_, value)| value.offset.get())
        });
        looked.map_err(|error| error.code)
    }

    async fn until_shown(&self) -> Option<i64> {
        loop {
            if let Ok(shown) = self.shown() {
                return shown;
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_commit_in_doubt_is_shown_when_it_is_committed_and_nothing_before() {
    let world = Replicated::new(&Sim::new(1));
    world.lead(1).await;
    assert_eq!(world.commit(1).await, None);
    // Broker 2 is in sync, and has nothing: what is appended waits for it.
    world.learn(|view| (view.isr, view.isr_min) = ([NodeId(1), NodeId(2)].into(), 2));
    let mut waiting = Box::pin(world.commit(2));
    for _ in 0..100 {
        assert!(futures::poll!(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(world.shown(), Ok(Some(1)));
    world.learn(|view| view.isr = [NodeId(1)].into());
    assert_eq!(waiting.await, Some(ErrorCode::NotEnoughReplicasAfterAppend));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.shown(), Err(ErrorCode::CoordinatorLoading), "1 or 2, nobody knows");
    assert_eq!(world.commit(3).await, Some(ErrorCode::CoordinatorLoading));
    world.learn(|view| view.isr_min = 1);
    assert_eq!(world.until_shown().await, Some(2));
}

#[tokio::test]
async fn too_few_replicas_refuse_a_commit_and_change_nothing() {
    let world = Replicated::new(&Sim::new(1));
    world.lead(1).await;
    assert_eq!(world.commit(1).await, None);
    world.learn(|view| view.isr_min = 2);
    assert_eq!(world.commit(2).await, Some(ErrorCode::NotEnoughReplicas));
    assert_eq!(world.shown(), Ok(Some(1)), "what was committed is answered all the while");
    world.learn(|view| view.isr_min = 1);
    assert_eq!(world.commit(3).await, None);
    assert_eq!(world.shown(), Ok(Some(3)));
}

#[tokio::test]
async fn a_deposed_coordinator_finds_out_by_its_own_append() {
    let world = Replicated::new(&Sim::new(1));
    world.lead(1).await;
    world.learn(|view| (view.isr, view.isr_min) = ([NodeId(1), NodeId(2)].into(), 2));
    let mut waiting = Box::pin(world.commit(1));
    for _ in 0..100 {
        assert!(futures::poll!(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    world.learn(|view| (view.leader, view.leader_epoch) = (Some(NodeId(2)), LeaderEpoch(2)));
    assert_eq!(waiting.await, Some(ErrorCode::OutcomeUnknown));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.shown(), Err(ErrorCode::NotCoordinator));
    assert_eq!(world.commit(2).await, Some(ErrorCode::NotCoordinator));
}

#[tokio::test]
async fn what_was_decided_in_one_epoch_is_not_written_in_a_later_one() {
    let world = Replicated::new(&Sim::new(1));
    world.lead(1).await;
    assert_eq!(world.commit(1).await, None);
    let end = world.part.log().offsets().end;
    // Broker 2 has led meanwhile, and this one, which leads again, has not told its coordinator.
    world.learn(|view| (view.leader, view.leader_epoch) = (Some(NodeId(2)), LeaderEpoch(2)));
    world.learn(|view| (view.leader, view.leader_epoch) = (Some(NodeId(1)), LeaderEpoch(3)));
    assert_eq!(world.commit(2).await, Some(ErrorCode::NotCoordinator));
    assert_eq!(world.part.log().offsets().end, end);
    world.lead(1).await;
    assert_eq!(world.commit(2).await, Some(ErrorCode::NotCoordinator), "that epoch is over");
    world.lead(3).await;
    assert_eq!(world.shown(), Ok(Some(1)));
    assert_eq!(world.commit(4).await, None);
    assert_eq!(world.shown(), Ok(Some(4)));
}
