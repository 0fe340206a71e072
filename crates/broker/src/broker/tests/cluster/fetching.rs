//! A follower that has heard earlier than its leader who leads.

use std::task::Poll;

use millrace_replication::{Fetch, FetchAnswer, FetchId};
use millrace_types::{BrokerEpoch, LeaderEpoch, TopicId, TopicPartition};

use super::*;
use crate::{PeerCall, PeerRequest, ReplicaFetch};

/// A broker that no other request of is on its way: a newer one would end the wait.
const FOLLOWER: NodeId = NodeId(9);

/// What it asks of whoever it takes for the leader in `epoch`.
fn fetch(broker: &Broker, at: TopicPartition, epoch: i32) -> PeerCall {
    let fetch = Fetch {
        id: FetchId(u64::MAX),
        partition: at,
        replica: FOLLOWER,
        broker_epoch: BrokerEpoch(1),
        leader_epoch: LeaderEpoch(epoch),
        next: Offset::ZERO,
        last_epoch: LeaderEpoch::NONE,
        held: Offset::ZERO,
    };
    let request = ReplicaFetch { wait: Duration::from_millis(50), bytes_max: 1000, fetches: vec![fetch] };
    let cluster = Some(broker.core.dir.cluster_id());
    PeerCall { cluster, from: FOLLOWER, request: PeerRequest::Fetch(request) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_knows_more_than_its_leader_is_not_refused_before_that_could_have_heard() {
    let cluster = Cluster::new();
    let brokers = cluster.three().await;
    let topic = within("the topic", brokers[0].create_topic(&ctx(), new_topic("a", 1))).await.unwrap();
    within("a produce", produced(&brokers, "a", "x")).await;
    let leads = leader_of(&brokers[0], "a");
    let leader = &brokers[usize::try_from(leads).unwrap() - 1];
    let at = TopicPartition { topic: topic.id, partition: PartitionIndex(0) };
    let unknown = TopicPartition { topic: TopicId([77; 16]), ..at };
    for at in [at, unknown] {
        let mut asked = leader.answer(fetch(leader, at, 1_000));
        assert!(matches!(futures::poll!(&mut asked), Poll::Pending), "{at} was refused at once");
        let PeerAnswer::Fetched(fetched) = within("an answer", asked).await.unwrap() else { panic!() };
        let [only] = &fetched[..] else { panic!("{fetched:?}") };
        assert!(matches!(only.answer.answer, FetchAnswer::Refused(_)), "{only:?}");
    }
    cluster.stop_all(&brokers).await;
}
