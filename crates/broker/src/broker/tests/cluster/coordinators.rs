//! The coordinator of a group goes with its broker, and another takes over.

use std::collections::BTreeSet;

use millrace_group::{Committer, MemberId, Profile, Subscription, partition_of};
use millrace_types::limits;

use super::*;
use crate::{GroupMembership, JoinGroupRequest, MemberProgress};

fn group() -> GroupId {
    GroupId::new("workers").unwrap()
}

/// Asks wherever the group is coordinated, until somebody says; answers who did.
async fn coordinated<T>(
    brokers: &[Arc<Broker>],
    ask: impl AsyncFn(&Broker) -> Result<T, ApiError>,
) -> (usize, T) {
    loop {
        for (index, broker) in brokers.iter().enumerate() {
            match ask(broker).await {
                Ok(answer) => return (index, answer),
                Err(error) => assert!(error.code.is_retriable(), "{error}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn commit(broker: &Broker, member: Committer, offset: u64) -> Result<(), ApiError> {
    let commit = OffsetCommit {
        topic: by_name("a"),
        partition: PartitionIndex(0),
        offset: Offset::from_count(offset),
        leader_epoch: None,
        metadata: String::new(),
    };
    let request = CommitOffsetsRequest { group: group(), offsets: vec![commit], member: Some(member) };
    broker.commit_offsets(&ctx(), request).await?.remove(0)
}

async fn committed(broker: &Broker) -> Result<Option<i64>, ApiError> {
    let request = FetchOffsetsRequest { group: group(), partitions: None, member: None };
    let found = broker.fetch_offsets(&ctx(), request).await?;
    Ok(found.first().and_then(|one| one.as_ref().unwrap().offset).map(Offset::get))
}

async fn join(
    broker: &Broker,
    resume: Option<MemberProgress>,
) -> Result<(GroupMembership, crate::GroupAssignment), ApiError> {
    let names = BTreeSet::from([TopicName::new("a").unwrap()]);
    let profile = Profile {
        client_id: "test".to_owned(),
        subscription: Subscription { names, pattern: None },
        rebalance_timeout_ms: limits::REBALANCE_TIMEOUT_MS_DEFAULT,
        ..Profile::default()
    };
    let member = Some(MemberId::new("one").unwrap());
    broker.join_group(&ctx(), JoinGroupRequest { group: group(), member, profile, resume }).await
}

/// Waits until every broker is in sync with the group's partition of the offsets.
async fn replicated(broker: &Broker) {
    let name = TopicName::new("__consumer_offsets").unwrap();
    let in_sync = || {
        let image = broker.core.metadata.image();
        let topic = image.topic_by_name(&name)?;
        Some(topic.partition(partition_of(&group()))?.isr.len())
    };
    while in_sync() != Some(3) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_and_its_commits_go_on_where_the_next_coordinator_is() {
    let cluster = Cluster::new();
    let mut brokers = Vec::new();
    for node in 1..=3 {
        let broker = cluster.start(node, if node == 1 { &[] } else { &[1] }).await;
        within("a broker", broker.joined()).await;
        brokers.push(broker);
    }
    within("the topic", brokers[1].create_topic(&ctx(), new_topic("a", 1))).await.unwrap();
    within("the replicas", replicated(&brokers[1])).await;
    let (_, (mut membership, told)) =
        within("a join", coordinated(&brokers, async |broker| join(broker, None).await)).await;
    let who = Committer { member: Some(told.member.clone()), instance: None, epoch: Some(told.epoch) };
    let ask = async |broker: &Broker| commit(broker, who.clone(), 5).await;
    let (gone, ()) = within("a commit", coordinated(&brokers, ask)).await;
    let mut listed = Vec::new();
    for broker in &brokers {
        listed.push(broker.list_groups(&ctx()).await.unwrap().len());
    }
    assert_eq!((listed.iter().sum::<usize>(), listed[gone]), (1, 1), "each lists what it coordinates");
    let stopped = brokers.remove(gone);
    cluster.stop(&stopped).await;
    let lost = within("the news", membership.news()).await.unwrap_err();
    assert!(matches!(lost.code, ErrorCode::NotCoordinator | ErrorCode::ShuttingDown), "{lost}");
    let ask = async |broker: &Broker| committed(broker).await;
    assert_eq!(within("a fetch", coordinated(&brokers, ask)).await.1, Some(5));
    let progress = MemberProgress { epoch: told.epoch, heard: told.revision, owned: None };
    let ask = async |broker: &Broker| join(broker, Some(progress.clone())).await;
    let (_, (_membership, resumed)) = within("a return", coordinated(&brokers, ask)).await;
    assert_eq!((resumed.epoch, &resumed.assigned), (told.epoch, &told.assigned), "nothing was rebalanced");
    let ask = async |broker: &Broker| commit(broker, who.clone(), 6).await;
    within("a commit", coordinated(&brokers, ask)).await;
    cluster.stop_all(&brokers).await;
}
